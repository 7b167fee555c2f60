"""Splits that cannot leak: whole drives, and whole groups of drives that look alike, stratified by risk."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from roadscribe.errors import WorkError

SPLITS = ("train", "validation", "test")

_BDD_NAME = re.compile(r"^([0-9a-f]{8})-[0-9a-f]{8}$")


def drive_of_video(video_id: str) -> str:
    """The drive a video name belongs to, where nothing else tells.

    BDD100K cuts a drive into videos named ``<first>-<second>``; names that share the first part are taken for
    one drive, which is the safe side for a split. Any other name is a drive of its own.
    """
    stem = re.sub(r"\.(?:mov|mp4|avi|mkv|webm|m4v)$", "", video_id, flags=re.IGNORECASE)
    found = _BDD_NAME.match(stem)
    return found.group(1) if found else stem


def group_drives(drives: Iterable[str], alike: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The group of each drive: drives that are ``alike`` (directly or through others) share one."""
    parent = {drive: drive for drive in drives}

    def root(drive: str) -> str:
        while parent[drive] != drive:
            parent[drive] = parent[parent[drive]]
            drive = parent[drive]
        return drive

    for left, right in alike:
        first, second = sorted((root(left), root(right)))
        parent[second] = first
    return {drive: root(drive) for drive in parent}


def assign_splits(
    rows: Sequence[tuple[str, str | None]], groups: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """The split of each drive.

    Args:
        rows: (drive, risk) of each row that will be in the dataset; the risk of a row without report is None.
        groups: the group of each drive; a group is never divided.
        shares: share of the rows for "validation" and "test"; the rest is "train".
        seed: another seed, another draw.

    Groups are drawn within the risk that is rarest among their rows, so that each split sees each risk
    (groups without any report by themselves); a split with a positive share gets at least one group when
    there are as many groups as splits.
    """
    common = Counter(risk for _, risk in rows)
    by_group: dict[str, Counter[str | None]] = defaultdict(Counter)
    for drive, risk in rows:
        by_group[groups[drive]][risk] += 1
    strata: dict[str, list[str]] = defaultdict(list)
    for group in sorted(by_group):
        risks = [risk for risk in by_group[group] if risk is not None]
        strata[min(risks, key=lambda risk: (common[risk], risk), default="")].append(group)
    rng = random.Random(f"split:{seed}")
    wanted = {name: share for name, share in shares.items() if share > 0}
    assigned: dict[str, str] = {}
    owed = dict.fromkeys(wanted, 0.0)
    for risk in sorted(strata):
        drawn = strata[risk]
        rng.shuffle(drawn)
        for group in drawn:
            size = sum(by_group[group].values())
            for name, share in wanted.items():
                owed[name] += share * size
            neediest = max(wanted, key=lambda name: (owed[name] / wanted[name], name), default="train")
            # A group goes to a held-out split once that split is owed at least half of it.
            if wanted and owed[neediest] >= size / 2 and owed[neediest] > 0:
                assigned[group] = neediest
                owed[neediest] -= size
            else:
                assigned[group] = "train"
    for name in wanted:
        if name not in assigned.values() and len(assigned) > len(wanted):
            donor = next(group for group in sorted(assigned, reverse=True) if assigned[group] == "train")
            assigned[donor] = name
    return {drive: assigned[groups[drive]] for drive, _ in rows}


def check_no_leak(rows: Iterable[tuple[str, str, str]], groups: Mapping[str, str]) -> None:
    """Fail if a drive or a group of look-alikes is in two splits.

    Args:
        rows: (clip, drive, split) of each row as it was written.
        groups: the group of each drive.

    Raises:
        WorkError: naming the clip and both splits.
    """
    seen: dict[str, tuple[str, str]] = {}
    for clip, drive, split in rows:
        group = groups[drive]
        first_clip, first_split = seen.setdefault(group, (clip, split))
        if first_split != split:
            raise WorkError(
                f"leak: clips {first_clip} ({first_split}) and {clip} ({split}) belong to one drive or look "
                "alike; this is a defect of the split, please report it"
            )

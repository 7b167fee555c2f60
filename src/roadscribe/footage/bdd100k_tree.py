"""Finds what lies beside BDD100K's videos: the label records and info files of each, however the tree was unpacked.

Every file is looked at once, whatever the number of videos: a label list of 70,000 images leaves an index of
where the wanted records stand, and `evidence` reads those later, one video at a time.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadscribe.clip import same_name
from roadscribe.footage.bdd100k import has_boxes, read_info, record_names
from roadscribe.footage.container import reason
from roadscribe.footage.json_stream import NotReadable, Place, stream_items
from roadscribe.progress import progress, say

VIDEO_NAME = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}")
"""A video's name; clips cut from one drive share the part before the dash."""

LABEL_FOLDER = re.compile(r"labels?([-_ ]?\w+)?|det_20", re.IGNORECASE)
INFO_FOLDER = re.compile(r"info([-_]\w+)?", re.IGNORECASE)
LOOSE_LABELS = re.compile(r"(bdd100k_labels\w*|det(_v2)?_(train|val|test)\w*)\.json", re.IGNORECASE)
"""Label lists that were put beside the folder of videos instead of into one of labels."""

OTHER_TASKS = {
    "box_track_20": "tracking boxes name no traffic lights",
    "box_track": "tracking boxes name no traffic lights",
    "seg_track_20": "tracking masks name no traffic lights",
    "pose_21": "poses name persons only",
    "lane": "lanes are not used",
    "drivable": "drivable areas are not used",
    "sem_seg": "masks are not used",
    "ins_seg": "masks name no traffic lights",
    "pan_seg": "masks are not used",
}
"""Folders of labels that say nothing about all objects of a frame; their silence must not count as absence."""

NOT_ENTERED = frozenset({"videos", "images", "frames", "__macosx"})
DEPTH = 5
"""Folders below the one that was given are searched this deep for labels and info."""

MAX_INFO_BYTES = 64_000_000


@dataclass(frozen=True)
class LabelPlace:
    """Where a label record about one video stands."""

    path: Path
    place: Place | None
    """Within a list; None: the whole file is about this video."""
    with_boxes: bool = True
    """Whether the list holds boxes at all."""


@dataclass(frozen=True)
class Beside:
    """What lies beside one video; ``has_*`` say that the tree holds such files for some videos."""

    labels: tuple[LabelPlace, ...] = ()
    info: Path | None = None
    has_labels: bool = False
    has_info: bool = False


NOTHING_BESIDE = Beside()


@dataclass
class Trees:
    """What was found beside all videos."""

    beside: dict[Path, Beside]
    """By the video's path."""
    ride_of: dict[Path, str]
    """The drive of a video, by its info file's ``rideID`` or that of a clip with the same first half."""
    notes: list[tuple[Path, str]]
    """Files that could not be used, and why."""


def look_beside(videos: Iterable[tuple[Path, Path, bool]]) -> Trees:
    """Find the labels and info files of videos.

    Searched are, for each folder that was given, its folders called ``labels`` and ``info`` (also deeper, as
    archives unpack side by side), and those beside a folder called ``videos`` that a video lies in.

    What cannot be read is in the notes; nothing is raised.

    Args:
        videos: a video, the folder it was found under, and whether that folder was given (and not the video).
    """
    groups: dict[tuple[tuple[Path, int], ...], dict[Path, None]] = defaultdict(dict)
    bases_of: dict[tuple[Path, Path, bool], tuple[tuple[Path, int], ...]] = {}
    for video, root, deep in videos:
        key = (video.parent, root, deep)
        if key not in bases_of:
            bases_of[key] = _bases(*key)
        groups[bases_of[key]][video] = None
    trees = Trees({}, {}, [])
    for bases, members in groups.items():
        _look_in_tree(bases, list(members), trees)
    return trees


def _bases(folder: Path, root: Path, deep: bool) -> tuple[tuple[Path, int], ...]:
    """The folders to search for a video's labels, and how deep."""
    bases = {root: DEPTH if deep else 1}
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 (a link stays a link: its neighbours count)
    for above in (absolute, *absolute.parents):
        if above.name.lower() == "videos":
            parent = above.parent
            near = Path(os.path.relpath(parent)) if not root.is_absolute() else parent
            if not any(_same(near, base) for base in bases):
                bases[near] = 1
            break
    return tuple(bases.items())


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _look_in_tree(bases: tuple[tuple[Path, int], ...], videos: list[Path], trees: Trees) -> None:
    label_folders: list[Path] = []
    info_folders: list[Path] = []
    loose: list[Path] = []
    for base, depth in bases:
        for folder, is_info in _evidence_folders(base, depth):
            chosen = info_folders if is_info else label_folders
            if not any(_same(folder, other) for other in chosen):
                chosen.append(folder)
        loose += [path for path in _entries(base) if LOOSE_LABELS.fullmatch(path.name) and path.is_file()]
    wanted = {same_name(video.stem) for video in videos}
    label_files = [path for folder in label_folders for path in _json_files(folder, trees.notes)] + loose
    info_files = [path for folder in info_folders for path in _json_files(folder, trees.notes)]
    label_files.sort(key=lambda path: not any(name.lower().startswith("det") for name in path.parts[-2:]))
    if not label_files and not info_files:
        return
    labels = _index_labels(label_files, wanted, trees.notes)
    infos: dict[str, Path] = {}
    for path in info_files:
        if same_name(path.stem) in wanted:
            infos.setdefault(same_name(path.stem), path)
    for video in videos:
        stem = same_name(video.stem)
        trees.beside[video] = Beside(
            tuple(labels.get(stem, ())), infos.get(stem), bool(label_files), bool(info_files)
        )
    rides = _rides(infos)
    by_half: dict[str, set[str]] = defaultdict(set)
    for stem, ride in rides.items():
        if match := VIDEO_NAME.fullmatch(stem):
            by_half[match[1]].add(ride)
    for video in videos:
        match = VIDEO_NAME.fullmatch(video.stem)
        siblings = by_half.get(match[1], set()) if match else set()
        ride_id = rides.get(same_name(video.stem)) or min(siblings, default=None)
        if ride_id is not None:
            trees.ride_of[video] = ride_id
    say(
        f"evidence: labels for {len(labels)} and info for {len(infos)} of {len(wanted)} videos "
        f"(of {len(label_files)} label and {len(info_files)} info files)"
    )


def is_evidence_folder(name: str) -> bool:
    """Whether a folder of this name holds labels or info files."""
    return bool(LABEL_FOLDER.fullmatch(name) or INFO_FOLDER.fullmatch(name))


def is_label_list(name: str) -> bool:
    """Whether a file of this name is a label list that is looked at outside folders of labels."""
    return bool(LOOSE_LABELS.fullmatch(name))


def _evidence_folders(base: Path, depth: int) -> Iterator[tuple[Path, bool]]:
    """Folders of labels (False) and info (True) in a folder and below it."""
    for path in _entries(base):
        if not path.is_dir():
            continue
        if LABEL_FOLDER.fullmatch(path.name):
            yield path, False
        elif INFO_FOLDER.fullmatch(path.name):
            yield path, True
        elif depth > 1 and path.name.lower() not in NOT_ENTERED:
            yield from _evidence_folders(path, depth - 1)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _json_files(folder: Path, notes: list[tuple[Path, str]], above: tuple[str, ...] = ()) -> Iterator[Path]:
    """JSON files in a folder and below it; a linked folder is entered, but never from within itself."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        notes.append((folder, f"cannot be read ({reason(error)}); check its permissions"))
        return
    for path in entries:
        if path.suffix.lower() == ".json" and path.is_file():
            yield path
        elif path.is_dir():
            unused = OTHER_TASKS.get(path.name.lower())
            if unused:
                notes.append((path, f"not read: {unused}"))
            else:
                yield from _json_files(path, notes, (*above, real))


# ------------------------------------------------------------------------------------------------ the index


def _index_labels(
    files: list[Path], wanted: set[str], notes: list[tuple[Path, str]]
) -> dict[str, list[LabelPlace]]:
    """Where the records about the wanted videos stand, those of a list of 2020 (``det_*``) in front."""
    found: dict[str, list[LabelPlace]] = defaultdict(list)
    own = [path for path in files if same_name(path.stem) in wanted]
    # Opening 70,000 files of other videos would take longer than all else.
    lists = [
        path for path in files if same_name(path.stem) not in wanted and not VIDEO_NAME.fullmatch(path.stem)
    ]
    unknown: dict[Path, list[Path]] = defaultdict(list)
    megabytes = [max(1, round(_size(path) / 1e6)) for path in lists]
    with _progress_if(sum(megabytes), "reading label lists (MB)", at_least=20) as advance:
        for path, size in zip(lists, megabytes, strict=True):
            known, places, problem = _index_list(path, wanted, advance, size)
            if problem:
                notes.append((path, problem))
            elif not known:
                unknown[path.parent].append(path)
            for stem, place in places:
                found[stem].append(place)
    for folder, paths in unknown.items():
        more = f" (and {len(paths) - 1} more in {folder.name})" if len(paths) > 1 else ""
        notes.append((paths[0], f"holds no labels in BDD100K's formats{more}; not used"))
    for path in own:
        found[same_name(path.stem)].append(LabelPlace(path, None))
    return found


def _index_list(
    path: Path, wanted: set[str], advance: Callable[[int], None], megabytes: int
) -> tuple[bool, list[tuple[str, LabelPlace]], str | None]:
    """Of one file: whether it is a label list, the wanted records, and what is wrong with it."""
    places: list[tuple[str, Place]] = []
    images = done = 0
    any_boxes = False
    problem = None
    try:
        for record, place in stream_items(path, "frames"):
            names = record_names(record)
            images += bool(names)
            any_boxes = any_boxes or has_boxes(record)
            stem = next((name for name in map(same_name, names) if name in wanted), None)
            if stem is not None:
                places.append((stem, place))
            if place.offset // 1_000_000 > done:
                advance(min(place.offset // 1_000_000, megabytes) - done)
                done = min(place.offset // 1_000_000, megabytes)
    except NotReadable as error:
        problem = f"{error}; {images} images before it are used" if images else str(error)
    except OSError as error:
        problem = f"cannot be read ({reason(error)})"
    advance(megabytes - done)
    return images > 0, [(stem, LabelPlace(path, place, any_boxes)) for stem, place in places], problem


@contextmanager
def _progress_if(total: int, what: str, *, at_least: int) -> Iterator[Callable[[int], None]]:
    """Progress of work that takes a while; small trees are read without a word."""
    if total < at_least:
        yield lambda _: None
        return
    with progress(total, what) as advance:
        yield lambda count: advance(count)


def _rides(infos: dict[str, Path]) -> dict[str, str]:
    """The ``rideID`` of each info file that can be read; what is wrong with the others is told with their clip."""
    rides: dict[str, str] = {}
    with _progress_if(len(infos), "reading info files", at_least=2000) as advance:
        for stem, path in infos.items():
            try:
                ride = read_info(load_json(path)).ride_id
            except (ValueError, RecursionError, OSError):
                ride = None
            if ride:
                rides[stem] = ride
            advance(1)
    return rides


def load_json(path: Path) -> Any:
    """A small JSON file; a byte order mark is passed over.

    Raises:
        ValueError: no JSON, no text, or larger than any file about one video.
        OSError: it cannot be read.
    """
    if _size(path) > MAX_INFO_BYTES:
        raise ValueError(f"more than {MAX_INFO_BYTES // 1_000_000} MB")
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

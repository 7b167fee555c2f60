"""The curate stage: raw answers become a dataset, and a page that says what was changed and why.

It reads raw answers and the clips they speak of, and writes ``dataset/`` (a `DatasetDict` in TRL's form),
``quarantine.jsonl``, ``quality.json`` and ``quality.html``. It goes over the clips twice, with a few counts
between: first every answer is read and held against evidence, then values that collapse over the whole are
taken out, the prose is brought into agreement, and rows are written. Memory does not grow with the rows'
frames.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roadscribe.artifacts import atomic_open, disk_errors, finish, open_output, require_complete, write_json, write_text
from roadscribe.clip import Clip, read_clips
from roadscribe.curate.card import dataset_card
from roadscribe.curate.dataset import DatasetWriter
from roadscribe.curate.duplicates import Hash, alike, frame_hash
from roadscribe.curate.mend import Row, judge, settle
from roadscribe.curate.now import Now, evidence_now
from roadscribe.curate.page import write_page
from roadscribe.curate.quality import Quality
from roadscribe.curate.read import AnswerList, AnswerLog, open_log, read_original
from roadscribe.curate.rules.collapse import Collapse
from roadscribe.curate.rules.collapse import collapse as collapse_rule
from roadscribe.curate.split import assign_splits, check_no_leak, drive_of_video, group_drives
from roadscribe.errors import InputError, WorkError
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe

DATASET = "dataset"
QUARANTINE = "quarantine.jsonl"


@dataclass
class _Entry:
    """What stays in memory of one row between the two passes."""

    drive_id: str
    risk: str | None
    """None while the row is quarantined."""


def curate(
    recipe: Recipe, raw: Path, clips: Path | None, out: Path, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Make a dataset from raw answers and return ``out``.

    Args:
        recipe: its section ``curate`` decides the splits.
        raw: a raw artifact of `annotate`, or the original project's JSON file.
        clips: the clips artifact the answers speak of. None is possible with a JSON file only: its reports
            are curated without evidence, and the rows hold no images.
        out: the output folder; a run that was stopped is done again from the start.

    Raises:
        InputError: an input is missing, unfinished or of another form, ``out`` is taken, or no answer fits.
        WorkError: no row is left, the disk is full, or the splits leak.
    """
    if recipe.curate.test_share + recipe.curate.validation_share >= 1:
        raise InputError("curate.test_share and curate.validation_share leave no rows to train on; lower one of them")
    if clips is not None:
        require_complete(clips, "clips", "collect")
    answers: AnswerLog | AnswerList
    if raw.is_dir():
        answers = open_log(raw)
        if clips is None:
            raise InputError(
                f"{raw}: these answers speak of clips; give the folder of clips too (--clips DIR)"
            )
    else:
        answers = AnswerList(read_original(raw))
    made_by = recipe.as_json("curate")
    if open_output(out, "dataset", made_by, resume=resume, overwrite=overwrite):
        return out
    work = out / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with disk_errors(out):
        summary = _curate(recipe, answers, clips, out, work)
        shutil.rmtree(work)
        finish(out, **summary)
    return out


def _hash(clip: Clip) -> Hash:
    try:
        return frame_hash(clip.frames[-1])
    except OSError as error:
        raise InputError(
            f"clip {clip.clip_id}: its last frame is no image ({error}); collect it again"
        ) from error


def _visit(answers: AnswerLog | AnswerList, clips: Path | None) -> Iterator[tuple[str, str, Clip | None]]:
    """(name of the answers, drive, clip) in a fixed order; without clips in the answers' own order."""
    if clips is None:
        for name in answers.places:
            yield name, drive_of_video(name), None
        return
    for clip in read_clips(clips):
        yield answers.name_of(clip), clip.drive_id, clip


def _curate(
    recipe: Recipe, answers: AnswerLog | AnswerList, clips: Path | None, out: Path, work: Path
) -> dict[str, Any]:
    quality = Quality()
    entries: dict[int, _Entry] = {}
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    written: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    measured: dict[str, list[float]] = defaultdict(list)
    visited: set[str] = set()
    hashes: list[Hash] = []
    hashed_drives: list[str] = []
    judged_path = work / "judged.jsonl"
    with judged_path.open("w") as judged, progress(len(answers), "checking answers") as advance:
        for name, drive_id, clip in _visit(answers, clips):
            now = evidence_now(clip) if clip else Now()
            visited.add(name)
            if clip is not None:
                hashes.append(_hash(clip))
                hashed_drives.append(drive_id)
            answered = False
            for answer in answers.answers(name):
                answered = True
                row = judge(answer, now)
                entries[row.row] = _Entry(drive_id, None)
                if row.report is not None and row.quarantine is None:
                    for parameter in collapse_rule.parameters:
                        value = row.read_values[parameter]
                        if value is not None:
                            counts[parameter][value] += 1
                            written[parameter, value][json.dumps(row.raw_values.get(parameter))] += 1
                        if parameter in row.confirmed:
                            after = getattr(row.report.driving_parameters, parameter)
                            if after is not None:
                                measured[parameter].append(after)
                    entries[row.row].risk = row.report.driving_parameters.risk_factor
                judged.write(row.to_json() + "\n")
                advance()
            if not answered:
                quality.unanswered(name)
    for name in answers.places:
        if name not in visited:
            for answer in answers.answers(name):
                quality.without_clip(answer.row, name)
    if not entries:
        raise InputError(
            "none of the answers speaks of one of the clips; are these the clips that were annotated?"
        )
    collapses = {
        (found.parameter, found.value): replace(
            found, written=written[found.parameter, found.value].most_common(1)[0][0]
        )
        for parameter in collapse_rule.parameters
        for found in collapse_rule.check(parameter, counts[parameter], measured[parameter])
    }
    quality.collapses(collapses.values())
    kept = [(entry.drive_id, entry.risk) for entry in entries.values() if entry.risk is not None]
    pairs = {
        (hashed_drives[i], hashed_drives[j]) for i, j in alike(hashes) if hashed_drives[i] != hashed_drives[j]
    }
    quality.look_alikes = sorted(pairs)
    groups = group_drives({*hashed_drives, *(entry.drive_id for entry in entries.values())}, pairs)
    shares = {"validation": recipe.curate.validation_share, "test": recipe.curate.test_share}
    splits = assign_splits(kept, groups, shares, recipe.curate.seed)
    summary = _write_all(answers, clips, judged_path, collapses, splits, groups, quality, out, work)
    write_page(out, quality)
    return summary


def _write_all(
    answers: AnswerLog | AnswerList,
    clips: Path | None,
    judged_path: Path,
    collapses: dict[tuple[str, int], Collapse],
    splits: dict[str, str],
    groups: dict[str, str],
    quality: Quality,
    out: Path,
    work: Path,
) -> dict[str, Any]:
    """Second step for every row, then into the dataset or the quarantine, and counted."""
    written: list[tuple[str, str, str]] = []
    with (
        judged_path.open() as judged,
        atomic_open(out / QUARANTINE) as quarantine,
        DatasetWriter(work / "arrow") as writer,
        progress(len(answers), "writing rows") as advance,
    ):
        for name, drive_id, clip in _visit(answers, clips):
            now = evidence_now(clip) if clip else Now()
            for _ in answers.places.get(name, ()):
                row = settle(Row.from_json(judged.readline()), now, collapses)
                split = None
                if row.quarantine is not None:
                    record = {
                        "row": row.row,
                        "clip_id": row.clip_id,
                        "rule": row.quarantine.rule,
                        "reason": row.quarantine.message,
                    }
                    quarantine.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                else:
                    split = splits[drive_id]
                    writer.add(split, row, drive_id, clip)
                    written.append((row.clip_id, drive_id, split))
                quality.add(row, split, drive_id, clip)
                advance()
        for row_number, name in quality.rows_without_clip:
            record = {
                "row": row_number,
                "clip_id": name,
                "rule": "no_clip",
                "reason": "the clips hold no such clip",
            }
            quarantine.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    check_no_leak(written, groups)
    if not written:
        raise WorkError(
            f"{out}: every answer was quarantined; quarantine.jsonl there says why "
            f"(the commonest: {quality.commonest()})"
        )
    writer.save(out / DATASET)
    write_text(out / DATASET / "README.md", dataset_card(quality))
    write_json(out / "quality.json", quality.as_json())
    if clips is None:
        say("no clips were given: the rows hold no images, and nothing could be held against evidence")
    return quality.summary()

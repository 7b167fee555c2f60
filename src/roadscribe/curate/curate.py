"""The curate stage: raw answers become a dataset, and a page that says what was changed and why.

It reads raw answers and the clips they speak of, and writes ``dataset/`` (a `DatasetDict` in TRL's form),
``quarantine.jsonl``, ``quality.json`` and ``quality.html``. It goes over the clips twice: first every answer
is read and held against evidence; then values that collapse over the whole are taken out, the prose is
brought into agreement, and rows are written. Of a row only some counts, its drive and a hash stay in memory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from roadscribe.artifacts import (
    MANIFEST,
    atomic_open,
    disk_errors,
    finish,
    open_output,
    read_json,
    require_complete,
    write_json,
    write_text,
)
from roadscribe.clip import Clip, read_clips
from roadscribe.curate.card import dataset_card
from roadscribe.curate.dataset import DatasetWriter
from roadscribe.curate.duplicates import Hash, alike, frame_hash
from roadscribe.curate.mend import Row, judge, settle
from roadscribe.curate.now import Now, evidence_now
from roadscribe.curate.page import write_page
from roadscribe.curate.parallel import Workers, batches, workers
from roadscribe.curate.quality import Quality
from roadscribe.curate.read import ANSWERS, DRIVES, AnswerList, AnswerLog, open_log, read_original
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.curate.rules.collapse import Collapse
from roadscribe.curate.rules.collapse import collapse as collapse_rule
from roadscribe.curate.rules.same_answer import Same, SameAnswers, same_answer
from roadscribe.curate.split import assign_splits, check_no_leak, drive_of_video, group_drives
from roadscribe.curate.unmake import leave_nothing
from roadscribe.errors import InputError, WorkError
from roadscribe.footage.identity import clips_digest
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe

DATASET = "dataset"
QUARANTINE = "quarantine.jsonl"


def curate(
    recipe: Recipe, raw: Path, clips: Path | None, out: Path, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Make a dataset from raw answers and return ``out``.

    Args:
        recipe: its section ``curate`` decides the splits.
        raw: a raw artifact of `annotate`, or the original project's JSON file.
        clips: the clips artifact the answers speak of; None takes the one that was annotated. A JSON file can
            be curated without clips: nothing is held against evidence then, and the rows hold no images.
        out: the output folder; a run that was stopped is done again from the start.
        resume: do nothing when ``out`` is whole already.
        overwrite: delete what is there first.

    From 3,000 answers up it works on all cores; a script of yours that calls it then needs the usual
    ``if __name__ == "__main__":``.

    Raises:
        InputError: an input is missing, unfinished or of another form, ``out`` is taken, or no answer fits.
        WorkError: no row is left, the disk is full, or the splits leak.
    """
    if recipe.curate.test_share + recipe.curate.validation_share >= 1:
        raise InputError(
            "curate.test_share and curate.validation_share leave nothing to train on; lower them"
        )
    answers: AnswerLog | AnswerList
    if raw.is_dir():
        answers = open_log(raw)
        clips = clips or _clips_of(raw)
    else:
        answers = AnswerList(read_original(raw))
    if clips is not None:
        require_complete(clips, "clips", "collect")
    inputs = made_from(raw, clips)
    if raw.is_dir():
        _say_if_others(raw, inputs["clips"])
    made_by = {**recipe.as_json("curate"), **inputs}
    if open_output(out, "dataset", made_by, resume=resume, overwrite=overwrite):
        return out
    work = out / ".work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with disk_errors(out):
        try:
            summary = _curate(recipe, answers, clips, out, work)
        except InputError:
            shutil.rmtree(work)
            leave_nothing(out)
            raise
        shutil.rmtree(work)
        finish(out, left_out=summary["rows_quarantined"], listed_in=[QUARANTINE], **summary)
    return out


def made_from(raw: Path, clips: Path | None) -> dict[str, Any]:
    """What tells these inputs from others: a finished dataset must not pass for one of other answers."""
    with (raw / ANSWERS if raw.is_dir() else raw).open("rb") as file:
        answers = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return {"answers": answers, "clips": None if clips is None else clips_digest(clips)}


def _visit(answers: AnswerLog | AnswerList, clips: Path | None) -> Iterator[_Visit]:
    """Every clip with its answers; without clips every answered video, in the order of the answers."""
    if clips is None:
        for name in answers.places:
            yield _Visit(name, drive_of_video(name), None, Now(), list(answers.answers(name)))
        return
    for clip in read_clips(clips):
        name = answers.name_of(clip)
        yield _Visit(name, clip.drive_id, clip, evidence_now(clip), list(answers.answers(name)))


def _clips_of(raw: Path) -> Path:
    """The clips folder that `annotate` noted beside its answers."""
    summary = read_json(raw / MANIFEST, "the manifest of raw answers").get("summary", {})
    noted = summary.get("clips_folder")
    if noted is None and (raw / DRIVES).is_file():
        raise InputError(
            f"{raw}: these answers were imported; make their clips with `roadscribe collect {raw / DRIVES} "
            "--root FOOTAGE --out CLIPS` and give that folder (--clips CLIPS)"
        )
    folder = (raw / noted).resolve() if isinstance(noted, str) else None
    if folder is None or not folder.is_dir():
        raise InputError(
            f"{raw}: the clips of these answers are not where they were; give their folder (--clips DIR)"
        )
    say(f"clips: {folder} (these were annotated)")
    return folder


def _say_if_others(raw: Path, clips: str | None) -> None:
    """Clips that were collected again may show other moments than the teacher saw."""
    asked = read_json(raw / MANIFEST, "the manifest of raw answers").get("recipe", {}).get("clips")
    if asked is not None and asked != clips:
        say(
            f"{raw}: was annotated on other clips, or the same ones with other labels; where they show other "
            "moments, annotate again"
        )


class _Visit(NamedTuple):
    """One clip and the answers to it."""

    name: str
    drive_id: str
    clip: Clip | None
    now: Now
    answers: list[RawAnswer]


@dataclass
class _Seen:
    """What stays in memory of all rows between the two passes."""

    hashes: list[Hash] = field(default_factory=list)
    hashed_drives: list[str] = field(default_factory=list)
    rows: list[tuple[str, str | None]] = field(default_factory=list)
    """(drive, risk) of the rows that are not quarantined so far; None: no report was asked for."""
    names: set[str] = field(default_factory=set)
    counts: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    written: dict[tuple[str, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    measured: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    own: SameAnswers = field(default_factory=SameAnswers)

    def add(self, row: Row, drive_id: str) -> None:
        """Count one judged row."""
        if row.answer is not None:
            self.rows.append((drive_id, None))
            self.own.add(row.clip_id, row.question or "", row.answer)
        if row.report is None or row.quarantine is not None:
            return
        parameters = row.report.driving_parameters
        self.rows.append((drive_id, parameters.risk_factor))
        for parameter in collapse_rule.parameters:
            value, after = row.read_values[parameter], getattr(parameters, parameter)
            if value is not None:
                self.counts[parameter][value] += 1
                self.written[parameter, value][json.dumps(row.raw_values.get(parameter))] += 1
            grade = row.confirmed.get(parameter)
            if grade is not None and grade.may_fix and after is not None:
                self.measured[parameter].append(after)

    def collapses(self) -> dict[tuple[str, int], Collapse]:
        """Values that stand too often, by parameter and value."""
        return {
            (found.parameter, found.value): replace(
                found, written=self.written[found.parameter, found.value].most_common(1)[0][0]
            )
            for parameter in collapse_rule.parameters
            for found in collapse_rule.check(parameter, self.counts[parameter], self.measured[parameter])
        }

    def look_alikes(self) -> set[tuple[str, str]]:
        """Pairs of different drives with nearly the same last frame, enough to join each group of them."""
        drives = self.hashed_drives
        pairs = (sorted((drives[i], drives[j])) for i, j in alike(self.hashes))
        return {(first, second) for first, second in pairs if first != second}


def _judge(task: tuple[bytes | None, str, Now, list[RawAnswer]]) -> tuple[Hash | None, list[Row]]:
    """First pass over one clip: the hash of its last frame, and its answers held against the evidence."""
    frame, clip_id, now, answers = task
    try:
        frame_bits = frame_hash(frame) if frame is not None else None
    except OSError as error:
        raise InputError(f"clip {clip_id}: its last frame is no image ({error}); collect it again") from error
    return frame_bits, [judge(answer, now) for answer in answers]


_Found = tuple[dict[tuple[str, int], Collapse], dict[bytes, Same]]
"""What the rules over the whole dataset found: collapsed values, and answers that are the same on many clips."""


def _settle(task: tuple[list[str], Now, _Found]) -> list[Row]:
    """Second pass over one clip: its judged rows made consistent."""
    lines, now, (collapses, same) = task
    return [settle(Row.from_json(line), now, collapses, same) for line in lines]


def _curate(
    recipe: Recipe, answers: AnswerLog | AnswerList, clips: Path | None, out: Path, work: Path
) -> dict[str, Any]:
    quality, seen = Quality(), _Seen()
    judged = work / "judged.jsonl"
    with workers(len(answers)) as pool:
        _judge_all(answers, clips, judged, pool, quality, seen)
        if quality.unread == len(answers):
            raise InputError(
                "none of the answers speaks of one of the clips; are these the clips that were annotated?"
            )
        collapses, same = seen.collapses(), same_answer.check(seen.own)
        quality.collapsed = list(collapses.values())
        pairs = seen.look_alikes()
        quality.look_alikes = sorted(pairs)
        groups = group_drives({*seen.hashed_drives, *(drive for drive, _ in seen.rows)}, pairs)
        shares = {"validation": recipe.curate.validation_share, "test": recipe.curate.test_share}
        splits = assign_splits(seen.rows, groups, shares, recipe.curate.seed)
        written = _write_all(answers, clips, judged, (collapses, same), splits, quality, out, work, pool)
    check_no_leak(written, groups)
    if not written:
        raise WorkError(
            f"{out}: every answer was quarantined; quarantine.jsonl there says why "
            f"(the commonest: {quality.commonest()})"
        )
    write_text(out / DATASET / "README.md", dataset_card(quality))
    write_json(out / "quality.json", quality.as_json())
    write_page(out, quality)
    if clips is None:
        say("no clips were given: the rows hold no images, and nothing could be held against evidence")
    say(_outcome(quality, out))
    return quality.summary()


def _outcome(quality: Quality, out: Path) -> str:
    """What became of the answers, in one line."""
    line = f"{quality.kept} of {quality.read + quality.unread} answers kept"
    line += f", {quality.changed} of them corrected or shortened"
    if left_out := quality.quarantined + quality.unread:
        line += f"; {left_out} left out, listed in {out / QUARANTINE}"
        line += f" ({quality.unread} speak of no clip that is there)" if quality.unread else ""
    return f"{line}; look at {out / 'quality.html'}"


def _judge_all(
    answers: AnswerLog | AnswerList,
    clips: Path | None,
    judged: Path,
    pool: Workers,
    quality: Quality,
    seen: _Seen,
) -> None:
    """First pass over all clips; the judged rows go to a file, one line each."""
    with judged.open("w", encoding="utf-8") as file, progress(len(answers), "checking answers") as advance:
        for batch in batches(_visit(answers, clips)):
            tasks = [
                (visit.clip.frames[-1] if visit.clip else None, visit.name, visit.now, visit.answers)
                for visit in batch
            ]
            for visit, (frame_bits, rows) in zip(batch, pool.map(_judge, tasks), strict=True):
                seen.names.add(visit.name)
                if frame_bits is not None:
                    seen.hashes.append(frame_bits)
                    seen.hashed_drives.append(visit.drive_id)
                for row in rows:
                    seen.add(row, visit.drive_id)
                    file.write(row.to_json() + "\n")
                if not rows:
                    quality.clips_without_answer.append(visit.name)
                advance(len(rows))
        for name in answers.places:
            if name not in seen.names:
                quality.rows_without_clip.extend((answer.row, name) for answer in answers.answers(name))
        advance(quality.unread)


def _write_all(
    answers: AnswerLog | AnswerList,
    clips: Path | None,
    judged: Path,
    found: _Found,
    splits: dict[str, str],
    quality: Quality,
    out: Path,
    work: Path,
    pool: Workers,
) -> list[tuple[str, str, str]]:
    """Second pass over all clips: rows settled, written or quarantined; returns (clip, drive, split)."""
    written: list[tuple[str, str, str]] = []
    with (
        judged.open(encoding="utf-8") as lines,
        atomic_open(out / QUARANTINE) as quarantine,
        DatasetWriter(work / "arrow") as writer,
        progress(len(answers), "writing rows") as advance,
    ):
        for batch in batches(_visit(answers, clips)):
            tasks = [([lines.readline() for _ in visit.answers], visit.now, found) for visit in batch]
            for visit, rows in zip(batch, pool.map(_settle, tasks), strict=True):
                for row in rows:
                    split = None
                    if row.quarantine is not None:
                        quarantine.write(
                            _quarantined(row.row, row.clip_id, row.quarantine.rule, row.quarantine.message)
                        )
                    else:
                        split = splits[visit.drive_id]
                        writer.add(split, row, visit.drive_id, visit.clip)
                        written.append((row.clip_id, visit.drive_id, split))
                    quality.add(row, split, visit.drive_id, visit.clip)
                advance(len(rows))
        for row_number, name in quality.rows_without_clip:
            quarantine.write(_quarantined(row_number, name, "no_clip", "the clips hold no such clip"))
        advance(quality.unread)
    if written:
        writer.save(out / DATASET)
    return written


def _quarantined(row: int, clip_id: str, rule: str, reason: str) -> bytes:
    record = {"row": row, "clip_id": clip_id, "rule": rule, "reason": reason}
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"

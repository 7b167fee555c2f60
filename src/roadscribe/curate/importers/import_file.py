"""The verb `import`: a published instruction set becomes raw answers and the manifest of their footage.

It writes an artifact of kind "raw": ``answers.jsonl`` in the form of the annotate stage, ``drives.jsonl`` for
`collect`, and ``skipped.jsonl`` with every entry that was left out. Then `collect` makes the clips and
`curate` the dataset, as with answers of a teacher.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from roadscribe.artifacts import atomic_open, disk_errors, finish, open_output
from roadscribe.clip import same_name
from roadscribe.curate.importers import bddx, drivelm, lingoqa, original
from roadscribe.curate.importers.entries import PARQUET, Answered, Drive, Entry, LeftOut, head_of, open_text
from roadscribe.curate.read import ANSWERS, DRIVES
from roadscribe.curate.unmake import leave_nothing
from roadscribe.errors import InputError
from roadscribe.progress import progress, say
from roadscribe.prompts import PROMPT_VERSION, own_version

SKIPPED = "skipped.jsonl"
"""Entries that were left out, one JSON object a line: ``row``, ``entry``, ``reason``."""

FORMATS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "original": original.read,
    "bddx": bddx.read,
    "drivelm": drivelm.read,
    "lingoqa": lingoqa.read,
}

HEAD_CHARS = 1 << 20
"""As much of a file is looked at to tell its format."""

MAX_ID_CHARS = 400
MAX_TEXT_CHARS = 100_000
"""A question or an answer beyond this is no text of a person or a teacher."""

_MARKS = (
    ("drivelm", re.compile(r'^\s*\{.*"key_frames"\s*:', re.DOTALL)),
    ("original", re.compile(r'^\s*\[\s*\{.*"QA"\s*:\s*[\[{]', re.DOTALL)),
    ("bddx", re.compile(r"^[^\n]*\bInput\.Video\b")),
    ("lingoqa", re.compile(r'^\s*[\[{].*"(?:question_id|segment_id)"\s*:', re.DOTALL)),
    ("lingoqa", re.compile(r"^[^\n]*\b(?:question_id|segment_id)\b")),
)


def import_file(
    file: Path,
    out: Path,
    *,
    form: str | None = None,
    videos: Path | None = None,
    max_questions: int | None = None,
    all_answers: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a published instruction set as raw answers into ``out`` and return it.

    Args:
        file: BDD-X's CSV, DriveLM's JSON, LingoQA's table, or the original project's JSON.
        out: the folder for ``answers.jsonl``, ``drives.jsonl`` and ``skipped.jsonl``.
        form: a key of `FORMATS`; None tells it from the content.
        videos: where the videos lie, in subfolders too: ``drives.jsonl`` then names them relative to this
            folder, and answers to videos that are not there are left out. None takes the file's own paths.
        max_questions: at most so many questions a clip, the first ones.
        all_answers: keep every answer to one question on one clip as a row; else only the first.
        resume: do nothing when ``out`` is whole already.
        overwrite: delete what is there first.

    Raises:
        InputError: the file cannot be read, is of none of the formats, or gives no answer; ``out`` is taken.
        WorkError: the disk is full or read-only.
    """
    head_of(file)
    form = form or recognise(file)
    if form not in FORMATS:
        raise InputError(f"--format {form}: there is {', '.join(FORMATS)}")
    found = None if videos is None else _video_index(videos)
    made_by = {
        "import": {
            "file": file.name,
            "sha256": _sha256(file),
            "format": form,
            "videos": None if videos is None else str(videos),
            "max_questions": max_questions,
            "all_answers": all_answers,
        }
    }
    with disk_errors(out):
        if open_output(out, "raw", made_by, resume=resume, overwrite=overwrite):
            return out
        limits = _Limits(max_questions, all_answers)
        try:
            counts = _write(limits.of(_located(FORMATS[form](file), found)), form, out)
        except InputError:
            leave_nothing(out)
            raise
        skipped = counts.pop("skipped")
        finish(out, left_out=skipped, listed_in=[SKIPPED], format=form, file=file.name, **counts)
    root = "FOLDER-OF-THE-FOOTAGE" if videos is None else str(videos)
    say(
        f"{counts['answers']} answers on {counts['clips']} clips, {skipped} entries left out "
        f"({out / SKIPPED}); next: roadscribe collect {out / DRIVES} --root {root} --out CLIPS"
    )
    return out


def recognise(file: Path) -> str:
    """The format of a file, told from how it begins.

    Raises:
        InputError: it cannot be read, or is none of `FORMATS`.
    """
    if head_of(file).startswith(PARQUET):
        return "lingoqa"
    with open_text(file) as text:
        head = text.read(HEAD_CHARS)
    for form, mark in _MARKS:
        if mark.search(head):
            return form
    raise InputError(
        f"{file}: is none of the known instruction sets (BDD-X's CSV, DriveLM's JSON, LingoQA's table, the "
        f"original project's JSON); if it is one, say which with --format {'|'.join(FORMATS)}"
    )


# ------------------------------------------------------------------------------------------------ choosing


class _Limits:
    """Which entries stay: whole ones, so many questions a clip, one answer a question."""

    def __init__(self, max_questions: int | None, all_answers: bool) -> None:
        self._max_questions = max_questions
        self._all_answers = all_answers
        self._drives: dict[str, Drive] = {}
        self._questions: Counter[str] = Counter()
        self._answers: dict[str, dict[bytes, int]] = {}
        """The answers that each question on each clip has, by the key without teacher: digest -> row."""

    def of(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """The entries, each answer as it is or as left out."""
        for entry in entries:
            reason = None if isinstance(entry, LeftOut) else self._against(entry)
            yield entry if reason is None else LeftOut(entry.row, entry.place, reason)

    def _against(self, entry: Answered) -> str | None:
        said = entry.text, entry.question or ""
        if not entry.text.strip():
            return "has no answer"
        if max(map(len, said)) > MAX_TEXT_CHARS:
            return f"is longer than {MAX_TEXT_CHARS} characters"
        if not is_text(json.dumps(entry.drive.as_json(), ensure_ascii=False) + "".join(said)):
            return "holds bytes that are no UTF-8 text; save the file as UTF-8"
        clip_id = entry.drive.clip_id
        if not clip_id.isprintable() or len(clip_id) > MAX_ID_CHARS:
            return f"its name is longer than {MAX_ID_CHARS} characters or cannot be printed"
        if self._drives.get(clip_id, entry.drive) != entry.drive:
            return f"another entry of this name speaks of other footage: {clip_id}"
        question = f"{clip_id}|{prompt_of(entry)}"
        answers = self._answers.setdefault(question, {})
        digest = hashlib.sha256(entry.text.encode()).digest()[:16]
        if not answers:
            if self._max_questions is not None and self._questions[clip_id] >= self._max_questions:
                return f"is beyond --max-questions {self._max_questions} of its clip"
            self._questions[clip_id] += 1
            self._drives[clip_id] = entry.drive
        elif digest in answers:
            if not self._all_answers:
                return (
                    f"says word for word what row {answers[digest]} answers to the same question on this clip"
                )
        elif not self._all_answers:
            first = next(iter(answers.values()))
            return f"is a further answer to a question that has one; row {first} gives it, --all-answers keeps both"
        answers.setdefault(digest, entry.row)
        return None


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no stray bytes and no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prompt_of(entry: Answered) -> str:
    """The prompt version of what was asked."""
    return PROMPT_VERSION if entry.question is None else own_version(entry.question)


# ------------------------------------------------------------------------------------------------ videos


def _video_index(folder: Path) -> dict[str, list[str]]:
    """Paths below a folder by file name and by name without ending, relative to it; hidden ones are passed over."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that the videos lie in (--videos DIR)")
    index: dict[str, list[str]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            relative = (Path(place) / name).relative_to(folder).as_posix()
            for key in {same_name(name), same_name(Path(name).stem)}:
                index.setdefault(key, []).append(relative)
    return index


def _located(entries: Iterator[Entry], index: dict[str, list[str]] | None) -> Iterator[Entry]:
    """The entries with the videos' paths as they are on this machine."""
    for entry in entries:
        if index is None or isinstance(entry, LeftOut) or entry.drive.video is None:
            yield entry
            continue
        name = PurePosixPath(same_name(entry.drive.video))
        places = index.get(name.name) or index.get(name.stem) or []
        if len(places) == 1:
            yield replace(entry, drive=replace(entry.drive, video=places[0]))
        elif places:
            yield LeftOut(entry.row, entry.place, f"its video is there twice: {places[0]} and {places[1]}")
        else:
            yield LeftOut(entry.row, entry.place, f"its video {name.name} is not in the folder of the videos")


# ------------------------------------------------------------------------------------------------ writing


def _write(entries: Iterator[Entry], form: str, out: Path) -> dict[str, int]:
    """Write all entries; the files appear whole, when the last entry is read."""
    counts = {"answers": 0, "clips": 0, "skipped": 0}
    numbered: Counter[str] = Counter()
    listed: set[str] = set()
    first_reason = "it holds no entries"
    with ExitStack() as files, progress(0, "import") as advance:
        answers, manifest, skipped = (
            files.enter_context(atomic_open(out / name)) for name in (ANSWERS, DRIVES, SKIPPED)
        )
        for entry in entries:
            advance()
            if isinstance(entry, LeftOut):
                first_reason = entry.reason if not counts["skipped"] else first_reason
                counts["skipped"] += 1
                _line(skipped, {"row": entry.row, "entry": entry.place, "reason": entry.reason})
                continue
            counts["answers"] += 1
            _line(answers, _record(entry, form, numbered))
            if entry.drive.clip_id not in listed:
                listed.add(entry.drive.clip_id)
                counts["clips"] += 1
                _line(manifest, entry.drive.as_json())
        if not counts["answers"]:
            raise InputError(
                f"no answer could be taken from the file; the first that was left out: {first_reason}"
            )
    return counts


def _record(entry: Answered, form: str, numbered: Counter[str]) -> dict[str, Any]:
    prompt = prompt_of(entry)
    key = f"{entry.drive.clip_id}|{prompt}|{form}"
    numbered[key] += 1
    return {
        "key": key if numbered[key] == 1 else f"{key}|{numbered[key]}",
        "clip_id": entry.drive.clip_id,
        "prompt": prompt,
        "question": entry.question,
        "teacher": form,
        "text": entry.text,
        "finish_reason": "stop",
        "usage": None,
        "error": None,
    }


def _line(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

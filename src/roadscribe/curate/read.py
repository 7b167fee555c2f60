"""Raw answers as they lie on disk: the annotate stage's log, or the original project's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadscribe.artifacts import require_complete
from roadscribe.clip import Clip, same_name
from roadscribe.curate.original import OriginalProblem, original_answers
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.errors import InputError

ANSWERS = "answers.jsonl"
DRIVES = "drives.jsonl"
"""What `import` writes beside its answers, for `collect` to make their clips."""


@dataclass
class AnswerLog:
    """Where each clip's answers stand in a JSONL file; the answers themselves stay on disk."""

    path: Path
    places: dict[str, list[tuple[int, int]]]
    """clip_id -> (row, byte offset) of its answers, in the order of the file."""

    def __len__(self) -> int:
        return sum(len(places) for places in self.places.values())

    def name_of(self, clip: Clip) -> str:
        """The name under which a clip's answers are kept."""
        return same_name(clip.clip_id)

    def answers(self, clip_id: str) -> Iterator[RawAnswer]:
        """The answers to one clip, none when it was not asked."""
        places = self.places.get(clip_id, ())
        if not places:
            return
        with self.path.open("rb") as file:
            for row, offset in places:
                file.seek(offset)
                yield _answer(row, json.loads(file.readline()))


class AnswerList:
    """Answers that are held in memory; the same questions can be put to it as to an `AnswerLog`."""

    def __init__(self, answers: list[RawAnswer]) -> None:
        self._answers = answers
        self.places: dict[str, list[int]] = {}
        for place, answer in enumerate(answers):
            self.places.setdefault(same_name(answer.clip_id), []).append(place)

    def __len__(self) -> int:
        return len(self._answers)

    def name_of(self, clip: Clip) -> str:
        """The clip's video as the answers name it, with or without its ending; else the clip's id."""
        video = Path(clip.provenance.path)
        names = map(same_name, (video.name, video.stem, clip.clip_id))
        return next((name for name in names if name in self.places), clip.clip_id)

    def answers(self, clip_id: str) -> Iterator[RawAnswer]:
        """The answers to one clip, none when it was not asked."""
        return (self._answers[place] for place in self.places.get(clip_id, ()))


def _answer(row: int, record: dict[str, Any]) -> RawAnswer:
    return RawAnswer(
        row=row,
        clip_id=record["clip_id"],
        text=record.get("text") or "",
        finish_reason=str(record.get("finish_reason") or "stop"),
        error=record.get("error"),
        question=record.get("question") or None,
        injected=tuple(record.get("injected") or ()),
    )


def open_log(folder: Path) -> AnswerLog:
    """Index an artifact of raw answers; of a key that was written twice the last line counts.

    Raises:
        InputError: the folder is no whole artifact of raw answers, or a line is no record.
    """
    manifest = require_complete(folder, "raw", "annotate")
    path = folder / ANSWERS
    last: dict[str, tuple[str, int]] = {}
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                    last[record["key"]] = (record["clip_id"], offset)
                    for name in ("clip_id", "question", "text", "finish_reason", "error"):
                        if not isinstance(record.get(name), str | None):
                            raise TypeError(f"{name} is no text")
                    if record["clip_id"] is None:
                        raise TypeError("clip_id is null")
                    if not isinstance(record.get("injected"), list | None):
                        raise TypeError("injected is no list")
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(f"{path}:{number}: not a record of raw answers ({error!r})") from error
                offset += len(line)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; make it with `roadscribe annotate`") from error
    stated = manifest["summary"].get("answers")
    if isinstance(stated, int) and len(last) < stated:
        raise InputError(
            f"{path}: holds {len(last)} answers, and {stated} were written; copy the folder again, or ask again"
        )
    places: dict[str, list[tuple[int, int]]] = {}
    for row, (clip_id, start) in enumerate(last.values()):
        places.setdefault(same_name(clip_id), []).append((row, start))
    return AnswerLog(path, places)


def read_original(path: Path) -> list[RawAnswer]:
    """A file in the original project's layout, ``[{"video_id": ..., "QA": {"q": ..., "a": ...}}]``.

    Answers to a question that asks for a report are reports; others keep their question, several for one video.

    Raises:
        InputError: no such file, not JSON, or an entry that is not of this form (named by its position).
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the folder that `roadscribe annotate` wrote, or a "
            "JSON file of raw answers"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no text in UTF-8; save it as UTF-8, or give the folder `roadscribe annotate` wrote"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); mend it there") from error
    form = 'expected [{"video_id": ..., "QA": {"q": ..., "a": ...}}, ...]'
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: holds no list of answers; {form}, or bring it in with `roadscribe import`")
    answers: list[RawAnswer] = []
    for item in original_answers(entries):
        if isinstance(item, OriginalProblem):
            place = f", {item.place}" if item.place else ""
            raise InputError(f"{path}: entry {item.row}{place}: {item.reason}; {form}")
        answers.append(
            RawAnswer(row=len(answers), clip_id=item.video, text=item.text, question=item.question)
        )
    return answers

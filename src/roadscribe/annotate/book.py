"""What an annotate run keeps: answers and dead letters, each under its key, and what the two add up to.

Every teacher's answers go through here, so that all raw artifacts have one form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadscribe.annotate.questions import Ask, Plan, answer_key
from roadscribe.answers.endings import ending_of
from roadscribe.artifacts import KeyedLog, write_text
from roadscribe.clip import Clip

ANSWERS = "answers.jsonl"
DEAD_LETTERS = "dead_letters.jsonl"


@dataclass(frozen=True)
class TeacherAnswer:
    """A raw answer, as it came."""

    text: str
    finish_reason: str = "stop"
    """``stop``, ``length`` where it was cut off, or what else an endpoint says."""
    usage: dict[str, int] | None = None
    """``prompt_tokens`` and ``completion_tokens``, as far as the teacher counts them."""
    model: str | None = None
    """Who answered, by an endpoint's own word; it may differ from the name that was asked for."""
    injected: tuple[dict[str, Any], ...] | None = None
    """Simulated teacher only: the mistakes in it."""


def _holds_no_answer(record: dict[str, Any]) -> bool:
    text = record.get("text")
    return not (isinstance(text, str) and text.strip()) or ending_of(record.get("finish_reason")) == "failed"


def empty_answers(out: Path) -> bool:
    """Whether a raw artifact holds records without an answer, as an earlier version kept them."""
    if not (out / ANSWERS).exists():
        return False
    with KeyedLog(out / ANSWERS) as log:
        return any(map(_holds_no_answer, log.records.values()))


class AnswerBook:
    """The answers and dead letters of one raw artifact, open for appending."""

    def __init__(self, out: Path, teacher: str, *, retry_dead: bool = False) -> None:
        """
        Args:
            out: the artifact's folder.
            teacher: the teacher's name in keys and records.
            retry_dead: ask again what an earlier run gave up on.
        """
        self.teacher = teacher
        self._answers = KeyedLog(out / ANSWERS)
        self._dead_path = out / DEAD_LETTERS
        self._dead = KeyedLog(self._dead_path) if self._dead_path.exists() else None
        self._empty = {key for key, record in self._answers.records.items() if _holds_no_answer(record)}
        """Records without an answer that an earlier version kept as answers."""
        self._retry = {*self.dead_letters, *self._empty} if retry_dead else set()

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """The answers by key."""
        records = self._answers.records
        return {key: records[key] for key in records if key not in self._empty} if self._empty else records

    @property
    def dead_letters(self) -> dict[str, dict[str, Any]]:
        """What was given up on, by key."""
        dead = self._dead.records if self._dead else {}
        return {key: record for key, record in dead.items() if key not in self.answers}

    def settled(self, key: str) -> bool:
        """Whether a key needs no asking."""
        if key in self._answers and key not in self._retry:
            return True
        return self._dead is not None and key in self._dead and key not in self._retry

    def unsettled(self, clips: Iterable[Clip], plan: Plan) -> Iterator[Ask]:
        """What is still to be asked, in order."""
        for clip in clips:
            for question in plan.wanted[clip.clip_id]:
                key = answer_key(clip.clip_id, question.version, self.teacher)
                if not self.settled(key):
                    yield Ask(key, clip, question)

    def count_settled(self, plan: Plan) -> int:
        """How many of the planned questions need no asking."""
        keys = (
            answer_key(clip_id, question.version, self.teacher)
            for clip_id, questions in plan.wanted.items()
            for question in questions
        )
        return sum(map(self.settled, keys))

    def keep(self, ask: Ask, answer: TeacherAnswer) -> None:
        """Add an answer, durably."""
        self._empty.discard(ask.key)
        self._retry.discard(ask.key)
        self._answers.append(
            ask.key,
            **self._about(ask),
            text=answer.text,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            error=None,
            **({} if answer.model is None else {"model": answer.model}),
            **({} if answer.injected is None else {"injected": list(answer.injected)}),
        )

    def bury(self, ask: Ask, reason: str, requests: int) -> None:
        """Give up on a question after so many ``requests``, durably."""
        if self._dead is None:
            self._dead = KeyedLog(self._dead_path)
        self._dead.append(ask.key, **self._about(ask), reason=reason, requests=requests)
        self._retry.discard(ask.key)

    def _about(self, ask: Ask) -> dict[str, Any]:
        return {
            "clip_id": ask.clip.clip_id,
            "prompt": ask.question.version,
            "question": ask.question.own,
            "teacher": self.teacher,
        }

    def totals(self) -> dict[str, int]:
        """How many answers, how many of them were cut off, how many dead letters."""
        cut_off = sum(ending_of(record.get("finish_reason")) != "whole" for record in self.answers.values())
        return {"answers": len(self.answers), "cut_off": cut_off, "dead_letters": len(self.dead_letters)}

    def close(self) -> None:
        """Close the files; what was answered after all leaves the dead letters, and their file when it is empty."""
        self._answers.close()
        if self._dead is None:
            return
        self._dead.close()
        letters = self.dead_letters
        if not letters:
            self._dead_path.unlink()
        elif len(letters) < len(self._dead.records):
            lines = [json.dumps(letter, ensure_ascii=False) + "\n" for letter in letters.values()]
            write_text(self._dead_path, "".join(lines))

    def __enter__(self) -> AnswerBook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

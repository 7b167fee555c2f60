"""The original project's layout, ``[{"video_id", "QA": {"q", "a"}}]``, and which of its questions ask for a report.

That project asks one question, for the three sections of a report. Others use its layout with questions of their
own (several for one video), so the question decides: an answer to another question is kept as it is, with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roadscribe.prompts import INSTRUCTION
from roadscribe.report import PARAMETERS

MIN_NAMED = len(PARAMETERS) // 2
"""A question or an answer that names half of the twelve keys is about a report."""


@dataclass(frozen=True)
class OriginalAnswer:
    """One question with its answer."""

    row: int
    """Position of the record in the file, from 0."""
    place: str
    """``QA.2`` where a record holds several questions, else ""."""
    video: str
    question: str | None
    """None where a whole report was asked for, or no question stands there."""
    text: str


@dataclass(frozen=True)
class OriginalProblem:
    """A record that gives no answer, and why."""

    row: int
    place: str
    reason: str


def original_answers(entries: Sequence[Any]) -> Iterator[OriginalAnswer | OriginalProblem]:
    """The answers of a file in the original's layout; ``QA`` may be a list of several questions, too."""
    found = list(_records(entries))
    reports = _report_questions(found)
    for item in found:
        if isinstance(item, OriginalAnswer) and item.question in reports:
            yield OriginalAnswer(item.row, item.place, item.video, None, item.text)
        else:
            yield item


def _records(entries: Sequence[Any]) -> Iterator[OriginalAnswer | OriginalProblem]:
    for row, entry in enumerate(entries):
        video, asked = (entry.get("video_id"), entry.get("QA")) if isinstance(entry, dict) else (None, None)
        parts = asked if isinstance(asked, list) else [asked]
        if not isinstance(video, str) or not video or not parts:
            yield OriginalProblem(row, "", "is not of the form {video_id, QA: {q, a}}")
            continue
        for number, part in enumerate(parts):
            place = f"QA.{number}" if isinstance(asked, list) else ""
            text = part.get("a") if isinstance(part, dict) else None
            question = part.get("q") if isinstance(part, dict) else None
            if not isinstance(text, str):
                yield OriginalProblem(row, place, "is not of the form {video_id, QA: {q, a}}")
            elif not isinstance(question, str | None):
                yield OriginalProblem(row, place, "its question is no text")
            else:
                yield OriginalAnswer(row, place, video, (question or "").strip() or None, text)


def asks_for_report(question: str) -> bool:
    """Whether a question is the standard one or asks for a report in other words: it names the sections or the keys."""
    said = " ".join(question.lower().split())
    sections = ("scene description" in said) + ("risk assessment" in said)
    return (
        question.strip() == INSTRUCTION.strip()
        or ("driving parameters" in said and sections > 0)
        or names_parameters(question)
    )


def names_parameters(text: str) -> bool:
    """Whether a text names at least half of the twelve keys, as ``road_type`` or "road type"."""
    said = text.lower()
    return sum(key in said or key.replace("_", " ") in said for key in PARAMETERS) >= MIN_NAMED


def _report_questions(found: Sequence[OriginalAnswer | OriginalProblem]) -> set[str | None]:
    """The questions that ask for a report, by their words or because most of their answers are one."""
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for item in found:
        if isinstance(item, OriginalAnswer) and item.question is not None:
            asked[item.question] += 1
            answered[item.question] += names_parameters(item.text)
    return {
        question
        for question in asked
        if asks_for_report(question) or 2 * answered[question] > asked[question]
    }

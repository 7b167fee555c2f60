"""The annotate stage: ask the teacher about every clip and keep each raw answer, once, as it came.

It reads a clips artifact and writes an artifact of kind "raw": ``answers.jsonl``, an append-only log with one
line a (clip, prompt version, teacher) key. A run that was stopped asks only for what is missing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from roadscribe.annotate.address import Address, address_of, is_address
from roadscribe.annotate.book import DEAD_LETTERS, AnswerBook, TeacherAnswer
from roadscribe.annotate.budget import Budget, check_prices
from roadscribe.annotate.mistakes import answer_clip
from roadscribe.annotate.questions import REPORT, Ask, Plan, clips_and_videos, plan, questions_of
from roadscribe.artifacts import (
    MANIFEST,
    disk_errors,
    finish,
    open_output,
    read_json,
    require_complete,
    write_json,
    write_text,
)
from roadscribe.clip import read_clips
from roadscribe.errors import InputError, WorkError
from roadscribe.footage.identity import clips_digest
from roadscribe.progress import Advance, clock, progress, say
from roadscribe.prompts import PROMPT_VERSION
from roadscribe.recipe import Annotate, Recipe

LEFT_OUT = "left_out.jsonl"
SIMULATED = "simulated"

LocalTeacher = Callable[[Sequence[Ask]], list[TeacherAnswer]]
"""Answers several questions in one go, in order."""
OpenLocal = Callable[[Recipe, Path], tuple[LocalTeacher, int]]
"""Loads the recipe's local teacher for a clips artifact; returns it and how many questions it takes at once.

The engine stands on a higher floor than this stage, so whoever calls hands it in.
"""

WHAT_IS_ASKED = (
    "model",
    "report",
    "max_questions",
    "max_tokens",
    "temperature",
    "json_schema",
    "error_rate",
    "seed",
)
"""The options that make an answer what it is; a run may be resumed with others of the rest."""


def annotate(
    recipe: Recipe,
    clips: Path,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    retry_dead: bool = False,
    open_local: OpenLocal | None = None,
) -> Path:
    """Write one raw answer a clip and question into ``out`` and return it.

    Each record has ``key, clip_id, prompt, question, teacher, text, finish_reason, usage, error``; from an
    endpoint ``model``, from the simulated teacher ``injected``: the mistakes it put in on purpose. What an
    endpoint would not answer stands in ``dead_letters.jsonl``, every request to it in ``requests.jsonl``.

    Args:
        recipe: its section ``annotate``; for a local teacher ``infer`` and ``model``, too.
        clips: what `collect` wrote.
        out: the folder for the answers.
        resume: go on where an earlier run was stopped; what is answered is not asked again.
        overwrite: delete what ``out`` holds first.
        retry_dead: resume, and ask the dead letters once more.
        open_local: loads a local teacher.

    Raises:
        InputError: ``clips`` is no whole clips artifact, ``out`` is taken, the questions or the teacher's options
            are wrong, the endpoint refuses all requests, or a clip has no ground truth (simulated teacher).
        WorkError: the disk is full, the budget is spent, the endpoint fails on and on, or nothing was answered.
    """
    section = recipe.annotate
    questions = questions_of(section)
    address = _checked(section)
    if address is None and section.teacher == SIMULATED and questions != (REPORT,):
        raise InputError(
            "annotate.questions: the simulated teacher writes only reports; choose another --teacher"
        )
    require_complete(clips, "clips", "collect")
    made_by = _made_by(recipe, address, [question.text for question in questions if question.own])
    made_by["clips"] = clips_digest(clips)
    local = None
    if address is None and section.teacher != SIMULATED:
        if open_local is None:
            raise InputError(
                f"annotate.teacher: {section.teacher!r} is a local model; ask it with `roadscribe annotate`"
            )
        local = open_local(recipe, clips)
    resume = resume or retry_dead
    if open_output(out, "raw", made_by, resume=resume, overwrite=overwrite) and not _reopened(
        out, retry_dead
    ):
        return out
    shares = plan(clips_and_videos(clips), questions, section.max_questions)
    name = section.teacher if address is None else address.model
    with disk_errors(out), AnswerBook(out, name, retry_dead=retry_dead) as book:
        _list_left_out(out, shares)
        asks = book.unsettled(read_clips(clips), shares)
        if address is None:
            spent: dict[str, Any] = {}
            teacher, at_once = local or (_simulated(section), 1)
            with progress(shares.total, "annotate", already=book.count_settled(shares)) as advance:
                _ask_here(teacher, at_once, asks, book, advance)
        else:
            spent = _ask_endpoint(section, address, asks, book, out, shares)
        open_questions = shares.total - book.count_settled(shares)
        if open_questions:
            raise WorkError(
                f"{out}: {open_questions} of {shares.total} questions were not asked, although nothing failed; are the "
                "clips still what they were? Go on with --resume"
            )
        totals = book.totals()
        if shares.total and not totals["answers"]:
            raise WorkError(
                f"{out}: none of {shares.total} questions got an answer; see {out / DEAD_LETTERS}"
            )
        if totals["dead_letters"]:
            say(
                f"annotate: {totals['dead_letters']} of {shares.total} questions got no answer, see "
                f"{out / DEAD_LETTERS}; --retry-dead asks them again"
            )
        finish(
            out,
            clips=len(shares.wanted),
            questions=shares.total,
            left_out=len(shares.left_out) + totals["dead_letters"],
            listed_in=[
                *([LEFT_OUT] if shares.left_out else []),
                *([DEAD_LETTERS] if totals["dead_letters"] else []),
            ],
            **totals,
            **spent,
            # Relative, so that both folders can be moved together; curate finds the clips by it.
            clips_folder=os.path.relpath(clips.resolve(), out.resolve()),
        )
    return out


def _checked(section: Annotate) -> Address | None:
    """The address of a recipe's endpoint, None where its teacher is none; its options fit its kind.

    Raises:
        InputError: an option is missing, or belongs to another kind of teacher.
    """
    if is_address(section.teacher):
        check_prices(section)
        return address_of(section, os.environ)
    for option, given in (
        ("model", section.model is not None),
        ("temperature", bool(section.temperature)),
        ("json_schema", section.json_schema),
        ("max_cost", section.max_cost is not None),
        ("max_requests", section.max_requests is not None),
    ):
        if given:
            raise InputError(
                f"annotate.{option}: is for an endpoint, and {section.teacher!r} is none; "
                "give its address, such as --teacher http://127.0.0.1:8000/v1"
            )
    return None


def _made_by(recipe: Recipe, address: Address | None, own: list[str]) -> dict[str, Any]:
    """What makes these answers; resuming with anything else would mix two artifacts.

    An endpoint is told by its model: it may move to another address meanwhile.
    """
    section = recipe.annotate.model_dump(mode="json", include=set(WHAT_IS_ASKED))
    made_by: dict[str, Any] = {
        "annotate": {
            "teacher": recipe.annotate.teacher if address is None else "endpoint",
            **section,
            "questions": own,
        },
        "prompt": PROMPT_VERSION,
    }
    if address is None and recipe.annotate.teacher != SIMULATED:
        made_by |= recipe.as_json("model") | {"grammar": recipe.infer.grammar}
    return made_by


def _reopened(out: Path, retry_dead: bool) -> bool:
    """Declare a finished artifact unfinished when it has dead letters that shall be asked again."""
    if not retry_dead or not (out / DEAD_LETTERS).exists():
        return False
    manifest = read_json(out / MANIFEST, "an artifact's manifest")
    write_json(out / MANIFEST, {**manifest, "complete": False})
    return True


def _list_left_out(out: Path, shares: Plan) -> None:
    """Say which questions the limit a video leaves out."""
    if not shares.left_out:
        return
    lines = [
        json.dumps({"clip_id": one.clip_id, "prompt": one.version, "reason": one.reason}, ensure_ascii=False)
        for one in shares.left_out
    ]
    write_text(out / LEFT_OUT, "".join(f"{line}\n" for line in lines))
    say(f"annotate: annotate.max_questions leaves out {len(lines)} questions, listed in {out / LEFT_OUT}")


def _simulated(section: Annotate) -> LocalTeacher:
    def ask(asks: Sequence[Ask]) -> list[TeacherAnswer]:
        answers = [answer_clip(one.clip, error_rate=section.error_rate, seed=section.seed) for one in asks]
        return [
            TeacherAnswer(answer.text, answer.finish_reason, injected=answer.injected) for answer in answers
        ]

    return ask


def _ask_here(
    teacher: LocalTeacher, at_once: int, asks: Iterator[Ask], book: AnswerBook, advance: Advance
) -> None:
    """Ask a teacher in this process, some questions at a time."""
    while some := list(islice(asks, at_once)):
        answers = list(teacher(some))
        if len(answers) != len(some):
            raise WorkError(f"the teacher gave {len(answers)} answers to {len(some)} questions")
        for ask, answer in zip(some, answers, strict=True):
            book.keep(ask, answer)
            advance()


def _ask_endpoint(
    section: Annotate, address: Address, asks: Iterator[Ask], book: AnswerBook, out: Path, shares: Plan
) -> dict[str, Any]:
    """Ask an endpoint, say what that took however it ends, and return it for the manifest."""
    # The client takes a second to import.
    from roadscribe.annotate.runner import ask_endpoint

    key = f"key from {address.key_name}" if address.key_name else "no key"
    say(f"annotate: asking {address.model} at {address.url} ({key}), {section.concurrency} requests at once")
    begun = time.monotonic()
    with Budget(out, section) as budget:
        try:
            with progress(shares.total, "annotate", already=book.count_settled(shares)) as advance:
                ask_endpoint(section, address, asks, book, budget, advance)
        finally:
            seconds = time.monotonic() - begun
            say(_spent_line(book, budget, seconds))
        return {
            "model": address.model,
            "endpoint": address.url,
            "requests": budget.requests,
            "input_tokens": budget.counted.input,
            "output_tokens": budget.counted.output,
            "cost": budget.cost,
            "request_seconds": round(budget.request_seconds, 1),
            "seconds": round(seconds, 1),
        }


def _spent_line(book: AnswerBook, budget: Budget, seconds: float) -> str:
    totals = book.totals()
    cut_off = f" ({totals['cut_off']} cut off)" if totals["cut_off"] else ""
    cost = "" if budget.cost is None else f", cost {budget.cost:.4g}"
    return (
        f"annotate: {totals['answers']} answers{cut_off}, {totals['dead_letters']} dead letters; "
        f"{budget.requests} requests, {budget.counted.input} tokens in, {budget.counted.output} out{cost}; "
        f"{clock(seconds)} this time"
    )

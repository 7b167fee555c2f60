"""A local model as teacher: the annotate stage's questions go to the project's own engine.

It stands here, not in `annotate`, because the engine is on a higher floor; the command line hands it down.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roadscribe.annotate.annotate import LocalTeacher
from roadscribe.annotate.book import TeacherAnswer
from roadscribe.annotate.questions import REPORT, Ask, questions_of
from roadscribe.artifacts import require_complete
from roadscribe.clip import read_clips
from roadscribe.errors import InputError
from roadscribe.infer.describe import open_model
from roadscribe.infer.engine import GeneratedReport, ReportEngine
from roadscribe.model.contract import CONTRACT
from roadscribe.progress import say
from roadscribe.qwen3_vl.live_tokens import control_spellings, refuse_control_tokens
from roadscribe.recipe import Recipe


def open_teacher(recipe: Recipe, clips: Path) -> tuple[LocalTeacher, int]:
    """Load ``annotate.teacher``: a hub id, a model's folder or an adapter's folder.

    Reports are written under the grammar (``infer.grammar``), answers to other questions freely; all greedily.

    Args:
        recipe: its sections ``annotate``, ``infer`` and ``model``.
        clips: what shall be asked about; its frames must be those an adapter was trained on.

    Returns:
        The teacher, and how many questions it takes at once.

    Raises:
        InputError: no such model, an adapter that takes other frames, or a question with one of its control tokens.
    """
    require_complete(clips, "clips", "collect")
    name = recipe.annotate.teacher
    infer = recipe.infer.model_copy(update={"max_new_tokens": recipe.annotate.max_tokens})
    ready = open_model(name, recipe.model_copy(update={"infer": infer}))
    spellings = control_spellings(ready.engine.processor)
    for question in questions_of(recipe.annotate):
        refuse_control_tokens(question.text, f"annotate.questions: {question.text[:60]!r}", spellings)
    if ready.notice:
        say(ready.notice)
    first = next(iter(read_clips(clips)), None)
    is_adapter = Path(name, CONTRACT).is_file()
    if is_adapter and first is not None and len(first.frames) != ready.footage.frames:
        raise InputError(
            f"{clips}: clips of {len(first.frames)} frames, the adapter {name} was trained with "
            f"{ready.footage.frames}; collect again with --set footage.frames={ready.footage.frames}"
        )
    return engine_teacher(ready.engine, grammar=recipe.infer.grammar), recipe.infer.batch_size


def engine_teacher(engine: ReportEngine, *, grammar: bool) -> LocalTeacher:
    """An engine as annotate asks it."""

    def ask(asks: Sequence[Ask]) -> list[TeacherAnswer]:
        answers: dict[str, TeacherAnswer] = {}
        for question in dict.fromkeys(one.question for one in asks):
            same = [one for one in asks if one.question == question]
            written = engine.generate(
                [one.clip.images() for one in same],
                instruction=question.text,
                grammar=grammar and question == REPORT,
                # Each clip is seen once; what is kept would only fill the memory.
                remember=False,
            )
            answers |= {one.key: _answer(report) for one, report in zip(same, written, strict=True)}
        return [answers[one.key] for one in asks]

    return ask


def _answer(report: GeneratedReport) -> TeacherAnswer:
    return TeacherAnswer(
        text=report.text,
        finish_reason="stop" if report.finished else "length",
        usage={"completion_tokens": report.tokens},
    )

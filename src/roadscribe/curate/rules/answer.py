"""Rules about the answer as a whole: is it an answer, is it all there, does it say things once?

Signature: ``(answer: RawAnswer) -> str | None``, the reason the row is kept out, or None. They run before
anything is parsed; `incomplete` alone looks at what was read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from roadscribe.answers.script import other_script
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.report import PARAMETERS
from roadscribe.report_text import ParsedAnswer


@dataclass(frozen=True)
class RawAnswer:
    """One answer as the teacher gave it."""

    row: int
    """Position in the raw artifact, from 0."""
    clip_id: str
    text: str
    finish_reason: str = "stop"
    error: str | None = None
    question: str | None = None
    """What was asked, where that was another question than the standard one, which asks for a report."""
    injected: tuple[dict[str, Any], ...] = field(default=(), compare=False)
    """What a simulated teacher got wrong on purpose; never seen by a rule."""


AnswerCheck = Callable[[RawAnswer], str | None]

_REFUSALS = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:cannot|can't|can not|won't|am not able to)\b|"
    r"as an ai\b|(?:cannot|can't|unable to) (?:assist|help|provide|comply|fulfil|analy[sz]e)\b|"
    r"i (?:apologi[sz]e|must decline))",
    re.IGNORECASE,
)

_DECLINES_TO_ANSWER = re.compile(
    r"\b(?:i(?:'m| am) sorry\b|as an ai\b|i (?:apologi[sz]e|must decline)\b|"
    r"(?:cannot|can't|can not|unable to|not able to) (?:assist|help with|comply|fulfil|analy[sz]e|answer|"
    r"(?:view|see|process|access) (?:the |any |these |this )?(?:images?|pictures?|videos?|frames?|photos?))\b)",
    re.IGNORECASE,
)
"""A driver says "I cannot turn, the light is red" in answer to a question: only the declining itself counts."""


@rule(
    reason="A request that failed has no answer to learn from.",
    source="the annotate stage's own log",
    severity="error",
    action="quarantine",
)
def no_answer(answer: RawAnswer) -> str | None:
    """The teacher answered at all."""
    if answer.error:
        return f"the teacher failed: {answer.error}"
    return "the answer is empty" if not answer.text.strip() else None


@rule(
    reason="A model trained on refusals refuses.",
    source="refusal phrases of instruction-tuned models",
    severity="error",
    action="quarantine",
)
def refusal(answer: RawAnswer) -> str | None:
    """The answer does not decline the task."""
    if answer.question is not None:
        declines = _DECLINES_TO_ANSWER.search(answer.text[:400])
        return f"the teacher declined: {declines.group(0)!r}" if declines else None
    found = _REFUSALS.search(answer.text[:400])
    keys = sum(parameter in answer.text for parameter in PARAMETERS)
    if found and keys < len(PARAMETERS) // 2:
        return f"the teacher declined: {found.group(0)!r}"
    return None


@rule(
    reason="A target that stops in the middle teaches the model to stop in the middle.",
    source="finish_reason of the OpenAI API; sentence ends",
    severity="error",
    action="note",
)
def cut_off(answer: RawAnswer) -> str | None:
    """The answer was not ended by the token limit."""
    tail = answer.text.rstrip()
    if answer.finish_reason == "length":
        return f"the token limit ended it at {tail[-30:]!r}"
    if answer.question is not None:
        return None  # people leave full stops out
    if len(tail) > 200 and re.search(r"[A-Za-z,]$", tail) and not tail.endswith("```"):
        last = tail.splitlines()[-1]
        if len(last.split()) >= 4:
            return f"it ends in the middle of a sentence: {tail[-30:]!r}"
    return None


def repeated(text: str) -> tuple[str, int] | None:
    """The line or sentence of at least four words that stands most often in the text, and how often."""
    pieces = [piece.strip(" -*\t").casefold() for piece in re.split(r"\n+|(?<=[.!?])\s+", text)]
    counts = Counter(piece for piece in pieces if len(piece.split()) >= 4)
    return counts.most_common(1)[0] if counts else None


@rule(
    reason="Degenerate repetition is learnt quickly and ends in answers that never stop.",
    source="degenerate decoding: Holtzman et al., The Curious Case of Neural Text Degeneration, 2020",
    severity="error",
    action="quarantine",
)
def repetition(answer: RawAnswer) -> str | None:
    """No sentence stands in the answer more than three times."""
    most = repeated(answer.text)
    if most and most[1] > 3:
        return f"says {most[1]} times: {most[0][:60]!r}"
    looped = re.search(r"\b(\w+(?:\W+\w+){0,7})(?:\W+\1){5,}\b", answer.text)
    if looped:
        return f"loops on {looped.group(1)[:60]!r}"
    return None


@rule(
    reason="A report lacks what the answer does not say, and nothing here makes it up.",
    source="the form of a report: scene, parameters with a risk factor, risk assessment",
    severity="error",
    action="quarantine",
)
def incomplete(parsed: ParsedAnswer) -> str | None:
    """The answer has both prose sections and a risk factor; other parameters may be unknown."""
    if parsed.report() is not None:
        return None
    missing = len(PARAMETERS) - len(parsed.found_parameters)
    problems = [f"{missing} of the {len(PARAMETERS)} parameters are missing"] if missing else []
    if not parsed.scene_description:
        problems.append("there is no scene description")
    if not parsed.risk_assessment:
        problems.append("there is no risk assessment")
    if parsed.parameters["risk_factor"] is None and "risk_factor" in parsed.found_parameters:
        problems.append(f"its risk factor is not understood ({str(parsed.raw_values['risk_factor'])[:60]!r})")
    return ", ".join(problems) or "a section holds nothing that a report can hold"


@rule(
    reason="Letters that a report cannot hold would be left out one by one, and what stays is no sentence.",
    source="the characters of a report's prose, `report.PROSE_CHARACTERS`; scripts by Unicode's names of characters",
    severity="error",
    action="quarantine",
)
def foreign_script(answer: RawAnswer) -> str | None:
    """A report is written in Latin letters; answers to other questions may be in any script."""
    found = other_script(answer.text) if answer.question is None else None
    return found and f"{found}; take a teacher that answers in English, or ask questions of your own"


ANSWER_RULES: tuple[Rule[AnswerCheck], ...] = (no_answer, refusal, foreign_script, cut_off, repetition)

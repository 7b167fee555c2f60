"""What a rule is: one small function beside its reason, its source, its weight and what it may do.

To add one, write the function in the file of its theme, put ``@rule(...)`` above it, name it in that file's
tuple, and write one test. `docs/rules.md` and the quality page are made from what stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from roadscribe.report import VOCABULARY

Severity = Literal["error", "warning", "info"]
"""error: the answer was wrong; warning: it is doubtful; info: only its form was."""

Action = Literal["fix", "null", "mend", "quarantine", "note"]
"""fix: the right value is known and written; null: the value is taken out; mend: the sentence is corrected
or, where that cannot be done safely, dropped; quarantine: the row is kept out of the dataset; note: nothing
is changed."""

Check = TypeVar("Check", bound=Callable[..., Any])
Check_co = TypeVar("Check_co", bound=Callable[..., Any], covariant=True)


@dataclass(frozen=True)
class Rule(Generic[Check_co]):
    """A named check. ``check`` has the signature of its theme; see the theme's file."""

    id: str
    claim: str
    """What the rule asks of an answer, in one sentence: the function's docstring."""
    reason: str
    source: str
    severity: Severity
    action: Action
    parameters: tuple[str, ...]
    theme: str
    check: Check_co


def rule(
    *, reason: str, source: str, severity: Severity, action: Action, parameters: tuple[str, ...] = ()
) -> Callable[[Check], Rule[Check]]:
    """Make the function below a Rule; its name is the id, its docstring says what it asks of an answer."""

    def make(check: Check) -> Rule[Check]:
        return Rule(
            id=check.__name__,
            claim=" ".join((check.__doc__ or "").split()),
            reason=reason,
            source=source,
            severity=severity,
            action=action,
            parameters=parameters,
            theme=check.__module__.rpartition(".")[2],
            check=check,
        )

    return make


def null_of(parameter: str) -> str | None:
    """How "cannot be told" is written for a parameter: ``unknown`` for words, None for numbers and booleans.

    Raises:
        ValueError: the parameter has no such value (``risk_factor``).
    """
    if parameter not in VOCABULARY:
        return None
    if "unknown" not in VOCABULARY[parameter]:
        raise ValueError(f"{parameter} cannot be null")
    return "unknown"

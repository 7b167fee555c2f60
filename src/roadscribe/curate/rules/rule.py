"""What a rule is: one small function beside its reason, its source, its weight and what it may do.

To add one, write the function in the file of its theme, put ``@rule(...)`` above it, name it in that file's
tuple, and write one test. `docs/rules.md` and the quality page are made from what stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from roadscribe.report import VOCABULARY, DrivingParameters, Finding, Grade

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


def corrected(
    rule_id: str,
    report: DrivingParameters,
    parameter: str,
    after: Any,
    message: str,
    evidence: str,
    grade: Grade,
) -> Finding:
    """A finding that changes one parameter of the report on evidence.

    Raises:
        ValueError: the grade of the evidence does not allow the change (`require_allowed`).
    """
    finding = Finding(
        rule=rule_id,
        parameter=parameter,
        before=getattr(report, parameter),
        after=after,
        message=message,
        evidence=evidence,
        grade=grade,
    )
    require_allowed(finding)
    return finding


def noted(rule_id: str, message: str, evidence: str | None = None, grade: Grade | None = None) -> Finding:
    """A finding that changes nothing."""
    return Finding(rule=rule_id, message=message, evidence=evidence, grade=grade)


def decided(grade: Grade, parameter: str, value: Any) -> Any:
    """What evidence of a grade may write for a value: the value itself, or "cannot be told"."""
    return value if grade.may_fix else null_of(parameter)


def require_allowed(finding: Finding) -> None:
    """Raise ValueError where a finding writes a value that evidence of its grade must not write.

    Estimated and detected evidence may take a value out or note a doubt, and nothing else.
    """
    grade, parameter = finding.grade, finding.parameter
    if grade is None or grade.may_fix or parameter is None or finding.after == finding.before:
        return
    if finding.after != null_of(parameter):
        raise ValueError(
            f"rule {finding.rule}: {grade} evidence must not write {finding.after!r} for {parameter}; it may take "
            "the value out or note a doubt"
        )


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

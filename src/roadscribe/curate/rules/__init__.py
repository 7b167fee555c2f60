"""All rules by theme, in the order in which they run."""

from __future__ import annotations

from typing import Any

from roadscribe.curate.rules.answer import ANSWER_RULES, incomplete
from roadscribe.curate.rules.collapse import DATASET_RULES
from roadscribe.curate.rules.consistency import CONSISTENCY_RULES
from roadscribe.curate.rules.evidence import EVIDENCE_RULES, light_of_several
from roadscribe.curate.rules.prose import PROSE_RULES, prose_empty
from roadscribe.curate.rules.rule import Rule, Severity

RULES: tuple[Rule[Any], ...] = (
    *ANSWER_RULES,
    incomplete,
    light_of_several,
    *EVIDENCE_RULES,
    *DATASET_RULES,
    *CONSISTENCY_RULES,
    *PROSE_RULES,
    prose_empty,
)

SEVERITY_OF: dict[str, Severity] = {rule.id: rule.severity for rule in RULES}
"""Severity by rule id; findings about the form of an answer come from the parser and count as info."""

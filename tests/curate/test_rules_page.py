"""The rules describe themselves: every one has a reason and a source, and the page in docs is theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roadscribe.curate.rules import RULES
from roadscribe.curate.rules.document import rules_page
from roadscribe.report import PARAMETERS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_what_it_asks_why_and_whence(rule: Any) -> None:
    for text in (rule.claim, rule.reason, rule.source):
        assert len(text) > 15
    assert set(rule.parameters) <= set(PARAMETERS)


def test_ids_are_unique() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_the_page_in_docs_is_made_from_the_rules() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "rules.md"
    assert page.read_text() == rules_page(), "run: python -m roadscribe.curate.rules.document > docs/rules.md"

"""The instruction says what the report holds, and says it in a form that training and generation share."""

from __future__ import annotations

import pytest

from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION, messages
from roadscribe.report import PARAMETERS, PARAMETERS_HEADING, RISK_HEADING, SCENE_HEADING, VOCABULARY


def test_it_names_every_key_in_order_and_every_allowed_word() -> None:
    places = [INSTRUCTION.index(f"\n{parameter}: ") for parameter in PARAMETERS]
    assert places == sorted(places)
    for parameter, words in VOCABULARY.items():
        line = next(line for line in INSTRUCTION.splitlines() if line.startswith(f"{parameter}: "))
        assert line.removeprefix(f"{parameter}: ").split(" ")[0].split("|") == list(words)


def test_it_asks_for_the_three_sections_by_their_headings() -> None:
    places = [INSTRUCTION.index(heading) for heading in (SCENE_HEADING, PARAMETERS_HEADING, RISK_HEADING)]
    assert places == sorted(places)


def test_it_stays_short_because_every_sample_pays_for_it() -> None:
    assert len(INSTRUCTION) <= 1300


def test_units_are_said() -> None:
    assert "km/h" in INSTRUCTION and "metres" in INSTRUCTION


def test_the_version_names_the_wording() -> None:
    """A changed wording needs a new version: answers and adapters of the old one must be told apart."""
    import hashlib

    known = {"adas-1": "d2736119758502b8"}
    assert hashlib.sha256(INSTRUCTION.encode()).hexdigest()[:16] == known[PROMPT_VERSION]


def test_a_question_holds_one_place_a_frame_before_the_text() -> None:
    (turn,) = messages(3)
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] == ["image", "image", "image", "text"]
    assert turn["content"][-1]["text"] == INSTRUCTION


def test_no_frame_is_no_question() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        messages(0)

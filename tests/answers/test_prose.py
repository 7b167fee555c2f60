"""Prose: markup goes, meaning stays, and whatever a bound leaves out is handed back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.answers.prose import (
    as_paragraph,
    as_points,
    cut_at_sentence,
    in_report_characters,
    sentences,
    without_cut_off_end,
)
from roadscribe.report import PROSE_CHARACTERS


@given(st.text())
def test_any_text_is_brought_into_the_characters_of_a_report(text: str) -> None:
    kept, lost = in_report_characters(text)
    assert re.fullmatch(f"[ {PROSE_CHARACTERS}]*", kept)
    assert kept == kept.strip()
    assert len(set(lost)) == len(lost)


@given(st.text(), st.integers(1, 50))
def test_cutting_loses_no_word(text: str, max_chars: int) -> None:
    kept, left_out = cut_at_sentence(text, max_chars)
    assert len(kept) <= max_chars
    assert f"{kept} {left_out}".split() == text.split()


@given(st.text())
def test_any_section_becomes_a_paragraph_and_points(text: str) -> None:
    assert "\n" not in as_paragraph(text)
    for point in as_points(text).points:
        assert point.strip() and "\n" not in point


@pytest.mark.parametrize(
    ("text", "kept", "lost"),
    [
        ("“Café” — 5°C", "'Cafe' - 5 degrees C", ""),
        ("≈10 m, <5 m, >3 m", "about 10 m, less than 5 m, more than 3 m", ""),
        ("snake_case {x} [y] a|b", "snake case (x) (y) a/b", ""),
        ("<|im_end|>", "less than /im end/ more than", ""),
        ("A car 你好 ahead 🚗.", "A car ahead.", "你好🚗"),
    ],
)
def test_characters_with_an_equal_in_ascii_keep_their_meaning(text: str, kept: str, lost: str) -> None:
    assert in_report_characters(text) == (kept, lost)


def test_abbreviations_and_numbers_end_no_sentence() -> None:
    assert sentences("It is approx. 50 feet away. Speed is 3.5 m/s. See e.g. Main St. Go!") == [
        "It is approx. 50 feet away.",
        "Speed is 3.5 m/s.",
        "See e.g. Main St. Go!",
    ]


def test_a_first_sentence_that_is_too_long_is_not_cut_in_its_middle() -> None:
    assert cut_at_sentence("This sentence is long. So it is.", 10) == ("", "This sentence is long. So it is.")


@pytest.mark.parametrize(
    ("body", "points"),
    [
        ("- One.\n* Two.\n• Three.\n1. Four.\n2) Five.", ("One.", "Two.", "Three.", "Four.", "Five.")),
        ("- **Cars:** Two cars.\n- **Rain**: Wet.", ("Cars: Two cars.", "Rain: Wet.")),
        ("1. **Cars**:\n   - One.\n   - Two.\n2. **Rain**: Wet.", ("Cars: One.", "Cars: Two.", "Rain: Wet.")),
        ("**Cars:**\nTwo cars.\n\n**Rain:**\nWet.", ("Cars: Two cars.", "Rain: Wet.")),
        ("- One goes\n  on here.\n- Two.\n\nOverall, fine.", ("One goes on here.", "Two.", "Overall, fine.")),
        ("The light is red. A bus stops.", ("The light is red.", "A bus stops.")),
        ("", ()),
        ("---\n***\n", ()),
    ],
)
def test_points_in_the_forms_that_models_use(body: str, points: tuple[str, ...]) -> None:
    assert as_points(body).points == points


def test_lines_that_only_announce_are_handed_back() -> None:
    found = as_points("The risks of this scene are the following:\n- One.\n- **Empty:**\n- Two.")
    assert found.points == ("One.", "Two.")
    assert found.lead_ins == ("The risks of this scene are the following:", "Empty:")


def test_bullets_of_a_scene_become_one_paragraph() -> None:
    assert as_paragraph("- A **red** light\n- Two `cars`.\n\n## End\n") == "A red light. Two cars. End"


def test_only_a_last_sentence_without_an_end_is_cut_off() -> None:
    assert without_cut_off_end(("One.", "Two. And thr")) == (("One.", "Two."), "And thr")
    assert without_cut_off_end(("One.", "And thr")) == (("One.",), "And thr")
    assert without_cut_off_end(("Wet road", "Red light")) == (("Wet road", "Red light"), "")
    assert without_cut_off_end(("One.", "Two.")) == (("One.", "Two."), "")


def test_rows_of_a_table_are_points_and_its_head_is_handed_back() -> None:
    found = as_points(
        "| Hazard | Level |\n|---|:--:|\n| Pedestrians | low |\n| Traffic | medium | wet road |"
    )
    assert found.points == ("Pedestrians: low", "Traffic: medium, wet road")
    assert found.lead_ins == ("Hazard: Level",)


def test_a_verdict_is_whole_without_a_full_stop() -> None:
    points = ("The road is wet.", "Overall risk: Low")
    assert without_cut_off_end(points) == (points, "")
    assert (
        without_cut_off_end(("The road is wet.", "Risk Factor: The overall"))[1] == "Risk Factor: The overall"
    )

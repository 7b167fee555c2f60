"""The instruction says what the report holds, and says it in a form that training and generation share."""

from __future__ import annotations

import hashlib

import pytest

from roadscribe.errors import InputError
from roadscribe.prompts import INSTRUCTION, PROMPT_FILES, PROMPT_VERSION, instruction, messages, own_version
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


@pytest.mark.parametrize(
    ("version", "sha256"),
    [("adas-1", "d2736119758502b8bc7056d468114adf34ea3a4f21fd8af492ad62c598a16535")],
)
def test_the_wording_of_a_version_never_changes(version: str, sha256: str) -> None:
    """The shipped model was trained on it: a changed wording is a new file with a new version."""
    assert hashlib.sha256(instruction(version).encode()).hexdigest() == sha256


def test_the_current_version_is_a_file_of_its_name() -> None:
    assert instruction(PROMPT_VERSION) == INSTRUCTION
    assert (PROMPT_FILES / f"{PROMPT_VERSION}.txt").is_file()


@pytest.mark.parametrize("version", ["adas-0", "../adas-1", ""])
def test_an_unknown_version_is_said_with_the_known_ones(version: str) -> None:
    with pytest.raises(InputError, match="adas-1"):
        instruction(version)


def test_an_own_question_is_named_by_its_words() -> None:
    # printf 'Is it wet?' | sha256sum
    assert own_version("Is it wet?") == "own-d88e5dfb12e7"
    assert own_version("Is it dry?") != own_version("Is it wet?")


def test_a_question_holds_one_place_a_frame_before_the_text() -> None:
    (turn,) = messages(3)
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] == ["image", "image", "image", "text"]
    assert turn["content"][-1]["text"] == INSTRUCTION


def test_an_own_question_takes_the_instructions_place() -> None:
    (turn,) = messages(2, "Is it wet?")
    assert [part.get("text") for part in turn["content"]] == [None, None, "Is it wet?"]


def test_no_frame_is_no_question() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        messages(0)

"""The grammar admits every report, nothing else, and forces only what the tokenizer would write anyway."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.infer.grammar import ReportGrammar
from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    PARAMETERS,
    PROSE_CHARACTERS,
    RANGES,
    VOCABULARY,
    DrivingParameters,
    DrivingReport,
    holds_schema,
    render,
)

CHARACTERS = [chr(code) for code in range(0x21, 0x7F) if re.match(f"[{PROSE_CHARACTERS}]", chr(code))]
SHARED = settings(deadline=None)


def prose(max_chars: int) -> st.SearchStrategy[str]:
    words = st.text([*CHARACTERS, " ", " "], min_size=1, max_size=max_chars)
    return words.map(str.strip).filter(bool)


def values(parameter: str) -> st.SearchStrategy[Any]:
    if parameter in VOCABULARY:
        return st.sampled_from(VOCABULARY[parameter])
    if parameter in RANGES:
        return st.none() | st.integers(*RANGES[parameter])
    return st.sampled_from([True, False, None])


reports = st.builds(
    DrivingReport,
    scene_description=prose(MAX_SCENE_CHARS),
    driving_parameters=st.builds(DrivingParameters, **{name: values(name) for name in PARAMETERS}),
    risk_assessment=st.lists(prose(MAX_RISK_CHARS), min_size=1, max_size=MAX_RISK_POINTS).map(tuple),
)


@pytest.fixture(scope="session")
def grammar(processor: Any) -> ReportGrammar:
    # Models have more columns of logits than their tokenizers have entries.
    return ReportGrammar(
        processor.tokenizer, len(processor.tokenizer) + 3, [processor.tokenizer.eos_token_id]
    )


EXAMPLE = DrivingReport(
    scene_description="A road at dusk.",
    driving_parameters=DrivingParameters(
        road_type="urban",
        lane_count=3,
        ego_lane_position="left",
        traffic_light_state="none",
        pedestrian_on_road=False,
        closest_vehicle_distance=200,
        ego_vehicle_speed=None,
        road_curvature="straight",
        weather="clear",
        visibility="good",
        traffic_density="none",
        risk_factor="low",
    ),
    risk_assessment=("Keep away.", "Go on."),
)


@SHARED
@given(report=reports)
def test_every_report_is_admitted(grammar: ReportGrammar, report: DrivingReport) -> None:
    assert grammar.admits(render(report))


@pytest.mark.parametrize("count", range(1, MAX_RISK_POINTS + 1))
def test_every_number_of_bullet_points_is_admitted(grammar: ReportGrammar, count: int) -> None:
    assert grammar.admits(render(EXAMPLE.model_copy(update={"risk_assessment": ("Mind the gap",) * count})))


def test_prose_of_the_full_length_is_admitted_and_one_character_more_is_not(grammar: ReportGrammar) -> None:
    for length, admitted in ((MAX_SCENE_CHARS, True), (MAX_SCENE_CHARS + 1, False)):
        text = render(EXAMPLE).replace("A road at dusk.", "a" * length)
        assert grammar.admits(text) is holds_schema(text) is admitted
    for length, admitted in ((MAX_RISK_CHARS, True), (MAX_RISK_CHARS + 1, False)):
        text = render(EXAMPLE).replace("Go on.", "a" * length)
        assert grammar.admits(text) is holds_schema(text) is admitted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"lane_count": 3', '"lane_count": 13'),
        ('"lane_count": 3', '"lane_count": 0'),
        ('"lane_count": 3', '"lane_count": 03'),
        ('"lane_count": 3', '"lane_count": 3.0'),
        ('"lane_count": 3', '"lane_count": -3'),
        ('"lane_count": 3', '"lane_count": "3"'),
        ('"ego_vehicle_speed": null', '"ego_vehicle_speed": 201'),
        ('"ego_vehicle_speed": null', '"ego_vehicle_speed": 1000'),
        ('"ego_vehicle_speed": null', '"ego_vehicle_speed": "slow"'),
        ('"pedestrian_on_road": false', '"pedestrian_on_road": 0'),
        ('"risk_factor": "low"', '"risk_factor": "unknown"'),
        ('"risk_factor": "low"', '"risk_factor": "low",'),
        ('"risk_factor": "low"', '"risk_factor": "low",\n  "mood": "calm"'),
        ('  "weather": "clear",\n  "visibility": "good"', '  "visibility": "good",\n  "weather": "clear"'),
        ('  "weather": "clear",\n', ""),
        ('  "weather"', '"weather"'),
        ("A road at dusk.", ""),
        ("A road at dusk.", " A road at dusk."),
        ("A road at dusk.", 'A "road" at dusk.'),
        ("A road at dusk.", "A road<|im_end|>."),
        ("A road at dusk.", "A road\nat dusk."),
        ("**Scene", "## **Scene"),
        ("- Go on.", "- Go on.\n"),
        ("\n- Go on.", "\n- Go on." * MAX_RISK_POINTS),
        ("```json", "```"),
        ("- Keep away.\n- Go on.", ""),
    ],
)
def test_what_is_not_a_report_is_refused(grammar: ReportGrammar, before: str, after: str) -> None:
    text = render(EXAMPLE)
    assert before in text
    changed = text.replace(before, after, 1)
    assert not grammar.admits(changed)
    assert not holds_schema(changed)


@settings(SHARED, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_whatever_a_model_chooses_under_the_mask_is_a_report(
    processor: Any, grammar: ReportGrammar, seed: int
) -> None:
    rng = random.Random(seed)
    tokenizer = processor.tokenizer
    state = grammar.start()
    bitmask = grammar.allocate_bitmask(1)
    tokens: list[int] = []
    while True:
        if rng.random() < 0.5:
            tokens += state.accept_forced()
        xgrammar.reset_token_bitmask(bitmask)
        state.fill_bitmask(bitmask, 0)
        words = bitmask[0].tolist()
        admitted = [token for token in range(grammar.vocab_size) if words[token // 32] >> (token % 32) & 1]
        # Ends are rare among all tokens; without a preference for them every prose would run to its bound.
        ends = [token for token in admitted if "\n" in tokenizer.decode([token])]
        token = rng.choice(ends if ends and rng.random() < 0.1 else admitted)
        assert state.accept(token)
        if state.finished:
            assert token == tokenizer.eos_token_id
            break
        tokens.append(token)
    assert holds_schema(tokenizer.decode(tokens))


@settings(SHARED, max_examples=60)
@given(report=reports)
def test_forced_tokens_are_those_the_tokenizer_gives_for_the_whole_report(
    processor: Any, grammar: ReportGrammar, report: DrivingReport
) -> None:
    expected = processor.tokenizer(render(report), add_special_tokens=False)["input_ids"]
    state = grammar.start()
    tokens = list(state.accept_forced())
    forced = len(tokens)
    while len(tokens) < len(expected):
        assert tokens == expected[: len(tokens)]
        assert state.accept(expected[len(tokens)])
        tokens.append(expected[len(tokens)])
        stretch = state.accept_forced()
        forced += len(stretch)
        tokens += stretch
    assert tokens == expected
    # Two thirds of the JSON object are keys and punctuation.
    assert forced > 60


def test_where_a_model_begins_a_word_in_other_tokens_the_rest_of_the_word_is_left_to_it(
    processor: Any, grammar: ReportGrammar
) -> None:
    tokenizer = processor.tokenizer
    written = render(EXAMPLE)
    written = written[: written.index('"urban"') + 1]
    state = grammar.start()
    for token in tokenizer(written, add_special_tokens=False)["input_ids"]:
        assert state.accept(token)
    for letter in "urban":
        (token,) = tokenizer(letter, add_special_tokens=False)["input_ids"]
        assert state.accept(token)
    # The word itself is spelt; from its end on, the tokens are sure again.
    assert tokenizer.decode(list(state.accept_forced())) == '",\n  "lane_count":'

"""What the reader says that a sentence claims, it claims: on a table of sentences and on the simulator's texts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.annotate.simulated import Draft, risk_points, scene
from roadscribe.answers.claims import TOPICS, Claim, compare, contradicts, read_claims, section_sentences
from roadscribe.report import PARAMETERS, RANGES, VOCABULARY

CASES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("claims_cases.yaml").read_text(encoding="utf-8")
)


def plainly(claim: Claim) -> Any:
    if claim.topic in ("closest_vehicle_distance", "ego_vehicle_speed") and claim.value is not None:
        if claim.low is None:
            return f"<= {claim.value}"
        if claim.high is None:
            return "moving"
    return claim.value


def test_at_least_98_of_100_claims_that_are_read_are_made() -> None:
    read = {sentence: {(c.topic, plainly(c)) for c in read_claims(sentence)} for sentence in CASES}
    made = {sentence: set(claims.items()) for sentence, claims in CASES.items()}
    wrong = {
        sentence: read[sentence] - made[sentence] for sentence in CASES if read[sentence] - made[sentence]
    }
    missed = {
        sentence: made[sentence] - read[sentence] for sentence in CASES if made[sentence] - read[sentence]
    }
    count = sum(map(len, read.values()))
    right = count - sum(map(len, wrong.values()))
    assert right / count >= 0.98, wrong
    assert right / sum(map(len, made.values())) >= 0.85, missed  # silence is the lesser fault
    assert len(CASES) >= 350


@pytest.mark.parametrize("seed", range(60))
def test_the_simulated_teachers_prose_is_read_word_for_word(seed: int) -> None:
    rng = random.Random(seed)
    values: dict[str, Any] = {name: rng.choice(VOCABULARY[name]) for name in VOCABULARY}
    values["lane_count"] = rng.randint(1, 6)
    values["pedestrian_on_road"] = rng.random() < 0.5
    values["closest_vehicle_distance"] = rng.choice((None, rng.randint(3, 120)))
    values["ego_vehicle_speed"] = rng.choice((None, 0, rng.randint(5, 130)))
    time = rng.choice(("daytime", "night", "dawn/dusk"))
    draft = Draft(values=values, told=values, time_of_day=time)
    style, imperial = rng.randrange(3), rng.random() < 0.5
    text = "\n".join(
        [scene(draft, style, imperial), *(f"- **{k}:** {v}" for k, v in risk_points(draft, style, imperial))]
    )
    truth = {**values, "time_of_day": time}
    claims = read_claims(text)
    assert not [claim for claim in claims if contradicts(claim, truth, strict=True)], text
    read = {claim.topic for claim in claims}
    told = {"traffic_light_state", "pedestrian_on_road", "lane_count", "risk_factor", "time_of_day"}
    told |= {name for name in ("weather", "ego_lane_position", "road_type") if values[name] != "unknown"}
    if values["ego_vehicle_speed"] is not None:
        told.add("ego_vehicle_speed")
    assert told <= read, (told - read, text)


@pytest.mark.parametrize(
    ("sentence", "topic", "value", "verdict", "strict"),
    [
        ("It is a sunny day.", "weather", "rainy", "contradict", "contradict"),
        ("The sky is overcast.", "weather", "rainy", "agree", "contradict"),
        ("The sky is overcast.", "weather", "unknown", "unknown", "unknown"),
        ("The sky is overcast.", "weather", None, "unknown", "unknown"),
        ("Visibility is moderate.", "visibility", "good", "agree", "contradict"),
        ("Visibility is poor.", "visibility", "good", "contradict", "contradict"),
        ("The nearest car is 20 meters ahead.", "closest_vehicle_distance", 15, "agree", "agree"),
        ("The nearest car is 20 meters ahead.", "closest_vehicle_distance", 40, "contradict", "contradict"),
        ("The nearest car is 20 to 50 meters ahead.", "closest_vehicle_distance", 40, "agree", "agree"),
        ("The lanes ahead are free.", "closest_vehicle_distance", 40, "contradict", "contradict"),
        ("The lanes ahead are free.", "closest_vehicle_distance", None, "agree", "agree"),
        ("A van is 50 meters ahead.", "closest_vehicle_distance", 10, "agree", "agree"),
        ("A van is 50 meters ahead.", "closest_vehicle_distance", 120, "contradict", "contradict"),
        ("The ego vehicle is stopped.", "ego_vehicle_speed", 4, "agree", "agree"),
        ("The ego vehicle is stopped.", "ego_vehicle_speed", 30, "contradict", "contradict"),
        ("The ego vehicle is moving slowly.", "ego_vehicle_speed", 0, "contradict", "contradict"),
        ("The ego vehicle drives at 50 km/h.", "ego_vehicle_speed", 45, "agree", "agree"),
        ("The traffic light is red.", "traffic_light_state", "none", "contradict", "contradict"),
        ("There are traffic lights.", "traffic_light_state", "red", "agree", "agree"),
        ("There are traffic lights.", "traffic_light_state", "none", "contradict", "contradict"),
        ("The street lies there at night.", "time_of_day", "daytime", "contradict", "contradict"),
        ("The street lies there at dusk.", "time_of_day", "daytime", "agree", "contradict"),
    ],
)  # fmt: skip
def test_a_claim_is_compared_with_tolerances_and_neighbouring_words(
    sentence: str, topic: str, value: Any, verdict: str, strict: str
) -> None:
    (claim,) = [claim for claim in read_claims(sentence) if claim.topic == topic]
    assert compare(claim, {topic: value}) == verdict
    assert compare(claim, {topic: value}, strict=True) == strict
    assert compare(claim, {}) == "unknown"


def test_claims_of_one_sentence_that_exclude_each_other_are_left_out() -> None:
    assert read_claims("The traffic light is red. The traffic light is green.") != ()
    assert read_claims("The traffic light is red and the traffic light is green.") == ()


def test_a_section_is_cut_into_sentences_without_its_bullets() -> None:
    section = "- The light is red. It is approx. 5 m away.\n- **Risk:** low"
    assert section_sentences(section) == ("The light is red.", "It is approx. 5 m away.", "**Risk:** low")
    assert section_sentences(["The light is red.", "Stop."]) == ("The light is red.", "Stop.")


TEXT = """the traffic light is red green no not person pedestrians crossing road may if risk low high overall 30 mph
50 feet meters nearest vehicle ahead weather clear rain ego drives stopped at about in left lane . , : - and until İ"""
WORDS = st.sampled_from(TEXT.split())


@settings(max_examples=150)
@given(st.lists(WORDS, min_size=1, max_size=30).map(" ".join))
def test_every_claim_is_canonical_and_points_at_its_words(text: str) -> None:
    for claim in read_claims(text):
        assert claim.topic in TOPICS and 0 <= claim.start < claim.end <= len(text)
        assert text[claim.start : claim.end].strip()
        if claim.topic in VOCABULARY and claim.value != "present":
            assert claim.value in VOCABULARY[claim.topic]
        elif claim.topic in RANGES:
            assert claim.value is None or isinstance(claim.value, int)
        assert set(PARAMETERS) < set(TOPICS)

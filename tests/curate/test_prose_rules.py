"""Prose agrees with the JSON after curation: contradictions are mended or dropped, everything else stands."""

from __future__ import annotations

from typing import Any

import pytest
from curate_cases import parameters, seen
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.answers.prose import sentences
from roadscribe.curate.now import Now
from roadscribe.curate.rules import prose
from roadscribe.curate.rules.prose import PROSE_RULES

NOTHING = Now()
DROPPED = None


def after(rule: Any, sentence: str, now: Now = NOTHING, **claims: Any) -> str | None:
    result: str | None = rule.check(sentence, parameters(**claims), now)
    return result


@pytest.mark.parametrize(
    ("state", "sentence", "mended"),
    [
        ("green", "The traffic light ahead is red.", "The traffic light ahead is green."),
        ("red", "The traffic light is green, allowing vehicles to proceed.", "The traffic light is red."),
        ("red", "Several cars wait at a red light.", "Several cars wait at a red light."),
        ("none", "The traffic light is red and no person is on the road.",
         "No traffic light is in view and no person is on the road."),
        ("none", "Traffic lights are visible at the intersection.", DROPPED),
        ("none", "There are no traffic lights.", "There are no traffic lights."),
        ("red", "No traffic light is in view and a person is on the road.",
         "The traffic light is red and a person is on the road."),
        ("red", "Wait until the traffic light turns green.", "Wait until the traffic light turns green."),
        ("red", "A green car waits at the traffic light.", "A green car waits at the traffic light."),
        ("none", "The car shows red brake lights.", "The car shows red brake lights."),
        ("none", "Streetlights light the road.", "Streetlights light the road."),
        ("green", "One light is red and the other is green.", DROPPED),
        ("yellow", "The traffic signal shows amber.", "The traffic signal shows amber."),
        ("green", "The light turned from green to red.", DROPPED),
        ("green", "The light has changed to red.", "The light has changed to green."),
        ("red", "The traffic light, which is green, lets cars pass.", DROPPED),
    ],
)  # fmt: skip
def test_light_colours(state: str, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_light, sentence, traffic_light_state=state) == mended


@pytest.mark.parametrize(
    ("on_road", "sentence", "mended"),
    [
        (True, "No person is on the road.", "A person is on the road."),
        (False, "A person is on the road, so be ready to brake.", "No person is on the road."),
        (True, "There are no pedestrians visible on the road.", DROPPED),
        (False, "Pedestrians are crossing the street.", DROPPED),
        (False, "Pedestrians are walking on the sidewalk.", "Pedestrians are walking on the sidewalk."),
        (False, "Watch for pedestrians crossing the street.", "Watch for pedestrians crossing the street."),
        (False, "There is a pedestrian crossing ahead.", "There is a pedestrian crossing ahead."),
        (None, "Pedestrians are crossing the street.", "Pedestrians are crossing the street."),
        (True, "There are no cyclists.", "There are no cyclists."),
        (False, "A man is walking across the street.", DROPPED),
        (False, "Two children cross ahead.", DROPPED),
        (False, "A woman walks on the sidewalk.", "A woman walks on the sidewalk."),
        (True, "Nobody is crossing the street.", DROPPED),
        (False, "No one is crossing the street.", "No one is crossing the street."),
    ],
)
def test_people(on_road: bool | None, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_people, sentence, pedestrian_on_road=on_road) == mended


@pytest.mark.parametrize(
    ("weather", "sentence", "mended"),
    [
        ("rainy", "The weather is clear.", "The weather is rainy."),
        (
            "snowy",
            "An urban road with two lanes by day in rain.",
            "An urban road with two lanes by day in snow.",
        ),
        (
            "clear",
            "The ego vehicle is on a highway in overcast weather.",
            "The ego vehicle is on a highway in clear weather.",
        ),
        ("rainy", "It is a sunny day with light traffic.", DROPPED),
        ("rainy", "The road is clear of obstacles.", "The road is clear of obstacles."),
        ("rainy", "There are clear lane markings.", "There are clear lane markings."),
        ("clear", "There are no signs of rain or fog.", "There are no signs of rain or fog."),
        ("clear", "Snow lies along the sides of the road.", "Snow lies along the sides of the road."),
        ("overcast", "The sky is partly cloudy.", "The sky is partly cloudy."),
        ("unknown", "The sky is clear.", "The sky is clear."),
        ("rainy", "The sky is blue.", "The weather is rainy."),
        ("snowy", "The sun is shining on the road.", DROPPED),
        ("clear", "The sun shines from a blue sky.", "The sun shines from a blue sky."),
    ],
)
def test_weather(weather: str, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_weather, sentence, weather=weather) == mended


@pytest.mark.parametrize(
    ("position", "sentence", "mended"),
    [
        ("left", "The ego vehicle drives in the right lane.", "The ego vehicle drives in the left lane."),
        (
            "unknown",
            "The ego vehicle is stopped in the middle lane.",
            "The ego vehicle is stopped on the road.",
        ),
        ("middle", "The ego vehicle is in the center lane.", "The ego vehicle is in the center lane."),
        ("turn_left", "The ego vehicle is in the leftmost lane.", DROPPED),
        ("left", "A bus is in the right lane.", "A bus is in the right lane."),
    ],
)
def test_the_ego_lane(position: str, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_lane, sentence, ego_lane_position=position) == mended


@pytest.mark.parametrize(
    ("sentence", "mended"),
    [
        ("It drives at about 30 mph.", "It drives at about 48 km/h."),
        ("It drives at 20-30 mph.", "It drives at 32 to 48 km/h."),
        ("The van is approximately 50 feet away.", "The van is approximately 15 meters away."),
        ("The van is 12 m away.", "The van is 12 meters away."),
        ("It drives at 40 km/h.", "It drives at 40 km/h."),
        ("There are 3 cars and 2 lanes.", "There are 3 cars and 2 lanes."),
        ("It drives at 5 m/s.", "It drives at 5 m/s."),
        ("The truck is about 1,000 feet away.", "The truck is about 305 meters away."),
        ("The truck is about 1500 feet away.", "The truck is about 457 meters away."),
        ("A bus is 12.5 feet away.", "A bus is 4 meters away."),
        ("A bus is 50 yards away.", "A bus is 46 meters away."),
        ("It drives at 25 mph (approximately 40 km/h).", "It drives at 40 km/h."),
        ("It moves 3 feet per second.", "It moves 3 feet per second."),
    ],
)
def test_units_are_si(sentence: str, mended: str) -> None:
    assert after(prose.prose_units, sentence) == mended


@pytest.mark.parametrize(
    ("speed", "sentence", "mended"),
    [
        (48, "The ego vehicle drives at about 96 km/h.", "The ego vehicle drives at about 48 km/h."),
        (48, "The ego vehicle drives at 40 to 50 km/h.", "The ego vehicle drives at 40 to 50 km/h."),
        (48, "A sign shows a speed limit of 80 km/h.", "A sign shows a speed limit of 80 km/h."),
        (48, "The oncoming truck moves at 70 km/h.", "The oncoming truck moves at 70 km/h."),
        (40, "The ego vehicle is stopped in the left lane.",
         "The ego vehicle drives in the left lane at about 40 km/h."),
        (0, "The ego vehicle drives in the left lane at about 40 km/h.",
         "The ego vehicle is stopped in the left lane."),
        (0, "The ego vehicle is moving steadily behind a bus.", DROPPED),
        (40, "The ego vehicle is stationary at the crossing.", DROPPED),
        (None, "The ego vehicle drives at 40 km/h.", DROPPED),
        (40, "The ego speed is about 48 km/h, which is within the limit.",
         "The ego speed is about 40 km/h, which is within the limit."),
        (40, "The ego vehicle obeys the 48 km/h speed limit.", "The ego vehicle obeys the 48 km/h speed limit."),
        (0, "We are driving slowly.", DROPPED),
    ],
)  # fmt: skip
def test_speed(speed: int | None, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_speed, sentence, ego_vehicle_speed=speed) == mended


@pytest.mark.parametrize(
    ("metres", "sentence", "mended"),
    [
        (
            20,
            "The nearest vehicle is about 60 meters ahead.",
            "The nearest vehicle is about 20 meters ahead.",
        ),
        (
            20,
            "The nearest vehicle is 15 to 30 meters ahead.",
            "The nearest vehicle is 15 to 30 meters ahead.",
        ),
        (
            20,
            "The lanes ahead are free in low traffic.",
            "The nearest vehicle is about 20 meters ahead in low traffic.",
        ),
        (None, "The nearest vehicle is about 60 meters ahead.", DROPPED),
        (20, "The crosswalk is 40 meters long.", "The crosswalk is 40 meters long."),
    ],
)
def test_distance(metres: int | None, sentence: str, mended: str | None) -> None:
    assert after(prose.prose_distance, sentence, closest_vehicle_distance=metres) == mended


def test_an_empty_labelled_road_is_said_to_be_free() -> None:
    sentence = "The nearest vehicle is about 60 meters ahead, so keep a safe gap."
    assert (
        after(prose.prose_distance, sentence, seen(), closest_vehicle_distance=None)
        == "The lanes ahead are free."
    )


@pytest.mark.parametrize(
    ("level", "sentence", "mended"),
    [
        ("high", "The overall risk is low.", "The overall risk is high."),
        ("low", "The risk factor is medium due to the red light.", "The risk factor is low."),
        ("medium", "The overall risk is moderate.", "The overall risk is moderate."),
        ("low", "Risk Factor: High", "Risk Factor: Low"),
        ("low", "Risk: High.", "Risk: Low."),
        ("low", "Overall Risk: Moderate", "Overall Risk: Low"),
        (
            "low",
            "Low visibility increases the risk of accidents.",
            "Low visibility increases the risk of accidents.",
        ),
        ("low", "High traffic density increases the risk.", "High traffic density increases the risk."),
    ],
)
def test_risk(level: str, sentence: str, mended: str) -> None:
    assert after(prose.prose_risk, sentence, risk_factor=level) == mended


def test_day_and_night() -> None:
    night = seen(time_of_day="night")
    assert (
        after(prose.prose_time_of_day, "A rural road by day in rain.", night)
        == "A rural road at night in rain."
    )
    assert after(prose.prose_time_of_day, "A busy daytime scene.", night) is DROPPED
    assert after(prose.prose_time_of_day, "A busy daytime scene.") == "A busy daytime scene."
    assert (
        after(prose.prose_time_of_day, "A road at night.", seen(time_of_day="dawn/dusk"))
        == "A road at night."
    )


def test_turning() -> None:
    sentence = "The ego vehicle is turning left."
    assert after(prose.prose_turning, sentence, Now(course_change_deg=-20.0)) == sentence
    assert after(prose.prose_turning, sentence, Now(course_change_deg=20.0)) is DROPPED
    assert after(prose.prose_turning, sentence, Now(course_change_deg=0.5)) is DROPPED
    assert after(prose.prose_turning, sentence) == sentence


@pytest.mark.parametrize(
    ("sentence", "mended"),
    [
        ("The video shows a busy street.", "The scene shows a busy street."),
        ("In this footage, a bus is ahead.", "A bus is ahead."),
        ("No signs are visible in this frame.", "No signs are visible."),
        ("The images depict a tunnel.", "The scene depicts a tunnel."),
        (
            "The scene is captured from inside a car driving down a street.",
            "The ego vehicle is driving down a street.",
        ),
        ("The video was recorded from inside a car.", DROPPED),
        ("A speed camera stands at the side.", "A speed camera stands at the side."),
        ("A taxi drives towards the camera.", "A taxi drives towards the ego vehicle."),
    ],
)
def test_the_medium_is_not_spoken_of(sentence: str, mended: str | None) -> None:
    assert after(prose.prose_medium, sentence) == mended


def test_sentences_keep_decimals_and_abbreviations_whole() -> None:
    text = "The gap is approx. 12.5 meters. The light is red! Is it? Yes, e.g. Main St. is near."
    assert sentences(text)[0] == "The gap is approx. 12.5 meters."
    assert " ".join(sentences(text)) == text


TEXT = """the traffic light is red green and no person pedestrians crossing road risk low high 30 mph 50 feet
weather clear rain ego vehicle stopped drives at about in video frame ahead . , so because until"""
WORDS = st.sampled_from(TEXT.split())


@given(
    st.lists(WORDS, min_size=1, max_size=25).map(" ".join), st.sampled_from(["red", "none", "unknown", "off"])
)
def test_no_sentence_breaks_a_rule_and_a_mended_one_is_left_alone_the_second_time(
    sentence: str, state: str
) -> None:
    report = parameters(traffic_light_state=state, weather="rainy", risk_factor="medium", ego_vehicle_speed=0)
    for rule in PROSE_RULES:
        once = rule.check(sentence, report, NOTHING)
        assert once is None or isinstance(once, str)
        if rule.id in ("prose_units", "prose_risk") and once is not None:
            assert rule.check(once, report, NOTHING) in (once, None)

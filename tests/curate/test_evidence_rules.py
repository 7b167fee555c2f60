"""Each rule of evidence corrects what labels or telemetry contradict, and is silent without evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from curate_cases import car_at, light, parameters, person, seen

from roadscribe.clip import FrameLabels
from roadscribe.curate.now import Now
from roadscribe.curate.rules import evidence as rules
from roadscribe.curate.rules.evidence import EVIDENCE_RULES

NOTHING = Now()


def corrected(rule: Any, now: Now, **claims: Any) -> Any:
    """What the rule makes of the claim: its ``after``, or "untouched"."""
    finding = rule.check(parameters(**claims), now)
    if finding is None:
        return "untouched"
    assert finding.rule == rule.id and finding.evidence
    return finding.after


@pytest.mark.parametrize("rule", EVIDENCE_RULES, ids=lambda rule: rule.id)
def test_no_rule_speaks_without_evidence(rule: Any) -> None:
    for claims in ({}, {"traffic_light_state": "red"}, {"pedestrian_on_road": True}, {"weather": "snowy"}):
        assert rule.check(parameters(**claims), NOTHING) is None


@pytest.mark.parametrize("rule", EVIDENCE_RULES, ids=lambda rule: rule.id)
def test_no_rule_fills_in_what_the_teacher_left_open(rule: Any) -> None:
    now = replace(
        seen(car_at(12), light("red"), person(True), weather="rainy", scene="highway"),
        speed_kmh=70.0,
        course_change_deg=30.0,
    )
    words = (
        "road_type",
        "traffic_light_state",
        "road_curvature",
        "weather",
        "traffic_density",
        "ego_lane_position",
    )
    numbers = ("pedestrian_on_road", "closest_vehicle_distance", "ego_vehicle_speed")
    open_report = parameters(**dict.fromkeys(words, "unknown"), **dict.fromkeys(numbers))
    assert rule.check(open_report, now) is None


def test_a_colour_without_a_light_becomes_none() -> None:
    assert corrected(rules.light_without_light, seen(car_at(20)), traffic_light_state="red") == "none"
    assert corrected(rules.light_without_light, seen(light("red")), traffic_light_state="red") == "untouched"


def test_labels_without_boxes_do_not_prove_that_no_light_is_there() -> None:
    attributes_only = Now(labels=FrameLabels(time_s=10, weather="clear"))
    assert corrected(rules.light_without_light, attributes_only, traffic_light_state="red") == "untouched"


@pytest.mark.parametrize(
    ("claimed", "lights", "after"),
    [
        ("green", ["red"], "red"),
        ("red", ["red", "green"], "untouched"),
        ("yellow", ["red", "green"], "unknown"),
        ("none", ["green"], "green"),
        ("red", [None], "unknown"),
        ("none", [None], "untouched"),
    ],
)
def test_the_colour_is_one_that_a_labelled_light_shows(claimed: str, lights: list[Any], after: str) -> None:
    assert corrected(rules.light_colour, seen(*map(light, lights)), traffic_light_state=claimed) == after


def test_a_light_too_small_to_read_proves_nothing() -> None:
    assert (
        corrected(rules.light_colour, seen(light("red", height=4)), traffic_light_state="none") == "untouched"
    )


@pytest.mark.parametrize(
    ("claimed", "people", "after"),
    [
        (False, [person(True)], True),
        (True, [person(False)], False),
        (True, [], False),
        (True, [person(False), person(True)], "untouched"),
        (False, [person(None, metres=15, right=0.5)], True),
        (True, [person(None, metres=30, right=16)], False),
        (True, [person(None, metres=15, right=4)], "untouched"),
        (False, [person(None, metres=15, right=4)], "untouched"),
    ],
)
def test_people_on_the_road_are_those_that_are_labelled_there(
    claimed: bool, people: list[Any], after: Any
) -> None:
    assert corrected(rules.pedestrian_against_boxes, seen(*people), pedestrian_on_road=claimed) == after


@pytest.mark.parametrize(
    ("claimed", "boxes", "after"),
    [
        (15, [car_at(40)], 40),
        (38, [car_at(40)], "untouched"),
        (40, [car_at(12), car_at(40)], 12),
        (15, [], None),
        (15, [car_at(14, right=20)], None),
        (14, [car_at(14, right=3.5)], "untouched"),
        (5, [car_at(8)], "untouched"),
    ],
)
def test_the_distance_fits_a_labelled_vehicle(claimed: int, boxes: list[Any], after: Any) -> None:
    assert corrected(rules.distance_against_boxes, seen(*boxes), closest_vehicle_distance=claimed) == after


def test_an_assumed_camera_is_given_twice_the_benefit_of_the_doubt() -> None:
    guess = seen(car_at(30), camera_known=False)
    assert corrected(rules.distance_against_boxes, guess, closest_vehicle_distance=50) == "untouched"
    assert corrected(rules.distance_against_boxes, guess, closest_vehicle_distance=90) == 30


def test_in_a_bend_a_vehicle_far_to_the_side_may_be_in_the_own_lane() -> None:
    """At 50 m a road of 100 m radius lies 12 m to the side."""
    boxes = seen(car_at(50, right=12))
    claims = {"closest_vehicle_distance": 48}
    assert (
        corrected(rules.distance_against_boxes, boxes, road_curvature="sharp_right", **claims) == "untouched"
    )
    assert corrected(rules.distance_against_boxes, boxes, road_curvature="straight", **claims) is None


def test_where_two_vehicles_may_be_meant_and_neither_fits_the_distance_is_taken_out() -> None:
    oncoming_or_not = seen(car_at(15, right=-3.5), car_at(45))
    assert corrected(rules.distance_against_boxes, oncoming_or_not, closest_vehicle_distance=120) is None


@pytest.mark.parametrize(
    ("claimed", "logged", "after"),
    [(30, 48.3, 48), (50, 48.3, "untouched"), (20, 0.0, 0), (4, 0.0, "untouched"), (110, 98.0, "untouched")],
)
def test_the_speed_is_the_logged_one(claimed: int, logged: float, after: Any) -> None:
    now = Now(speed_kmh=logged)
    assert corrected(rules.speed_against_telemetry, now, ego_vehicle_speed=claimed) == after


def test_a_bare_number_in_miles_is_recognised() -> None:
    finding = rules.speed_against_telemetry.check(parameters(ego_vehicle_speed=30), Now(speed_kmh=48.3))
    assert finding is not None and "miles an hour" in finding.message


def test_a_bend_to_the_other_side_is_taken_out() -> None:
    right_turn = Now(course_change_deg=25.0)
    assert corrected(rules.turning_against_course, right_turn, road_curvature="slight_left") == "unknown"
    assert corrected(rules.turning_against_course, right_turn, road_curvature="sharp_right") == "untouched"
    assert (
        corrected(rules.turning_against_course, Now(course_change_deg=4.0), road_curvature="sharp_left")
        == "untouched"
    )


@pytest.mark.parametrize(
    ("claimed", "labelled", "after"),
    [
        ("clear", "rainy", "rainy"),
        ("clear", "overcast", "overcast"),
        ("clear", "partly cloudy", "untouched"),
        ("overcast", "partly cloudy", "untouched"),
        ("snowy", "undefined", "untouched"),
        ("foggy", "foggy", "untouched"),
    ],
)
def test_the_weather_is_the_labelled_one(claimed: str, labelled: str, after: str) -> None:
    assert corrected(rules.weather_against_attributes, seen(weather=labelled), weather=claimed) == after


@pytest.mark.parametrize(
    ("claimed", "scene", "after"),
    [
        ("highway", "city street", "urban"),
        ("residential", "city street", "untouched"),
        ("urban", "tunnel", "tunnel"),
        ("urban", "undefined", "untouched"),
        ("urban", "gas stations", "gas_station"),
    ],
)
def test_the_road_is_one_the_scene_allows(claimed: str, scene: str, after: str) -> None:
    assert corrected(rules.road_against_scene, seen(scene=scene), road_type=claimed) == after


def test_dense_traffic_needs_vehicles() -> None:
    assert corrected(rules.density_against_boxes, seen(car_at(30)), traffic_density="high") == "unknown"
    many = seen(*(car_at(10 + n) for n in range(6)))
    assert corrected(rules.density_against_boxes, many, traffic_density="high") == "untouched"
    assert corrected(rules.density_against_boxes, many, traffic_density="none") == "unknown"

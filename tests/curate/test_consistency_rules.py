"""The parameters agree with each other, and no measured value stands far too often."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from curate_cases import car_at, light, parameters, person, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.curate.now import Now
from roadscribe.curate.rules.collapse import allowed_share, collapse
from roadscribe.curate.rules.consistency import lane_position_exists, risk_against_rule, risk_bounds
from roadscribe.simulator import make_drive


@pytest.mark.parametrize(
    ("lanes", "position", "after"),
    [
        (1, "left", "single"),
        (2, "middle", "unknown"),
        (3, "single", "unknown"),
        (3, "middle", "untouched"),
        (1, "single", "untouched"),
        (2, "right", "untouched"),
        (None, "middle", "untouched"),
        (1, "unknown", "untouched"),
        (1, "turn_left", "untouched"),
    ],
)
def test_a_lane_position_exists(lanes: int | None, position: str, after: str) -> None:
    finding = lane_position_exists.check(parameters(lane_count=lanes, ego_lane_position=position), Now())
    assert (finding.after if finding else "untouched") == after


DISAGREE: list[dict[str, Any]] = [
    {"risk_factor": "low", "pedestrian_on_road": True, "ego_vehicle_speed": 50},
    {"risk_factor": "high", "closest_vehicle_distance": 150, "ego_vehicle_speed": 30},
    {"risk_factor": "low", "traffic_light_state": "red", "ego_vehicle_speed": 45},
    {"risk_factor": "medium", "traffic_light_state": "red", "ego_vehicle_speed": 0},
]


@pytest.mark.parametrize("claims", DISAGREE)
def test_a_risk_is_not_rewritten_from_values_that_nobody_checked(claims: dict[str, Any]) -> None:
    finding = risk_against_rule.check(parameters(**claims), Now())
    assert finding is not None and finding.before == finding.after == claims["risk_factor"]
    assert "no evidence decides" in finding.message


@pytest.mark.parametrize(
    "claims",
    [
        {"risk_factor": "high", "closest_vehicle_distance": None, "ego_vehicle_speed": 30},
        {"risk_factor": "high", "closest_vehicle_distance": 8, "ego_vehicle_speed": 80},
        {"risk_factor": "medium", "ego_vehicle_speed": None},
    ],
)
def test_a_risk_within_the_bounds_has_no_finding(claims: dict[str, Any]) -> None:
    assert risk_against_rule.check(parameters(**claims), Now()) is None


@pytest.mark.parametrize(
    ("claims", "now", "after"),
    [
        ({"risk_factor": "low", "pedestrian_on_road": True}, seen(person(True)), "high"),
        ({"risk_factor": "low", "traffic_light_state": "red"}, seen(light("red")), "medium"),
        ({"risk_factor": "high", "closest_vehicle_distance": 90}, seen(car_at(90), weather="clear"), "low"),
        ({"risk_factor": "high", "closest_vehicle_distance": None}, seen(weather="clear"), "low"),
        # An assumed camera gives no evidence of the distance, and nothing is known of the view.
        ({"risk_factor": "high"}, seen(car_at(20), camera_known=False, weather="clear"), "untouched"),
        ({"risk_factor": "high", "closest_vehicle_distance": 90}, seen(car_at(90)), "medium"),
    ],
)
def test_a_risk_that_evidence_contradicts_is_corrected(claims: dict[str, Any], now: Now, after: str) -> None:
    report = parameters(**{"ego_vehicle_speed": 36, **claims})
    finding = risk_against_rule.check(report, replace(now, speed_kmh=36.0))
    assert (finding.after if finding else "untouched") == after


@pytest.mark.parametrize("text", ["The road is wet.", "An icy surface.", "Puddles stand on the road."])
def test_a_slippery_road_leaves_room_for_a_higher_risk(text: str) -> None:
    claims = parameters(risk_factor="medium", ego_vehicle_speed=40, closest_vehicle_distance=90)
    assert risk_against_rule.check(claims, Now()) is not None
    assert risk_against_rule.check(claims, Now(), text) is None
    for weather in ("rainy", "snowy", "foggy"):
        assert risk_against_rule.check(claims.model_copy(update={"weather": weather}), Now()) is None


LEVELS = ("low", "medium", "high")


@given(
    st.sampled_from(["clear", "overcast", "rainy", "snowy", "foggy", "unknown"]),
    st.sampled_from(["good", "moderate", "poor", "unknown"]),
    st.one_of(st.none(), st.integers(0, 200)),
    st.one_of(st.none(), st.integers(0, 200)),
)
@settings(max_examples=100, deadline=None)
def test_rain_and_poor_visibility_only_widen_the_bounds(
    weather: str, visibility: str, speed: int | None, distance: int | None
) -> None:
    values = {"visibility": visibility, "ego_vehicle_speed": speed, "closest_vehicle_distance": distance}
    dry = risk_bounds(parameters(weather="clear", **values), True)
    low, high = risk_bounds(parameters(weather=weather, **values), True)
    assert (
        low == dry[0]
        and LEVELS.index(high) >= LEVELS.index(dry[1])
        and LEVELS.index(low) <= LEVELS.index(high)
    )


@given(st.sampled_from(LEVELS), st.integers(0, 200), st.sampled_from(["red", "green", "none"]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_no_label_is_lowered_without_evidence(
    claimed: str, speed: int, light_state: str, person: bool
) -> None:
    values = {"ego_vehicle_speed": speed, "traffic_light_state": light_state, "pedestrian_on_road": person}
    finding = risk_against_rule.check(parameters(risk_factor=claimed, **values), Now())
    assert finding is None or finding.after == claimed


def test_the_truth_of_simulated_drives_lies_within_the_bounds() -> None:
    levels = ("low", "medium", "high")
    for seed in range(900, 1100):
        truth = make_drive(seed, 4.0).truth(4.0)
        lowest, highest = risk_bounds(truth, truth.closest_vehicle_distance is None)
        assert levels.index(lowest) <= levels.index(truth.risk_factor) <= levels.index(highest), seed


def test_half_of_all_answers_at_one_distance_is_a_collapse() -> None:
    (found,) = collapse.check(
        "closest_vehicle_distance", Counter({15: 100, 50: 30, 20: 20, 8: 20, 30: 30}), []
    )
    assert found.value == 15 and found.rows == 100 and found.share == 0.5


def test_round_numbers_alone_are_no_collapse() -> None:
    counts = Counter({32: 36, 24: 30, 48: 25, 96: 25, 40: 20, 64: 20, 16: 15, 0: 29})
    assert collapse.check("ego_vehicle_speed", counts, []) == []


def test_standing_cars_are_no_collapse() -> None:
    assert collapse.check("ego_vehicle_speed", Counter({0: 90, 30: 5, 50: 5}), []) == []


def test_too_few_answers_prove_nothing() -> None:
    assert collapse.check("closest_vehicle_distance", Counter({15: 20}), []) == []


def test_what_measurements_show_is_allowed() -> None:
    """In a traffic jam most gaps really are 5 m."""
    jam = [5.0] * 60 + [12.0] * 40
    assert allowed_share(5, jam) == 1.0
    assert collapse.check("closest_vehicle_distance", Counter({5: 60, 12: 40}), jam) == []
    spread = [float(metres) for metres in range(1, 101)]
    assert collapse.check("closest_vehicle_distance", Counter({15: 60, 40: 40}), spread)

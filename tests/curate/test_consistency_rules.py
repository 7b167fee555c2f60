"""The parameters agree with each other, and no measured value stands far too often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from curate_cases import car_at, parameters, seen

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


@pytest.mark.parametrize(
    ("claims", "after"),
    [
        ({"risk_factor": "low", "pedestrian_on_road": True, "ego_vehicle_speed": 50}, "high"),
        ({"risk_factor": "high", "closest_vehicle_distance": None, "ego_vehicle_speed": 30}, "untouched"),
        ({"risk_factor": "high", "closest_vehicle_distance": 150, "ego_vehicle_speed": 30}, "low"),
        ({"risk_factor": "high", "closest_vehicle_distance": 8, "ego_vehicle_speed": 80}, "untouched"),
        ({"risk_factor": "low", "traffic_light_state": "red", "ego_vehicle_speed": 45}, "high"),
        ({"risk_factor": "medium", "traffic_light_state": "red", "ego_vehicle_speed": 0}, "low"),
        ({"risk_factor": "medium", "ego_vehicle_speed": None}, "untouched"),
    ],
)
def test_risk_follows_from_the_other_parameters(claims: dict[str, Any], after: str) -> None:
    finding = risk_against_rule.check(parameters(**claims), Now())
    assert (finding.after if finding else "untouched") == after


def test_a_distance_of_null_is_a_free_road_only_where_no_vehicle_is_labelled() -> None:
    claims = parameters(risk_factor="high", closest_vehicle_distance=None, ego_vehicle_speed=30)
    finding = risk_against_rule.check(claims, seen())
    assert finding is not None and finding.after == "low"
    assert risk_against_rule.check(claims, seen(car_at(20))) is None


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

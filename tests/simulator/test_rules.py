"""The rules that decide the truth, one claim each."""

from __future__ import annotations

import pytest

from roadscribe.simulator import rules


def test_lane_positions() -> None:
    assert [rules.lane_position(lane, 4) for lane in range(4)] == ["left", "middle", "middle", "right"]
    assert rules.lane_position(0, 1) == "single"


def test_density_thresholds() -> None:
    words = ["none", "low", "low", "moderate", "moderate", "high", "high"]
    assert [rules.density(count) for count in range(7)] == words


@pytest.mark.parametrize(
    ("weather", "strength", "night", "dim", "expected"),
    [
        ("clear", 1, False, False, "good"),
        ("overcast", 1, True, False, "moderate"),
        ("rainy", 1, False, False, "moderate"),
        ("rainy", 1, True, False, "poor"),
        ("foggy", 2, False, False, "poor"),
        ("clear", 1, False, True, "moderate"),
    ],
)
def test_visibility(weather: str, strength: int, night: bool, dim: bool, expected: str) -> None:
    assert rules.visibility(weather, strength, night, dim) == expected


def test_only_a_closing_gap_ends_in_a_collision() -> None:
    assert rules.time_to_collision(20.0, 5.0) == 4.0
    assert rules.time_to_collision(20.0, 0.0) is None
    assert rules.time_to_collision(20.0, -3.0) is None
    assert rules.time_to_collision(-1.0, 5.0) == 0.0


@pytest.mark.parametrize(
    ("speed", "person", "light", "view", "soon", "expected"),
    [
        (50, False, "none", "good", None, "low"),
        (0, True, "red", "good", None, "medium"),
        (50, True, "none", "good", None, "high"),
        (50, False, "red", "good", None, "high"),
        (30, False, "red", "good", None, "medium"),
        (0, False, "red", "good", None, "low"),
        (50, False, "green", "poor", None, "medium"),
        (90, False, "none", "poor", None, "high"),
        (110, False, "none", "good", None, "medium"),
        (60, False, "none", "good", 2.0, "high"),
        (60, False, "none", "good", 5.0, "medium"),
    ],
)
def test_risk(speed: float, person: bool, light: str, view: str, soon: float | None, expected: str) -> None:
    assert rules.risk(speed, person, light, view, soon) == expected  # type: ignore[arg-type]


def test_feet_on_the_edge_line_are_not_on_the_road() -> None:
    assert rules.on_road(0.0, (-5.25, 5.25))
    assert not rules.on_road(5.2, (-5.25, 5.25))
    assert not rules.on_road(-6.0, (-5.25, 5.25))

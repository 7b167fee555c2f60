"""When an answer counts as right, and what the best constant answer is."""

from __future__ import annotations

from typing import Any

import pytest
from evaluate_standin import parameters
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.evaluate.scores import (
    NOT_STATED,
    balanced_accuracy,
    confusion,
    correct_flags,
    is_correct,
    majority_answer,
    number_errors,
)
from roadscribe.report import PARAMETERS


@pytest.mark.parametrize(
    ("parameter", "said", "truth", "right"),
    [
        ("ego_vehicle_speed", 25, 20, True),  # 5 km/h off at a low speed
        ("ego_vehicle_speed", 26, 20, False),
        ("ego_vehicle_speed", 85, 100, True),  # 15 % off, the edge is included
        ("ego_vehicle_speed", 115, 100, True),
        ("ego_vehicle_speed", 84, 100, False),
        ("ego_vehicle_speed", 138, 120, True),  # 18.0 km/h; in floats 0.15 x 120 is a hair less
        ("ego_vehicle_speed", 5, 0, True),
        ("ego_vehicle_speed", 6, 0, False),
        ("closest_vehicle_distance", 15, 20, True),
        ("closest_vehicle_distance", 14, 20, False),
        ("closest_vehicle_distance", 75, 60, True),  # 25 % of 60 m
        ("closest_vehicle_distance", 76, 60, False),
        ("lane_count", 3, 3, True),
        ("lane_count", 3, 2, False),
        ("lane_count", True, 1, False),
        ("pedestrian_on_road", True, True, True),
        ("pedestrian_on_road", False, True, False),
        ("weather", "rainy", "rainy", True),
        ("weather", "overcast", "rainy", False),
        ("weather", "unknown", "unknown", True),
        ("weather", "unknown", "clear", False),
        ("weather", "clear", "unknown", False),
        ("ego_vehicle_speed", None, None, True),
        ("ego_vehicle_speed", None, 3, False),
        ("ego_vehicle_speed", 3, None, False),
        ("pedestrian_on_road", None, False, False),
        ("traffic_light_state", "none", "unknown", False),
    ],
)
def test_what_counts_as_right(parameter: str, said: Any, truth: Any, right: bool) -> None:
    assert is_correct(parameter, said, truth) is right


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_speed_is_right_exactly_within_its_tolerance(said: int, truth: int) -> None:
    # In whole numbers: 100 x error <= max(500, 15 x truth).
    assert is_correct("ego_vehicle_speed", said, truth) is (100 * abs(said - truth) <= max(500, 15 * truth))


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_distance_is_right_exactly_within_its_tolerance(said: int, truth: int) -> None:
    assert is_correct("closest_vehicle_distance", said, truth) is (4 * abs(said - truth) <= max(20, truth))


@given(st.integers(0, 10_000))
def test_the_truth_itself_is_always_right(seed: int) -> None:
    truth = parameters(seed).model_dump()
    assert all(correct_flags(truth, truth).values())


def test_a_parameter_that_is_not_stated_is_wrong_even_where_the_truth_is_null() -> None:
    truth = parameters(1, closest_vehicle_distance=None).model_dump()
    said = {name: value for name, value in truth.items() if name != "closest_vehicle_distance"}
    assert not correct_flags(said, truth)["closest_vehicle_distance"]
    assert sum(correct_flags(said, truth).values()) == len(PARAMETERS) - 1


def test_the_majority_answer_of_a_speed_is_the_number_with_the_most_truths_within_tolerance() -> None:
    # 50 is the commonest single value, but 98 is within 15 % of four.
    assert majority_answer("ego_vehicle_speed", [50, 50, 90, 95, 100, 105]) in range(92, 104)
    # Of equally good numbers the middle one: 15..25 all hit 20.
    assert majority_answer("ego_vehicle_speed", [20]) == 20


def test_the_majority_answer_can_be_null() -> None:
    assert majority_answer("closest_vehicle_distance", [None, None, 10, 60]) is None


def test_the_majority_answer_of_words_and_lanes_is_the_commonest_and_ties_do_not_depend_on_order() -> None:
    assert majority_answer("weather", ["rainy", "clear", "rainy"]) == "rainy"
    assert majority_answer("weather", ["rainy", "clear"]) == majority_answer("weather", ["clear", "rainy"])
    assert majority_answer("lane_count", [3, 3, 2, None]) == 3
    assert majority_answer("pedestrian_on_road", [True, False, True]) is True


@given(st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=1, max_size=30))
def test_no_constant_beats_the_majority_answer(truths: list[int | None]) -> None:
    best = majority_answer("ego_vehicle_speed", truths)

    def hits(constant: int | None) -> int:
        return sum(is_correct("ego_vehicle_speed", constant, truth) for truth in truths)

    assert hits(best) == max(hits(constant) for constant in [None, *range(201)])


def test_the_confusion_table_counts_what_was_said_and_what_was_left_out() -> None:
    truths = [{"weather": word} for word in ("clear", "clear", "rainy", "rainy")]
    table = confusion(
        "weather", [{"weather": "clear"}, {"weather": "foggy"}, {"weather": "rainy"}, {}], truths
    )
    assert table.truths == ["clear", "rainy"]
    assert table.answers == ["clear", "rainy", "foggy", NOT_STATED]
    assert table.counts == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_a_constant_answer_has_the_balanced_accuracy_of_guessing() -> None:
    truths = [{"weather": word} for word in ["clear"] * 97 + ["rainy", "foggy", "snowy"]]
    assert balanced_accuracy(confusion("weather", [{"weather": "clear"}] * 100, truths)) == pytest.approx(
        0.25
    )


def test_errors_are_measured_where_both_are_numbers_and_the_bias_has_a_sign() -> None:
    truths = [{"ego_vehicle_speed": value} for value in (50, 60, None, 70)]
    said = [{"ego_vehicle_speed": value} for value in (60, 56, 10, None)]
    assert number_errors("ego_vehicle_speed", said, truths) == (2, 7.0, 3.0)
    assert number_errors("ego_vehicle_speed", [{}] * 4, truths) == (0, None, None)

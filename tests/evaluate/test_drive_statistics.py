"""Intervals that resample whole drives."""

from __future__ import annotations

import numpy as np
import pytest

from roadscribe.evaluate.statistics import interval, resample_drives


def drives(count: int, clips_each: int = 1) -> list[str]:
    return [f"drive-{index:03d}" for index in range(count) for _ in range(clips_each)]


def test_fifty_of_a_hundred_give_the_interval_of_a_fair_coin() -> None:
    # A resample of 100 single-clip drives, half of them right, is Binomial(100, 0.5): 95 % lie in 40..60.
    values = np.repeat([1.0, 0.0], 50)
    value, low, high = interval(values, resample_drives(drives(100), 4000, seed=0))
    assert value == 0.5
    assert low == pytest.approx(0.40, abs=0.011)
    assert high == pytest.approx(0.60, abs=0.011)


def test_clips_of_one_drive_count_as_one_piece_of_evidence() -> None:
    right = np.repeat(np.tile([1.0, 0.0], 10), 5)  # 20 drives of 5 clips, all right or all wrong
    _, low, high = interval(right, resample_drives(drives(20, 5), 2000, seed=0))
    _, naive_low, naive_high = interval(right, resample_drives(drives(100), 2000, seed=0))
    assert (high - low) / (naive_high - naive_low) == pytest.approx(5**0.5, rel=0.15)


def test_a_paired_difference_is_surer_than_its_two_parts() -> None:
    rng = np.random.default_rng(3)
    first = (rng.random(80) < 0.6).astype(float)
    second = first.copy()
    second[np.flatnonzero(first == 0)[:8]] = 1.0  # right wherever the first is, and in 8 more
    draws = resample_drives(drives(80), 2000, seed=0)
    value, low, high = interval(second - first, draws)
    assert value == pytest.approx(0.1)
    assert 0 < low < value < high
    _, first_low, first_high = interval(first, draws)
    assert high - low < first_high - first_low


def test_a_run_does_not_differ_from_itself() -> None:
    values = np.array([1.0, 0.0, 1.0])
    assert interval(values - values, resample_drives(drives(3), 200, seed=0)) == (0.0, 0.0, 0.0)


def test_about_95_of_100_intervals_hold_the_true_rate() -> None:
    rng = np.random.default_rng(0)
    draws = resample_drives(drives(60), 500, seed=1)
    held = 0
    for _ in range(300):
        _, low, high = interval((rng.random(60) < 0.7).astype(float), draws)
        held += low <= 0.7 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval_whatever_the_order_of_the_clips() -> None:
    names = drives(30, 2)
    values = np.random.default_rng(5).random(60)
    order = np.random.default_rng(6).permutation(60)
    shuffled = interval(values[order], resample_drives([names[place] for place in order], 300, seed=9))
    assert interval(values, resample_drives(names, 300, seed=9)) == shuffled
    assert interval(values, resample_drives(names, 300, seed=10)) != shuffled


def test_a_recall_is_taken_over_the_clips_where_something_is_there() -> None:
    where = np.array([True, True, False, False])
    value, low, high = interval(
        np.array([1.0, 0.0, 1.0, 1.0]), resample_drives(drives(4), 500, seed=0), where
    )
    assert value == 0.5
    assert 0 <= low <= high <= 1  # resamples without such a clip are left out, not counted as NaN
    with pytest.raises(ValueError, match="no clips"):
        interval(np.ones(4), resample_drives(drives(4), 500, seed=0), np.zeros(4, dtype=bool))

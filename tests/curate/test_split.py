"""No drive, and nothing that looks like it, is in two splits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.curate.split import assign_splits, check_no_leak, drive_of_video, group_drives
from roadscribe.errors import WorkError

RISKS = ("low", "medium", "high")


def rows_of(drives: int, clips: int = 2) -> list[tuple[str, str]]:
    return [(f"d{drive}", RISKS[(drive + clip) % 3]) for drive in range(drives) for clip in range(clips)]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(RISKS)), min_size=1, max_size=120),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=10),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_a_group_is_never_divided(
    drawn: list[tuple[int, str]], alike: list[tuple[int, int]], validation: float, test: float
) -> None:
    rows = [(f"d{drive}", risk) for drive, risk in drawn]
    groups = group_drives((f"d{n}" for n in range(31)), ((f"d{a}", f"d{b}") for a, b in alike))
    splits = assign_splits(rows, groups, {"validation": validation, "test": test}, seed=1)
    check_no_leak(((f"{drive}@1", drive, splits[drive]) for drive, _ in rows), groups)
    assert set(splits) == {drive for drive, _ in rows}


def test_shares_are_met_and_each_split_sees_each_risk() -> None:
    rows = rows_of(300)
    groups = group_drives({drive for drive, _ in rows}, ())
    splits = assign_splits(rows, groups, {"validation": 0.1, "test": 0.2}, seed=0)
    counts = Counter(splits[drive] for drive, _ in rows)
    assert abs(counts["test"] / 600 - 0.2) < 0.02 and abs(counts["validation"] / 600 - 0.1) < 0.02
    for split in ("train", "validation", "test"):
        risks = Counter(risk for drive, risk in rows if splits[drive] == split)
        assert set(risks) == set(RISKS)
        assert max(risks.values()) < 1.6 * min(risks.values())


def test_a_few_drives_still_give_a_test_split() -> None:
    rows = rows_of(5, 1)
    groups = group_drives({drive for drive, _ in rows}, ())
    assert set(assign_splits(rows, groups, {"test": 0.1}, seed=0).values()) == {"train", "test"}


def test_without_shares_everything_is_for_training() -> None:
    rows = rows_of(5)
    assert set(assign_splits(rows, group_drives({d for d, _ in rows}, ()), {"test": 0.0}, 0).values()) == {
        "train"
    }


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    rows = rows_of(40)
    groups = group_drives({drive for drive, _ in rows}, ())
    first = assign_splits(rows, groups, {"test": 0.3}, seed=0)
    assert assign_splits(rows[::-1], groups, {"test": 0.3}, seed=0) == first
    assert assign_splits(rows, groups, {"test": 0.3}, seed=1) != first


def test_look_alikes_are_joined_through_others() -> None:
    groups = group_drives(["a", "b", "c", "d"], [("a", "b"), ("b", "c")])
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]


def test_a_leak_fails_and_names_the_clips() -> None:
    with pytest.raises(WorkError, match=r"a@1 \(train\) and b@1 \(test\)"):
        check_no_leak([("a@1", "a", "train"), ("b@1", "b", "test")], {"a": "g", "b": "g"})


@pytest.mark.parametrize(
    ("video", "drive"),
    [
        ("0000f77c-6257be58.mov", "0000f77c"),
        ("0000f77c-cb820c98", "0000f77c"),
        ("holiday-trip.mp4", "holiday-trip"),
        ("front.cam.mp4", "front.cam"),
    ],
)
def test_bdd_names_that_share_their_first_part_are_one_drive(video: str, drive: str) -> None:
    assert drive_of_video(video) == drive

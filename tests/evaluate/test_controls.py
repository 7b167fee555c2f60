"""What each control takes from the pictures."""

from __future__ import annotations

from typing import get_args

import pytest
from evaluate_standin import clips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.evaluate.controls import (
    CONTROLS,
    black,
    check_controls,
    repeat_last,
    shuffled,
    shuffled_order,
    swap_partner,
)
from roadscribe.recipe import Evaluate


@given(st.integers(2, 64), st.text(max_size=30), st.integers(0, 99))
def test_shuffling_always_changes_the_order_and_moves_the_last_frame(
    count: int, clip: str, seed: int
) -> None:
    order = shuffled_order(count, clip, seed)
    assert sorted(order) == list(range(count))
    assert order[-1] != count - 1
    assert order == shuffled_order(count, clip, seed)


def test_clips_are_shuffled_in_different_ways() -> None:
    orders = [tuple(shuffled_order(3, f"clip {index}")) for index in range(400)]
    # Four of the six orders move the last frame; each should come about a hundred times.
    assert {order: 60 < orders.count(order) < 140 for order in set(orders)} == {
        (0, 2, 1): True,
        (1, 2, 0): True,
        (2, 0, 1): True,
        (2, 1, 0): True,
    }


def test_shuffled_frames_are_the_same_frames() -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(6)]
    mixed = shuffled(frames, "clip")
    assert mixed != frames
    assert sorted(map(id, mixed)) == sorted(map(id, frames))


def test_one_frame_has_no_other_order() -> None:
    with pytest.raises(ValueError, match="no other order"):
        shuffled_order(1, "clip")
    with pytest.raises(InputError, match=r"clip drive-0@0: has one frame.*evaluate\.controls"):
        check_controls(["none", "shuffled"], clips(1, frames=1))


def test_black_frames_keep_count_and_size_and_hold_nothing() -> None:
    frames = [Image.new("RGB", (32, 64), "white"), Image.new("RGB", (32, 64), "red")]
    assert [frame.size for frame in black(frames)] == [(32, 64), (32, 64)]
    assert all(frame.getextrema() == ((0, 0),) * 3 for frame in black(frames))


def test_the_last_frame_repeated_holds_no_motion() -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in range(5)]
    assert repeat_last(frames) == [frames[-1]] * 5


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=20).filter(lambda ids: len(set(ids)) > 1))
def test_swapped_frames_are_always_of_another_drive(drive_ids: list[str]) -> None:
    for index, own in enumerate(drive_ids):
        assert drive_ids[swap_partner(drive_ids, index)] != own


def test_a_single_drive_has_nothing_to_swap_with() -> None:
    with pytest.raises(InputError, match="one drive"):
        check_controls(["swapped"], clips(3, clips_a_drive=3))


def test_every_control_a_recipe_can_name_is_there_and_gives_as_many_frames() -> None:
    names = get_args(get_args(Evaluate.model_fields["controls"].annotation)[0])
    assert set(CONTROLS) == {"none", *names}
    some = clips(3)
    for control in CONTROLS.values():
        assert [frame.size for frame in control(some, 1, 0)] == [(32, 32)] * 4

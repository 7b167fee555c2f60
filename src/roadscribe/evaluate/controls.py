"""The same questions with something taken from the pictures: a score falls by what that thing was worth.

A score alone cannot tell sight from a good guess: on DriveBench models answer as well without the image. So
the scorecard asks again with altered frames (and the same truth):

- ``black``: every frame black, same count and size. Nothing can be seen, so what is still right is a prior.
- ``shuffled``: the same frames in another order. What is still right does not rest on the order of time.
- ``repeat_last``: the last frame ("now") in every place. What is still right needs one picture only.
- ``swapped``: the frames of a clip from another drive. The pictures are real ones but tell of another scene,
  so what is still right is what drives have in common. Unlike black frames, the model is used to such frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from roadscribe.clip import Clip
from roadscribe.errors import InputError

Frames = Sequence[Image.Image]


def black(frames: Frames) -> list[Image.Image]:
    """As many frames of the same sizes, all black."""
    return [Image.new("RGB", frame.size) for frame in frames]


def repeat_last(frames: Frames) -> list[Image.Image]:
    """The last frame in every place."""
    return [frames[-1]] * len(frames)


def shuffled_order(count: int, clip_id: str, seed: int = 0) -> list[int]:
    """A permutation of ``count`` places, the same each time for a clip and seed, that moves the last frame.

    The report speaks of the last frame, so that frame never stays in the last place; all permutations that
    move it are equally likely. (Two frames can only be swapped, which plays the drive backwards.)

    Raises:
        ValueError: fewer than two frames have no other order.
    """
    if count < 2:
        raise ValueError("one frame has no other order")
    digest = hashlib.sha256(f"{seed}/{clip_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    last = int(rng.integers(count - 1))
    rest = [place for place in range(count) if place != last]
    rng.shuffle(rest)
    return [*rest, last]


def shuffled(frames: Frames, clip_id: str, seed: int = 0) -> list[Image.Image]:
    """The same frames in ``shuffled_order``. Raises ValueError for fewer than two frames."""
    return [frames[place] for place in shuffled_order(len(frames), clip_id, seed)]


def swap_partner(drive_ids: Sequence[str], index: int) -> int:
    """The index of the clip whose frames stand in for those of clip ``index``; it is of another drive.

    Drives are taken in sorted order and each lends to the one before it; the n-th clip of a drive borrows the
    n-th clip of the next, counted round.

    Raises:
        ValueError: there is only one drive.
    """
    own = drive_ids[index]
    drives = sorted(set(drive_ids))
    if len(drives) < 2:
        raise ValueError("a single drive has no other drive to borrow frames from")
    lender = drives[(drives.index(own) + 1) % len(drives)]
    own_places = [place for place, drive in enumerate(drive_ids) if drive == own]
    lender_places = [place for place, drive in enumerate(drive_ids) if drive == lender]
    return lender_places[own_places.index(index) % len(lender_places)]


def _shuffled_clip(clips: Sequence[Clip], index: int, seed: int) -> list[Image.Image]:
    return shuffled(clips[index].images(), clips[index].clip_id, seed)


def _swapped_clip(clips: Sequence[Clip], index: int, seed: int) -> list[Image.Image]:
    return clips[swap_partner([clip.drive_id for clip in clips], index)].images()


Control = Callable[[Sequence[Clip], int, int], list[Image.Image]]
"""(all evaluated clips, index of one of them, seed) -> the frames the model gets to see for that clip."""

CONTROLS: dict[str, Control] = {
    "none": lambda clips, index, seed: clips[index].images(),
    "black": lambda clips, index, seed: black(clips[index].images()),
    "shuffled": _shuffled_clip,
    "repeat_last": lambda clips, index, seed: repeat_last(clips[index].images()),
    "swapped": _swapped_clip,
}


def check_controls(names: Sequence[str], clips: Sequence[Clip]) -> None:
    """Refuse controls these clips cannot carry, before any model is asked.

    Raises:
        InputError: ``shuffled`` with a clip of one frame, ``swapped`` with clips of one drive.
    """
    if "shuffled" in names:
        for clip in clips:
            if len(clip.frames) < 2:
                raise InputError(
                    f"clip {clip.clip_id}: has one frame, which cannot be shuffled; "
                    "use clips of more frames or leave `shuffled` out (--set 'evaluate.controls=[black]')"
                )
    if "swapped" in names and len({clip.drive_id for clip in clips}) < 2:
        raise InputError(
            "all clips are of one drive, so there are no other frames to swap in; "
            "evaluate on more drives or leave `swapped` out of evaluate.controls"
        )

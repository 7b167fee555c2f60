"""Pictures of one moment are alike however they were compressed; pictures of different drives are not."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image

from roadscribe.clip import Clip
from roadscribe.curate.duplicates import ALIKE_BITS, alike, frame_hash
from roadscribe.curate.split import group_drives


def compressed_again(jpeg: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).resize((256, 160)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def test_a_picture_scaled_and_compressed_again_is_alike(simulated_clips: list[Clip]) -> None:
    frames = [clip.frames[-1] for clip in simulated_clips[:25]]
    hashes = [frame_hash(frame) for frame in [*frames, *map(compressed_again, frames)]]
    assert sorted(alike(hashes)) == [(number, number + 25) for number in range(25)]


def test_different_drives_are_not_alike(simulated_clips: list[Clip]) -> None:
    assert list(alike([frame_hash(clip.frames[-1]) for clip in simulated_clips])) == []


def test_no_look_alike_is_overlooked() -> None:
    """The comparison in blocks groups exactly what comparing every pair bit by bit groups."""
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**63, size=(40, 4), dtype=np.uint64)
    table = np.concatenate([base] * 20)
    for row in table[40:]:
        for bit in rng.choice(256, size=rng.integers(0, 30), replace=False):
            row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    bits = np.unpackbits(table.view(np.uint8), axis=1)
    expected = {
        (i, j)
        for i in range(len(table))
        for j in range(i + 1, len(table))
        if i % 40 == j % 40 and int((bits[i] != bits[j]).sum()) <= ALIKE_BITS
    }
    names = [str(number) for number in range(len(table))]

    def groups_of(pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
        return group_drives(names, ((names[i], names[j]) for i, j in pairs))

    found = list(alike(list(table)))
    assert groups_of(found) == groups_of(expected)
    assert len(found) < len(table)


def test_what_is_no_image_is_an_error() -> None:
    with pytest.raises(OSError):
        frame_hash(b"no image")


def test_no_frames_no_pairs() -> None:
    assert list(alike([])) == []

"""Which drives look alike: perceptual hashes of the last frames, so that no look-alike straddles two splits.

The hash is imagehash's DCT hash with 256 bits. Measured: the same picture scaled down and compressed again
differs in 2 to 8 bits, neighbouring frames of a 25 fps drive in 16 to 26, the two most similar of 300
simulated drives in 48, unrelated pictures in about 114.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

HASH_SIDE = 16
ALIKE_BITS = 20
"""Frames whose hashes differ in at most this many of 256 bits are near-duplicates."""
PAIRS_AT_ONCE = 2**22
"""Pairs compared in one go; they take 40 MB, however many frames there are."""

Hash = npt.NDArray[np.uint64]
"""Four words of 64 bits."""


def frame_hash(jpeg: bytes) -> Hash:
    """The perceptual hash of an encoded frame, shape (4,).

    The JPEG is decoded at the smallest scale that still has the 64 x 64 pixels the hash is computed from.

    Raises:
        OSError: the frame is no image.
    """
    import imagehash  # pulls in scipy, which only this function needs

    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("L", (4 * HASH_SIDE, 4 * HASH_SIDE))
        bits = imagehash.phash(image, hash_size=HASH_SIDE).hash
    return np.packbits(bits.ravel()).view(np.uint64)


def alike(hashes: Sequence[Hash]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of near-duplicates: enough of them to join every group, at most one a frame.

    Equal hashes are found by sorting. Of the others every pair is compared in its first 64 bits, and the few
    that are close there in all 256; that work grows with the square of the different frames (100,000 take
    about a minute).
    """
    table = np.array(hashes, dtype=np.uint64).reshape(-1, HASH_SIDE * HASH_SIDE // 64)
    unique, first, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    yield from ((int(first[u]), i) for i, u in enumerate(inverse.ravel()) if first[u] != i)
    group = np.arange(len(unique))
    start = 0
    while start < len(unique):
        rest = unique[start:]
        block = rest[: max(1, PAIRS_AT_ONCE // len(rest))]
        near = np.bitwise_count(block[:, :1] ^ rest[None, :, 0]) <= ALIKE_BITS
        rows, columns = np.nonzero(np.triu(near, 1))
        distance = np.bitwise_count(block[rows] ^ rest[columns]).sum(axis=1)
        for row, column in zip(rows[distance <= ALIKE_BITS], columns[distance <= ALIKE_BITS], strict=True):
            i, j = start + int(row), start + int(column)
            if group[i] != group[j]:
                group[group == group[j]] = group[i]
                one, other = int(first[i]), int(first[j])
                yield min(one, other), max(one, other)
        start += len(block)

"""Frames from a list of images instead of a video: the same moments, the same size, the same report of damage."""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from roadscribe.clip import Evidence, Provenance
from roadscribe.errors import InputError, printable
from roadscribe.footage.packets import MAX_SOURCE_PIXELS, file_size
from roadscribe.footage.sampling import SAME_MOMENT_S, SampledFrame, fit_size, sample_times
from roadscribe.footage.windows import Asked, images_extent, window
from roadscribe.recipe import Footage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""What cameras and data sets write; Pillow knows formats that run other programs."""

NOT_AN_IMAGE = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, OverflowError, struct.error)
"""What Pillow raises on damaged files, headers and Exif blocks."""


def choose_images(
    path: Path, timestamps_s: Sequence[float], footage: Footage, asked: Asked, evidence: Evidence
) -> list[int]:
    """Which images of a list become frames: positions in the list, ascending.

    Those in the window are taken as they are when there are exactly ``footage.frames``. Of more, the rule's
    moments are asked for as of a video, each image being on screen until the next one. Fewer are refused: to show
    an image twice would say that the car stands.

    Raises:
        InputError: fewer images than frames in the window; or as `windows.window`.
    """
    start_s, end_s = window(images_extent(path, timestamps_s), footage, asked, evidence)
    inside = [
        place
        for place, time_s in enumerate(timestamps_s)
        if start_s - SAME_MOMENT_S <= time_s <= end_s + SAME_MOMENT_S
    ]
    if len(inside) < footage.frames:
        found = f"{len(inside)} image{'' if len(inside) == 1 else 's'}"
        raise InputError(
            f"{path}: its list has {found} in the window, fewer than footage.frames="
            f"{footage.frames}; list more, or set footage.frames={max(1, len(inside))}"
        )
    if len(inside) == footage.frames:
        return inside
    # sample_times speaks of a video, whose clock begins at 0.
    moments = sample_times(footage.rule, footage.frames, 0.0, end_s - start_s)
    shown = [bisect_right(timestamps_s, start_s + moment + SAME_MOMENT_S) - 1 for moment in moments]
    return [max(inside[0], place) for place in shown]


def read_images(
    images: Sequence[Path], times_s: Sequence[float], footage: Footage
) -> tuple[list[SampledFrame], Provenance]:
    """Decode images to frames of one size: RGB, upright, within ``footage.max_pixels``.

    The provenance names the last image and sums up all: their bytes, and the digest of their contents one after
    the other.

    Raises:
        InputError: an image is missing, damaged, too large, or of another size than the first.
    """
    frames: list[SampledFrame] = []
    digest = hashlib.sha256()
    size_bytes = 0
    first: tuple[int, int] | None = None
    for path, time_s in zip(images, times_s, strict=True):
        size_bytes += file_size(path, footage.max_file_mb)
        digest.update(path.read_bytes())
        picture = _picture(path)
        first = first or picture.size
        if picture.size != first:
            raise InputError(
                f"{path}: has {picture.width}x{picture.height} pixels, the first image {first[0]}x{first[1]}; "
                "list images of one camera"
            )
        size = fit_size(*first, footage.max_pixels)
        frames.append(SampledFrame(picture.resize(size, Image.Resampling.BICUBIC), time_s))
    return frames, Provenance(path=printable(images[-1]), size_bytes=size_bytes, sha256=digest.hexdigest())


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_SOURCE_PIXELS:
                raise InputError(
                    f"{path}: has {image.width}x{image.height} pixels, more than 8K; scale it down"
                )
            return ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path}: has far more pixels than 8K ({why}); scale it down") from error
    except NOT_AN_IMAGE as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as an image ({why}); copy the file again") from error

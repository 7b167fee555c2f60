"""Frames from a list of images instead of a video: the same moments, the same size, the same report of damage."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from roadscribe.clip import Evidence, Provenance
from roadscribe.errors import InputError, printable
from roadscribe.footage.container import MAX_SOURCE_PIXELS, file_size, reason
from roadscribe.footage.sampling import SAME_MOMENT_S, SampledFrame, fit_size, sample_times
from roadscribe.footage.windows import Asked, images_extent, window
from roadscribe.recipe import Footage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""What cameras and data sets write; Pillow knows formats that run other programs."""

SENSOR_BITS = (10, 12)
"""16-bit gray images all of whose values fit these bits are a sensor's, stored as they came."""


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
) -> tuple[list[SampledFrame], Provenance, list[str]]:
    """Decode images to frames of one size: RGB, upright, within ``footage.max_pixels``; and notes on them.

    The provenance names the last image and sums up all: their bytes, and the digest of their contents one after
    the other.

    Raises:
        InputError: an image is missing, damaged, too large, or of another size than the first.
    """
    frames: list[SampledFrame] = []
    digest = hashlib.sha256()
    size_bytes = 0
    first: tuple[int, int] | None = None
    for path in images:
        file_size(path, footage.max_file_mb)
    bits = _gray_bits(images)
    for path, time_s in zip(images, times_s, strict=True):
        size_bytes += file_size(path, footage.max_file_mb)
        digest.update(path.read_bytes())
        picture = _picture(path, bits or 16)
        first = first or picture.size
        if picture.size != first:
            raise InputError(
                f"{path}: has {picture.width}x{picture.height} pixels, the first image {first[0]}x{first[1]}; "
                "list images of one camera"
            )
        size = fit_size(*first, footage.max_pixels)
        frames.append(SampledFrame(picture.resize(size, Image.Resampling.BICUBIC), time_s))
    notes = []
    if bits in SENSOR_BITS:
        notes.append(
            f"its 16-bit gray values stay below {2**bits}: taken as {bits}-bit, so that {2**bits - 1} is white"
        )
    provenance = Provenance(path=printable(images[-1]), size_bytes=size_bytes, sha256=digest.hexdigest())
    return frames, provenance, notes


def _is_16_bit_gray(image: Image.Image) -> bool:
    # Pillow opens the 16-bit gray of a PNG as 32-bit integers in older versions.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")


def _gray_bits(images: Sequence[Path]) -> int | None:
    """Bits that the values of a list of 16-bit gray images take: 10, 12 or 16; None when no image is one."""
    peak = -1
    for path in images:
        try:
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height <= MAX_SOURCE_PIXELS and _is_16_bit_gray(image):
                    peak = max(peak, int(np.asarray(image).max(initial=0)))
        except Exception:
            continue  # `_picture` says what is wrong
    if peak < 0:
        return None
    return next((bits for bits in SENSOR_BITS if 0 < peak < 2**bits), 16)


def _picture(path: Path, gray_bits: int) -> Image.Image:
    """An image as upright RGB."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_SOURCE_PIXELS:
                raise InputError(
                    f"{path}: has {image.width}x{image.height} pixels, more than 8K; scale it down"
                )
            bits = gray_bits if _is_16_bit_gray(image) else 8
            return to_rgb(ImageOps.exif_transpose(image), bits)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: has far more pixels than 8K ({reason(error)}); scale it down") from error
    except Exception as error:
        why = reason(error)
        raise InputError(f"{path}: cannot be read as an image ({why}); copy the file again") from error


def to_rgb(image: Image.Image, bits: int) -> Image.Image:
    """An image as RGB (0..255), the full range of its values becoming the full range of RGB.

    Pillow cuts gray of more than 8 bits off at 255, which makes it white; here ``2**bits - 1`` becomes 255. Gray,
    palettes and CMYK are converted as Pillow does; transparency is left out: the colours below it are the picture's.

    Args:
        image: any mode.
        bits: of a gray value; 8 for modes whose range Pillow knows.

    Raises:
        ValueError: the mode has no range of its own (32-bit integers, floating point).
    """
    if bits > 8:
        values = np.asarray(image).astype(np.uint32)
        white = 2**bits - 1
        return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} states no range of values; save it with 8 or 16 bits")
    return image.convert("RGB")

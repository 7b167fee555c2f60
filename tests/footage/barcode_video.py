"""Videos whose every frame says which one it is: its number stands in it in black and white blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

BITS = 10


def barcode(number: int, width: int, height: int) -> np.ndarray:
    """The number in binary, one block a bit, the least significant first; the lower quarter is plain grey."""
    picture = np.full((height, width, 3), 24, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[:, bit * width // BITS : (bit + 1) * width // BITS] = 225
    picture[height * 3 // 4 :] = 128
    return picture


def frame_number(image: Image.Image) -> int:
    """Read the number back from a picture of any size."""
    row = np.asarray(image.convert("L"))[: image.height // 2].mean(axis=0)
    middle = [
        row[int((bit + 0.3) * len(row) / BITS) : int((bit + 0.7) * len(row) / BITS)] for bit in range(BITS)
    ]
    return sum(1 << bit for bit, block in enumerate(middle) if block.mean() > 125)


def noisy_barcode(number: int, width: int, height: int) -> np.ndarray:
    """The number under noise, so that no two frames are alike in any place and the file has some weight."""
    noise = np.random.default_rng(number).integers(-20, 20, (height, width, 3))
    return np.clip(barcode(number, width, height).astype(int) + noise, 0, 255).astype(np.uint8)


def write_video(
    path: Path,
    *,
    frames: int = 60,
    fps: int = 30,
    size: tuple[int, int] = (200, 112),
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 0,
    ticks: Sequence[int] | None = None,
    tick_s: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    rotation: int | None = None,
    pixel_format: str = "yuv420p",
    sound_s: float = 0.0,
    picture: Callable[[int, int, int], np.ndarray] = barcode,
    prepare: Callable[[Any], None] | None = None,
) -> Path:
    """Encode a real file; ``ticks`` are presentation times in units of ``tick_s`` (1/fps when not given)."""
    tick_s = tick_s or Fraction(1, fps)
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = tick_s
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if prepare is not None:
            prepare(stream)
        sound = output.add_stream("aac", rate=8000) if sound_s else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = tick_s
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            for start in range(0, int(sound_s * 8000), 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.sample_rate, silence.pts = 8000, start
                output.mux(sound.encode(silence))
            output.mux(sound.encode(None))
    return path

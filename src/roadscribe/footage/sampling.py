"""Which frames of a video are asked for, and exactly those frames: the first step from footage to clips.

`probe` reads a video's packets to learn when each frame is shown; `read_frames` decodes from the keyframe
before a wanted frame to that frame, each stretch of the file at most once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.footage.container import RAW_STREAMS, REPAIR, Unexpected, demuxed, file_size, opened
from roadscribe.footage.packets import (
    WHOLE_PICTURES,
    Packets,
    mark,
    number_of,
    numbered,
    order_by_decoding,
    order_by_times,
    presentation_ticks,
    read_packets,
    turn_of,
)
from roadscribe.footage.unread_tracks import unread_tracks

SIDE = 32
"""Sides of a sampled frame are multiples of this: Qwen3-VL's patch (16) times its spatial merge (2)."""

SAME_MOMENT_S = 1e-6
"""Moments nearer than this are the same: the rounding of decimal seconds."""

READ_ON = 64
"""Packets that are read and thrown away rather than sought over."""

RAW_FPS = 30.0
"""Frames per second of a raw codec stream unless the recipe says otherwise (`footage.raw_fps`)."""

FILTER = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
)
"""How pictures are resized: cubic, widened with the reduction (no aliasing), chroma at full width."""

QUARTER_TURNS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


class SampledFrame(NamedTuple):
    """One frame of a video: an RGB picture and when it is first shown, in seconds from the first frame."""

    image: Image.Image
    time_s: float


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What the packets of a video and its first picture tell."""

    path: Path
    width: int
    """Pixels as shown: rotation and non-square pixels are accounted for."""
    height: int
    times_s: NDArray[np.float64]
    """Shape (frames,): when each frame is first shown, ascending; the first is 0."""
    duration_s: float
    """The end of the last frame."""
    size_bytes: int
    damage: str | None
    """Why the file's end cannot be trusted ("is cut short: ..."); None when nothing speaks against it."""
    packets: Packets
    stored_size: tuple[int, int]
    """Width and height of the decoded pictures, before they are turned."""
    turn: Image.Transpose | None
    """How they are turned to be seen upright."""
    raw_fps: float = RAW_FPS
    """Frames per second of a raw codec stream."""
    notes: tuple[str, ...] = ()
    """What of the file is not read, and how times were found that it does not hold."""


def sample_times(rule: Literal["history", "start"], count: int, start_s: float, end_s: float) -> list[float]:
    """The moments of a window at which frames are taken, in seconds, ascending.

    ``history`` spreads them evenly from the window's start to its end, both included; one frame is the end.
    ``start`` takes moment i at i/N of the window (the original project's rule) and never reaches its end.
    """
    if count < 1 or not 0 <= start_s <= end_s:
        raise ValueError(f"no {count} moments in the window from {start_s} s to {end_s} s")
    length = end_s - start_s
    if rule == "start":
        return [start_s + length * i / count for i in range(count)]
    return [start_s + length * i / (count - 1) for i in range(count - 1)] + [end_s]


@lru_cache(maxsize=1024)
def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The size a picture is resized to: (width, height), multiples of 32, at most ``max_pixels`` in all.

    Among all such sizes the one of least cost: the stretch of the aspect, |ln|, plus a quarter of the |ln|
    by which the area misses the ideal one (the picture's own, or ``max_pixels`` where that is less). One per
    cent of stretch thus weighs as much as four of area: 640x360 becomes 640x352, 1440x1080 becomes 512x384.

    Raises:
        ValueError: no size of 32x32 or more fits.
    """
    if width < 1 or height < 1 or max_pixels < SIDE * SIDE:
        raise ValueError(f"no size for {width}x{height} within {max_pixels} pixels")
    cells = max_pixels // (SIDE * SIDE)
    ideal = min(width * height, max_pixels)

    def cost(size: tuple[int, int]) -> tuple[float, int]:
        stretch = abs(math.log(size[0] * height / (size[1] * width)))
        area = abs(math.log(size[0] * size[1] / ideal))
        return stretch + area / 4, -size[0]

    candidates = []
    for rows in range(1, cells + 1):
        columns = int(rows * width / height)
        for near in (columns, columns + 1):
            candidates.append((max(1, min(near, cells // rows)) * SIDE, rows * SIDE))
    return min(candidates, key=cost)


def probe(path: Path, *, max_file_mb: int | None = None, raw_fps: float = RAW_FPS) -> VideoInfo:
    """Read a video's packets, decode its first picture only, and tell when each frame is shown.

    A file whose packets carry no presentation times (AVI, MPEG-PS) or contradictory ones is decoded once, to
    learn the order of its pictures.

    Args:
        path: a video file; its content decides, not its suffix.
        max_file_mb: refuse larger files (MB of 10^6 bytes).
        raw_fps: pictures per second of a raw codec stream (.h264, .hevc, .mjpeg), which holds no times.

    Raises:
        InputError: no such file, no permission, too large, not a video, no frames, no usable times.
    """
    try:
        return _probe(path, file_size(path, max_file_mb), raw_fps)
    except Unexpected as error:
        raise InputError(f"{path}: {error}; {REPAIR}") from error


def _probe(path: Path, size_bytes: int, raw_fps: float, *, by_decoding: bool = False) -> VideoInfo:
    with opened(path) as (container, stream):
        packets, first, damage = read_packets(path, container, stream)
        is_raw = container.format.name in RAW_STREAMS
        if by_decoding or is_raw or not order_by_times(packets):
            order_by_decoding(path, packets)
        if by_decoding or is_raw:
            packets.keys = packets.keys[:1]
        ticks = presentation_ticks(path, packets, is_raw=is_raw)
        last_ticks = 1 if is_raw else packets.durations[packets.order[-1]]
        if last_ticks <= 0 and len(ticks) > 1:
            last_ticks = sorted(b - a for a, b in pairwise(ticks))[(len(ticks) - 1) // 2]
        squeeze = stream.sample_aspect_ratio or Fraction(1)
        if not 1 / 4 <= squeeze <= 4:
            squeeze = Fraction(1)  # no camera squeezes so much: the header is wrong
        width, height = max(1, round(first.width * squeeze)), first.height
        turn = turn_of(first)
        if turn in QUARTER_TURNS:
            width, height = height, width
        tick_s = 1 / Fraction(raw_fps) if is_raw else stream.time_base or Fraction(1)
        notes = unread_tracks(path, container, stream)
        if is_raw:
            notes.append(_raw_note(stream, raw_fps))
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            times_s=(np.array(ticks, dtype=np.int64) - ticks[0]) * tick_s.numerator / tick_s.denominator,
            duration_s=float((ticks[-1] + last_ticks - ticks[0]) * tick_s),
            size_bytes=size_bytes,
            damage=damage,
            packets=packets,
            stored_size=(first.width, first.height),
            turn=turn,
            raw_fps=raw_fps,
            notes=tuple(notes),
        )


def _raw_note(stream: VideoStream, raw_fps: float) -> str:
    """What was assumed of a raw codec stream."""
    rate = stream.codec_context.framerate
    says = f" (its header says {float(rate):g})" if rate and abs(rate - raw_fps) > 0.01 else ""
    return (
        f"is a raw codec stream without times: {raw_fps:g} frames per second are assumed{says}; "
        "set footage.raw_fps"
    )


def read_frames(video: Path | VideoInfo, times: Sequence[float], max_pixels: int) -> list[SampledFrame]:
    """For each asked moment the frame that is on screen then, with its real presentation time.

    That is the last frame shown at or before the moment (the first one for a moment before it). Frames repeat
    only where the asked moments fall on the same frame.

    Args:
        video: a file, or what `probe` said of it.
        times: moments in seconds from the first frame, in any order.
        max_pixels: upper bound of width x height of the pictures; see `fit_size`.

    Returns:
        One frame a moment, in the order asked: RGB, the whole picture, upright, all of one size.

    Raises:
        InputError: as `probe`; or a moment lies beyond the video's end, or a needed frame is damaged.
    """
    info = video if isinstance(video, VideoInfo) else probe(video)
    late = [time for time in times if not time <= info.duration_s + SAME_MOMENT_S]
    if late:
        raise InputError(
            f"{info.path}: ends after {info.duration_s:.2f} s, "
            f"so it has no frame at {max(late):.2f} s; ask for an earlier one"
        )
    size = fit_size(info.width, info.height, max_pixels)
    try:
        return _read_moments(info, times, size)
    except Unexpected:
        pass
    # Keyframe marks or times that mislead: learn the order by decoding, and decode from the first keyframe.
    try:
        return _read_moments(_probe(info.path, info.size_bytes, info.raw_fps, by_decoding=True), times, size)
    except Unexpected as error:
        raise InputError(f"{info.path}: {error}; {REPAIR}") from error


def _read_moments(info: VideoInfo, times: Sequence[float], size: tuple[int, int]) -> list[SampledFrame]:
    asked = np.asarray(times, dtype=np.float64) + SAME_MOMENT_S
    ranks = [max(0, int(after) - 1) for after in np.searchsorted(info.times_s, asked, side="right")]
    pictures = _read_pictures(info, set(ranks), size)
    return [SampledFrame(pictures[rank], float(info.times_s[rank])) for rank in ranks]


def _read_pictures(info: VideoInfo, ranks: set[int], size: tuple[int, int]) -> dict[int, Image.Image]:
    """The pictures with these ranks in the order of presentation."""
    rank_of = {info.packets.order[rank]: rank for rank in ranks}
    pictures: dict[int, Image.Image] = {}
    with _Reader(info) as reader:
        for begin, end in _stretches(info.packets, list(rank_of)):
            wanted = {number for number in rank_of if begin <= number <= end}
            for number in info.packets.corrupt:
                if begin <= number <= end:
                    raise InputError(f"{info.path}: is damaged near {reader.near(number)}; {REPAIR}")
            for frame in reader.decode(begin, end, wanted):
                number = number_of(frame)
                if frame.is_corrupt or (frame.width, frame.height) != info.stored_size:
                    raise Unexpected(f"its picture changes size or is damaged near {reader.near(number)}")
                pictures[rank_of[number]] = upright(frame, size, info.turn)
                wanted.discard(number)
            if wanted:
                raise Unexpected(f"its frame at {reader.near(min(wanted))} cannot be decoded")
    return pictures


def _stretches(packets: Packets, wanted: list[int]) -> list[tuple[int, int]]:
    """Which packets to decode for the wanted ones: disjoint stretches (first, last), each from a keyframe on.

    A picture that is shown before the keyframe it is stored behind (an open group of pictures) leans on the
    keyframe before that one, too.
    """
    rank = {number: rank for rank, number in enumerate(packets.order)}
    stretches: list[tuple[int, int]] = []
    for number in sorted(wanted):
        at = bisect_right(packets.keys, number) - 1
        while at > 0 and rank.get(packets.keys[at], -1) > rank[number]:
            at -= 1
        begin = packets.keys[at] if at >= 0 else 0
        while stretches and begin <= stretches[-1][1] + 1:
            begin = min(begin, stretches.pop()[0])
        stretches.append((begin, number))
    return stretches


class _Reader:
    """The packets of one video from any keyframe on, and the pictures they decode to."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._key_of = {info.packets.mark(key): key for key in info.packets.keys}

    def __enter__(self) -> _Reader:
        self._stack = ExitStack()
        self._open()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _open(self) -> None:
        self._stack.close()
        self._container, self._stream = self._stack.enter_context(opened(self._info.path, strict=True))
        self._packets = numbered(demuxed(self._container, self._stream))
        self._next = 0

    def near(self, number: int) -> str:
        """About when a packet's picture is shown, for a message."""
        ranks = [rank for rank, other in enumerate(self._info.packets.order) if other <= number]
        return f"{self._info.times_s[max(ranks, default=0)]:.1f} s"

    def decode(self, begin: int, end: int, wanted: set[int]) -> Iterator[VideoFrame]:
        """The wanted pictures of the packets from the keyframe ``begin`` to ``end``."""
        missing = set(wanted)
        for number, packet in self._from(begin):
            # In H.264 no picture leans on one that is marked so: leaving it out changes no other one.
            if self._stream.codec_context.name == "h264" and self._container.format.name in WHOLE_PICTURES:
                self._stream.codec_context.skip_frame = "DEFAULT" if number in missing else "NONREF"
            for frame in self._send(packet, number):
                came_from = number_of(frame)
                if came_from == begin > 0 and not frame.key_frame:
                    raise Unexpected(f"its keyframe at {self.near(begin)} is none")
                if came_from in missing:
                    missing.discard(came_from)
                    yield frame
            if number >= end or not missing:
                break
        for frame in self._send(None, end):
            if number_of(frame) in missing:
                yield frame
        self._stream.codec_context.flush_buffers()

    def _send(self, packet: Packet[Any] | None, number: int) -> list[VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except av.InvalidDataError as error:
            raise Unexpected(f"is damaged near {self.near(number)}") from error

    def _from(self, begin: int) -> Iterator[tuple[int, Packet[Any]]]:
        if not self._next <= begin <= self._next + READ_ON:
            self._seek(begin)
        for number, packet in self._packets:
            if number >= len(self._info.packets.sizes) or mark(packet) != self._info.packets.mark(number):
                raise Unexpected("its packets differ from one reading to the next")
            self._next = number + 1
            if number >= begin:
                yield number, packet

    def _seek(self, begin: int) -> None:
        """Read on from a keyframe at or before ``begin`` (the container's index) or from the file's start."""
        decode_time = self._info.packets.decode_times[begin]
        time = self._info.packets.times[begin] if decode_time is None else decode_time
        if time is not None:
            try:
                self._container.seek(time, stream=self._stream)
                packets = demuxed(self._container, self._stream)
                for packet in packets:
                    key = self._key_of.get(mark(packet))
                    if key is not None and key <= begin:
                        self._packets = numbered(chain([packet], packets), key)
                        self._next = key
                        return
                    if key is not None:
                        break
            except av.FFmpegError:
                pass
        self._open()


def upright(frame: VideoFrame, size: tuple[int, int], turn: Image.Transpose | None) -> Image.Image:
    """A decoded picture as RGB (0..255) of this size.

    Colour matrix and range are the stream's own; where it names none, FFmpeg's rule holds (BT.601, limited
    range). HDR pictures are not tone-mapped.
    """
    width, height = reversed(size) if turn in QUARTER_TURNS else size
    resized = frame.reformat(
        width, height, format="rgb24", interpolation=FILTER, dst_color_range=ColorRange.JPEG, threads=1
    )
    image = Image.fromarray(resized.to_ndarray())
    return image if turn is None else image.transpose(turn)

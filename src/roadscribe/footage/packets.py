"""What a video file's packets tell without decoding it: which pictures there are, in which order, and when.

The lowest step of sampling. A packet is known by its number (from 0, in the order packets are stored and
decoded) and carries that number through the decoder, so a picture is known by the packet it came from and
never by counting or by a frame rate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.footage.container import (
    REPAIR,
    STRICT_CODECS,
    Unexpected,
    demuxed,
    opened,
    reason,
)

WHOLE_PICTURES = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers whose samples are whole pictures, never one field of an interlaced one."""

CUT_SHORT_S = 1.0
"""A file may end this much before its header says without being called cut short."""


@dataclass(eq=False)
class Packets:
    """The packets of a video stream; every list but the last three has one entry a packet."""

    times: list[int | None] = field(default_factory=list)
    """Presentation time, in ticks of the stream."""
    decode_times: list[int | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    """False where an edit list leaves the picture out."""
    keys: list[int] = field(default_factory=list)
    """Numbers of the packets at which decoding can begin."""
    corrupt: list[int] = field(default_factory=list)
    """Numbers of the packets that the container or the decoder calls damaged."""
    order: list[int] = field(default_factory=list)
    """Numbers of the packets whose pictures are shown, in the order they are shown."""

    def mark(self, number: int) -> tuple[int | None, int]:
        """What a packet is known by when it is read again; the same as `mark` of the packet itself."""
        time = self.times[number]
        return (self.decode_times[number] if time is None else time), self.sizes[number]


def mark(packet: Packet[Any]) -> tuple[int | None, int]:
    """What a packet is known by when it is read again: its time and its size."""
    return (packet.dts if packet.pts is None else packet.pts), packet.size


class _Sent:
    """A packet's number. An object a packet, because PyAV keeps what packets carry under the address of the object:
    a small integer is one object for all, and the first decoder that goes would take it from the others."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def numbered(packets: Iterator[Packet[Any]], first: int = 0) -> Iterator[tuple[int, Packet[Any]]]:
    """The packets that hold a picture, numbered; each carries its number through the decoder."""
    number = first
    for packet in packets:
        # Without content: the end of the stream, or AVI's way to say "the same picture again".
        if packet.size:
            packet.opaque = _Sent(number)
            yield number, packet
            number += 1


def number_of(frame: VideoFrame) -> int:
    """The number of the packet a picture came from."""
    sent = frame.opaque
    if not isinstance(sent, _Sent):
        raise Unexpected("its decoder does not tell which packet a picture came from")
    return sent.number


def read_packets(
    path: Path, container: InputContainer, stream: VideoStream
) -> tuple[Packets, VideoFrame, str | None]:
    """All packets (``order`` still empty), the first picture, and what is wrong with the file's end.

    Raises:
        InputError: there is no packet, or none can be decoded.
    """
    packets = Packets()
    first: VideoFrame | None = None
    damage = why = None
    try:
        for number, packet in numbered(demuxed(container, stream)):
            packets.times.append(packet.pts)
            packets.decode_times.append(packet.dts)
            packets.sizes.append(packet.size)
            packets.durations.append(packet.duration or 0)
            packets.shown.append(not packet.is_discard)
            if packet.is_keyframe:
                packets.keys.append(number)
            if packet.is_corrupt:
                packets.corrupt.append(number)
            if first is None:
                frames, problem = _decoded(stream, packet)
                first, why = next(iter(frames), None), problem or why
    except Exception as error:  # of the demuxer: the packets before it are good
        damage = f"cannot be read to its end ({reason(error)})"
    if not packets.sizes:
        raise InputError(f"{path}: holds no frames; {REPAIR}")
    if first is None:
        frames, problem = _decoded(stream, None)
        first, why = next(iter(frames), None), problem or why
    if first is None:
        held = f"{len(packets.sizes)} frames (codec {stream.codec_context.name})"
        raise InputError(f"{path}: none of its {held} can be decoded{f' ({why})' if why else ''}; {REPAIR}")
    if len(packets.sizes) - 1 in packets.corrupt:
        packets.shown[-1] = False
        damage = "is cut short within a frame"
    if damage is not None:
        damage += _how_far(container, stream, packets)
    return packets, first, damage or _cut_short(path, container, stream, packets)


def _decoded(stream: VideoStream, packet: Packet[Any] | None) -> tuple[list[VideoFrame], str | None]:
    """The pictures that come out when a packet goes in (None: all that are left), or why there are none."""
    try:
        return stream.codec_context.decode(packet), None
    except av.FFmpegError as error:
        return [], None if isinstance(error, av.EOFError) else reason(error)


def _readable_s(stream: VideoStream, packets: Packets) -> float | None:
    """When the last picture that can be read ends, in seconds on the file's clock."""
    ends = [
        time + length
        for time, length, is_shown in zip(packets.times, packets.durations, packets.shown, strict=True)
        if time is not None and is_shown
    ]
    return float(max(ends) * stream.time_base) if ends and stream.time_base is not None else None


def _how_far(container: InputContainer, stream: VideoStream, packets: Packets) -> str:
    """How much of a damaged file can be read, for a message."""
    end_s, promised_s = _readable_s(stream, packets), (container.duration or 0) / av.time_base
    if end_s is None:
        return ""
    end_s -= (container.start_time or 0) / av.time_base
    of = f" of {promised_s:.1f} s" if promised_s > end_s else " s"
    return f": its frames can be read up to {end_s:.1f}{of}"


def _cut_short(path: Path, container: InputContainer, stream: VideoStream, packets: Packets) -> str | None:
    """A word on a file whose header promises more than it holds, such as a recording that lost its end."""
    promised_s = (container.duration or 0) / av.time_base
    end_s = readable_s = _readable_s(stream, packets)
    if end_s is None or readable_s is None or end_s >= promised_s - CUT_SHORT_S:
        return None
    # The sound may go on longer than the pictures, so all streams are asked before the file is blamed.
    with suppress(InputError), opened(path) as (again, _):
        for other in again.streams:
            other.discard = Discard.default
        for packet in demuxed(again):
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if end_s >= promised_s - CUT_SHORT_S:
        return None
    return f"is cut short: {promised_s:.1f} s are announced, its frames can be read up to {readable_s:.1f} s"


def order_by_times(packets: Packets) -> bool:
    """Set the order of the pictures from their presentation times; False where these cannot be relied on."""
    shown = [number for number, is_shown in enumerate(packets.shown) if is_shown]
    times = {packets.times[number] for number in shown}
    if None in times or len(times) < len(shown) or packets.keys[:1] != [0]:
        return False
    known = [time for time in packets.decode_times if time is not None]
    if any(b < a for a, b in pairwise(known)):
        return False
    packets.order = sorted(shown, key=lambda number: packets.times[number] or 0)
    return True


def order_by_decoding(path: Path, packets: Packets) -> None:
    """Set the order of the pictures by decoding them all; damaged ones keep their place, as corrupt."""
    order: list[int] = []
    lost: list[int] = []
    with opened(path) as (container, stream):
        context = stream.codec_context
        if context.codec.intra_only:
            packets.order = [number for number, is_shown in enumerate(packets.shown) if is_shown]
            return
        # Only the order is asked for, so the costly last steps of decoding can be left out.
        context.options = {**context.options, "skip_loop_filter": "all", "skip_idct": "all"}
        frames: list[VideoFrame] = []
        for number, packet in numbered(demuxed(container, stream)):
            try:
                frames += context.decode(packet)
            except av.InvalidDataError:
                lost.append(number)
            while frames:
                frame = frames.pop(0)
                # A recording cut out of a longer one begins with pictures whose keyframe is missing.
                if order or not frame.is_corrupt:
                    order.append(number_of(frame))
                if frame.is_corrupt:
                    packets.corrupt.append(number_of(frame))
        order += [number_of(frame) for frame in _decoded(stream, None)[0]]
        if container.format.name in WHOLE_PICTURES and context.name in STRICT_CODECS:
            lost = sorted(set(range(len(packets.sizes))) - set(order))
    _insert_lost(packets, order, lost)
    packets.order = order


def _insert_lost(packets: Packets, order: list[int], lost: list[int]) -> None:
    """Give the pictures that cannot be decoded their place in the order, by their times, and call them damaged."""
    times = [packets.times[number] for number in order]
    known = [time for time in times if time is not None]
    ascending = len(known) == len(times) and all(a <= b for a, b in pairwise(known))
    first = order[0] if order else 0
    for number in lost if order else ():
        if not (packets.shown[number] and number > first and _is_later(packets, number, first)):
            continue
        time = packets.times[number]
        if ascending and time is not None:
            rank = bisect_right(known, time)  # of a long file tens of thousands may be lost
            known.insert(rank, time)
        else:
            later = (rank for rank, other in enumerate(order) if _is_later(packets, other, number))
            rank = next(later, len(order))
            ascending = False
        order.insert(rank, number)
        packets.corrupt.append(number)


def _is_later(packets: Packets, number: int, than: int) -> bool:
    """Whether one picture is shown after another, as far as their packets tell."""
    time, other = packets.times[number], packets.times[than]
    return number > than if time is None or other is None else time > other


def presentation_ticks(path: Path, packets: Packets, *, is_raw: bool = False) -> list[int]:
    """When each picture of ``packets.order`` is shown, in ticks of the stream, never descending.

    A raw codec stream has no times: its pictures are counted (``is_raw``).

    Raises:
        InputError: no picture is shown, or the times are missing or run backwards.
    """
    if not packets.order:
        raise InputError(f"{path}: none of its frames is shown or can be decoded; {REPAIR}")
    if is_raw:
        return list(range(len(packets.order)))
    ticks = [time for number in packets.order if (time := packets.times[number]) is not None]
    if len(ticks) < len(packets.order):
        # Without presentation times the k-th picture shown has the k-th decoding time.
        ticks = sorted(time for number in packets.order if (time := packets.decode_times[number]) is not None)
    if len(ticks) < len(packets.order) or any(b < a for a, b in pairwise(ticks)):
        raise InputError(
            f"{path}: the times of its frames are missing or run backwards, as in recordings that "
            "were joined byte by byte; convert it with `ffmpeg -i IN OUT.mp4`"
        )
    return ticks


_TURNS = {
    (1, 0, 0, 1): None,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""The display matrix (a, b, c, d) with x' = ax + cy, y' = bx + dy (ISO/IEC 14496-12, track header) as Pillow
turns pictures (counter-clockwise)."""


def turn_of(frame: VideoFrame) -> Image.Transpose | None:
    """How a picture is turned to be seen upright, from the display matrix of its track."""
    matrix: Any = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return None
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), dtype=np.int32)[:5])
    largest = max(abs(a), abs(b), abs(c), abs(d)) or 1
    return _TURNS.get((round(a / largest), round(b / largest), round(c / largest), round(d / largest)))

"""Files that cameras write and players show, but that surprise a careless reader; all made with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from barcode_video import barcode

FLV_SOUND = 8


def write_flv(path: Path, *, frames: int = 120, sound_from_s: float = 0.0, announced: bool = True) -> Path:
    """An FLV at 10 frames per second whose sound starts late; ``announced`` is whether its header says so."""
    size = (200, 112)
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=10)
        pictures.width, pictures.height = size
        pictures.pix_fmt = "yuv420p"
        pictures.codec_context.gop_size = 10
        pictures.codec_context.max_b_frames = 0
        sound = output.add_stream("aac", rate=44100)
        packets: list[Any] = []
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(barcode(number, *size), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            packets += pictures.encode(frame)
        packets += pictures.encode(None)
        for start in range(0, frames * 4410, 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 44100, start
            packets += sound.encode(silence)
        packets += sound.encode(None)
        output.start_encoding()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    content = path.read_bytes()
    kept = bytearray(content[:13])
    if not announced:
        kept[4] &= ~4
    at = 13
    while at < len(content):
        length = 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
        time_ms = int.from_bytes(content[at + 4 : at + 7], "big") | content[at + 7] << 24
        if content[at] != FLV_SOUND or time_ms >= sound_from_s * 1000:
            kept += content[at : at + length]
        at += length
    path.write_bytes(kept)
    return path


def write_two_tracks(path: Path) -> Path:
    """One file with a front and a rear camera."""
    with av.open(str(path), "w") as output:
        streams = []
        for size in ((200, 112), (320, 192)):
            stream = output.add_stream("libx264", rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            streams.append(stream)
        for number in range(10):
            for stream in streams:
                picture = barcode(number, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    return path


def write_raw(path: Path, codec: str, *, frames: int = 30, **options: str) -> Path:
    """A codec stream without a container."""
    with path.open("wb") as file:
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height = 200, 112
        context.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
        context.options = options
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(barcode(number, 200, 112), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            for packet in context.encode(frame.reformat(format=context.pix_fmt)):
                file.write(bytes(packet))
        for packet in context.encode(None):
            file.write(bytes(packet))
    return path


def box(kind: bytes, content: bytes = b"") -> bytes:
    """An MP4 box."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def add_gps_track(path: Path, entry: bytes) -> Path:
    """Announce a track of GPS data (its sample entry only) within the index of an MP4 that ends in it."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"moov") - 4
    length = int.from_bytes(content[at : at + 4], "big")
    assert at + length == len(content)
    description = box(b"stsd", bytes(7) + b"\1" + box(entry, bytes(8)))
    track = box(b"udta", b"") + box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", description))))
    content[at : at + 4] = (length + len(track)).to_bytes(4, "big")
    path.write_bytes(content + track)
    return path

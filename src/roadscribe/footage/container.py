"""Opens a video file with FFmpeg: the streams it holds, and one clear line for whatever goes wrong inside.

Every packet of a file is read through `demuxed`, every decoder runs within `opened`. What these raise is an
InputError about that one file, whatever FFmpeg or PyAV raised.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import av
from av.container import Flags as ContainerFlags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream
from PIL import Image

from roadscribe.errors import InputError

MAX_SOURCE_PIXELS = 8192 * 4352
"""Pictures larger than 8K are refused before they are decoded: a small file can claim any size."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,ivf,dv,gif,yuv4mpegpipe,"
    "mpegvideo"
)
"""FFmpeg's names of the formats that are opened: those that hold pictures and times, and none that names
other files or addresses (playlists)."""

RAW_STREAMS = ("h264", "hevc", "mjpeg", "m4v", "obu")
"""Codec streams without a container: pictures without presentation times."""

RAW_JPEG_SUFFIXES = (".mjpeg", ".mjpg")
"""FFmpeg takes the first picture of such a file for the whole file unless it is told what the file is."""

PROBE_FURTHER = {"probesize": "50000000", "analyzeduration": "60000000"}
"""Bytes and microseconds that are searched for a video track which does not turn up at the file's beginning."""

STRICT_CODECS = ("h264", "hevc")
"""Decoders that are told to fail on damage. The others are left alone: they also stumble over harmless
oddities that old cameras write (MJPEG headers)."""

REPAIR = "copy the file again, or repair it with `ffmpeg -i IN -c copy OUT.mp4`"

NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails


class Unexpected(Exception):
    """The decoder did not give what the packets promised."""


def reason(error: BaseException) -> str:
    """FFmpeg's or the system's own words for an error, on one line; other errors with their kind."""
    if isinstance(error, (av.FFmpegError, OSError)):
        words = error.strerror or type(error).__name__
    elif isinstance(error, (IndexError, KeyError, MemoryError, RecursionError, TypeError)):
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    else:
        words = str(error) or type(error).__name__
    return " ".join(words.split()).partition(": 'file:")[0]


def file_size(path: Path, max_file_mb: int | None = None) -> int:
    """Bytes of a file that can be read.

    Raises:
        InputError: no such file, a folder, a broken link, no permission, empty, or larger than
            ``max_file_mb`` (MB of 10^6 bytes).
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise InputError(f"{path}: is a link to a file that is not there; mend or remove it") from error
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({reason(error)}); check its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder, not a video; give a video file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is not a regular file; give a video file")
    if status.st_size == 0:
        raise InputError(f"{path}: is empty (0 bytes); copy the file again")
    if max_file_mb is not None and status.st_size > max_file_mb * 1_000_000:
        raise InputError(
            f"{path}: has {ceil(status.st_size / 1e6)} MB, more than footage.max_file_mb={max_file_mb}; "
            "raise that limit or cut the video"
        )
    return status.st_size


@contextmanager
def opened(path: Path, *, strict: bool = False) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its video stream, ready to demux; whatever is raised inside becomes one clear line.

    Args:
        path: the file.
        strict: fail on damaged pictures instead of painting over them, where the decoder can tell.

    Raises:
        InputError: not a video, only sound, an unknown codec, a picture beyond `MAX_SOURCE_PIXELS`, or an
            error of FFmpeg or PyAV in the body.
        Unexpected: as the body raises it.
    """
    with _open_pictures(path) as container:
        stream = shown_streams(container)[0]
        context: Any = stream.codec_context
        if context is None or stream.time_base is None:
            raise InputError(f"{path}: its codec is unknown here; convert it with `ffmpeg -i IN OUT.mp4`")
        if context.width * context.height > MAX_SOURCE_PIXELS:
            raise InputError(
                f"{path}: its pictures have {context.width}x{context.height} pixels, more than 8K; "
                "scale it down with `ffmpeg -i IN -vf scale=1920:-2 OUT.mp4`"
            )
        # FFmpeg can make up presentation times, but wrongly for B-frames that refer to each other.
        made_up_times: Any = ContainerFlags.gen_pts
        container.flags &= ~made_up_times.value
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        context.copy_opaque = True
        # One thread, so that an error belongs to the packet at hand; `collect` decodes one video per core.
        context.thread_count = 1
        context.options = _limits()
        if strict and context.name in STRICT_CODECS:
            context.options = {**_limits(), "err_detect": "explode"}
        try:
            yield container, stream
        except (InputError, Unexpected):
            raise
        except Exception as error:
            raise InputError(f"{path}: cannot be decoded ({reason(error)}); {REPAIR}") from error


def demuxed(container: InputContainer, *streams: Any) -> Iterator[Packet[Any]]:
    """The packets of these streams (of all that were found on opening, when none is given).

    A file may bring a stream that its beginning does not announce (sound that starts late, in FLV and MPEG-TS).
    Its packets are left out. PyAV raises IndexError about such a stream, after the last packet of the file.
    """
    wanted = {stream.index for stream in streams or container.streams}
    try:
        for packet in container.demux(*streams):
            if packet.stream.index in wanted:
                yield packet
    except IndexError:
        return


def shown_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams that are no cover picture and no thumbnails."""
    return [stream for stream in container.streams.video if not stream.disposition & NOT_SHOWN]


def _limits() -> dict[str, str]:
    return {"max_pixels": str(MAX_SOURCE_PIXELS)}


def _open_pictures(path: Path) -> InputContainer:
    """An open container that holds a video stream."""
    container = _open(path)
    if shown_streams(container):
        return container
    container.close()
    container = _open(path, PROBE_FURTHER)
    if shown_streams(container):
        return container
    held = "only sound" if container.streams.audio else "no pictures"
    container.close()
    raise InputError(f"{path}: holds {held}; give a video file")


def _open(path: Path, options: dict[str, str] | None = None) -> InputContainer:
    raw_jpeg = path.suffix.lower() in RAW_JPEG_SUFFIXES and _begins_with(path, b"\xff\xd8\xff")
    try:
        container: InputContainer = av.open(
            f"file:{path}",
            format="mjpeg" if raw_jpeg else None,
            container_options={
                "format_whitelist": ",".join((CONTAINERS, *RAW_STREAMS)),
                "protocol_whitelist": "file",
                **(options or {}),
            },
            options=_limits(),
            metadata_errors="replace",  # cameras write their names in any encoding
        )
        return container
    except Exception as error:
        raise InputError(f"{path}: {_not_a_video(path, error)}") from error


def _begins_with(path: Path, content: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(content)) == content
    except OSError:
        return False


def _not_a_video(path: Path, error: Exception) -> str:
    """Why FFmpeg would not open a file, in words that help."""
    try:
        with Image.open(path) as picture:
            return f"is a {picture.format} picture, not a video; give a video file"
    except Exception:
        pass
    try:
        with path.open("rb") as file:
            if b"ftyp" in file.read(64):
                return (
                    "is an MP4 or MOV file without its index, as a recording that was cut off; copy it again"
                )
    except OSError:
        pass
    return f"cannot be read as a video ({reason(error)}); give an MP4, MOV, MKV, WebM, AVI or TS file"

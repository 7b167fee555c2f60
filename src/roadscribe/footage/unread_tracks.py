"""What a video file holds besides the track that is read: a second camera, GPS, sensors. Named in a note, not read.

Sources: the layout of MP4 boxes is ISO/IEC 14496-12; sample entries ``gpmd`` (GoPro GPMF), ``camm`` (Google's Camera
Motion Metadata), ``rtmd`` (Sony), ``djmd`` and ``dbgi`` (DJI) are their makers' codes. Cameras with Novatek chips
write blocks that begin with ``freeGPS``, and some list them in a box ``gps`` of the index; BlackVue writes boxes
``gps`` and ``3gf`` within a box ``free``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.video.stream import VideoStream

from roadscribe.footage.container import shown_streams

SENSOR_TRACKS = {
    b"gpmd": "GPS and sensors (GoPro)",
    b"camm": "camera motion and GPS (CAMM)",
    b"rtmd": "camera data (Sony)",
    b"djmd": "flight and camera data (DJI)",
    b"dbgi": "camera data (DJI)",
    b"mett": "timed metadata",
    b"mebx": "timed metadata (Apple)",
}
"""Sample entries of MP4 tracks, and what they hold."""

SPHERICAL_SUFFIXES = (".insv", ".360")

GPS_BOXES = (b"gps ", b"gps0", b"3gf ")

WALKED_INTO = (b"moov", b"trak", b"mdia", b"minf", b"stbl")

MAX_BOXES = 2000
SEARCHED_BYTES = 2_000_000
"""So much of a file that is no MP4 is searched for blocks of GPS."""


def unread_tracks(path: Path, container: InputContainer, stream: VideoStream) -> list[str]:
    """Notes on tracks of a file that no frame is taken from.

    Args:
        path: the file.
        container: the file, open.
        stream: the track that is read.
    """
    notes = []
    if path.suffix.lower() in SPHERICAL_SUFFIXES:
        notes.append(
            "is a 360-degree recording: its frames are fisheye pictures or cube faces, no driver's view"
        )
    others = [other for other in shown_streams(container) if other is not stream]
    if others:
        sizes = ", ".join(f"{other.width}x{other.height}" for other in others)
        which = "a second video track" if len(others) == 1 else f"{len(others)} more video tracks"
        notes.append(
            f"holds {which} ({sizes}) that {'is' if len(others) == 1 else 'are'} not read; take it out with "
            f"`ffmpeg -i IN -map 0:{others[0].index} -c copy OUT.mp4` to use it"
        )
    if "mp4" in container.format.name:
        held = _in_boxes(path)
    else:
        held = ["GPS (blocks freeGPS)"] if _holds(path, b"freeGPS") else []
    if not held:
        held = [f"data ({name})" for other in container.streams.data if (name := _data_name(other.metadata))]
    if held:
        notes.append(f"holds {', '.join(dict.fromkeys(held))} that is not read yet; give telemetry as a CSV")
    return notes


def _data_name(metadata: dict[str, str]) -> str | None:
    """What a data track calls itself; None for time codes and for tracks without a name."""
    name = metadata.get("handler_name", "").strip()
    return name if name and "timecode" not in (*metadata, name.lower().replace(" ", "")) else None


def _holds(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return mark in file.read(SEARCHED_BYTES)
    except OSError:
        return False


def _in_boxes(path: Path) -> list[str]:
    """Which GPS and sensor data the boxes of an MP4 file announce."""
    held = []
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            for kind, begin, end in _boxes(file, 0, size, [MAX_BOXES]):
                if kind in GPS_BOXES:
                    held.append("GPS (a box of the camera)")
                elif kind in (b"free", b"skip"):
                    file.seek(begin)
                    head = file.read(min(16, end - begin))
                    if head.startswith(b"GPS ") or head[4:8] in GPS_BOXES:
                        held.append("GPS (a box of the camera)")
                elif kind == b"stsd":
                    file.seek(begin + 12)
                    entry = file.read(4)
                    if entry in SENSOR_TRACKS:
                        held.append(f"a track of {SENSOR_TRACKS[entry]}")
    except OSError:
        pass
    return held


def _boxes(file: BinaryIO, begin: int, end: int, left: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box, the containers in `WALKED_INTO` entered."""
    while begin + 8 <= end and left[0] > 0:
        left[0] -= 1
        file.seek(begin)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1 and len(head) == 16:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - begin
        if length < header:
            return
        inside, after = begin + header, min(begin + length, end)
        if kind in WALKED_INTO:
            yield from _boxes(file, inside, after, left)
        else:
            yield kind, inside, after
        begin += length

"""What BDD100K's label and info files say, as evidence: the words of both label generations, SI units, video time.

Pure: `bdd100k_tree` finds the files and the record about each video, this module reads a record.

Sources: the dataset's own description of its format (https://doc.bdd100k.com/format.html), Scalabel's
(https://doc.scalabel.ai/format.html), and the files as they are released.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

from roadscribe.clip import Box, FrameLabels, LightColor, Telemetry

LABELLED_S = 10.0
"""Images and labels show the video's 10th second (BDD100K, data download page), unless a time stands there."""

IMAGE_SIZE = (1280, 720)
"""Width and height in pixels of the images that were labelled, unless a size stands there."""

OUTSIDE_PX = 16.0
"""Boxes may reach this far out of the image; further, and they were measured in an image of another size."""

EPOCH_MS = 1e11
"""A time in milliseconds beyond this (the year 1973) is counted from 1970, not from the video's start."""

MAX_FROM_START_S = 3600.0
"""Readings further than this from the video's start have a clock that cannot be trusted."""

CATEGORIES = {
    "pedestrian": "person",
    "other person": "person",
    "bicycle": "bike",
    "motorcycle": "motor",
    "other vehicle": "vehicle",
}
"""Words of the labels of 2020 for what those of 2018, and `clip.Box`, call otherwise."""

COLORS = {
    "r": "red", "red": "red", "y": "yellow", "yellow": "yellow", "g": "green", "green": "green",
    "none": "none", "na": "none",
}  # fmt: skip
"""Both generations' colours. "none" (2018) and "NA" (2020, the same value of the annotation tool) say that no
colour can be seen, not that the light is off. A missing, null or undefined colour says nothing."""

UNKNOWN_WORDS = ("", "undefined", "unknown", "none", "na", "n/a")

MAX_PROBLEM_CHARS = 60


class Read(NamedTuple):
    """What a record says, and what of it could not be used and why."""

    labels: tuple[FrameLabels, ...]
    notes: tuple[str, ...]


class Info(NamedTuple):
    """What an info file says."""

    telemetry: tuple[Telemetry, ...]
    ride_id: str | None
    start_ms: float | None
    """When the video starts, in milliseconds since 1970."""
    notes: tuple[str, ...]


def record_names(record: Any) -> list[str]:
    """What a label record calls itself: the names a video may have, without folder and suffix.

    ``videoName`` names the video. Where it is missing, ``name`` names the image, which is called like its
    video.
    """
    if not isinstance(record, Mapping):
        return []
    for key in ("videoName", "video_name", "name"):
        name = record.get(key)
        if isinstance(name, str) and name.strip():
            path = PurePosixPath(name.strip().replace("\\", "/"))
            return list(dict.fromkeys((path.stem, path.name)))
    return []


def has_boxes(record: Any) -> bool:
    """Whether any object of a label record has a box: records of lanes and areas have none."""
    return any(
        isinstance(thing, Mapping) and thing.get("box2d")
        for part in _parts(record)
        for thing in _list(part.get("labels", part.get("objects")))
    )


def read_labels(
    record: Mapping[str, Any], *, start_ms: float | None, with_boxes: bool = True, alone: bool = False
) -> Read:
    """One record of either format: Scalabel's (``labels``) or one image's (``frames`` of ``objects``).

    A record without ``labels`` (or with null) was not looked at for objects: it has attributes only. An empty
    list says that there is nothing to see. Where one object cannot be read, none of the frame's boxes is kept,
    because a box that is missing would prove that an object is.

    Args:
        record: the JSON object.
        start_ms: when the video starts, in milliseconds since 1970, for labels on that clock.
        with_boxes: False where the file holds no boxes at all (lanes, areas), so that their absence says nothing.
        alone: the file holds no other image: lanes without boxes then leave open whether objects were labelled.
    """
    labels: list[FrameLabels] = []
    notes: list[str] = []
    for part in _parts(record):
        try:
            time_s = _label_time(part.get("timestamp"), part, start_ms)
            weather, scene, time_of_day = _attributes(
                part.get("attributes") or record.get("attributes"), notes
            )
            boxes, size = _boxes(part, record, (with_boxes, alone), notes)
        except _Unusable as problem:
            notes.append(str(problem))
            continue
        labels.append(
            FrameLabels(
                time_s=time_s,
                weather=weather,
                scene=scene,
                time_of_day=time_of_day,
                boxes=boxes,
                image_width=size[0] if boxes is not None else None,
                image_height=size[1] if boxes is not None else None,
            )
        )
    return Read(tuple(labels), tuple(notes))


def merge_labels(found: Iterable[FrameLabels]) -> tuple[FrameLabels, ...]:
    """Labels by time; those of one moment become one: each fact from the first source that has it."""
    merged: list[FrameLabels] = []
    for labels in found:
        same = next((n for n, other in enumerate(merged) if abs(other.time_s - labels.time_s) < 1e-3), None)
        if same is None:
            merged.append(labels)
            continue
        first = merged[same]
        update: dict[str, Any] = {
            name: getattr(first, name) or getattr(labels, name)
            for name in ("weather", "scene", "time_of_day")
        }
        if first.boxes is None:
            update |= {name: getattr(labels, name) for name in ("boxes", "image_width", "image_height")}
        merged[same] = first.model_copy(update=update)
    return tuple(sorted(merged, key=lambda labels: labels.time_s))


def read_info(record: Any) -> Info:
    """The GPS readings of an info file, in seconds from the video's start; speeds in m/s, courses in degrees.

    A speed or course below zero is the phone's way to say that it does not know.
    """
    if not isinstance(record, Mapping):
        return Info((), None, None, ("the info file holds no JSON object",))
    ride = record.get("rideID")
    ride_id = str(ride).strip() if isinstance(ride, (str, int)) and str(ride).strip() else None
    start_ms = _number(record.get("startTime"))
    if start_ms is None or start_ms <= 0:
        return Info((), ride_id, None, ("the info file has no startTime, so its readings have no time",))
    if record.get("timelapse") is True:
        note = "the info file calls the video a timelapse, so its readings have no time on the video's clock"
        return Info((), ride_id, None, (note,))
    readings = _list(record.get("locations")) or _list(record.get("gps"))
    if not readings:
        return Info((), ride_id, start_ms, ("the info file holds no locations",))
    telemetry, notes = _locations(readings, start_ms)
    return Info(telemetry, ride_id, start_ms, notes)


def _locations(readings: list[Any], start_ms: float) -> tuple[tuple[Telemetry, ...], tuple[str, ...]]:
    telemetry: list[Telemetry] = []
    garbled = unknown = far = 0
    for reading in readings:
        stamp = _number(reading.get("timestamp")) if isinstance(reading, Mapping) else None
        if stamp is None:
            garbled += 1
            continue
        time_s = (stamp - start_ms) / 1000
        if abs(time_s) > MAX_FROM_START_S:
            far += 1
            continue
        speed, course = _known(reading.get("speed")), _known(reading.get("course"))
        latitude, longitude = _number(reading.get("latitude")), _number(reading.get("longitude"))
        unknown += speed is None
        if speed is None and course is None and latitude is None and longitude is None:
            continue
        telemetry.append(
            Telemetry(
                time_s=time_s, speed_mps=speed, course_deg=course, latitude=latitude, longitude=longitude
            )
        )
    told = (
        (garbled, "have no timestamp"),
        (far, f"lie more than {MAX_FROM_START_S:g} s from startTime"),
        (unknown, "have no speed (-1 or missing)"),
    )
    notes = tuple(f"{count} of {len(readings)} locations {what}" for count, what in told if count)
    return tuple(sorted(telemetry, key=lambda item: item.time_s)), notes


class _Unusable(Exception):
    """A part of a record that says nothing one could rely on."""


def _parts(record: Any) -> list[Mapping[str, Any]]:
    """The labelled moments of a record: its ``frames``, or the record itself."""
    if not isinstance(record, Mapping):
        return []
    frames = record.get("frames")
    if isinstance(frames, list):
        return [frame for frame in frames if isinstance(frame, Mapping)]
    return [record]


def _label_time(stamp: Any, part: Mapping[str, Any], start_ms: float | None) -> float:
    if stamp is None:
        if part.get("frameIndex", part.get("index")) is not None and part.get("videoName"):
            raise _Unusable("a label has a frame's index but no timestamp, so its time is not known")
        return LABELLED_S
    time_ms = _number(stamp)
    if time_ms is None or time_ms < 0:
        raise _Unusable(f"a label's timestamp is no time in milliseconds ({_short(stamp)})")
    if time_ms > EPOCH_MS:
        if start_ms is None:
            raise _Unusable(
                "a label's timestamp counts from 1970, and no info file says when the video starts"
            )
        time_ms -= start_ms
        if abs(time_ms) > 1000 * MAX_FROM_START_S:
            raise _Unusable("a label's timestamp lies far from the video's start")
    return time_ms / 1000


def _attributes(attributes: Any, notes: list[str]) -> tuple[str | None, str | None, str | None]:
    if attributes is not None and not isinstance(attributes, Mapping):
        notes.append(f"the attributes are no JSON object ({_short(attributes)})")
    plain = _plain(attributes)
    weather, scene, time_of_day = (_word(plain.get(key)) for key in ("weather", "scene", "timeofday"))
    return weather, scene, time_of_day


def _boxes(
    part: Mapping[str, Any], record: Mapping[str, Any], file: tuple[bool, bool], notes: list[str]
) -> tuple[tuple[Box, ...] | None, tuple[int, int]]:
    """The boxes of one labelled moment (None: not known), and the size of the image they are measured in."""
    with_boxes, alone = file
    size = _size(part.get("size", record.get("size")))
    things = part.get("labels", part.get("objects"))
    if things is None or not with_boxes:
        return None, size
    if not isinstance(things, list):
        notes.append(f"the labels are no list ({_short(things)})")
        return None, size
    try:
        boxes = tuple(box for thing in things if (box := _box(thing)) is not None)
    except _Unusable as problem:
        notes.append(f"{problem}; none of the frame's {len(things)} objects is used")
        return None, size
    if things and not boxes and alone:
        return None, size
    beyond = max((max(box.x2 - size[0], box.y2 - size[1], -box.x1, -box.y1) for box in boxes), default=0.0)
    if beyond > OUTSIDE_PX:
        notes.append(f"boxes reach {beyond:.0f} pixels out of an image of {size[0]}x{size[1]}; none is used")
        return None, size
    return boxes, size


def _box(thing: Any) -> Box | None:
    """One object; None where it is no box but a lane or an area."""
    if not isinstance(thing, Mapping):
        raise _Unusable(f"an object is no JSON object ({_short(thing)})")
    box2d = thing.get("box2d")
    if box2d is None:
        return None
    category = thing.get("category")
    if not isinstance(category, str) or not category.strip():
        raise _Unusable("a box has no category")
    corners = [
        _number(box2d.get(key)) if isinstance(box2d, Mapping) else None for key in ("x1", "y1", "x2", "y2")
    ]
    if None in corners:
        raise _Unusable(f"the box of a {category.strip()} has no four corners ({_short(box2d)})")
    x1, y1, x2, y2 = cast(list[float], corners)
    name = " ".join(category.replace("_", " ").lower().split())
    attributes = _plain(thing.get("attributes"))
    return Box(
        category=CATEGORIES.get(name, name),
        x1=min(x1, x2),
        y1=min(y1, y2),
        x2=max(x1, x2),
        y2=max(y1, y2),
        light_color=_color(attributes.get("trafficlightcolor")) if name == "traffic light" else None,
        occluded=_flag(attributes.get("occluded")),
        truncated=_flag(attributes.get("truncated")),
    )


def _color(value: Any) -> LightColor | None:
    """The one colour that a value names; Scalabel's older exports write it in a list, after its number."""
    words = value if isinstance(value, list) else [value]
    named = {
        COLORS[word] for item in words if isinstance(item, str) and (word := item.strip().lower()) in COLORS
    }
    return cast(LightColor, named.pop()) if len(named) == 1 else None


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, Mapping):
        value = [value.get("width"), value.get("height")]
    if isinstance(value, list) and len(value) == 2:
        width, height = (_number(side) for side in value)
        if width and height and width >= 1 and height >= 1:
            return int(width), int(height)
    return IMAGE_SIZE


def _plain(attributes: Any) -> dict[str, Any]:
    """Attributes under names without case, spaces and signs: `timeofday`, `Time of Day`, `time_of_day`."""
    if not isinstance(attributes, Mapping):
        return {}
    return {
        "".join(char for char in str(key).lower() if char.isalnum()): item for key, item in attributes.items()
    }


def _word(value: Any) -> str | None:
    word = " ".join(value.lower().split()) if isinstance(value, str) else ""
    return None if word in UNKNOWN_WORDS else word


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _known(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _number(value: Any) -> float | None:
    """A finite number, also where it stands in quotes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_PROBLEM_CHARS else text[:MAX_PROBLEM_CHARS] + "..."

"""Reads the header of a table of time and speed: which column is what, in which unit.

A column's unit stands in its name: ``time_s``, ``timestamp_ms``, ``Speed (km/h)``. A speed without a unit is an
error, never a guess: 50 is a walk's pace in one unit and a motorway's in another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roadscribe.errors import InputError
from roadscribe.footage.telemetry_numbers import looks_like_iso

SECONDS = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millis": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "us": 1e-6, "usec": 1e-6, "micros": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
    "ns": 1e-9, "nsec": 1e-9, "nanos": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9,
}  # fmt: skip
METRES_PER_SECOND = {
    "mps": 1.0, "m_s": 1.0, "ms": 1.0, "m_per_s": 1.0, "m_sec": 1.0, "ms_1": 1.0,
    "meters_per_second": 1.0, "metres_per_second": 1.0, "meter_per_second": 1.0, "metre_per_second": 1.0,
    "kmh": 1 / 3.6, "km_h": 1 / 3.6, "kph": 1 / 3.6, "kmph": 1 / 3.6, "km_hr": 1 / 3.6, "kmhr": 1 / 3.6,
    "km_per_h": 1 / 3.6, "km_per_hour": 1 / 3.6, "kilometers_per_hour": 1 / 3.6, "kilometres_per_hour": 1 / 3.6,
    "mph": 0.44704, "mi_h": 0.44704, "miles_per_hour": 0.44704,
    "kn": 1852 / 3600, "kt": 1852 / 3600, "kts": 1852 / 3600, "knot": 1852 / 3600, "knots": 1852 / 3600,
    "fps": 0.3048, "ft_s": 0.3048, "feet_per_second": 0.3048,
}  # fmt: skip
"""By definition: the international mile is 1609.344 m, the nautical mile 1852 m, the foot 0.3048 m."""
DEGREES = {"": 1.0, "deg": 1.0, "degree": 1.0, "degrees": 1.0, "rad": 180 / math.pi, "radians": 180 / math.pi}
PLACE_DEGREES = {"": 1.0, "deg": 1.0, "degree": 1.0, "degrees": 1.0}

WORDS = {
    "time": (
        "time",
        "timestamp",
        "t",
        "ts",
        "elapsed",
        "seconds",
        "epoch",
        "unixtime",
        "datetime",
        "iso8601",
    ),
    "speed": ("speed", "velocity", "v", "vel"),
    "course": ("course", "heading", "bearing"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng", "long"),
}
"""What a column of each kind is called; other columns are not read."""

# fmt: off
OTHER_QUANTITIES = frozenset((
    "limit", "max", "min", "avg", "mean", "average", "wind", "accuracy", "error", "std", "sigma",
    "variance", "uncertainty", "confidence", "valid", "flag", "engine", "fan", "wheel", "angular", "yaw",
    "rate", "x", "y", "z", "lateral", "vertical", "acc", "accel", "acceleration", "jerk", "source",
    "status", "type", "unit", "zone",
))
# fmt: on
"""A column with one of these words is another quantity: a speed limit is no speed."""

# fmt: off
SIDE_WORDS = frozenset((
    "gps", "gnss", "can", "obd", "ego", "vehicle", "car", "own", "host", "imu", "sensor", "relative",
    "rel", "video", "frame", "elapsed", "since", "start", "the", "in", "of", "over", "ground", "true",
    "current", "measured", "raw", "filtered", "log", "utc", "epoch", "unix", "unixtime", "time",
    "timestamp",
))
# fmt: on
"""Words beside the quantity that change neither it nor its unit."""

EPOCH_WORDS = frozenset({"epoch", "unix", "unixtime", "utc"})

EXAMPLES = {
    "time": "time_s, time_ms, epoch_s or epoch_ms",
    "speed": "speed_mps, speed_kmh, speed_mph or speed_knots",
    "course": "course_deg or course_rad",
    "latitude": "latitude",
    "longitude": "longitude",
}


class NoTelemetry(Exception):
    """The table is none of time and speed; the message says what is missing."""


@dataclass(frozen=True)
class Column:
    """Where a quantity stands, and how its cells become SI units."""

    index: int
    factor: float
    """To seconds, metres per second or degrees."""
    epoch: bool = False
    """Seconds that count from 1970."""
    iso: bool = False
    """Dates with a time of day (ISO 8601)."""
    utc: bool = False
    """Where ``iso``: the header says that times without a zone are UTC."""


def read_header(path: Path, header: Sequence[str], first_row: Sequence[str]) -> dict[str, Column]:
    """The columns that are read, by what they hold: time, speed, course, latitude, longitude.

    Args:
        path: the table, for messages.
        header: the names of its columns.
        first_row: the cells below them; where those of time are dates (ISO 8601), the column needs no unit.

    Raises:
        InputError: a column's unit is not known, or two columns hold the same.
        NoTelemetry: no column of time, or none of speed, course or position.
    """
    kinds = {index: kind for index, name in enumerate(header) if (kind := _kind(name))}
    if "time" not in kinds.values():
        raise NoTelemetry(f"has no column of time (such as {EXAMPLES['time']})")
    if len(set(kinds.values())) < 2:
        raise NoTelemetry(f"has no column of speed (such as {EXAMPLES['speed']})")
    found: dict[str, list[tuple[str, Column]]] = {}
    for index, kind in kinds.items():
        name = header[index]
        cell = first_row[index].strip() if index < len(first_row) else ""
        found.setdefault(kind, []).append((name.strip(), _column(path, index, name, kind, cell)))
    columns = {}
    for kind, named in found.items():
        # A log often has both clocks; the video's own is the one that needs no start.
        own = [item for item in named if not (item[1].epoch or item[1].iso)] if kind == "time" else named
        choice = own or named
        if len(choice) > 1:
            names = ", ".join(name for name, _ in choice)
            raise InputError(f"{path}: has {len(choice)} columns of {kind} ({names}); keep one")
        columns[kind] = choice[0][1]
    return columns


def _words(name: str) -> list[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.strip().strip('"'))
    return [word for word in re.split(r"[^a-z0-9°µμ]+", parted.lower()) if word]


def _kind(name: str) -> str | None:
    """Which quantity a column's name speaks of; None for others."""
    words = _words(name)
    if OTHER_QUANTITIES & set(words):
        return None
    # One letter names a quantity only in front: `v_mps` is a speed, `battery_v` a voltage.
    names = {word for place, word in enumerate(words) if place == 0 or len(word) > 1}
    for kind in ("speed", "course", "latitude", "longitude", "time"):
        if names & set(WORDS[kind]):
            return kind
    return None


def _column(path: Path, index: int, name: str, kind: str, first_cell: str) -> Column:
    words = _words(name)
    epoch = kind == "time" and bool(EPOCH_WORDS & set(words))
    if kind == "time" and looks_like_iso(first_cell):
        return Column(index, 1.0, iso=True, utc="utc" in words)
    units = {
        "time": SECONDS,
        "speed": METRES_PER_SECOND,
        "course": DEGREES,
        "latitude": PLACE_DEGREES,
        "longitude": PLACE_DEGREES,
    }[kind]
    beside = SIDE_WORDS | set(WORDS[kind])
    rest = [
        word.replace("µ", "u").replace("μ", "u").replace("°", "deg") for word in words if word not in beside
    ]
    unit = "_".join(rest)
    if kind == "time" and not unit and "seconds" in words:
        unit = "s"
    if unit not in units:
        what = f"the unit {unit!r} is not known" if unit else "its unit is not said"
        if kind == "time" and ":" in first_cell:
            what = f"`{first_cell}` is a time of day without a date"
            raise InputError(
                f"{path}: column `{name.strip()}`: {what}; write seconds of the video (time_s), or date and time in "
                "one cell (2024-01-31T12:00:00Z)"
            )
        raise InputError(f"{path}: column `{name.strip()}`: {what}; name it {EXAMPLES[kind]}")
    return Column(index, units[unit], epoch)

"""Reads a table of time and speed (CSV) that lies beside a video; the header says which column is what.

A column's unit stands in its name: ``time_s``, ``timestamp_ms``, ``Speed (km/h)``. A speed without a unit is an
error, never a guess: 50 is a walk's pace in one unit and a motorway's in another.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from roadscribe.clip import Telemetry
from roadscribe.errors import InputError
from roadscribe.footage.container import reason

MAX_CSV_BYTES = 64_000_000
"""A day of readings at 10 a second has 30 MB."""

LOOKS_LIKE_EPOCH_S = 1e8
"""Three years: a time beyond it was not counted from a video's start."""

SHOWN_ROWS = 5

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
    "time": ("time", "timestamp", "t", "ts", "elapsed", "seconds", "epoch", "unixtime"),
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
class _Column:
    index: int
    factor: float
    """To seconds, metres per second or degrees."""
    epoch: bool = False


@dataclass(frozen=True)
class _Table:
    delimiter: str
    header: int
    """Number of the header's line, from 0."""
    columns: dict[str, _Column]
    text: str


class Log(NamedTuple):
    """What a table says, and what of it could not be used."""

    telemetry: tuple[Telemetry, ...]
    notes: tuple[str, ...]


def check_telemetry(path: Path) -> None:
    """Look at a table's header only.

    Raises:
        InputError: it cannot be read, or a column's unit is not known.
        NoTelemetry: it holds no column of time, or none of speed, course or position.
    """
    _read_table(path, header_only=True)


def read_telemetry(path: Path, *, start_epoch_s: float | None = None) -> Log:
    """The readings of a table in SI units, by time.

    Separators are commas, semicolons, tabs or bars. Times of a column called ``epoch`` (or ``unix``, ``utc``)
    count from ``start_epoch_s``; where that is not given, from the first reading, and a note says so. Every
    other time is on the video's clock. A row without a time, or with nothing beside it, is left out and listed;
    a speed below zero says that it is not known.

    Raises:
        InputError: the table cannot be read, a unit is not known, or times look like an epoch without its name.
        NoTelemetry: as `check_telemetry`.
    """
    table = _read_table(path)
    time = table.columns["time"]
    rows: list[tuple[float, Telemetry]] = []
    no_time: list[int] = []
    nothing: list[int] = []
    negative: list[int] = []
    for number, cells in _rows(path, table):
        at = _cell(cells, time, table.delimiter)
        if at is None:
            no_time.append(number)
            continue
        values = {
            kind: _cell(cells, column, table.delimiter)
            for kind, column in table.columns.items()
            if kind != "time"
        }
        speed = values.get("speed")
        if speed is not None and speed < 0:
            negative.append(number)
            values["speed"] = speed = None
        if all(value is None for value in values.values()):
            nothing.append(number)
            continue
        reading = Telemetry(
            time_s=0.0,
            speed_mps=speed,
            course_deg=values.get("course"),
            latitude=values.get("latitude"),
            longitude=values.get("longitude"),
        )
        rows.append((at, reading))
    rows.sort(key=lambda row: row[0])
    notes = [
        f"{path.name}: {_listed(numbers)} {what}"
        for numbers, what in (
            (no_time, "without a time left out"),
            (negative, "with a speed below zero, taken as unknown"),
            (nothing, "without a number beside the time left out"),
        )
        if numbers
    ]
    begin = 0.0
    if rows and time.epoch:
        begin = rows[0][0] if start_epoch_s is None else start_epoch_s
        if start_epoch_s is None:
            notes.append(f"{path.name}: times count from the first reading, {begin:.3f} s after 1970")
    elif rows and abs(rows[-1][0]) > LOOKS_LIKE_EPOCH_S:
        raise InputError(
            f"{path}: its times reach {rows[-1][0]:.0f} s, which no video does; if they count from 1970, "
            "call the column epoch_s (or epoch_ms)"
        )
    if not rows:
        notes.append(f"{path.name}: holds no reading")
    telemetry = tuple(reading.model_copy(update={"time_s": at - begin}) for at, reading in rows)
    return Log(telemetry, tuple(notes))


def _listed(rows: list[int]) -> str:
    shown = ", ".join(map(str, rows[:SHOWN_ROWS]))
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    return f"line{'s' if len(rows) > 1 else ''} {shown}{more}"


def _cell(cells: list[str], column: _Column, delimiter: str) -> float | None:
    """The number of a cell in SI units; None where there is none."""
    text = cells[column.index].strip() if column.index < len(cells) else ""
    if delimiter != ",":
        text = text.replace(",", ".")
    try:
        value = float(text) * column.factor
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rows(path: Path, table: _Table) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header with their line numbers; empty ones are passed over."""
    reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=table.delimiter)
    try:
        for row, cells in enumerate(reader):
            if row > table.header and any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: no table ({error}); mend the line") from error


def _read_table(path: Path, *, header_only: bool = False) -> _Table:
    try:
        with path.open("rb") as file:
            content = file.read(65_536 if header_only else MAX_CSV_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a CSV of time and speed") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); give a CSV of time and speed") from error
    if len(content) > MAX_CSV_BYTES:
        raise InputError(f"{path}: has more than {MAX_CSV_BYTES // 1_000_000} MB; cut it to the video's time")
    text = _text(content)
    # Loggers write remarks above their header.
    lines = text.splitlines()[:50]
    first = next(
        (n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None
    )
    if first is None:
        raise NoTelemetry("is empty")
    line = lines[first]
    delimiter = max(",;\t|", key=line.count)
    header = next(csv.reader([line], delimiter=delimiter), [])
    return _Table(delimiter, _row_of(text, first, delimiter), _columns(path, header), text)


def _text(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    # Names and numbers are ASCII; a stray sign in a remark must not cost the file.
    return content.decode("utf-8-sig", errors="replace")


def _row_of(text: str, line: int, delimiter: str) -> int:
    """Which row of the csv module the header's line is: it counts lines in quotes as one."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row, _ in enumerate(reader):
            if reader.line_num > line:
                return row
    except csv.Error:
        pass
    return line


def _columns(path: Path, header: list[str]) -> dict[str, _Column]:
    kinds = {index: kind for index, name in enumerate(header) if (kind := _kind(name))}
    if "time" not in kinds.values():
        raise NoTelemetry(f"has no column of time (such as {EXAMPLES['time']})")
    if len(set(kinds.values())) < 2:
        raise NoTelemetry(f"has no column of speed (such as {EXAMPLES['speed']})")
    found: dict[str, list[tuple[str, _Column]]] = {}
    for index, kind in kinds.items():
        name = header[index]
        found.setdefault(kind, []).append((name.strip(), _column(path, index, name, kind)))
    columns = {}
    for kind, named in found.items():
        # A log often has both clocks; the video's own is the one that needs no start.
        own = [item for item in named if not item[1].epoch] if kind == "time" else named
        choice = own or named
        if len(choice) > 1:
            names = ", ".join(name for name, _ in choice)
            raise InputError(f"{path}: has {len(choice)} columns of {kind} ({names}); keep one")
        columns[kind] = choice[0][1]
    return columns


def _words(name: str) -> list[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", name.strip().strip('"'))
    return [word for word in re.split(r"[^a-z0-9°µ]+", parted.lower()) if word]


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


def _column(path: Path, index: int, name: str, kind: str) -> _Column:
    words = _words(name)
    epoch = kind == "time" and bool(EPOCH_WORDS & set(words))
    units = {
        "time": SECONDS,
        "speed": METRES_PER_SECOND,
        "course": DEGREES,
        "latitude": PLACE_DEGREES,
        "longitude": PLACE_DEGREES,
    }[kind]
    beside = SIDE_WORDS | set(WORDS[kind])
    rest = [word.replace("µ", "u").replace("°", "deg") for word in words if word not in beside]
    unit = "_".join(rest)
    if kind == "time" and not unit and "seconds" in words:
        unit = "s"
    if unit not in units:
        what = f"the unit {unit!r} is not known" if unit else "its unit is not said"
        raise InputError(f"{path}: column `{name.strip()}`: {what}; name it {EXAMPLES[kind]}")
    return _Column(index, units[unit], epoch)

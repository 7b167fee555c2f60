"""Reads a table of time and speed (CSV) next to a video; the header says which column is what.

Nothing in it is guessed: what could be two numbers, a clock that runs back and a unit that is not said are errors
with their line; rows that are left out are listed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from roadscribe.clip import Telemetry
from roadscribe.errors import InputError
from roadscribe.footage.container import reason
from roadscribe.footage.telemetry_header import EXAMPLES as EXAMPLES
from roadscribe.footage.telemetry_header import Column, read_header
from roadscribe.footage.telemetry_header import NoTelemetry as NoTelemetry
from roadscribe.footage.telemetry_numbers import Ambiguous, Marks, iso_seconds, marks_of, number

MAX_CSV_BYTES = 64_000_000
"""A day of readings at 10 a second has 30 MB."""

HEADER_BYTES = 65_536

LOOKS_LIKE_EPOCH_S = 1e8
"""Three years: a time beyond it was not counted from a video's start."""

JITTER_S = 1.0
"""Rows may run back in time by this much, as loggers of several sensors write them; further is another clock."""

SHOWN_ROWS = 5


@dataclass(frozen=True)
class _Table:
    delimiter: str
    header: int
    """Number of the header's row, from 0."""
    width: int
    """Columns of the header."""
    columns: dict[str, Column]
    text: str
    encoding: str | None
    """Where it is not what the text should be in: what it was taken for."""


class _Row(NamedTuple):
    """A row below the header."""

    line: int
    cells: list[str]
    """Without blanks around them and without empty ones beyond the header."""


class Log(NamedTuple):
    """What a table says, and what of it could not be used."""

    telemetry: tuple[Telemetry, ...]
    notes: tuple[str, ...]


class _Reading(NamedTuple):
    line: int
    time_s: float
    values: dict[str, float | None]


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
    count from ``start_epoch_s``; where that is not given, from the first reading, and a note says so. Dates with a
    time of day (ISO 8601) need ``start_epoch_s``. Every other time is on the video's clock.

    Left out and listed: a row with more cells than the header, the last row where it has fewer, one without a time,
    with nothing beside it, or with the time of a row before. A speed below zero says that it is not known.

    Raises:
        InputError: the table cannot be read, a unit is not known, times look like an epoch without its name or run
            back by more than `JITTER_S`, a number may be two, dates without a start or a zone, or every row has
            more cells than the header.
        NoTelemetry: as `check_telemetry`.
    """
    table = _read_table(path)
    rows = list(_rows(path, table))
    left_out: dict[str, list[int]] = {}
    fitting = _fitting(path, table, rows, left_out)
    marks = _marks(path, table, fitting)
    readings = list(_readings(path, table, fitting, marks, left_out, start_epoch_s))
    in_order = _by_time(path, readings, left_out)
    notes = [f"is not in UTF-8: read as {table.encoding}"] if table.encoding else []
    if marks.doubt:
        read_as = number(marks.doubt, marks.decimal)
        mark = "point" if marks.decimal == "." else "comma"
        notes.append(f"`{marks.doubt}` is read as {read_as:g} (its numbers have a decimal {mark})")
    notes += [f"{_listed(lines)} {what}" for what, lines in left_out.items()]
    begin = 0.0
    time = table.columns["time"]
    if in_order and (time.epoch or time.iso):
        begin = in_order[0].time_s if start_epoch_s is None else start_epoch_s
        if start_epoch_s is None:
            notes.append(f"times count from the first reading, {begin:.3f} s after 1970")
    elif in_order and abs(in_order[-1].time_s) > LOOKS_LIKE_EPOCH_S:
        raise InputError(
            f"{path}: its times reach {in_order[-1].time_s:.0f} s, which no video does; if they count from 1970, "
            "call the column epoch_s (or epoch_ms)"
        )
    if not in_order:
        notes.append("holds no reading")
    telemetry = tuple(
        Telemetry(
            time_s=reading.time_s - begin,
            speed_mps=reading.values.get("speed"),
            course_deg=reading.values.get("course"),
            latitude=reading.values.get("latitude"),
            longitude=reading.values.get("longitude"),
        )
        for reading in in_order
    )
    return Log(telemetry, tuple(f"{path.name}: {note}" for note in notes))


def _fitting(path: Path, table: _Table, rows: list[_Row], left_out: dict[str, list[int]]) -> list[_Row]:
    """The rows that have no more cells than the header has columns."""
    wide = [row for row in rows if len(row.cells) > table.width]
    if wide and len(wide) == len(rows):
        raise InputError(
            f"{path}:{wide[0].line}: has {len(wide[0].cells)} cells, the header {table.width} columns, as every row; "
            "part columns with semicolons where numbers have decimal commas"
        )
    if wide:
        left_out["with more cells than the header left out"] = [row.line for row in wide]
    fitting = [row for row in rows if len(row.cells) <= table.width]
    if len(fitting) > 1 and len(fitting[-1].cells) < min(table.width, len(fitting[-2].cells)):
        # A logger that is cut off stops within a number.
        left_out["at the file's end with fewer cells than the header, left out"] = [fitting.pop().line]
    if short := [row.line for row in fitting if len(row.cells) < table.width]:
        left_out["with fewer cells than the header, what is missing taken as unknown"] = short
    return fitting


def _marks(path: Path, table: _Table, rows: list[_Row]) -> Marks:
    columns = [column for column in table.columns.values() if not column.iso]
    cells = (row.cells[column.index] for row in rows for column in columns if column.index < len(row.cells))
    try:
        return marks_of(cells, table.delimiter)
    except Ambiguous as error:
        raise InputError(
            f"{path}: {error}; write its numbers with a decimal point and without groups of thousands"
        ) from error


def _readings(
    path: Path,
    table: _Table,
    rows: list[_Row],
    marks: Marks,
    left_out: dict[str, list[int]],
    start_epoch_s: float | None,
) -> Iterator[_Reading]:
    """The rows that hold a time and something beside it, in SI units."""
    no_time: list[int] = []
    negative: list[int] = []
    nothing: list[int] = []
    for line, cells in rows:
        time_s = _time(path, table.columns["time"], line, cells, marks, start_epoch_s)
        if time_s is None:
            no_time.append(line)
            continue
        values = {
            kind: _value(cells, column, marks) for kind, column in table.columns.items() if kind != "time"
        }
        speed = values.get("speed")
        if speed is not None and speed < 0:
            negative.append(line)
            values["speed"] = None
        if all(value is None for value in values.values()):
            nothing.append(line)
            continue
        yield _Reading(line, time_s, values)
    for what, lines in (
        ("without a time left out", no_time),
        ("with a speed below zero, taken as unknown", negative),
        ("without a number beside the time left out", nothing),
    ):
        if lines:
            left_out[what] = lines


def _value(cells: list[str], column: Column, marks: Marks) -> float | None:
    """The number of a cell in SI units; None where there is none."""
    value = number(cells[column.index], marks.decimal) if column.index < len(cells) else None
    return None if value is None or abs(value * column.factor) == float("inf") else value * column.factor


def _time(
    path: Path, column: Column, line: int, cells: list[str], marks: Marks, start_epoch_s: float | None
) -> float | None:
    """When a row was written: seconds of the video's clock, or from 1970."""
    if not column.iso:
        return _value(cells, column, marks)
    found = iso_seconds(cells[column.index], is_utc=column.utc) if column.index < len(cells) else None
    if found is None:
        return None
    seconds, has_zone = found
    if not has_zone:
        raise InputError(
            f"{path}:{line}: `{cells[column.index]}` has no time zone; write it with Z or +01:00, or call the column "
            "utc_time"
        )
    if start_epoch_s is None:
        raise InputError(
            f"{path}:{line}: `{cells[column.index]}` is a date, and it is not known when the video begins; say so in a "
            f'manifest: {{"video": "a.mp4", "telemetry": "{path.name}", "telemetry_start_s": {seconds:.3f}}} '
            "(seconds from 1970; these are the row's)"
        )
    return seconds


def _by_time(path: Path, readings: list[_Reading], left_out: dict[str, list[int]]) -> list[_Reading]:
    """Readings in order of time, each time once.

    Raises:
        InputError: the clock runs back.
    """
    latest = readings[0] if readings else None
    swapped: list[int] = []
    for reading in readings[1:]:
        if latest is None or reading.time_s >= latest.time_s:
            latest = reading
        elif latest.time_s - reading.time_s > JITTER_S:
            raise InputError(
                f"{path}:{reading.line}: the time falls from {latest.time_s:g} s (line {latest.line}) to "
                f"{reading.time_s:g} s, as where a clock was restarted or two logs were joined; cut the table to "
                "the rows of its video, or sort them"
            )
        else:
            swapped.append(reading.line)
    if swapped:
        left_out[f"earlier than a row above by at most {JITTER_S:g} s, put in order"] = swapped
    in_order: list[_Reading] = []
    repeated: list[int] = []
    for reading in sorted(readings, key=lambda reading: reading.time_s):
        if in_order and in_order[-1].time_s == reading.time_s:
            repeated.append(reading.line)
        else:
            in_order.append(reading)
    if repeated:
        left_out["with the time of a row before left out"] = sorted(repeated)
    return in_order


def _listed(rows: list[int]) -> str:
    shown = ", ".join(map(str, rows[:SHOWN_ROWS]))
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    return f"line{'s' if len(rows) > 1 else ''} {shown}{more}"


# ------------------------------------------------------------------------------------------------ the table


def _rows(path: Path, table: _Table) -> Iterator[_Row]:
    """The rows below the header with their line numbers; empty ones are passed over."""
    for row, line, cells in _parsed(path, table.text, table.delimiter):
        if row > table.header and any(cells):
            while len(cells) > table.width and not cells[-1]:
                cells.pop()
            yield _Row(line, cells)


def _parsed(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Every row: its number from 0, the number of its last line, its cells without the blanks around them."""
    # Strict: a quotation mark that is never closed would take all lines below it into one cell.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row, cells in enumerate(reader):
            yield row, reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: no table ({error}); mend the line") from error


def _read_table(path: Path, *, header_only: bool = False) -> _Table:
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES if header_only else MAX_CSV_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a CSV of time and speed") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); give a CSV of time and speed") from error
    if len(content) > MAX_CSV_BYTES:
        raise InputError(f"{path}: has more than {MAX_CSV_BYTES // 1_000_000} MB; cut it to the video's time")
    text, encoding = _text(content, is_cut=header_only and len(content) == HEADER_BYTES)
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
    while header and not header[-1].strip():
        header.pop()
    place, below = _header_row(text, first, delimiter)
    return _Table(delimiter, place, len(header), read_header(path, header, below), text, encoding)


def _text(content: bytes, *, is_cut: bool) -> tuple[str, str | None]:
    """The text of a file, and what its bytes were taken for where they are no UTF-8."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace"), None
    # ASCII in two bytes per character has a zero in every other place.
    for encoding, zeros in (("utf-16-le", content[1:200:2]), ("utf-16-be", content[0:200:2])):
        if len(zeros) > 3 and not zeros.strip(b"\0"):
            return content.decode(encoding, errors="replace"), "UTF-16"
    if is_cut:
        content = content[: content.rfind(b"\n") + 1] or content
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        return content.decode("latin-1"), "Latin-1"


def _header_row(text: str, line: int, delimiter: str) -> tuple[int, list[str]]:
    """Which row of the csv module the header's line is (it counts lines in quotes as one), and the row below it."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    place = None
    try:
        for row, cells in enumerate(reader):
            if place is not None and any(cell.strip() for cell in cells):
                return place, cells
            if place is None and reader.line_num > line:
                place = row
    except csv.Error:
        pass
    return (line if place is None else place), []

"""What an importer yields: an answer with the footage it speaks of, or an entry it left out and why.

Each importer (`original`, `bddx`, `drivelm`, `lingoqa`) is a function ``(path, ...) -> Iterator[Entry]``;
`import_file` writes what it yields. The reading of files that they share stands here, too.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from roadscribe.errors import InputError

MAX_JSON_BYTES = 2_000_000_000
"""A JSON file is read whole; DriveLM's largest has a fifth of this."""


@dataclass(frozen=True)
class Drive:
    """Where the frames of a clip are: one line of ``drives.jsonl``, which `collect` reads."""

    clip_id: str
    drive_id: str
    video: str | None = None
    """Path of a video, relative to the folder of the footage; None: ``images`` holds the frames."""
    images: tuple[str, ...] = ()
    """Paths of pictures, oldest first, the last one is now."""
    timestamps_s: tuple[float, ...] = ()
    """Seconds on one clock, one for each of ``images``."""
    start_s: float | None = None
    end_s: float | None = None
    """The window of a video in seconds from its start; None: from its beginning, to its end."""

    def as_json(self) -> dict[str, Any]:
        """The line without what is not known."""
        fields: dict[str, Any] = {"clip_id": self.clip_id, "drive_id": self.drive_id}
        if self.video is not None:
            fields["video"] = self.video
        else:
            fields |= {"images": list(self.images), "timestamps_s": list(self.timestamps_s)}
        window = {"start_s": self.start_s, "end_s": self.end_s}
        return fields | {name: value for name, value in window.items() if value is not None}


@dataclass(frozen=True)
class Answered:
    """One answer. A clip's answers come in the order in which a limit should take them."""

    row: int
    """Position of the record in the file, from 0."""
    place: str
    """What tells the entry from others of its record, such as ``Answer.3``; "" where there are none."""
    drive: Drive
    question: str | None
    """None: the answer is a whole driving report, as the standard question asks for."""
    text: str


@dataclass(frozen=True)
class LeftOut:
    """An entry that gives no answer."""

    row: int
    place: str
    reason: str


Entry = Answered | LeftOut


def open_text(path: Path) -> TextIO:
    """A text file in UTF-8, with or without a byte order mark.

    Bytes that are no UTF-8 stay what they are (PEP 383); `import_file` leaves out the entry they stand in.

    Raises:
        InputError: the file cannot be opened, or is in UTF-16.
    """
    head_of(path)
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


PARQUET = b"PAR1"
"""How a Parquet file begins."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def head_of(path: Path) -> bytes:
    """How a file begins, 4096 bytes at most.

    Raises:
        InputError: the file cannot be opened, or begins as Windows begins text in UTF-16.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(4096)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give the file as it was published"
        ) from error
    if begins.startswith(UTF16_MARKS):
        raise InputError(f"{path}: is text in UTF-16; save it as UTF-8")
    return begins


def load_json(path: Path) -> Any:
    """A whole JSON file.

    Raises:
        InputError: it cannot be read, is larger than ``MAX_JSON_BYTES``, or is not JSON.
    """
    with open_text(path) as file:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path}: is larger than {MAX_JSON_BYTES // 10**9} GB; split it")
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not valid JSON ({error})") from error


def csv_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | LeftOut]]:
    """The rows of a CSV file as mappings of stripped texts, "" where a row is too short.

    Rows without any value are passed over like blank lines; a row with values beyond the header's columns is
    left out, because its values may have slipped.

    Raises:
        InputError: a required column is missing, or the file is no CSV.
    """
    with open_text(path) as file:
        reader = csv.DictReader(file, restval="")
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            require_columns(path, header, required)
            for row, record in enumerate(reader):
                beyond: Any = record.pop(None, ())
                values = {name: " ".join((value or "").split()) for name, value in record.items()}
                if any(value.strip() for value in beyond):
                    yield row, LeftOut(row, "", f"holds more values than the {len(header)} columns")
                elif any(values.values()):
                    yield row, values
        except csv.Error as error:
            raise InputError(
                f"{path}: line {reader.line_num}: {error}; is a quotation mark left open before it?"
            ) from error


def require_columns(path: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    """Raise InputError naming the required columns that are missing, and those that there are."""
    missing = [name for name in required if name not in columns]
    if missing:
        there = ", ".join(columns[:8]) + (", ..." if len(columns) > 8 else "")
        raise InputError(f"{path}: has no column {', '.join(missing)}; its columns are {there or 'none'}")


VIDEO_SUFFIX = ".mov"
"""Of a video that is named without one: BDD100K's."""


def video_file(path: str) -> tuple[str, str]:
    """The name of a video without its ending, and its path with one; raises ValueError as `relative_path`."""
    relative = PurePosixPath(relative_path(path))
    if relative.suffix:
        return relative.stem, str(relative)
    return relative.name, f"{relative}{VIDEO_SUFFIX}"


_DRIVE_LETTER = re.compile(r"[A-Za-z]:")


def relative_path(path: str) -> str:
    """A path of a published file as one below the folder of the footage: ``../`` before it is taken off.

    Raises:
        ValueError: it is empty, absolute, an address, or leads upwards in its middle.
    """
    parts = [part for part in path.strip().replace("\\", "/").split("/") if part != "."]
    if "://" in path or _DRIVE_LETTER.match(parts[0]) or (len(parts) > 1 and not parts[0]):
        raise ValueError(f"the path {path!r} is not relative to the folder of the footage")
    while parts and parts[0] == "..":
        del parts[0]
    if not parts or not parts[-1] or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} is no path of a file")
    return "/".join(part for part in parts if part)

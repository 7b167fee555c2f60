"""LingoQA: questions and answers on short stretches of London driving, as a table.

The published files are ``train.parquet`` and ``val.parquet`` (github.com/wayveai/LingoQA; Marcu et al.,
LingoQA: Visual Question Answering for Autonomous Driving, 2024): one answer a row, with the paths of the
segment's pictures. The same table is read as CSV, as a JSON list of records, and as JSON lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roadscribe.curate.importers.entries import (
    PARQUET,
    Answered,
    Drive,
    Entry,
    LeftOut,
    csv_rows,
    head_of,
    load_json,
    open_text,
    relative_path,
    require_columns,
)
from roadscribe.errors import InputError

REQUIRED = ("question_id", "segment_id", "images", "question", "answer")

SECONDS_BETWEEN = 1.0
"""Between two pictures of a segment; the tables do not say, the paper takes one a second."""

ROWS_AT_ONCE = 4096

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def read(path: Path) -> Iterator[Entry]:
    """Every row as an answer on the clip of its segment; a segment is a drive of its own.

    Raises:
        InputError: a required column is missing, or the file is none of the forms.
    """
    shown: dict[str, tuple[str, ...]] = {}
    for row, record in _records(path):
        if isinstance(record, LeftOut):
            yield record
            continue
        place = f"question {record['question_id']}"
        try:
            segment, question, answer = (_text(record, name) for name in ("segment_id", "question", "answer"))
            images = tuple(relative_path(image) for image in image_paths(record["images"]))
            if shown.setdefault(segment, images) != images:
                raise ValueError(f"shows other pictures than an earlier row of segment {segment}")
        except ValueError as error:
            yield LeftOut(row, place, str(error))
            continue
        times = tuple(SECONDS_BETWEEN * number for number in range(len(images)))
        yield Answered(
            row, place, Drive(segment, segment, images=images, timestamps_s=times), question, answer
        )


def _text(record: dict[str, Any], name: str) -> str:
    value = record[name]
    if name == "segment_id" and type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"has no {name}")
    return value.strip()


def image_paths(value: Any) -> list[str]:
    """The paths in a cell: a list, or how a list is written in CSV (JSON, Python's or NumPy's way).

    Raises:
        ValueError: there are none, or they are no paths (pictures embedded in the table, numbers).
    """
    if isinstance(value, str):
        value = _written_list(value)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError("its images are no list of paths")
    return value


def _written_list(text: str) -> Any:
    if not text.startswith("["):
        return [text] if text else []
    try:
        return json.loads(text)
    except ValueError:
        return [single or double for single, double in _QUOTED.findall(text)]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | LeftOut]]:
    """The rows of the table, whatever it is written as."""
    head = head_of(path)
    begins = head.decode("utf-8-sig", errors="replace").lstrip()
    if head.startswith(PARQUET):
        yield from _parquet_rows(path)
    elif begins.startswith("["):
        yield from _checked(path, enumerate(_json_list(path)))
    elif begins.startswith("{"):
        yield from _checked(path, _json_lines(path))
    else:
        yield from csv_rows(path, REQUIRED)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | LeftOut]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        require_columns(path, table.schema_arrow.names, REQUIRED)
        row = 0
        for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(REQUIRED)):
            for record in batch.to_pylist():
                yield row, record
                row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a Parquet table ({' '.join(str(error).split())[:200]})") from error


def _json_list(path: Path) -> list[Any]:
    records = load_json(path)
    assert isinstance(records, list)  # it begins with a bracket
    return records


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as file:
        for row, line in enumerate(line for line in file if line.strip()):
            try:
                yield row, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield row, LeftOut(row, "", f"is no JSON ({error})")


def _checked(
    path: Path, records: Iterator[tuple[int, Any]]
) -> Iterator[tuple[int, dict[str, Any] | LeftOut]]:
    """JSON records with all required keys; where the first has not, the file is of another form."""
    for row, record in records:
        if row == 0 and isinstance(record, dict):
            require_columns(path, list(record), REQUIRED)
        if isinstance(record, LeftOut) or (
            isinstance(record, dict) and all(name in record for name in REQUIRED)
        ):
            yield row, record
        else:
            yield row, LeftOut(row, "", f"is no record with {', '.join(REQUIRED)}")

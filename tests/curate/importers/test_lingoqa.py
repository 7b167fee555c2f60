"""LingoQA's tables: questions and answers on segments of pictures, whatever the table is written as."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing import answers, left_out, lines

from roadscribe.curate.importers.import_file import import_file
from roadscribe.curate.importers.lingoqa import image_paths
from roadscribe.errors import InputError


def record(segment: str, question: str, answer: Any, **more: Any) -> dict[str, Any]:
    images = [f"images/train/{segment}/{number}.jpg" for number in range(5)]
    fields = {"question_id": f"{segment}-{question}", "segment_id": segment, "images": images}
    return {**fields, "question": question, "answer": answer, **more}


TABLE = [
    record("a", "Any bus?", "Yes, one."),
    record("b", "Any bus?", "No."),
    record("a", "Why stop?", "The light\nis red."),
    record("a", "Any bus?", "One bus."),
]


def write_table(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            # As pandas writes it: a nameless index first, arrays as NumPy prints them.
            writer = csv.writer(file)
            writer.writerow(["", *records[0]])
            for number, fields in enumerate(records):
                paths = "[" + " ".join(f"'{path}'" for path in fields["images"]) + "]"
                writer.writerow([number, *({**fields, "images": paths}).values()])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(fields) + "\n" for fields in records), encoding="utf-8")
    else:
        path.write_text(json.dumps(records), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.json", "t.jsonl"])
def test_every_form_of_the_table_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    raw = import_file(write_table(tmp_path / name, TABLE), tmp_path / "raw")
    said = [(clip, question, " ".join(text.split())) for clip, question, text in answers(raw)]
    assert said == [
        ("a", "Any bus?", "Yes, one."),
        ("b", "Any bus?", "No."),
        ("a", "Why stop?", "The light is red."),
    ]
    assert lines(raw / "drives.jsonl") == [
        {
            "clip_id": segment,
            "drive_id": segment,
            "images": [f"images/train/{segment}/{number}.jpg" for number in range(5)],
            "timestamps_s": [0.0, 1.0, 2.0, 3.0, 4.0],
        }
        for segment in ("a", "b")
    ]
    assert [(row, reason.split(";")[0]) for row, _, reason in left_out(raw)] == [
        (3, "is a further answer to a question that has one")
    ]


def test_all_reference_answers_are_rows_when_asked_for(tmp_path: Path) -> None:
    raw = import_file(write_table(tmp_path / "t.parquet", TABLE), tmp_path / "raw", all_answers=True)
    assert [text for clip, question, text in answers(raw) if (clip, question) == ("a", "Any bus?")] == [
        "Yes, one.",
        "One bus.",
    ]
    assert left_out(raw) == []


def test_a_limit_holds_for_a_segment_whose_rows_stand_apart(tmp_path: Path) -> None:
    raw = import_file(write_table(tmp_path / "t.parquet", TABLE), tmp_path / "raw", max_questions=1)
    assert [(clip, question) for clip, question, _ in answers(raw)] == [("a", "Any bus?"), ("b", "Any bus?")]
    assert [row for row, _, _ in left_out(raw)] == [2, 3]


def test_broken_rows_are_listed_and_the_others_stay(tmp_path: Path) -> None:
    broken = [
        record("a", "Any bus?", None),
        record("a", "", "No."),
        record("a", "Any bus?", "No.", images=None),
        record("a", "Any bus?", "No.", images=["../../a/../b.jpg"]),
        record("", "Any bus?", "No."),
        record("b", "Any bus?", "No."),
        record("b", "Why?", "So.", images=["images/train/other/0.jpg"]),
    ]
    raw = import_file(write_table(tmp_path / "t.parquet", broken), tmp_path / "raw")
    assert [clip for clip, _, _ in answers(raw)] == ["b"]
    reasons = [reason.split(" of")[0] for row, _, reason in sorted(left_out(raw))]
    assert reasons == [
        "has no answer", "has no question", "its images are no list", "'../../a/../b.jpg' is no path",
        "has no segment_id", "shows other pictures than an earlier row",
    ]  # fmt: skip


def test_unknown_columns_are_fine_and_missing_ones_are_named(tmp_path: Path) -> None:
    more = [{**fields, "split": "train"} for fields in TABLE]
    assert len(answers(import_file(write_table(tmp_path / "t.parquet", more), tmp_path / "raw"))) == 3
    for name in ("t2.parquet", "t2.csv", "t2.json", "t2.jsonl"):
        less = [{key: value for key, value in fields.items() if key != "segment_id"} for fields in TABLE]
        with pytest.raises(InputError, match=r"t2\.\w+: has no column segment_id; its columns are "):
            import_file(write_table(tmp_path / name, less), tmp_path / "less")
    assert not (tmp_path / "less").exists()


def test_a_table_with_a_broken_line_keeps_its_other_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        "\n".join([json.dumps(TABLE[0]), '{"question_id": ', "", '{"x": 1}', json.dumps(TABLE[1])])
    )
    raw = import_file(file, tmp_path / "raw")
    assert len(answers(raw)) == 2 and [row for row, _, _ in left_out(raw)] == [1, 2]


def test_a_file_that_only_begins_like_a_table_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    file.write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(InputError, match="not a Parquet table"):
        import_file(file, tmp_path / "raw")


@pytest.mark.parametrize(
    "written",
    ["['a/0.jpg', 'a/1.jpg']", '["a/0.jpg", "a/1.jpg"]', "['a/0.jpg' 'a/1.jpg']", "['a/0.jpg'\n 'a/1.jpg']"],
)
def test_lists_are_read_however_a_csv_writes_them(written: str) -> None:
    assert image_paths(written) == ["a/0.jpg", "a/1.jpg"]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="'\"\\", exclude_categories=["C", "Z"]), min_size=1),
        min_size=1,
    )
)
def test_a_list_of_paths_survives_being_written(paths: list[str]) -> None:
    for written in (str(paths), json.dumps(paths), "[" + " ".join(f"'{path}'" for path in paths) + "]"):
        assert image_paths(written) == paths


@pytest.mark.parametrize(
    "cell", ["", "[]", "[1, 2]", [], None, [b"\xff\xd8"], [{"bytes": b"x", "path": None}], 7]
)
def test_cells_that_hold_no_paths_are_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="no list of paths"):
        image_paths(cell)

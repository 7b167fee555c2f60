"""BDD-X's CSV: every timed action becomes a question and an answer on the seconds it happens in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing import BDDX_HEADER, answers, left_out, lines, write_bddx

from roadscribe.curate.importers.bddx import (
    QUESTION,
    QUESTION_WITHOUT_REASON,
    action_window,
    question_and_answer,
)
from roadscribe.curate.importers.import_file import import_file
from roadscribe.errors import InputError

URL = "https://example.org/samples-1k/06d501fd-a9ffc960.mov"


def test_every_action_is_a_row_on_its_own_window(tmp_path: Path) -> None:
    first = [URL, "0", "11", "The car accelerates", "because the light has turned green."]
    second = ["12", "19", "The car stops.", "to let a bus pass"]
    file = write_bddx(tmp_path / "a.csv", [[*first, *second]])
    raw = import_file(file, tmp_path / "raw")
    assert answers(raw) == [
        ("06d501fd-a9ffc960@0-11", QUESTION, "The car accelerates because the light has turned green."),
        ("06d501fd-a9ffc960@12-19", QUESTION, "The car stops to let a bus pass."),
    ]
    assert lines(raw / "drives.jsonl") == [
        {"clip_id": f"06d501fd-a9ffc960@{start}-{end}", "drive_id": "06d501fd",
         "video": "06d501fd-a9ffc960.mov", "start_s": start, "end_s": end}
        for start, end in ((0, 11), (12, 19))
    ]  # fmt: skip
    assert left_out(raw) == []


@pytest.mark.parametrize(
    ("action", "justification", "said"),
    [
        ("The car is stopped.", "The light is red.", "The car is stopped because the light is red."),
        ("the car stops", "Because it parks", "The car stops because it parks."),
        ("The car is stopped", "at a red light.", "The car is stopped at a red light."),
        ("The car slows", "In preparation of a turn", "The car slows in preparation of a turn."),
        ("The car slows", "it's turning", "The car slows because it's turning."),
        ("The car drives", "I-90 is empty", "The car drives because I-90 is empty."),
        ("The car drives", "A man waves", "The car drives because a man waves."),
        ("The car waits", "waiting for a bus", "The car waits waiting for a bus."),
        ("The car drives", "nothing is ahead", "The car drives because nothing is ahead."),
    ],
)
def test_action_and_reason_become_one_sentence(action: str, justification: str, said: str) -> None:
    assert question_and_answer(action, justification) == (QUESTION, said)


def test_an_action_without_a_reason_is_only_asked_what_happens() -> None:
    assert question_and_answer("The car stops.", " ") == (QUESTION_WITHOUT_REASON, "The car stops.")


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        ("5", "5", (4, 5)),
        ("0", "0", (0, 1)),
        ("2", "2.5", (1.5, 2.5)),
        ("0", "40", (0, 40)),
        ("7", "8", (7, 8)),
    ],
)
def test_a_window_is_at_least_a_second_and_ends_with_the_action(
    start: str, end: str, window: tuple[float, float]
) -> None:
    assert action_window(start, end) == window


def test_broken_entries_are_listed_by_row_and_place_and_the_others_stay(tmp_path: Path) -> None:
    file = write_bddx(
        tmp_path / "a.csv",
        [
            [URL, "9", "4", "The car stops", "it parks", "x", "9", "The car turns", "it may"],
            [""],
            [URL, "", "4", "The car stops", "", "1", "nan", "The car stops", "", "4", "8", "", "it may"],
            ["", "1", "4", "The car stops", "it parks"],
            [URL, "1", "4", 'The "car"\nstops,\r\nthen goes', "it parks"],
        ],
    )
    raw = import_file(file, tmp_path / "raw")
    assert [(row, place, reason.split(":")[0]) for row, place, reason in left_out(raw)] == [
        (0, "Answer.1", "ends at 4 s, before it begins at 9 s"),
        (0, "Answer.2", "its start is no number of seconds"),
        (2, "Answer.1", "its start is no number of seconds"),
        (2, "Answer.2", "its end is no number of seconds"),
        (2, "Answer.3", "names no action"),
        (3, "Answer.1", "'' is no path of a file"),
    ]
    assert answers(raw) == [
        ("06d501fd-a9ffc960@1-4", QUESTION, 'The "car" stops, then goes because it parks.')
    ]


def test_two_people_on_one_window_are_one_row_or_two_as_asked(tmp_path: Path) -> None:
    rows = [[URL, "0", "4", action, "it parks"] for action in ("The car stops", "The car brakes")]
    file = write_bddx(tmp_path / "a.csv", rows)
    first = import_file(file, tmp_path / "first")
    assert len(answers(first)) == 1 and "--all-answers" in left_out(first)[0][2]
    both = import_file(file, tmp_path / "both", all_answers=True)
    assert len(answers(both)) == 2 and len(lines(both / "drives.jsonl")) == 1
    assert len({line["key"] for line in lines(both / "answers.jsonl")}) == 2


def test_a_byte_order_mark_and_unknown_columns_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    head = "WorkerId,Input.Video,Answer.1start,Answer.1end,Answer.1action,Answer.1justification"
    file.write_bytes(f"\ufeff{head}\r\nw1,{URL},0,4,The car stops,it parks\r\n".encode())
    assert len(answers(import_file(file, tmp_path / "raw"))) == 1


def test_a_missing_column_is_one_line_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("Input.Video,Answer.1start,Answer.1end,Answer.1action\na.mov,0,4,stops\n")
    with pytest.raises(InputError, match=r"has no column Answer.1justification"):
        import_file(file, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_values_that_slipped_beyond_the_columns_are_not_guessed_at(tmp_path: Path) -> None:
    row = [URL, "0", "4", "The car stops", "it parks"]
    good = ",".join([*row, *[""] * (len(BDDX_HEADER) - 5)])
    file = tmp_path / "a.csv"
    file.write_text(f"{','.join(BDDX_HEADER)}\n{good},,\n{good},slipped\n")
    raw = import_file(file, tmp_path / "raw")
    assert len(answers(raw)) == 1
    assert left_out(raw) == [(1, "", "holds more values than the 61 columns")]


def test_an_open_quotation_mark_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f'{",".join(BDDX_HEADER)}\n{URL},0,4,"The car stops\n' + "x,y\n" * 60_000)
    with pytest.raises(InputError, match="quotation mark"):
        import_file(file, tmp_path / "raw")


def test_bytes_that_are_no_utf8_leave_out_only_their_entry(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = f"{URL},0,4,The car stops,it can\x92t go\n{URL},4,8,The car stops,it parks\n"
    file.write_bytes(f"{','.join(BDDX_HEADER)}\n".encode() + rows.encode("latin-1"))
    raw = import_file(file, tmp_path / "raw")
    assert [clip for clip, _, _ in answers(raw)] == ["06d501fd-a9ffc960@4-8"]
    assert "no UTF-8" in left_out(raw)[0][2]


@pytest.mark.parametrize(
    ("named", "video"),
    [
        ("https://example.org/a/0f.mov?x=1/2", "0f.mov"),
        ("0f.mov", "0f.mov"),
        ("videos\\train\\0f.mov", "0f.mov"),
        ("C:\\videos\\0f.mov", "0f.mov"),
        ("0f", "0f.mov"),
        ("../../0f.mp4", "0f.mp4"),
    ],
)
def test_the_videos_file_is_found_in_any_address(tmp_path: Path, named: str, video: str) -> None:
    file = write_bddx(tmp_path / "a.csv", [[named, "0", "4", "The car stops", "it parks"]])
    (drive,) = lines(import_file(file, tmp_path / "raw") / "drives.jsonl")
    assert (drive["video"], drive["clip_id"]) == (video, "0f@0-4")


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "0", "7", "12", "3.5", "-1", "nan", "1e9", '"', ",", "The car"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=13), min_size=1, max_size=6))
def test_whatever_stands_in_the_cells_every_action_is_taken_or_listed(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    file = folder / "a.csv"
    # Half a surrogate pair cannot be written to a file, and a NUL is no text either.
    rows = [[cell.encode(errors="ignore").decode().replace("\0", "") for cell in row] for row in rows]
    write_bddx(file, rows)
    padded = [[*map(str.strip, row), *[""] * 12] for row in rows]
    given_actions = sum(any(row[place : place + 4]) for row in padded for place in (1, 5, 9))
    try:
        raw = import_file(file, folder / "raw", all_answers=True)
    except InputError as error:
        assert "no answer could be taken" in str(error) and not (folder / "raw").exists()
        return
    taken = answers(raw)
    assert len(taken) + len(left_out(raw)) == given_actions
    for line in lines(raw / "drives.jsonl"):
        assert 0 <= line["start_s"] < line["end_s"] and "/" not in line["video"]
    assert {clip for clip, _, _ in taken} == {line["clip_id"] for line in lines(raw / "drives.jsonl")}

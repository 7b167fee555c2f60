"""`roadscribe import` tells published sets apart by content, writes raw answers, and accounts for every entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import answers, key_frame, left_out, lines, scenes, write_bddx, write_json
from typer.testing import CliRunner

from roadscribe.artifacts import MANIFEST, read_json
from roadscribe.cli import app
from roadscribe.curate.importers.entries import relative_path
from roadscribe.curate.importers.import_file import import_file, recognise
from roadscribe.curate.original import OriginalAnswer, original_answers
from roadscribe.curate.read import open_log
from roadscribe.errors import InputError
from roadscribe.prompts import PROMPT_VERSION, own_version
from roadscribe.report import PARAMETERS

ACTION = ["https://example.org/a/06d501fd-a9ffc960.mov", "0", "4", "The car stops", "it parks"]
REPORT_QUESTION = "Give Scene Description, Driving Parameters (JSON) and Risk Assessment."
REPORTS = [
    {
        "video_id": "000d35d3-41990aa4.mov",
        "QA": {"q": REPORT_QUESTION, "a": "**Scene Description:** A road."},
    },
    {"video_id": "day/0f", "QA": {"q": f"{REPORT_QUESTION} ", "a": "A street."}},
]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ('\ufeff [ {"video_id": "a", "QA": {"q": "?", "a": "!"}}]', "original"),
        ('{"f0f1": {"scene_description": "", "key_frames": {}}}', "drivelm"),
        ('\ufeffInput.Video,Answer.1start\n"a\nb",1\n', "bddx"),
        ('"HITId","Input.Video","Answer.1start"\n', "bddx"),
        ("question_id,segment_id,images,question,answer\n", "lingoqa"),
        ('[\n  {"question_id": "1", "QA": "x"}]', "lingoqa"),
        ('{"images": [], "segment_id": "s"}\n', "lingoqa"),
        ("PAR1....", "lingoqa"),
    ],
)
def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path: Path, content: str, form: str) -> None:
    file = tmp_path / "data"
    file.write_text(content)
    assert recognise(file) == form


@pytest.mark.parametrize("content", ["", "hello", "[]", "{}", "a,b\n1,2\n", '{"x": 1}', "\x00\xff"])
def test_any_other_file_is_one_line_that_names_the_formats(tmp_path: Path, content: str) -> None:
    file = tmp_path / "data.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"none of the known instruction sets.*--format"):
        import_file(file, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("form", [None, "original", "lingoqa"])
def test_text_in_utf16_and_a_missing_file_say_what_to_do(tmp_path: Path, form: str | None) -> None:
    file = tmp_path / "data.json"
    file.write_text(json.dumps(REPORTS), encoding="utf-16")
    with pytest.raises(InputError, match="save it as UTF-8"):
        import_file(file, tmp_path / "raw", form=form)
    with pytest.raises(InputError, match=r"cannot be read.*give the file as it was published"):
        import_file(tmp_path / "nowhere", tmp_path / "raw", form=form)
    assert not (tmp_path / "raw").exists()


def test_the_original_answers_are_reports_on_whole_videos(tmp_path: Path) -> None:
    raw = import_file(write_json(tmp_path / "o.json", REPORTS), tmp_path / "raw")
    assert answers(raw) == [
        ("000d35d3-41990aa4", None, "**Scene Description:** A road."),
        ("0f", None, "A street."),
    ]
    assert {line["prompt"] for line in lines(raw / "answers.jsonl")} == {PROMPT_VERSION}
    assert lines(raw / "drives.jsonl") == [
        {"clip_id": "000d35d3-41990aa4", "drive_id": "000d35d3", "video": "000d35d3-41990aa4.mov"},
        {"clip_id": "0f", "drive_id": "0f", "video": "day/0f.mov"},
    ]


def qa(video: str, question: Any, answer: str) -> dict[str, Any]:
    return {"video_id": video, "QA": {"q": question, "a": answer}}


def test_other_questions_in_the_original_layout_are_kept_several_for_one_video(tmp_path: Path) -> None:
    entries = [
        qa("a.mov", "Why does the car slow down?", "The light turns red."),
        qa("a.mov", "Where should the driver look?", "At the bus."),
        qa("b.mov", "Why does the car slow down?", "A bus stops."),
        qa("b.mov", REPORT_QUESTION, "**Scene Description:** A road."),
        qa("c.mov", None, "A report."),
        {"video_id": "d.mov", "QA": [{"q": "What next?", "a": "It turns."}, {"q": "Why?", "a": "It must."}]},
    ]
    raw = import_file(write_json(tmp_path / "o.json", entries), tmp_path / "raw")
    assert answers(raw) == [
        ("a", "Why does the car slow down?", "The light turns red."),
        ("a", "Where should the driver look?", "At the bus."),
        ("b", "Why does the car slow down?", "A bus stops."),
        ("b", None, "**Scene Description:** A road."),
        ("c", None, "A report."),
        ("d", "What next?", "It turns."),
        ("d", "Why?", "It must."),
    ]
    assert left_out(raw) == [] and len(lines(raw / "drives.jsonl")) == 4


def test_a_question_in_another_language_whose_answers_are_reports_asks_for_reports(tmp_path: Path) -> None:
    whole = json.dumps(dict.fromkeys(PARAMETERS, "unknown"))
    entries = [qa(f"{n}.mov", "Beschreibe die Szene.", whole) for n in range(3)]
    entries.append(qa("3.mov", "Beschreibe die Szene.", "Das kann ich nicht."))
    raw = import_file(write_json(tmp_path / "o.json", entries), tmp_path / "raw")
    assert [question for _, question, _ in answers(raw)] == [None] * 4


def test_what_is_left_out_as_repeated_really_is(tmp_path: Path) -> None:
    entries = [
        qa("a.mov", "Why?", "It must."),
        qa("a.mov", "Why?", "It must."),
        qa("a.mov", "Why? ", "It wants to."),
        qa("a.mov", "Why now?", "It must."),
    ]
    file = write_json(tmp_path / "o.json", entries)
    raw = import_file(file, tmp_path / "raw")
    assert [text for _, _, text in answers(raw)] == ["It must.", "It must."]
    assert [(row, reason) for row, _, reason in left_out(raw)] == [
        (1, "says word for word what row 0 answers to the same question on this clip"),
        (2, "is a further answer to a question that has one; row 0 gives it, --all-answers keeps both"),
    ]
    assert len(answers(import_file(file, tmp_path / "all", all_answers=True))) == 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from(["", "Why?", "What?", "Where?"]), st.text(max_size=8)
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_entry_of_a_file_is_an_answer_with_its_own_question(said: list[tuple[str, str, str]]) -> None:
    found = list(original_answers([qa(*one) for one in said]))
    assert [
        (one.video, one.question or "", one.text) for one in found if isinstance(one, OriginalAnswer)
    ] == said


def test_entries_of_the_original_that_are_broken_are_listed(tmp_path: Path) -> None:
    broken = [REPORTS[0], {"video_id": 3, "QA": {"a": "x"}}, {"video_id": "b.mov", "QA": None}, 5,
              {"video_id": "/abs/c.mov", "QA": {"a": "x"}}, {"video_id": "d.mov", "QA": {"a": " "}},
              {"video_id": "e.mov", "QA": {"a": "half \ud83d"}}]  # fmt: skip
    raw = import_file(write_json(tmp_path / "o.json", broken), tmp_path / "raw")
    assert len(answers(raw)) == 1 and [row for row, _, _ in left_out(raw)] == [1, 2, 3, 4, 5, 6]


def test_two_videos_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    entries = [{"video_id": f"{folder}/x.mov", "QA": {"a": "A road."}} for folder in "ab"]
    raw = import_file(write_json(tmp_path / "o.json", entries), tmp_path / "raw")
    assert lines(raw / "drives.jsonl") == [{"clip_id": "x", "drive_id": "x", "video": "a/x.mov"}]
    assert "other footage" in left_out(raw)[0][2]


def test_what_is_written_is_a_raw_artifact_like_the_teachers(tmp_path: Path) -> None:
    raw = import_file(write_bddx(tmp_path / "b.csv", [ACTION]), tmp_path / "raw")
    (record,) = lines(raw / "answers.jsonl")
    assert set(record) == {
        "key", "clip_id", "prompt", "question", "teacher", "text", "finish_reason", "usage", "error",
    }  # fmt: skip
    assert record["prompt"] == own_version(record["question"]) and record["teacher"] == "bddx"
    (answer,) = open_log(raw).answers(record["clip_id"])
    assert (answer.text, answer.question) == (record["text"], record["question"])
    manifest = read_json(raw / MANIFEST, "manifest")
    assert manifest["complete"] and manifest["kind"] == "raw"
    assert manifest["summary"] == {
        "format": "bddx", "file": "b.csv", "answers": 1, "clips": 1, "skipped": 0,
    }  # fmt: skip


def test_videos_are_found_in_subfolders_and_missing_ones_are_listed(tmp_path: Path) -> None:
    for name in ("train/06d501fd-a9ffc960.mov", "val/0b.mov", "train/0c.mov", "val/0c.mov", ".hidden/0d.mov"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    rows = [[f"x/{name}", *ACTION[1:]] for name in ("06d501fd-a9ffc960.mov", "0b.mp4", "0c.mov", "0d.mov")]
    file = write_bddx(tmp_path / "b.csv", rows)
    raw = import_file(file, tmp_path / "raw", videos=tmp_path / "videos")
    assert [line["video"] for line in lines(raw / "drives.jsonl")] == [
        "train/06d501fd-a9ffc960.mov",
        "val/0b.mov",
    ]
    assert [(row, reason.partition(":")[0]) for row, _, reason in left_out(raw)] == [
        (2, "its video is there twice"),
        (3, "its video 0d.mov is not in the folder of the videos"),
    ]
    with pytest.raises(InputError, match="no such folder"):
        import_file(file, tmp_path / "raw2", videos=tmp_path / "nowhere")


def test_the_same_file_gives_the_same_bytes_and_resume_leaves_them(tmp_path: Path) -> None:
    file = write_json(tmp_path / "d.json", scenes(f=key_frame(1, planning=[("What now?", "It stops.")])))
    first, again = import_file(file, tmp_path / "first"), import_file(file, tmp_path / "again")
    for name in ("answers.jsonl", "drives.jsonl", "skipped.jsonl", MANIFEST):
        assert (first / name).read_bytes() == (again / name).read_bytes()
    manifest = (first / MANIFEST).read_text()
    (first / MANIFEST).write_text(json.dumps({**json.loads(manifest), "complete": False}))
    (first / ".answers.jsonl.x.tmp").touch()
    import_file(file, first, resume=True)
    assert (first / MANIFEST).read_text() == manifest and not list(first.glob(".*.tmp"))
    with pytest.raises(InputError, match="already holds"):
        import_file(file, first)
    with pytest.raises(InputError, match=r"another recipe.*max_questions"):
        import_file(file, first, max_questions=3, resume=True)


def test_the_command_line_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bddx(Path("b.csv"), [ACTION])
    result = CliRunner().invoke(app, ["import", "b.csv", "--out", "raw", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["answers"] == 1
    assert (
        "next: roadscribe collect raw/drives.jsonl --root FOLDER-OF-THE-FOOTAGE --out CLIPS" in result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "nowhere.csv: cannot be read"),
        (["nowhere.csv", "--format", "bddx"], "nowhere.csv: cannot be read"),
        (["."], "cannot be read"),
        (["b.csv", "--format", "bdd"], "original, bddx, drivelm, lingoqa"),
        (["b.csv", "--format", "drivelm"], "not valid JSON"),
        (["b.csv", "--format", "original"], "not valid JSON"),
        (["b.csv", "--format", "lingoqa"], "has no column question_id"),
    ],
)
def test_a_mistake_is_an_input_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bddx(Path("b.csv"), [ACTION])
    result = CliRunner().invoke(app, ["import", *arguments, "--out", "raw"])
    assert isinstance(result.exception, InputError) and says in str(result.exception)
    assert not Path("raw").exists()


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("../nuscenes/a.jpg", "nuscenes/a.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        ("../../a", "a"),
    ],
)
def test_paths_are_taken_below_the_folder_of_the_footage(path: str, relative: str) -> None:
    assert relative_path(path) == relative


@pytest.mark.parametrize(
    "path", ["", "..", "/etc/passwd", "a/../../b", "C:/a.jpg", "http://a/b.jpg", "a/", "a\0b"]
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        relative_path(path)

"""Annotate keeps each raw answer once, and a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roadscribe.annotate.annotate import annotate
from roadscribe.annotate.book import TeacherAnswer
from roadscribe.annotate.questions import Ask
from roadscribe.artifacts import MANIFEST, finish, open_output, read_json
from roadscribe.clip import Clip, clips_to_table
from roadscribe.errors import InputError
from roadscribe.recipe import load_recipe


@pytest.fixture
def clips(tmp_path: Path, simulated_clip: Callable[[int], Clip]) -> Path:
    folder = tmp_path / "clips"
    open_output(folder, "clips", {})
    pq.write_table(clips_to_table(simulated_clip(seed) for seed in range(6)), folder / "shard-00000.parquet")
    finish(folder)
    return folder


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def test_one_record_a_clip_with_everything_curation_needs(clips: Path, tmp_path: Path) -> None:
    out = annotate(load_recipe(), clips, tmp_path / "raw")
    records = lines(out)
    assert len(records) == 6 and len({record["key"] for record in records}) == 6
    assert set(records[0]) == {
        "key",
        "clip_id",
        "prompt",
        "question",
        "teacher",
        "text",
        "finish_reason",
        "usage",
        "error",
        "injected",
    }
    assert records[0]["question"] is None and records[0]["error"] is None
    assert records[0]["key"] == f"{records[0]['clip_id']}|adas-1|simulated"
    assert read_json(out / MANIFEST, "manifest")["summary"] == {
        "clips": 6,
        "questions": 6,
        "left_out": 0,
        "answers": 6,
        "cut_off": 0,
        "dead_letters": 0,
        "clips_folder": "../clips",
    }


def test_a_stopped_run_asks_only_for_what_is_missing(clips: Path, tmp_path: Path) -> None:
    recipe = load_recipe(None, ["annotate.error_rate=0.5"])
    whole = lines(annotate(recipe, clips, tmp_path / "whole"))
    out = annotate(recipe, clips, tmp_path / "raw")
    manifest = read_json(out / MANIFEST, "manifest")
    (out / MANIFEST).write_text(json.dumps({**manifest, "complete": False}))
    kept = (out / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (out / "answers.jsonl").write_bytes(b"".join(kept[:3]) + kept[3][:40])  # the crash cut a line off
    annotate(recipe, clips, out, resume=True)
    assert (out / "answers.jsonl").read_bytes().startswith(b"".join(kept[:3]))
    assert lines(out) == whole


def test_answers_of_another_recipe_are_not_mixed_in(clips: Path, tmp_path: Path) -> None:
    annotate(load_recipe(), clips, tmp_path / "raw")
    with pytest.raises(InputError, match="error_rate"):
        annotate(load_recipe(None, ["annotate.error_rate=0.5"]), clips, tmp_path / "raw", resume=True)


def test_answers_about_other_clips_are_not_mixed_in(
    clips: Path, simulated_clips: list[Clip], tmp_path: Path
) -> None:
    out = annotate(load_recipe(), clips, tmp_path / "raw")
    for shard in clips.glob("*.parquet"):
        shard.unlink()
    moved = [clip.model_copy(update={"timestamps_s": (5.0,)}) for clip in simulated_clips[:6]]
    pq.write_table(clips_to_table(moved), clips / "shard-00000.parquet")
    with pytest.raises(InputError, match=r"another recipe.*differs at clips"):
        annotate(load_recipe(), clips, out, resume=True)


def test_unfinished_clips_are_refused(clips: Path, tmp_path: Path) -> None:
    manifest = read_json(clips / MANIFEST, "manifest")
    (clips / MANIFEST).write_text(json.dumps({**manifest, "complete": False}))
    with pytest.raises(InputError, match="unfinished"):
        annotate(load_recipe(), clips, tmp_path / "raw")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (['annotate.questions=["Is it wet?"]'], "simulated teacher writes only reports"),
        (["annotate.model=gpt"], "annotate.model"),
        (["annotate.max_cost=1"], "annotate.max_cost"),
        (["annotate.json_schema=true"], "annotate.json_schema"),
        (["annotate.teacher=some/model"], "local model"),
    ],
)
def test_options_of_another_teacher_are_said_and_leave_nothing_behind(
    clips: Path, tmp_path: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        annotate(load_recipe(None, overrides), clips, tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_local_teacher_is_asked_several_questions_at_once(clips: Path, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def teacher(asks: Sequence[Ask]) -> list[TeacherAnswer]:
        asked.append([ask.question.version for ask in asks])
        return [TeacherAnswer(f"{ask.question.text[:5]} {ask.clip.clip_id}", "length") for ask in asks]

    recipe = load_recipe(
        None,
        [
            "annotate.teacher=some/model",
            'annotate.questions=["Is it wet?"]',
            "annotate.max_questions=1",
            "annotate.report=false",
        ],
    )
    out = annotate(recipe, clips, tmp_path / "raw", open_local=lambda *_: (teacher, 4))
    assert [len(some) for some in asked] == [4, 2]
    records = lines(out)
    assert [record["text"] for record in records] == [f"Is it {record['clip_id']}" for record in records]
    assert records[0]["question"] == "Is it wet?" and records[0]["finish_reason"] == "length"
    assert records[0]["key"] == f"{records[0]['clip_id']}|own-d88e5dfb12e7|some/model"
    with pytest.raises(InputError, match="questions"):
        other = load_recipe(None, ["annotate.teacher=some/model", 'annotate.questions=["Is it dry?"]'])
        annotate(other, clips, out, resume=True, open_local=lambda *_: (teacher, 4))


def test_what_the_limit_leaves_out_is_listed(clips: Path, tmp_path: Path) -> None:
    table = pq.read_table(clips / "shard-00000.parquet")
    same = json.dumps({"path": "one.mp4", "size_bytes": 1, "sha256": "0" * 64})
    column = pa.array([same] * table.num_rows)
    place = table.column_names.index("provenance")
    pq.write_table(table.set_column(place, "provenance", column), clips / "shard-00000.parquet")
    out = annotate(load_recipe(None, ["annotate.max_questions=4"]), clips, tmp_path / "raw")
    assert len(lines(out)) == 4
    left_out = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    assert len(left_out) == 2 and "one.mp4" in left_out[0]["reason"]
    assert not {line["clip_id"] for line in left_out} & {line["clip_id"] for line in lines(out)}

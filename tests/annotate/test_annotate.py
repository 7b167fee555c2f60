"""Annotate keeps each raw answer once, and a stopped run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from roadscribe.annotate.annotate import annotate
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
    assert {"clip_id", "prompt", "teacher", "text", "finish_reason", "usage", "error", "injected"} <= set(
        records[0]
    )
    assert records[0]["key"] == f"{records[0]['clip_id']}|adas-1|simulated"
    assert read_json(out / MANIFEST, "manifest")["summary"] == {
        "clips": 6,
        "answers": 6,
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


def test_unfinished_clips_are_refused(clips: Path, tmp_path: Path) -> None:
    manifest = read_json(clips / MANIFEST, "manifest")
    (clips / MANIFEST).write_text(json.dumps({**manifest, "complete": False}))
    with pytest.raises(InputError, match="unfinished"):
        annotate(load_recipe(), clips, tmp_path / "raw")

"""A local model answers annotate's questions: reports under the grammar, other questions in its own words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from roadscribe.annotate.annotate import annotate
from roadscribe.artifacts import finish, open_output
from roadscribe.clip import Clip, Provenance, clips_to_table
from roadscribe.errors import InputError
from roadscribe.infer.teacher import open_teacher
from roadscribe.recipe import load_recipe
from roadscribe.report import holds_schema


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    def clip(seed: int) -> Clip:
        file = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "JPEG")
        return Clip(
            clip_id=f"clip-{seed}",
            drive_id=f"drive-{seed}",
            source="test",
            frames=(file.getvalue(),),
            timestamps_s=(1.0,),
            width=64,
            height=64,
            provenance=Provenance(path=f"{seed}.mp4", size_bytes=1, sha256="0" * 64),
        )

    folder = tmp_path / "clips"
    open_output(folder, "clips", {})
    pq.write_table(clips_to_table(clip(seed) for seed in range(2)), folder / "shard-00000.parquet")
    finish(folder)
    return folder


def test_a_model_folder_is_a_teacher(clips: Path, lively_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        None,
        [
            f"annotate.teacher={lively_folder}",
            'annotate.questions=["Is it wet?", "Who goes first?"]',
            "annotate.max_tokens=600",
            "model.quantization=none",
        ],
    )
    out = annotate(recipe, clips, tmp_path / "raw", open_local=open_teacher)
    records = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert [(record["clip_id"], record["question"]) for record in records] == [
        (clip, question)
        for clip in ("clip-0", "clip-1")
        for question in (None, "Is it wet?", "Who goes first?")
    ]
    for record in records:
        assert record["teacher"] == str(lively_folder) and record["finish_reason"] in ("stop", "length")
        assert 0 < record["usage"]["completion_tokens"] <= 600
        if record["finish_reason"] == "stop":
            assert holds_schema(record["text"]) == (record["question"] is None)
    # The question is heard: other words, another answer.
    assert len({record["text"] for record in records[:3]}) == 3


def test_no_such_model_is_said_before_anything_is_written(clips: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no-model"
    recipe = load_recipe(None, [f"annotate.teacher={missing}"])
    with pytest.raises(InputError, match="no-model"):
        annotate(recipe, clips, tmp_path / "raw", open_local=open_teacher)
    assert not (tmp_path / "raw").exists()

"""From a published file to rows that train: import, collect, curate and the trainer's own check, on real files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from importing import front, key_frame, lines, write_bddx, write_json
from PIL import Image

from roadscribe.annotate.annotate import annotate
from roadscribe.artifacts import finish, open_output, read_json
from roadscribe.clip import read_clips
from roadscribe.curate.curate import curate
from roadscribe.curate.importers.bddx import QUESTION
from roadscribe.curate.importers.import_file import import_file
from roadscribe.errors import InputError
from roadscribe.footage.collect import collect
from roadscribe.model.load import load_processor, resolve_base
from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION
from roadscribe.recipe import Model, Recipe, load_recipe
from roadscribe.report import PARAMETERS
from roadscribe.simulator.simulate import simulate
from roadscribe.train.dataset import DatasetFacts, check_rows, open_rows

PIXELS = 96 * 64


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    return load_processor(resolve_base(Model(base=str(tiny_folder))), PIXELS)


def recipe(frames: int, *more: str) -> Recipe:
    return load_recipe(None, [f"footage.frames={frames}", f"footage.max_pixels={PIXELS}", *more])


def checked(out: Path, frames: int, processor: Any) -> DatasetFacts:
    return check_rows(open_rows(out), processor, recipe(frames).footage, 8192)


def rows_of(out: Path) -> list[dict[str, Any]]:
    splits = datasets.load_from_disk(str(out / "dataset"))
    return [row for split in splits.values() for row in split.remove_columns("images")]


def draw(path: Path, seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((192, 128)).save(path, quality=90)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recorded videos of two seconds."""
    settings = load_recipe(None, ["simulate.seconds=2", "simulate.fps=4"])
    return simulate(settings, 6, tmp_path_factory.mktemp("drives") / "drives")


def test_bddx_walks_to_rows_that_train(tmp_path: Path, drives: Path, processor: Any) -> None:
    names = sorted(path.name for path in (drives / "videos").glob("*.mp4"))
    rows = [
        [f"https://example.org/a/{name}", "0", "1", f"The car starts drive {n}", "the light is green",
         "1", "2", "The car goes on", "because the road is clear.", "7", "9", "The car stops", "it parks"]
        for n, name in enumerate(names)
    ]  # fmt: skip
    rows.append(["https://example.org/a/elsewhere.mp4", "0", "1", "The car stops", "it parks"])
    raw = import_file(write_bddx(tmp_path / "b.csv", rows), tmp_path / "raw", videos=drives)
    clips = collect([raw / "drives.jsonl"], tmp_path / "clips", recipe(3), root=drives)
    now = sorted((clip.drive_id, round(clip.now_s)) for clip in read_clips(clips))
    assert now == [(Path(name).stem, second) for name in names for second in (1, 2)]
    out = curate(recipe(3, "curate.test_share=0.3"), raw, clips, tmp_path / "out")
    made = rows_of(out)
    assert Counter(row["prompt"][0]["content"] for row in made) == {QUESTION: 12}
    assert {row["completion"][0]["content"] for row in made} >= {
        "The car starts drive 0 because the light is green.",
        "The car goes on because the road is clear.",
    }
    # The third action lies behind the videos' end: collect lists its clip, curate its answer.
    left_out = lines(out / "quarantine.jsonl")
    assert [record["rule"] for record in left_out] == ["no_clip"] * 6
    assert {record["clip_id"] for record in left_out} == {
        line["key"] for line in lines(clips / "skipped.jsonl")
    }
    by_drive: dict[str, set[str]] = {}
    for name, split in datasets.load_from_disk(str(out / "dataset")).items():
        for drive in split["drive_id"]:
            by_drive.setdefault(drive, set()).add(name)
    assert len(by_drive) == 6 and all(len(names) == 1 for names in by_drive.values())
    facts = checked(out, 3, processor)
    assert facts.prompt_version.startswith("own-") and facts.clips == len(facts.tokens)


def test_drivelm_walks_to_rows_that_train(tmp_path: Path, processor: Any) -> None:
    content = {}
    for number in range(3):
        frames = {}
        for moment in (0.0, 2.5, 6.0):
            at = 100 * number + moment
            frames[f"f{moment:g}"] = key_frame(
                at, planning=[("Is <c1,CAM_FRONT,800,450> near?", "Yes."), ("What now?", f"Wait {at:g}.")]
            )
            draw(tmp_path / "data" / front(at).removeprefix("../"), int(10 * at))
        content[f"scene{number}"] = {"key_frames": frames}
    raw = import_file(write_json(tmp_path / "d.json", content), tmp_path / "raw")
    clips = collect([raw / "drives.jsonl"], tmp_path / "clips", recipe(2), root=tmp_path / "data")
    assert sorted(clip.clip_id for clip in read_clips(clips)) == [
        f"scene{number}_f{moment}" for number in range(3) for moment in ("2.5", "6")
    ]
    out = curate(recipe(2), raw, clips, tmp_path / "out")
    made = rows_of(out)
    assert len(made) == 12 and {row["drive_id"] for row in made} == {"scene0", "scene1", "scene2"}
    assert {row["prompt"][0]["content"] for row in made} == {"Is the object at (500, 500) near?", "What now?"}
    # One picture is no history of two: the first key frame of each scene has no clip of two frames.
    assert read_json(out / "quality.json", "figures")["rows_quarantined"] == 6
    facts = checked(out, 2, processor)
    assert facts.clips == 6 and len(facts.tokens) == 12


def test_lingoqa_walks_to_rows_that_train(tmp_path: Path, processor: Any) -> None:
    table = []
    for segment in ("aa", "bb"):
        images = [f"images/train/{segment}/{number}.jpg" for number in range(5)]
        for number, image in enumerate(images):
            draw(tmp_path / "lingoqa" / image, number + 10 * len(table))
        for question in ("Why stop?", "Any bus?"):
            table.append(
                {"question_id": f"{segment}{question}", "segment_id": segment, "images": images,
                 "question": question, "answer": "I cannot go, the light is red."}
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "train.parquet")
    raw = import_file(tmp_path / "train.parquet", tmp_path / "raw")
    clips = collect([raw / "drives.jsonl"], tmp_path / "clips", recipe(5), root=tmp_path / "lingoqa")
    out = curate(recipe(5), raw, clips, tmp_path / "out")
    facts = checked(out, 5, processor)
    assert (len(facts.tokens), facts.clips) == (4, 2)


def test_reports_and_own_questions_train_together_under_the_standard_prompt(
    tmp_path: Path, drives: Path, processor: Any
) -> None:
    """What learns the report beside other questions is still an adapter for the report."""
    settings = recipe(2)
    clips = collect([drives / "drives.jsonl"], tmp_path / "clips", settings)
    reports = lines(annotate(settings, clips, tmp_path / "reports") / "answers.jsonl")
    asked = [
        {
            **record,
            "key": record["key"] + "why",
            "question": "Why so?",
            "prompt": "own-0123456789ab",
            "text": "So.",
        }
        for record in reports
    ]
    raw = tmp_path / "raw"
    open_output(raw, "raw", {})
    (raw / "answers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in [*reports, *asked]))
    finish(raw)
    out = curate(settings, raw, clips, tmp_path / "out")
    prompts = Counter(row["prompt"][0]["content"] for row in rows_of(out))
    assert prompts == {INSTRUCTION: 6, "Why so?": 6}
    facts = checked(out, 2, processor)
    assert facts.prompt_version == PROMPT_VERSION and facts.clips == 6


def test_rows_without_images_are_refused_with_the_way_out(tmp_path: Path, processor: Any) -> None:
    values = dict.fromkeys(PARAMETERS, "unknown") | {"risk_factor": "low", "lane_count": 2}
    text = (
        "**Scene Description:** A wide and empty road lies ahead of the car.\n\n"
        f"```json\n{json.dumps(values)}\n```\n\n**Risk Assessment:**\n- The risk is low.\n"
    )
    file = write_json(tmp_path / "o.json", [{"video_id": "a.mov", "QA": {"q": "?", "a": text}}])
    out = curate(load_recipe(), file, None, tmp_path / "out")
    with pytest.raises(InputError, match=r"row 0 \(clip a.mov\): holds 0 frames.*curate again with --clips"):
        checked(out, 2, processor)

"""Curate turns raw answers into a dataset that TRL takes, and accounts for every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict, load_from_disk

from roadscribe.annotate.annotate import annotate
from roadscribe.annotate.mistakes import answer_clip
from roadscribe.artifacts import MANIFEST, read_json
from roadscribe.clip import Clip, Evidence
from roadscribe.curate.curate import curate
from roadscribe.errors import InputError
from roadscribe.prompts import messages
from roadscribe.recipe import load_recipe
from roadscribe.report import DrivingReport, parse, render

REAL = Path(__file__).resolve().parents[2] / "../shared/data/raw_instructions/bdd_raw_instructions_200.json"
SPLIT = ["curate.test_share=0.2", "curate.validation_share=0.1"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, raw: Path, clips: Path) -> Path:
    return curate(load_recipe(None, SPLIT), raw, clips, tmp_path_factory.mktemp("curated") / "out")


@pytest.fixture(scope="module")
def dataset(out: Path) -> DatasetDict:
    return load_from_disk(str(out / "dataset"))


def rows_of(dataset: DatasetDict) -> list[dict[str, Any]]:
    return [row for split in dataset.values() for row in split]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_answer_is_in_the_dataset_or_in_quarantine(out: Path, dataset: DatasetDict, raw: Path) -> None:
    asked = {record["clip_id"] for record in lines(raw / "answers.jsonl")}
    kept = {row["clip_id"] for row in rows_of(dataset)}
    left_out = {record["clip_id"] for record in lines(out / "quarantine.jsonl")}
    assert kept | left_out == asked and not kept & left_out
    assert all(record["rule"] and record["reason"] for record in lines(out / "quarantine.jsonl"))


def test_completions_are_reports_to_the_last_byte(dataset: DatasetDict) -> None:
    for row in rows_of(dataset):
        (turn,) = row["completion"]
        report = DrivingReport.model_validate_json(row["report"])
        assert turn == {"role": "assistant", "content": render(report)}
        assert parse(turn["content"]) == report


def test_rows_hold_the_clips_frames(dataset: DatasetDict, simulated_clips: list[Clip]) -> None:
    frames = {clip.clip_id: clip.frames for clip in simulated_clips}
    for row in rows_of(dataset.with_format(None)):
        assert len(row["images"]) == len(frames[row["clip_id"]]) == 2
        assert row["images"][0].size == (320, 192)


def test_trl_makes_of_a_row_what_generation_asks(dataset: DatasetDict) -> None:
    from trl.data_utils import is_conversational, prepare_multimodal_messages

    row = dataset["train"][0]
    assert is_conversational(row)
    (turn,) = prepare_multimodal_messages(row["prompt"], images=row["images"])
    places = [{key: value for key, value in part.items() if key != "image"} for part in turn["content"]]
    assert [{"role": turn["role"], "content": places}] == messages(len(row["images"]))


def test_no_drive_is_in_two_splits(dataset: DatasetDict) -> None:
    drives = {name: set(split["drive_id"]) for name, split in dataset.items()}
    assert set(drives) == {"train", "validation", "test"}
    assert not drives["train"] & drives["test"] and not drives["train"] & drives["validation"]
    assert not drives["validation"] & drives["test"]


def test_every_change_is_recorded(dataset: DatasetDict, raw: Path) -> None:
    """A value that differs from what the teacher wrote, as it is read, has a finding that ends in it."""
    from roadscribe.report_text import parse_answer

    answers = {record["clip_id"]: record["text"] for record in lines(raw / "answers.jsonl")}
    changed = 0
    for row in rows_of(dataset):
        read = parse_answer(answers[row["clip_id"]]).parameters
        kept = json.loads(row["report"])["driving_parameters"]
        findings = json.loads(row["findings"])
        for parameter, value in kept.items():
            if value != read[parameter]:
                changed += 1
                (*_, last) = [
                    f for f in findings if f["parameter"] == parameter and not f["rule"].startswith("prose")
                ]
                assert last["after"] == value and last["message"]
    assert changed > 5


def test_rules_are_told_nothing_of_the_truth(
    tmp_path: Path, simulated_clips: list[Clip], raw: Path, make_clips: Callable[[Path, Iterable[Clip]], Path]
) -> None:
    """Without the simulator's truth the dataset comes out the same."""
    blind = [
        clip.model_copy(update={"evidence": clip.evidence.model_copy(update={"truth": None})})
        for clip in simulated_clips
    ]
    recipe = load_recipe(None, SPLIT)
    without = curate(recipe, raw, make_clips(tmp_path / "clips", blind), tmp_path / "without")
    with_truth = curate(recipe, raw, make_clips(tmp_path / "clips2", simulated_clips), tmp_path / "with")
    assert read_json(without / "quality.json", "") == read_json(with_truth / "quality.json", "")


def test_the_counts_add_up(out: Path, dataset: DatasetDict) -> None:
    quality = read_json(out / "quality.json", "figures")
    rows = len(rows_of(dataset))
    assert quality["rows_read"] == 60 and quality["rows_kept"] == rows
    assert quality["rows_quarantined"] == 60 - rows == len(lines(out / "quarantine.jsonl"))
    assert sum(quality["values"].values()) == 12 * rows
    assert {name: split["rows"] for name, split in quality["splits"].items()} == {
        name: len(split) for name, split in dataset.items()
    }
    for counts in quality["parameters"].values():
        assert sum(counts["after"].values()) == rows
    assert read_json(out / MANIFEST, "manifest")["complete"] is True
    assert not (out / ".work").exists()


def test_the_card_names_splits_licence_and_rules(out: Path) -> None:
    card = (out / "dataset" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "| simulator |" in card and "| train |" in card and "`speed_against_telemetry`" in card


def test_the_page_is_self_contained_and_shows_frames(out: Path) -> None:
    page = (out / "quality.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert "The ten most suspicious rows" in page


def test_text_of_a_teacher_cannot_become_markup(
    tmp_path: Path, simulated_clips: list[Clip], make_clips: Callable[[Path, Iterable[Clip]], Path]
) -> None:
    clips = make_clips(tmp_path / "clips", simulated_clips[:3])
    raw = annotate(load_recipe(), clips, tmp_path / "raw")
    path = raw / "answers.jsonl"
    records = lines(path)
    records[0]["text"] += "\n" + "- <script>alert(1)</script> is repeated over and over\n" * 9
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    out = curate(load_recipe(), raw, clips, tmp_path / "out")
    assert "<script" not in (out / "quality.html").read_text()


def test_the_same_input_gives_the_same_dataset(
    tmp_path: Path, raw: Path, clips: Path, dataset: DatasetDict
) -> None:
    again = load_from_disk(str(curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "again") / "dataset"))
    for name, split in dataset.items():
        assert split.remove_columns("images").to_list() == again[name].remove_columns("images").to_list()


def test_a_stopped_run_is_finished_by_resume(tmp_path: Path, raw: Path, clips: Path) -> None:
    out = curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "out")
    manifest = read_json(out / MANIFEST, "manifest")
    (out / MANIFEST).write_text(json.dumps({**manifest, "complete": False}))
    (out / ".work").mkdir()
    curate(load_recipe(None, SPLIT), raw, clips, out, resume=True)
    assert read_json(out / MANIFEST, "manifest") == manifest


def test_a_finished_dataset_does_not_pass_for_one_of_other_answers(
    tmp_path: Path,
    simulated_clips: list[Clip],
    raw: Path,
    clips: Path,
    out: Path,
    make_clips: Callable[[Path, Iterable[Clip]], Path],
) -> None:
    other = annotate(load_recipe(), clips, tmp_path / "other")
    with pytest.raises(InputError, match=r"another recipe.*differs at answers"):
        curate(load_recipe(None, SPLIT), other, clips, out, resume=True)
    relabelled = [clip.model_copy(update={"evidence": Evidence()}) for clip in simulated_clips]
    with pytest.raises(InputError, match=r"another recipe.*differs at clips"):
        curate(load_recipe(None, SPLIT), raw, make_clips(tmp_path / "c", relabelled), out, resume=True)


def test_clips_that_the_teacher_did_not_see_are_said(
    tmp_path: Path,
    simulated_clips: list[Clip],
    raw: Path,
    make_clips: Callable[[Path, Iterable[Clip]], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    later = [clip.model_copy(update={"timestamps_s": (4.5, 5.0)}) for clip in simulated_clips]
    curate(load_recipe(), raw, make_clips(tmp_path / "clips", later), tmp_path / "out")
    assert "was annotated on other clips" in capsys.readouterr().err


def test_look_alike_drives_share_a_split(
    tmp_path: Path, simulated_clips: list[Clip], make_clips: Callable[[Path, Iterable[Clip]], Path]
) -> None:
    twins = [
        clip.model_copy(update={"clip_id": f"twin-{clip.clip_id}", "drive_id": f"twin-{clip.drive_id}"})
        for clip in simulated_clips[:20]
    ]
    clips = make_clips(tmp_path / "clips", [*simulated_clips[:20], *twins])
    raw = annotate(load_recipe(), clips, tmp_path / "raw")
    out = curate(load_recipe(None, ["curate.test_share=0.4"]), raw, clips, tmp_path / "out")
    split_of = {
        row["drive_id"]: name for name, split in load_from_disk(str(out / "dataset")).items() for row in split
    }
    assert all(
        split_of[drive] == split_of[f"twin-{drive}"] for drive in split_of if not drive.startswith("twin-")
    )
    assert len(read_json(out / "quality.json", "figures")["look_alikes"]) == 20


def test_answers_without_their_clip_and_clips_without_answer_are_listed(
    tmp_path: Path,
    simulated_clips: list[Clip],
    raw: Path,
    make_clips: Callable[[Path, Iterable[Clip]], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = simulated_clips[0].model_copy(update={"clip_id": "never-asked"})
    clips = make_clips(tmp_path / "clips", [*simulated_clips[:30], other])
    out = curate(load_recipe(), raw, clips, tmp_path / "out")
    quality = read_json(out / "quality.json", "figures")
    assert len(quality["rows_without_clip"]) == 30 and quality["clips_without_answer"] == ["never-asked"]
    assert sum(record["rule"] == "no_clip" for record in lines(out / "quarantine.jsonl")) == 30
    assert quality["rows_read"] == 60
    printed = capsys.readouterr()
    assert "(30 speak of no clip that is there)" in printed.err and not printed.out
    assert "stopped at" not in printed.err


def test_answers_to_other_clips_are_an_input_error(
    tmp_path: Path, simulated_clips: list[Clip], raw: Path, make_clips: Callable[[Path, Iterable[Clip]], Path]
) -> None:
    other = simulated_clips[0].model_copy(update={"clip_id": "never-asked"})
    with pytest.raises(InputError, match="none of the answers"):
        curate(load_recipe(), raw, make_clips(tmp_path / "clips", [other]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_clips_that_were_annotated_are_found_again(tmp_path: Path, raw: Path, out: Path) -> None:
    again = curate(load_recipe(None, SPLIT), raw, None, tmp_path / "out")
    assert (again / "quality.json").read_bytes() == (out / "quality.json").read_bytes()


def test_clips_that_were_moved_away_are_asked_for(tmp_path: Path, raw: Path) -> None:
    import shutil

    moved = shutil.copytree(raw, tmp_path / "elsewhere" / "raw")
    with pytest.raises(InputError, match="--clips"):
        curate(load_recipe(), moved, None, tmp_path / "out")


def test_the_original_projects_answers_meet_their_clips(
    tmp_path: Path, simulated_clips: list[Clip], make_clips: Callable[[Path, Iterable[Clip]], Path]
) -> None:
    """An answer finds its clip by the video's name; one without a clip is listed."""
    video = "0000f77c-6257be58.mov"
    clip = simulated_clips[0]
    clip = clip.model_copy(
        update={"provenance": clip.provenance.model_copy(update={"path": f"videos/{video}"})}
    )
    text = answer_clip(clip, error_rate=0, seed=0).text
    entries = [{"video_id": name, "QA": {"q": "?", "a": text}} for name in (video, "0000f77c-cb820c98.mov")]
    path = tmp_path / "raw.json"
    path.write_text(json.dumps(entries))
    out = curate(load_recipe(), path, make_clips(tmp_path / "clips", [clip]), tmp_path / "out")
    (row,) = rows_of(load_from_disk(str(out / "dataset")))
    assert row["clip_id"] == video and len(row["images"]) == 2
    (left_out,) = lines(out / "quarantine.jsonl")
    assert (left_out["row"], left_out["rule"]) == (1, "no_clip")


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path, raw: Path, clips: Path) -> None:
    recipe = load_recipe(None, ["curate.test_share=0.6", "curate.validation_share=0.5"])
    with pytest.raises(InputError, match="validation_share"):
        curate(recipe, raw, clips, tmp_path / "out")


@pytest.mark.skipif(not REAL.exists(), reason="the 200 real answers are not on this machine")
def test_real_answers_are_curated_whole(tmp_path: Path) -> None:
    """All 200 become reports, every value is canonical or null with a finding, and "50 feet" is named."""
    out = curate(load_recipe(None, ["curate.test_share=0.2"]), REAL, None, tmp_path / "out")
    quality = read_json(out / "quality.json", "figures")
    assert quality["rows_kept"] == 200 and sum(quality["values"].values()) == 2400
    (collapsed,) = quality["collapses"]
    assert (collapsed["parameter"], collapsed["value"], collapsed["written"]) == (
        "closest_vehicle_distance", 15, '"50 feet"',
    )  # fmt: skip
    for row in rows_of(load_from_disk(str(out / "dataset"))):
        assert row["images"] == []
        told = {finding["parameter"] for finding in json.loads(row["findings"])}
        for parameter, value in json.loads(row["report"])["driving_parameters"].items():
            assert value not in (None, "unknown") or parameter in told
        assert not any(
            word in row["completion"][0]["content"].lower() for word in ("video", "footage", " mph", " feet")
        )


def test_a_large_split_is_written_in_several_files(
    tmp_path: Path, raw: Path, clips: Path, dataset: DatasetDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadscribe.curate import dataset as writer

    monkeypatch.setattr(writer, "SHARD_BYTES", 200_000)
    out = curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "out")
    files = sorted((out / "dataset" / "train").glob("*.arrow"))
    assert len(files) > 1 and files[0].name == f"data-00000-of-{len(files):05d}.arrow"
    again = load_from_disk(str(out / "dataset"))
    assert again["train"]["clip_id"] == dataset["train"]["clip_id"]
    assert again["train"][0]["images"][0].tobytes() == dataset["train"][0]["images"][0].tobytes()


def test_worker_processes_make_the_same_dataset(
    tmp_path: Path, raw: Path, clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadscribe.curate import parallel

    monkeypatch.setattr(parallel, "PARALLEL_FROM", 1)
    again = curate(load_recipe(None, SPLIT), raw, clips, tmp_path / "again")
    for name in ("quality.json", "quarantine.jsonl", "quality.html", "dataset/train/state.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes(), name

"""Held-out reports while a model trains: their scores, which step is kept, and that evaluation changes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from safetensors.torch import load_file

from in_process import roadscribe
from roadscribe.artifacts import require_complete
from roadscribe.errors import InputError
from roadscribe.infer.engine import GeneratedReport
from roadscribe.model import adapter as adapters
from roadscribe.model.adapter import adapter_state
from roadscribe.model.load import load_processor, resolve_base
from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe
from roadscribe.report import PARAMETERS, DrivingParameters, DrivingReport, render
from roadscribe.train import eval_callback
from roadscribe.train import train as stage
from roadscribe.train.checkpoints import CHECKPOINTS
from roadscribe.train.eval_callback import (
    RESULTS,
    EvalResult,
    HeldOutClip,
    Sample,
    best_result,
    choose_adapter,
    describe_result,
    judge,
    open_held_out,
    spread,
)
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG
from training_rows import FEATURES, make_row

TRUTH = DrivingReport(
    scene_description="A dry road with little traffic.",
    driving_parameters=DrivingParameters(
        road_type="urban",
        lane_count=2,
        ego_lane_position="right",
        traffic_light_state="none",
        pedestrian_on_road=False,
        closest_vehicle_distance=None,
        ego_vehicle_speed=40,
        road_curvature="straight",
        weather="clear",
        visibility="good",
        traffic_density="low",
        risk_factor="low",
    ),
    risk_assessment=("Keep the distance.",),
)


def report_with(**changes: Any) -> str:
    parameters = TRUTH.driving_parameters.model_copy(update=changes)
    return render(TRUTH.model_copy(update={"driving_parameters": parameters}))


GOOD = report_with()
FAIR = report_with(weather="rainy", ego_vehicle_speed=90, lane_count=4)
POOR = "The road is dry."


def written(text: str, finished: bool = True) -> GeneratedReport:
    return GeneratedReport(text, 10, finished, 0.1, 0, ())


def held_out_row(index: int, **changes: Any) -> dict[str, Any]:
    row = {
        "prompt": [{"role": "user", "content": INSTRUCTION}],
        "completion": [{"role": "assistant", "content": GOOD}],
        "report": TRUTH.model_dump_json(),
    }
    return make_row(100 + index, **{**row, **changes})


def save_splits(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    made = {
        name: datasets.Dataset.from_dict(
            {column: [row[column] for row in rows] for column in FEATURES}, features=FEATURES
        )
        for name, rows in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips to train on, three to watch and two more under `test`."""
    return save_splits(
        tmp_path_factory.mktemp("watched") / "dataset",
        train=[make_row(index) for index in range(8)],
        validation=[held_out_row(index) for index in range(3)],
        test=[held_out_row(index) for index in (7, 8)],
    )


@pytest.fixture
def watched(recipe_for: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Six steps with dropout, an evaluation after every second; arguments are further overrides."""

    def make(*overrides: str) -> Recipe:
        return recipe_for(
            "train.max_steps=6",
            "train.save_steps=3",
            "train.eval_steps=2",
            "train.eval_clips=2",
            "lora.dropout=0.1",
            "infer.max_new_tokens=16",
            *overrides,
        )

    return make


class Script:
    """Stands in for the model's words at each evaluation, and remembers the adapter that would have written them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
        self.texts, self.adapters = list(texts), []
        script = self

        def write(self: eval_callback.EvalCallback) -> list[GeneratedReport]:
            script.adapters.append(
                {name: one.detach().clone() for name, one in adapter_state(self.model).items()}
            )
            text = script.texts.pop(0)
            if text == "killed":
                raise KeyboardInterrupt
            return [written(text) for _ in self.held_out.clips]

        monkeypatch.setattr(eval_callback.EvalCallback, "_write", write)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "samples_per_s")}
        for line in lines
    ]


def same_adapter(out: Path, tensors: dict[str, torch.Tensor]) -> bool:
    shipped = load_file(out / adapters.WEIGHTS)
    return shipped.keys() == tensors.keys() and all(
        torch.equal(shipped[name], tensors[name]) for name in tensors
    )


def test_a_watched_run_learns_what_an_unwatched_one_learns_and_is_seen_on_tensorboard(
    dataset: Path, watched: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With dropout, to the last bit: evaluation by the real engine draws no random number."""
    pytest.importorskip("tensorboard")
    plain = train(watched("train.eval_steps=0"), dataset, tmp_path / "plain")
    capsys.readouterr()
    seen = train(watched("train.report_to=tensorboard"), dataset, tmp_path / "seen")
    shown = capsys.readouterr().err
    assert without_times(lines_of(seen / LOG)) == without_times(lines_of(plain / LOG))
    assert same_adapter(seen, load_file(plain / adapters.WEIGHTS))
    results = lines_of(seen / RESULTS)
    assert [result["step"] for result in results] == [2, 4, 6]
    assert all(result["clips"] == 2 and set(result["parameters"]) == set(PARAMETERS) for result in results)
    assert results[0]["sample"]["clip_id"] == "clip-100" and results[0]["finished"] == 0
    assert not (plain / RESULTS).exists()
    assert "step 4: 2 held-out reports: 0 % hold the schema" in shown
    assert "adapter: that of the last step, 6, which is the best, too" in shown
    assert require_complete(seen, "adapter", "train")["summary"]["kept"]["step"] == 6

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(seen / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "eval/field_accuracy", "eval/schema_valid", "eval/correct_weather"} <= set(
        tags["scalars"]
    )
    assert [event.step for event in events.Scalars("eval/field_accuracy")] == [2, 4, 6]
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 7))
    assert [event.step for event in events.Tensors("eval/sample_report/text_summary")] == [2, 4, 6]
    (image,) = events.Images("eval/sample_frames")
    assert (image.width, image.height) == (2 * 96, 64)


def test_the_best_step_ships_and_a_killed_run_resumes_with_it(
    dataset: Path,
    watched: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed after the evaluation at step 4, which no checkpoint covers: that one is forgotten and taken again, the
    best one at step 2 is not."""
    recipe = watched("train.load_best_at_end=true")
    undisturbed = Script(monkeypatch, GOOD, POOR, FAIR)
    whole = train(recipe, dataset, tmp_path / "whole")
    assert [result["field_accuracy"] for result in lines_of(whole / RESULTS)] == pytest.approx([1, 0, 9 / 12])
    assert same_adapter(whole, undisturbed.adapters[0])
    assert not same_adapter(whole, undisturbed.adapters[2])
    kept = require_complete(whole, "adapter", "train")["summary"]["kept"]
    assert (kept["keep"], kept["step"], kept["best_by"]) == ("best", 2, "field_accuracy")
    assert "adapter: that of step 2, the best of 3 evaluations" in capsys.readouterr().err
    assert not (whole / CHECKPOINTS).exists()

    Script(monkeypatch, GOOD, GOOD, "killed")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, dataset, tmp_path / "killed")
    assert [result["step"] for result in lines_of(tmp_path / "killed" / RESULTS)] == [2, 4]
    again = Script(monkeypatch, POOR, FAIR)
    out = train(recipe, dataset, tmp_path / "killed", resume=True)
    assert len(again.adapters) == 2
    assert without_times(lines_of(out / RESULTS)) == without_times(lines_of(whole / RESULTS))
    assert same_adapter(out, undisturbed.adapters[0])


def test_a_run_killed_after_its_last_step_trains_no_further(
    dataset: Path, watched: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    script = Script(monkeypatch, POOR, FAIR, GOOD)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "save_adapter", killed)
        with pytest.raises(KeyboardInterrupt):
            train(watched(), dataset, tmp_path / "out")
    out = train(watched(), dataset, tmp_path / "out", resume=True)
    assert [line["step"] for line in lines_of(out / LOG)] == list(range(1, 7))
    assert [result["step"] for result in lines_of(out / RESULTS)] == [2, 4, 6]
    assert same_adapter(out, script.adapters[-1])
    summary = require_complete(out, "adapter", "train")["summary"]
    assert summary["steps"] == 6 and summary["kept"]["keep"] == "last" and summary["kept"]["step"] == 6


def test_resuming_while_other_clips_are_watched_is_refused(
    dataset: Path, watched: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Script(monkeypatch, "killed")
    with pytest.raises(KeyboardInterrupt):
        train(watched(), dataset, tmp_path / "out")
    changed = save_splits(
        tmp_path / "changed",
        train=[make_row(index) for index in range(8)],
        validation=[held_out_row(index) for index in (4, 5, 6)],
    )
    with pytest.raises(InputError, match="differs at watched"):
        train(watched(), changed, tmp_path / "out", resume=True)


def test_a_report_is_judged_by_the_scorecards_rules() -> None:
    clips = [HeldOutClip(f"clip-{index}", [], TRUTH.driving_parameters.model_dump()) for index in range(3)]
    result = judge(7, clips, [written(GOOD), written(FAIR), written(POOR, finished=False)], 2.0)
    assert (result.step, result.clips) == (7, 3)
    assert result.schema_valid == pytest.approx(2 / 3) and result.finished == pytest.approx(2 / 3)
    assert result.parameters["weather"] == pytest.approx(1 / 3)
    assert result.parameters["closest_vehicle_distance"] == pytest.approx(2 / 3)
    assert result.field_accuracy == pytest.approx((12 + 9) / 36)
    assert result.sample == Sample("clip-0", GOOD)


def a_result(step: int, accuracy: float, valid: float = 1.0, finished: float = 1.0) -> EvalResult:
    return EvalResult(step, 2, valid, finished, accuracy, {}, 1.0, Sample("clip", ""))


def test_the_best_look_is_by_the_stated_measure_and_the_better_or_later_of_equals() -> None:
    results = [a_result(10, 0.5, 1.0), a_result(20, 0.8, 0.9), a_result(30, 0.8, 0.5), a_result(40, 0.4, 1.0)]
    assert best_result(results, "field_accuracy") is results[1]
    assert best_result(results, "schema_then_accuracy") is results[0]
    words = [a_result(10, 0.0, 0.0, 0.2), a_result(20, 0.0, 0.0, 1.0), a_result(30, 0.0, 0.0, 1.0)]
    assert best_result(words[:2], "field_accuracy") is words[1]
    assert best_result(words, "schema_then_accuracy") is words[2]
    assert best_result([], "field_accuracy") is None


def test_the_best_look_may_be_by_the_whole_report_or_by_its_agreement_with_itself() -> None:
    silent, template, whole, agreeing = (
        replace(a_result(1, 0.9), prose_accuracy=None, contradicting=0.0),
        replace(a_result(2, 0.8), prose_accuracy=0.4, contradicting=0.5),
        replace(a_result(3, 0.7), prose_accuracy=0.9, contradicting=0.2),
        replace(a_result(4, 0.7), prose_accuracy=0.7, contradicting=0.0),
    )
    results = [silent, template, whole, agreeing]
    assert best_result(results, "field_accuracy") is silent
    assert best_result(results, "report_accuracy") is whole
    assert best_result(results, "agreement_then_accuracy") is agreeing
    assert "90 % of the claims in the prose right" in describe_result(whole, True, "report_accuracy")
    assert "no claims in the prose" in describe_result(silent, False, "report_accuracy")


def test_what_is_kept_is_said_with_its_reason(recipe_for: Callable[..., Recipe]) -> None:
    results = [a_result(10, 0.8), a_result(20, 0.6)]
    best, last = (
        recipe_for("train.eval_steps=10", f"train.load_best_at_end={best}").train
        for best in ("true", "false")
    )
    step, why = choose_adapter(results, best, 20)
    assert step == 10 and "step 10, the best of 2 evaluations by field_accuracy: 80 %, against 60 %" in why
    step, why = choose_adapter(results, last, 20)
    assert step == 20 and "field_accuracy: 60 %; step 10 was the best with 80 %" in why
    assert choose_adapter(results[:1], best, 10)[0] == 10
    assert choose_adapter([], last, 20)[0] == 20


def test_watched_clips_are_spread_over_the_split() -> None:
    assert spread(range(100), 4) == [0, 25, 50, 75]
    assert spread(range(3), 8) == [0, 1, 2]


def opened(folder: Path, recipe: Recipe) -> eval_callback.HeldOut:
    return open_held_out(folder, load_processor(resolve_base(recipe.model), 6144), recipe)


def test_only_rows_that_ask_for_the_report_are_watched_and_each_clip_once(
    watched: Callable[..., Recipe], tmp_path: Path
) -> None:
    rows = [
        make_row(1),
        held_out_row(2),
        held_out_row(2, completion=[{"role": "assistant", "content": "once more"}]),
        held_out_row(3, report="{}"),
        held_out_row(4),
    ]
    folder = save_splits(tmp_path / "mixed", train=[make_row(0)], validation=rows)
    found = opened(folder, watched("train.eval_clips=8"))
    assert [clip.clip_id for clip in found.clips] == ["clip-102", "clip-104"]
    assert found.clips[0].truth["weather"] == "clear"


def test_the_test_split_is_watched_where_the_recipe_says_so(
    dataset: Path, watched: Callable[..., Recipe]
) -> None:
    found = opened(dataset, watched("train.eval_split=test"))
    assert [clip.clip_id for clip in found.clips] == ["clip-107", "clip-108"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, r"has no validation split .* curate with curate\.validation_share, name another"),
        ([make_row(3)], "none of the 1 validation rows asks for the standard report"),
        (
            [held_out_row(1, images=make_row(1, frames=3)["images"])],
            r"validation split: row 0 \(clip clip-101\): holds 3 frames",
        ),
        (
            [held_out_row(1, images=make_row(1, size=(96, 96))["images"])],
            r"validation split: row 0 \(clip clip-101\): a frame of 96x96 pixels is larger",
        ),
    ],
    ids=["no split", "other questions", "other frames", "larger frames"],
)
def test_a_split_that_cannot_be_watched_is_one_line_before_anything_is_written(
    watched: Callable[..., Recipe], tmp_path: Path, rows: list[dict[str, Any]] | None, message: str
) -> None:
    splits = {"train": [make_row(0)]} | ({} if rows is None else {"validation": rows})
    folder = save_splits(tmp_path / "dataset", **splits)
    with pytest.raises(InputError, match=message) as caught:
        train(watched(), folder, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.report_to=tensorbord", "'tensorbord' is no board; there is .*tensorboard, .*wandb"),
        ("train.report_to=[none]", r"'none' is no board.*\[\] for none"),
        ("train.load_best_at_end=true", r"train\.load_best_at_end: .* set train\.eval_steps as well"),
    ],
)
def test_an_option_that_cannot_be_followed_is_one_line(
    dataset: Path, recipe_for: Callable[..., Recipe], tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(recipe_for(override), dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_board_that_is_not_installed_is_named_with_what_to_install(
    dataset: Path, recipe_for: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        InputError, match=r"tensorboard is not installed; install the extra roadscribe\[gpu\]"
    ):
        train(recipe_for("train.report_to=tensorboard"), dataset, tmp_path / "out")
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="wandb is not installed; install its own package"):
            train(recipe_for("train.report_to=[wandb]"), dataset, tmp_path / "out")


def test_the_command_line_says_a_wrong_option_in_one_line(eight_rows: Path, tmp_path: Path) -> None:
    ran = roadscribe("train", eight_rows, "--out", tmp_path / "out", "--set", "train.report_to=nowhere")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith("roadscribe: train.report_to: 'nowhere' is no board")


def test_a_dataset_of_one_split_has_nothing_to_watch(
    watched: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"has no test split \(only train\); train\.eval_steps=2 needs"):
        train(watched("train.eval_split=test"), eight_rows, tmp_path / "out")

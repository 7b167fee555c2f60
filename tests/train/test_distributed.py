"""Two processes train one model: what one process would learn, one voice, one writer, and no hang when one fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from launched import Launched, Mischief, launch
from safetensors.torch import load_file

from roadscribe.errors import InputError
from roadscribe.model.adapter import WEIGHTS
from roadscribe.recipe import Recipe
from roadscribe.train.checkpoints import CHECKPOINTS
from roadscribe.train.distributed import environment_of_one
from roadscribe.train.train import planned_steps, train
from roadscribe.train.trainer import LOG
from training_rows import make_row, save_rows

STEPS = 6


def arguments(recipe: Recipe, dataset: Path, out: Path, folder: Path, *further: str) -> list[str]:
    """The command line that trains by a recipe."""
    file = folder / "recipe.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(recipe.as_json("model", "footage", "lora", "train")))
    return ["train", str(dataset), "--out", str(out), "--recipe", str(file), *further]


@pytest.fixture
def recipe(recipe_for: Callable[..., Recipe]) -> Recipe:
    """Six steps of two processes with two clips each: an epoch is two steps."""
    return recipe_for(f"train.max_steps={STEPS}", "train.save_steps=2")


def of_one_process(recipe: Recipe) -> Recipe:
    """The recipe by which one process sees in a step what two see by ``recipe``."""
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": 4})})


def require_same_run(two: Path, one: Path, atol: float = 1e-5) -> None:
    """Equal losses and gradients to 1e-5, equal adapters to ``atol`` (their largest values are 0.07)."""
    logs = [[json.loads(line) for line in (out / LOG).read_text().splitlines()] for out in (two, one)]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    for ours, theirs in zip(*logs, strict=True):
        for name in ("loss", "grad_norm", "learning_rate"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-5), (name, ours["step"])
    expected = load_file(one / WEIGHTS)
    for name, tensor in load_file(two / WEIGHTS).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=atol)


def kill_after(launched: Launched, out: Path, lines: int) -> None:
    """`kill -9` for all processes once so many steps were logged."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and all(process.is_alive() for process in launched.processes):
        if (out / LOG).exists() and (out / LOG).read_text().count("\n") >= lines:
            break
        time.sleep(0.02)
    for process in launched.processes:
        process.kill()
    assert launched.end() == [-signal.SIGKILL] * 2, launched.said(0)


def test_two_processes_killed_and_resumed_learn_what_one_learns(
    recipe: Recipe, eight_rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two"
    command = arguments(recipe, eight_rows, out, tmp_path)
    kill_after(launch(command, tmp_path / "killed"), out, 3)
    with pytest.raises(InputError, match=r"begun by 2 processes, and now there is 1; resume it with 2"):
        train(recipe, eight_rows, out, resume=True)
    resumed = launch([*command, "--resume"], tmp_path / "resumed")
    assert resumed.end() == [0, 0], resumed.said(0)
    said = resumed.said(0)
    assert "resuming from checkpoint-2 of 6 steps" in said or "resuming from checkpoint-4 of 6 steps" in said
    assert any("an optimizer step sees 4 rows (2 at a time x 1 pass x 2 processes)" in line for line in said)
    assert said[-1] == str(out)
    assert resumed.said(1) == []
    one = train(of_one_process(recipe), eight_rows, tmp_path / "one")
    require_same_run(out, one)
    assert json.loads((out / "artifact.json").read_text())["recipe"]["processes"] == 2
    assert not (out / CHECKPOINTS).exists()


def test_a_mistake_in_the_dataset_is_one_line_of_one_process(
    recipe: Recipe, eight_rows: Path, tmp_path: Path
) -> None:
    short = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_length": 70})})
    launched = launch(arguments(short, eight_rows, tmp_path / "out", tmp_path), tmp_path / "logs")
    assert launched.end() == [2, 2]
    (line,) = launched.said(0)
    assert line.startswith("roadscribe: longer than train.max_length=70: row 0 (clip clip-0): ")
    assert launched.said(1) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mischief", "codes", "speaker", "message"),
    [
        (Mischief(1, 2, "fails"), [1, 1], 1, "roadscribe: process 1: step 2: the loss is nan on clip-7"),
        (
            Mischief(1, 2, "is killed"),
            [1, -9],
            0,
            "roadscribe: another process of this run has ended without a word",
        ),
        (
            Mischief(0, 2, "is interrupted"),
            [130, 130],
            0,
            "roadscribe: interrupted; run the same command with --resume",
        ),
    ],
    ids=lambda value: value.what.replace(" ", "-") if isinstance(value, Mischief) else None,
)
def test_one_that_fails_ends_all_with_one_line(
    recipe: Recipe,
    eight_rows: Path,
    tmp_path: Path,
    mischief: Mischief,
    codes: list[int],
    speaker: int,
    message: str,
) -> None:
    launched = launch(
        arguments(recipe, eight_rows, tmp_path / "out", tmp_path), tmp_path / "logs", mischief=mischief
    )
    assert launched.end(30) == codes, (launched.said(0), launched.said(1))
    said = [line for rank in (0, 1) for line in launched.said(rank) if "roadscribe: " in line]
    assert len(said) == 1 and said[0].startswith(message)
    assert said[0] in launched.said(speaker)
    assert not any("Traceback" in line for rank in (0, 1) for line in launched.said(rank))


@pytest.mark.heavy
def test_answers_that_share_a_clip_make_the_same_steps_in_two_processes(
    recipe: Recipe, tmp_path: Path
) -> None:
    """Four clips with two answers each, four answers a step."""
    rows = [{**make_row(index), "images": make_row(index // 2)["images"]} for index in range(8)]
    dataset = save_rows(tmp_path / "dataset", rows)
    launched = launch(arguments(recipe, dataset, tmp_path / "two", tmp_path), tmp_path / "logs")
    one = train(of_one_process(recipe), dataset, tmp_path / "one")
    assert launched.end() == [0, 0], launched.said(0)
    assert any("8 rows become 4 sequences" in line for line in launched.said(0))
    assert any("an optimizer step sees 4 rows" in line for line in launched.said(0))
    require_same_run(tmp_path / "two", one)


@pytest.mark.heavy
def test_compiled_layers_stay_whole_in_two_processes_and_learn_what_one_learns(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters of more than a megabyte a layer, at which torch would cut a layer's graph."""
    monkeypatch.setenv("TORCH_LOGS", "ddp_graphs")
    compiled = recipe_for(
        "lora.r=128", "train.max_steps=4", "train.compile=true", "train.dequantize_weights=true"
    )
    command = arguments(compiled, eight_rows, tmp_path / "two", tmp_path, "--processes", "2")
    done = subprocess.run([sys.executable, "-m", "roadscribe", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "submod" not in done.stderr
    one = train(of_one_process(compiled), eight_rows, tmp_path / "one")
    require_same_run(tmp_path / "two", one, atol=1e-4)  # Adam moves by the sign of what is nearly nothing


def test_planned_steps_count_every_process(recipe_for: Callable[..., Recipe]) -> None:
    settings = recipe_for("train.batch_size=2", "train.gradient_accumulation=2", "train.epochs=3").train
    assert planned_steps(settings, 17) == 15
    assert planned_steps(settings, 17, 2) == 9
    assert planned_steps(settings, 16, 2) == 6


def test_a_process_of_its_own_does_not_believe_to_be_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RANK",
        "WORLD_SIZE",
        "MASTER_PORT",
        "TORCHELASTIC_RUN_ID",
        "ACCELERATE_USE_FSDP",
        "FSDP_VERSION",
    ):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("ROADSCRIBE_TEST", "kept")
    environment = environment_of_one()
    assert environment["ROADSCRIBE_TEST"] == "kept" and environment["PATH"] == os.environ["PATH"]
    assert not [name for name in environment if re.search("RANK|WORLD|MASTER|ELASTIC|ACCELERATE|FSDP", name)]


@pytest.mark.heavy
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate", "own"])
def test_every_launcher_trains_together(
    recipe: Recipe, eight_rows: Path, tmp_path: Path, launcher: str
) -> None:
    command = arguments(recipe, eight_rows, tmp_path / "two", tmp_path)
    start = {
        "torchrun": [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            "-m",
            "roadscribe",
        ],
        "accelerate": [
            "-m",
            "accelerate.commands.launch",
            "--multi_gpu",
            "--num_processes",
            "2",
            "-m",
            "roadscribe",
        ],
        "own": ["-m", "roadscribe"],
    }[launcher]
    further = ["--processes", "2"] if launcher == "own" else []
    done = subprocess.run([sys.executable, *start, *command, *further], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "two")]
    require_same_run(tmp_path / "two", train(of_one_process(recipe), eight_rows, tmp_path / "one"))


@pytest.mark.heavy
def test_our_own_launcher_says_a_mistake_in_one_line_and_with_its_exit_code(
    recipe: Recipe, eight_rows: Path, tmp_path: Path
) -> None:
    command = arguments(recipe, eight_rows, tmp_path / "out", tmp_path, "--set", "train.max_length=70")
    done = subprocess.run(
        [sys.executable, "-m", "roadscribe", *command, "--processes", "2"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"roadscribe: longer than train\.max_length=70: .*\n", done.stderr)

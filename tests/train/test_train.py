"""Training end to end on the untrained tiny base: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from roadscribe.artifacts import require_complete
from roadscribe.errors import InputError, WorkError
from roadscribe.model import adapter as adapters
from roadscribe.model.adapter import load_adapter
from roadscribe.model.contract import read_contract
from roadscribe.recipe import Recipe
from roadscribe.train import train as stage
from roadscribe.train import verify_adapter
from roadscribe.train.checkpoints import CHECKPOINTS, WHOLE, last_checkpoint
from roadscribe.train.dataset import open_rows
from roadscribe.train.train import planned_steps, train
from roadscribe.train.trainer import LOG, VisionTrainer
from roadscribe.train.verify_adapter import answer_logits, read_back
from training_rows import make_row, save_rows


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path) -> Recipe:
    """Ten steps over eight rows: two and a half epochs, with dropout so that random numbers matter."""
    return Recipe.model_validate(
        {
            "model": {"base": str(tiny_folder)},
            "footage": {"frames": 2, "max_pixels": 6144},
            "lora": {"r": 4, "dropout": 0.1},
            "train": {
                "batch_size": 2,
                "gradient_accumulation": 1,
                "gradient_checkpointing": False,
                "logging_steps": 1,
                "learning_rate": 2e-3,
                "max_steps": 10,
                "save_steps": 3,
                "verify_in_process": True,
            },
        }
    )


@pytest.fixture(scope="module")
def trained(recipe: Recipe, eight_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, eight_rows, tmp_path_factory.mktemp("run") / "adapter")


def test_a_run_learns_and_says_what_it_did(trained: Path, recipe: Recipe) -> None:
    lines = log_of(trained)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert set(lines[0]) == {"step", "loss", "grad_norm", "learning_rate", "samples_per_s"}
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.5
    summary = require_complete(trained, "adapter", "train")["summary"]
    assert summary["steps"] == 10 and summary["read_back_logit_difference"] == 0
    assert json.loads((trained / "recipe.json").read_text()) == recipe.as_json()
    assert not (trained / CHECKPOINTS).exists()


def test_the_contract_holds_what_the_frames_and_words_were(trained: Path, tiny_folder: Path) -> None:
    contract = read_contract(trained)
    assert (contract.base, contract.revision, contract.quantization) == (str(tiny_folder), None, "nf4")
    assert (contract.frames, contract.rule, contract.max_pixels) == (2, "history", 6144)
    assert contract.prompt_version.startswith("own-")


def test_an_adapter_loads_with_its_contract_and_changes_the_answers(trained: Path) -> None:
    loaded = load_adapter(trained, device=torch.device("cpu"))
    assert loaded.contract == read_contract(trained)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        tuned = loaded.model(input_ids=tokens).logits
        with loaded.model.disable_adapter():
            base = loaded.model(input_ids=tokens).logits
    assert not torch.allclose(tuned, base)


def test_peft_alone_loads_the_adapter_too(trained: Path, tiny_folder: Path) -> None:
    import peft
    from transformers import AutoModelForImageTextToText

    model = peft.PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(tiny_folder), trained)
    stored = load_file(trained / adapters.WEIGHTS)
    for name, tensor in adapters.adapter_state(model).items():
        assert torch.equal(tensor, stored[name])


def copy_of(trained: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.popitem() and None, "1 missing"),
        (lambda state: state.update(stray=torch.zeros(1)), r"1 unexpected \(the first is stray\)"),
        (
            lambda state: state.update(
                {k.replace("language_model", "text"): state.pop(k) for k in list(state)}
            ),
            "84 missing .* and 84 unexpected",
        ),
        (lambda state: state.update({next(iter(state)): torch.zeros(2, 2)}), r"is \(2, 2\), the model has"),
    ],
    ids=["missing", "unexpected", "renamed", "misshapen"],
)
def test_an_adapter_whose_keys_do_not_fit_is_refused(
    trained: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = copy_of(trained, tmp_path / "copy")
    state = load_file(folder / adapters.WEIGHTS)
    damage(state)
    save_file(state, folder / adapters.WEIGHTS)
    with pytest.raises(InputError, match=message):
        load_adapter(folder, device=torch.device("cpu"))


def test_a_cut_off_adapter_and_a_missing_file_are_one_line(trained: Path, tmp_path: Path) -> None:
    folder = copy_of(trained, tmp_path / "copy")
    weights = folder / adapters.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="adapter cannot be read"):
        load_adapter(folder)
    weights.unlink()
    with pytest.raises(InputError, match="adapter cannot be read"):
        load_adapter(folder)
    (folder / "contract.json").unlink()
    with pytest.raises(InputError, match=r"contract\.json: no such file"):
        load_adapter(folder)


def test_an_adapter_on_a_base_that_has_changed_is_refused(
    trained: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    other = copy_of(tiny_folder, tmp_path / "base")
    state = load_file(other / "model.safetensors")
    state["model.visual.merger.norm.bias"] += 1
    save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="`base_sha256` was"):
        load_adapter(trained, base=str(other), device=torch.device("cpu"))


def test_a_base_that_moved_is_accepted(trained: Path, tiny_folder: Path, tmp_path: Path) -> None:
    moved = copy_of(tiny_folder, tmp_path / "moved")
    load_adapter(trained, base=str(moved), device=torch.device("cpu"))


def test_what_was_written_must_answer_like_what_was_trained(
    recipe: Recipe, eight_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_wrongly(folder: Path, model: Any, contract: Any) -> None:
        adapters.save_adapter(folder, model, contract)
        state = load_file(folder / adapters.WEIGHTS)
        state[next(name for name in state if "lora_B" in name)].zero_()
        save_file(state, folder / adapters.WEIGHTS)

    monkeypatch.setattr(stage, "save_adapter", save_wrongly)
    one = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": 2})})
    with pytest.raises(WorkError, match="is not what was trained"):
        train(one, eight_rows, tmp_path / "out")
    with pytest.raises(InputError, match="is unfinished"):
        load_adapter(tmp_path / "out")


def test_an_adapter_is_read_back_in_a_fresh_process(trained: Path, eight_rows: Path) -> None:
    loaded = load_adapter(trained, device=torch.device("cpu"))
    logits = answer_logits(loaded.model, loaded.processor, open_rows(eight_rows)[0])
    assert len(logits) > 20 and logits.dtype == torch.float32
    cpu = torch.device("cpu")
    assert read_back(trained, eight_rows, logits, torch.float32, cpu) <= 1e-6
    with pytest.raises(WorkError, match=r"answers differently \(its logits by 5\.\d\de-01 of the largest"):
        read_back(trained, eight_rows, 2 * logits, torch.float32, cpu, in_process=True)


def test_what_does_not_load_in_the_fresh_process_is_one_line(
    trained: Path, eight_rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(trained, tmp_path / "copy")
    state = load_file(folder / adapters.WEIGHTS)
    state.popitem()
    save_file(state, folder / adapters.WEIGHTS)
    save_file({"logits": torch.zeros(1, 1)}, tmp_path / "logits")
    assert (
        verify_adapter.main([str(folder), str(eight_rows), str(tmp_path / "logits"), "float32", "cpu"]) == 1
    )
    assert re.match(r"what was written does not load: .*1 missing", capsys.readouterr().err.splitlines()[-1])


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("echo noise >&2; echo what is wrong >&2; exit 1", "^what is wrong$"),
        (
            "kill -9 $$",
            r"ended by signal 9; free some memory and go on with --resume, or .*verify_in_process=true",
        ),
    ],
)
def test_a_fresh_process_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, message: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{end}\n")
    python.chmod(0o755)
    monkeypatch.setattr(verify_adapter.sys, "executable", str(python))
    with pytest.raises(WorkError, match=message):
        verify_adapter.read_back(tmp_path, tmp_path, torch.zeros(1, 1), torch.float32, torch.device("cpu"))


RUN = """
import sys
from pathlib import Path
from roadscribe.recipe import Recipe
from roadscribe.train.train import train
train(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_run_killed_at_any_step_resumes_to_the_undisturbed_result(
    recipe: Recipe, eight_rows: Path, trained: Path, tmp_path: Path
) -> None:
    """The same order, random numbers and loss; on one machine the numbers are equal to the last bit, and the
    tolerance of 1e-6 only allows for another thread count in the killed process."""
    out = tmp_path / "killed"
    command = [sys.executable, "-c", RUN, recipe.model_dump_json(), str(eight_rows), str(out)]
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen(command, stderr=errors, stdout=errors)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if (out / LOG).exists() and (out / LOG).read_text().count("\n") >= 5:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
    assert process.wait() == -signal.SIGKILL, (tmp_path / "stderr").read_text()
    assert len(log_of(out)) < 10
    with pytest.raises(InputError, match="--resume"):
        train(recipe, eight_rows, out)
    # A checkpoint that the kill cut off must not count.
    cut_off = out / CHECKPOINTS / "checkpoint-9"
    if not (cut_off / WHOLE).exists():
        cut_off.mkdir(exist_ok=True)
        (cut_off / "trainer_state.json").write_text("{")
    train(recipe, eight_rows, out, resume=True)
    ours, theirs = log_of(out), log_of(trained)
    assert [line["step"] for line in ours] == list(range(1, 11))
    for mine, undisturbed in zip(ours, theirs, strict=True):
        for name in ("loss", "grad_norm", "learning_rate"):
            assert mine[name] == pytest.approx(undisturbed[name], rel=1e-6), (name, mine["step"])
    expected = load_file(trained / adapters.WEIGHTS)
    for name, tensor in load_file(out / adapters.WEIGHTS).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_resuming_what_is_complete_does_nothing(recipe: Recipe, eight_rows: Path, trained: Path) -> None:
    before = (trained / adapters.WEIGHTS).stat().st_mtime_ns
    assert train(recipe, eight_rows, trained, resume=True) == trained
    assert (trained / adapters.WEIGHTS).stat().st_mtime_ns == before


def test_resuming_with_other_data_or_another_recipe_is_refused(
    recipe: Recipe, trained: Path, eight_rows: Path, tmp_path: Path
) -> None:
    other = save_rows(tmp_path / "other", [make_row(index) for index in range(1, 9)])
    with pytest.raises(InputError, match="differs at dataset_sha256"):
        train(recipe, other, trained, resume=True)
    hotter = recipe.model_copy(update={"train": recipe.train.model_copy(update={"learning_rate": 1.0})})
    with pytest.raises(InputError, match=r"differs at train\.learning_rate"):
        train(hotter, eight_rows, trained, resume=True)


def test_an_adapter_made_with_keys_of_an_earlier_version_loads_and_is_not_trained_on(
    recipe: Recipe, trained: Path, eight_rows: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    for name, within in (("recipe.json", ()), ("artifact.json", ("recipe",))):
        values = json.loads((old / name).read_text())
        made_by = values[within[0]] if within else values
        made_by["train"]["keep"] = "last"
        del made_by["train"]["load_best_at_end"]
        (old / name).write_text(json.dumps(values))
    assert adapters.read_adapter(old, device=torch.device("cpu"), dtype="float32").model is not None
    with pytest.raises(InputError, match=r"earlier version, whose recipe holds `train\.keep`; .*--overwrite"):
        train(recipe, eight_rows, old, resume=True)


def test_the_newest_whole_checkpoint_counts_and_a_cut_off_one_goes(tmp_path: Path) -> None:
    for step, whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / WHOLE).touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-11").exists()
    assert last_checkpoint(tmp_path / "nothing") is None


def test_the_size_of_a_micro_batch_does_not_change_what_is_learned(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    """Four samples a step as 4x1 and as 1x4: one gradient, up to rounding (1e-4 in float32)."""
    logs = []
    for batch, accumulation in ((4, 1), (1, 4)):
        recipe = recipe_for(
            f"train.batch_size={batch}", f"train.gradient_accumulation={accumulation}", "train.max_steps=3"
        )
        logs.append(log_of(train(recipe, eight_rows, tmp_path / str(batch))))
    for large, small in zip(*logs, strict=True):
        assert large["loss"] == pytest.approx(small["loss"], rel=1e-4)
        assert large["grad_norm"] == pytest.approx(small["grad_norm"], rel=1e-3)


def test_gradient_checkpointing_does_not_change_what_is_learned(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    logs = [
        log_of(
            train(
                recipe_for(f"train.gradient_checkpointing={value}", "train.max_steps=2"),
                eight_rows,
                tmp_path / value,
            )
        )
        for value in ("true", "false")
    ]
    for checkpointed, plain in zip(*logs, strict=True):
        assert checkpointed["loss"] == pytest.approx(plain["loss"], rel=1e-5)
        assert checkpointed["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_clips(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    recipe = recipe_for("train.learning_rate=1e30", "train.max_steps=8", "train.warmup_ratio=0")
    with pytest.raises(WorkError, match=r"step \d: the loss is (nan|inf) on clip-\d, clip-\d"):
        train(recipe, eight_rows, tmp_path / "out")


def test_lora_outside_the_language_model_is_refused_before_anything_is_loaded(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    for target in ("lm_head", "qkv", "nonsense"):
        with pytest.raises(InputError, match=rf"lora\.targets: {target}; only the language model's linears"):
            train(recipe_for(f"lora.targets=[q_proj, {target}]"), eight_rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_card_that_is_full_is_one_line(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(stage, "load_base", full)
    with pytest.raises(WorkError, match=r"the card's memory is full; lower train\.batch_size"):
        train(recipe_for(), eight_rows, tmp_path / "out")


def test_workers_end_by_themselves_in_the_middle_of_an_epoch(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: set[Any] = set()
    killed: list[Any] = []
    step, end = VisionTrainer.training_step, BaseProcess.terminate

    def kill(self: BaseProcess) -> None:
        killed.append(self)
        end(self)

    def note(self: VisionTrainer, *args: Any, **kwargs: Any) -> Any:
        workers.update(multiprocessing.active_children())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(VisionTrainer, "training_step", note)
    monkeypatch.setattr(BaseProcess, "terminate", kill)
    train(recipe_for("train.max_steps=2", "train.workers=2"), eight_rows, tmp_path / "out")
    assert len(workers) == 2 and not killed


def test_planned_steps_are_those_of_the_run(recipe_for: Callable[..., Recipe]) -> None:
    settings = recipe_for("train.batch_size=2", "train.gradient_accumulation=2", "train.epochs=1.5").train
    assert planned_steps(settings, 9) == 5
    assert planned_steps(settings.model_copy(update={"max_steps": 7}), 9) == 7

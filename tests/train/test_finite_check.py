"""A training that has left the numbers stops and names the clip; a float16 run holds no bfloat16."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from bitsandbytes.nn import Linear4bit, Params4bit

from roadscribe.errors import WorkError
from roadscribe.model.load import LoadedBase, load_base
from roadscribe.qwen3_vl.vision_cache import visual_features
from roadscribe.recipe import Model, Recipe
from roadscribe.train.collator import Collator
from roadscribe.train.dataset import open_rows
from roadscribe.train.finite_check import SKIPPED_IN_A_ROW, WHOLE, FiniteGuard, SkippedSteps, assert_float16
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG, Reporter


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> LoadedBase:
    return load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))


def seen_by(loaded: LoadedBase, dataset: Path, poison: Callable[[torch.Tensor], None]) -> tuple[Any, ...]:
    """A guard that has watched the real encoder see two clips of two frames, and what else `check` takes."""
    rows = open_rows(dataset)
    batch = Collator(loaded.processor)([rows[4], rows[5]])
    poison(batch["pixel_values"])
    inner = loaded.model.model.train()
    guard = FiniteGuard(inner)
    features = visual_features(inner, batch["clips"], batch["image_grid_thw"], batch["pixel_values"], None)
    return guard, features, batch["clips"], batch["image_grid_thw"]


def hold(guard: FiniteGuard, step: int, loss: torch.Tensor, rest: list[Any]) -> None:
    guard.note(loss, *rest)
    guard.check(step)


def nothing(pixels: torch.Tensor) -> None:
    pass


def third_frame(pixels: torch.Tensor) -> None:
    pixels[2 * len(pixels) // 4 + 3] = float("inf")


def test_a_vision_activation_that_is_not_finite_names_clip_and_frame(
    loaded: LoadedBase, eight_rows: Path
) -> None:
    guard, *rest = seen_by(loaded, eight_rows, third_frame)
    with pytest.raises(
        WorkError, match=r"step 7: the vision encoder's output is not finite on clip clip-5, frame 1 "
    ):
        hold(guard, 7, torch.tensor(float("nan")), rest)


def test_finite_numbers_pass_and_one_bad_batch_is_not_held_against_the_next(
    loaded: LoadedBase, eight_rows: Path
) -> None:
    guard, *rest = seen_by(loaded, eight_rows, nothing)
    hold(guard, 1, torch.tensor(2.0), rest)
    hold(guard, 2, torch.tensor(2.0), rest)


def test_what_evaluation_sees_is_not_held_against_training(loaded: LoadedBase, eight_rows: Path) -> None:
    guard, *rest = seen_by(loaded, eight_rows, nothing)
    loaded.model.eval()
    loaded.model.model.visual(torch.full((24, 1536), float("nan")), grid_thw=torch.tensor([[1, 4, 6]]))
    hold(guard, 1, torch.tensor(2.0), rest)


def test_a_loss_that_is_not_finite_names_the_sample_of_the_batch(
    loaded: LoadedBase, eight_rows: Path
) -> None:
    guard, *rest = seen_by(loaded, eight_rows, nothing)
    language = loaded.model.model.language_model.train()
    embeddings = torch.randn(2, 5, language.config.hidden_size)
    embeddings[1, 2] = float("inf")
    with torch.no_grad():
        language(inputs_embeds=embeddings, use_cache=False)
    with pytest.raises(WorkError, match=r"step 3: the loss is nan on clip-5; lower train\.learning_rate"):
        hold(guard, 3, torch.tensor(float("nan")), rest)


class Halves(torch.nn.Module):
    """The pieces of a float16 model: a half, a 4-bit linear that unpacks to halves, a float32 adapter."""

    def __init__(self, unpacked: torch.dtype = torch.float16, compute: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.norm = torch.nn.Parameter(torch.ones(8, dtype=torch.float16))
        self.linear = Linear4bit(64, 64, bias=False, compute_dtype=compute, quant_type="nf4")
        weight = torch.randn(64, 64, dtype=unpacked)
        self.linear.weight = Params4bit(weight, requires_grad=False, quant_type="nf4", module=self.linear).to(
            "cpu"
        )
        self.adapter = torch.nn.Parameter(torch.zeros(4, 64))
        self.register_buffer("angles", torch.ones(4))


def test_a_float16_model_holds_no_bfloat16() -> None:
    assert_float16(Halves(), "fp16")


def with_buffer(model: Halves) -> Halves:
    model.angles = model.angles.bfloat16()
    return model


def with_adapter(model: Halves) -> Halves:
    model.adapter.data = model.adapter.data.bfloat16()
    return model


@pytest.mark.parametrize(
    ("model", "mixed", "message"),
    [
        (with_buffer(Halves()), "fp16", "^angles: is bfloat16"),
        (with_adapter(Halves()), "fp16", "^adapter: is bfloat16"),
        (Halves(unpacked=torch.bfloat16), "fp16", "^linear: its 4-bit weight computes in bfloat16"),
        (Halves(compute=torch.bfloat16), "fp16", "^linear: its 4-bit weight computes in bfloat16"),
        (Halves(), "bf16", "^autocast computes in 'bf16'"),
        (Halves(), "no", "^autocast computes in 'no'"),
    ],
    ids=["buffer", "adapter", "unpacked weight", "4-bit computation", "autocast", "no autocast"],
)
def test_one_bfloat16_anywhere_in_a_float16_run_is_refused(
    model: torch.nn.Module, mixed: str, message: str
) -> None:
    with pytest.raises(WorkError, match=message):
        assert_float16(model, mixed)


def scaled_optimizer() -> tuple[torch.nn.Parameter, Any]:
    """A parameter under a real loss scaler, as accelerate wraps it."""
    from accelerate.optimizer import AcceleratedOptimizer

    Accelerator(cpu=True)
    weight = torch.nn.Parameter(torch.ones(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    return weight, AcceleratedOptimizer(torch.optim.SGD([weight], lr=0.1), scaler=scaler)


def step_with(weight: torch.nn.Parameter, optimizer: Any, value: float) -> None:
    weight.grad = None
    optimizer.scaler.scale((weight * value).sum()).backward()
    optimizer.step()


def test_skipped_steps_are_counted_and_too_many_in_a_row_end_the_run() -> None:
    weight, optimizer = scaled_optimizer()
    skipped = SkippedSteps()

    def step(value: float, number: int) -> None:
        step_with(weight, optimizer, value)
        skipped.on_step_end(None, SimpleNamespace(global_step=number), None, optimizer=optimizer)

    for number in range(SKIPPED_IN_A_ROW - 1):
        step(float("inf"), number)
    step(1.0, SKIPPED_IN_A_ROW)
    assert skipped.total == SKIPPED_IN_A_ROW - 1
    with pytest.raises(
        WorkError, match=rf"step 119: {SKIPPED_IN_A_ROW} optimizer steps in a row were skipped"
    ):
        for number in range(100, 150):
            step(float("inf"), number)


def test_skipped_steps_are_logged_without_a_gradient_norm_and_survive_a_checkpoint(tmp_path: Path) -> None:
    skipped = SkippedSteps()
    skipped.total = 3
    notes: list[str] = []
    reporter = Reporter(tmp_path / LOG, lambda n=1, note="": notes.append(note), 2.0, lambda: None, skipped)
    state = SimpleNamespace(global_step=4)
    reporter.on_log(None, state, None, logs={"loss": 1.5, "grad_norm": float("inf"), "learning_rate": 1e-4})
    (line,) = (tmp_path / LOG).read_text().splitlines()
    logged = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (logged["grad_norm"], logged["skipped_steps"]) == (None, 3)
    assert notes[-1].endswith("GiB, 3 steps skipped")
    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    reporter.on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert (checkpoint / WHOLE).exists()
    assert SkippedSteps(checkpoint).total == 3


@pytest.mark.gpu
def test_a_float16_run_on_a_card_learns_without_a_bfloat16_tensor(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    """Some steps as on a card without bfloat16: loss scaling, the guard and `assert_float16` are all at work."""
    out = train(
        recipe_for("model.dtype=float16", "train.max_steps=24", "train.learning_rate=3e-3"),
        eight_rows,
        tmp_path / "out",
    )
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert lines[-1]["skipped_steps"] <= 8
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    summary = json.loads((out / "artifact.json").read_text())["summary"]
    assert summary["read_back_logit_difference"] <= 2e-3

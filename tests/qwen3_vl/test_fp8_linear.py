"""Products in 8 bits: near the 16-bit ones by the size of their rounding, and a model still learns through them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_text_model import hidden_and_gradients, seven_projections

from roadscribe.errors import InputError
from roadscribe.qwen3_vl import fp8_linear
from roadscribe.qwen3_vl.lora_linear import Spec, adapter_places, columns, product
from roadscribe.qwen3_vl.text_model import fuse
from roadscribe.recipe import Recipe
from roadscribe.train.collator import Collator
from roadscribe.train.dataset import open_rows
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG

STEP = 2.0**-4
"""e4m3 has three bits behind the leading one: half a step is a sixteenth of a value at most."""


def test_a_rounded_value_is_within_half_a_step_whatever_the_rows_size() -> None:
    x = torch.randn(6, 200, generator=torch.Generator().manual_seed(0))
    x *= torch.tensor([1e-12, 1e-3, 1.0, 3e4, 1e12, 0.0])[:, None]
    for headroom in (1.0, fp8_linear.HEADROOM):
        codes, scale = fp8_linear.rounded(x, headroom)
        found = codes.float() * scale
        assert found.isfinite().all() and not found[5].any()
        # A value thousands of times below its row's largest falls out of the type's range.
        counts = x.abs() > 2**-15 * 2 * headroom * x.abs().amax(1, keepdim=True)
        assert ((found - x).abs() <= STEP * x.abs())[counts].all()


def test_an_adapter_that_outgrows_its_weight_is_no_quiet_error() -> None:
    weight, x = torch.full((16, 16), 0.01).bfloat16(), torch.ones(2, 16).bfloat16()
    wide = torch.cat([x, x], 1)
    codes, b = fp8_linear.codes_of(weight), torch.zeros(16, 1)
    assert fp8_linear.outputs_of(wide, [b], 1.0, codes).isfinite().all()
    b[3] = 0.011 * fp8_linear.HEADROOM
    assert fp8_linear.outputs_of(wide, [b], 1.0, codes)[:, 3].isnan().all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rank", [4, 32])
def test_outputs_and_gradients_are_those_of_16_bits_up_to_rounding(rank: int, compiled: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    outputs, inputs, tokens = (64, 32, 32), 128, 40

    def some(*shape: int, size: float) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * size

    a = [some(rank, inputs, size=0.05).requires_grad_() for _ in outputs]
    b = [some(one, rank, size=0.05).requires_grad_() for one in outputs]
    weight = torch.zeros(sum(outputs), columns(inputs, rank * 3), dtype=torch.bfloat16)
    weight[:, :inputs] = some(sum(outputs), inputs, size=0.02)
    codes = fp8_linear.codes_of(weight[:, :inputs])
    for place, one in zip(adapter_places(weight, inputs, b), b, strict=True):
        place.copy_(2.0 * one.detach())
    x = some(1, tokens, inputs, size=1.0).bfloat16().requires_grad_()
    upstream = [some(1, tokens, one, size=1e-3).bfloat16() for one in outputs]
    results = []
    function: Callable[..., Any] = torch.compile(product) if compiled else product
    for eight, base in ((False, (weight,)), (True, codes)):
        outs = function(x, Spec(outputs, inputs, 2.0, 0, eight), (*a, *b, *base))
        results.append([*outs, *torch.autograd.grad(outs, [x, *a, *b], upstream)])
    for wanted, found in zip(*results, strict=True):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        error = (found.float() - wanted.float()).norm() / wanted.float().norm()
        assert 0 < error <= 0.05 or torch.equal(found, wanted)
    # The gradients of B take nothing that was rounded.
    assert all(
        torch.equal(found, wanted) for wanted, found in zip(results[0][-3:], results[1][-3:], strict=True)
    )


def test_a_model_in_8_bits_has_about_the_hidden_states_and_follows_its_gradients(
    eight_rows: Path, tiny_folder: Path
) -> None:
    rows = open_rows(eight_rows)
    found: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []
    for eight in (False, True):
        torch.manual_seed(0)
        model, processor = seven_projections(tiny_folder, dtype="bfloat16")
        made = Collator(processor)([rows[0], rows[3]])
        del made["clips"]
        labels = made.pop("labels")
        made["pixel_values"] = made["pixel_values"].bfloat16()
        fuse(model, dense=True, compiled=False, dtype=torch.bfloat16, eight=eight)
        found.append(hidden_and_gradients(model, made, labels))
    (hidden, gradients), (hidden8, gradients8) = found
    assert (hidden8 - hidden).float().norm() <= 0.2 * hidden.float().norm()
    flat, flat8 = (torch.cat([one.flatten() for one in some.values()]) for some in (gradients, gradients8))
    assert torch.cosine_similarity(flat, flat8, dim=0) > 0.95


def test_a_run_in_8_bits_learns_what_one_in_16_bits_learns(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    losses = []
    for eight in ("false", "true"):
        overrides = ["train.max_steps=8", "model.dtype=bfloat16", "train.dequantize_weights=true"]
        recipe = recipe_for(*overrides, f"train.fp8_matmul={eight}")
        out = train(recipe, eight_rows, tmp_path / eight)
        losses.append([json.loads(line)["loss"] for line in (out / LOG).read_text().splitlines()])
    assert losses[1] != losses[0] and losses[1][-1] < 0.9 * losses[1][0]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_left_to_the_run_a_cpu_multiplies_as_it_would_unasked(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    losses = []
    for asked in ("false", "auto"):
        out = train(
            recipe_for("train.max_steps=2", f"train.fp8_matmul={asked}"), eight_rows, tmp_path / asked
        )
        losses.append([json.loads(line)["loss"] for line in (out / LOG).read_text().splitlines()])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("model.dtype=float32",), "computes in float32"),
        (("model.dtype=bfloat16", "lora.dropout=0.1"), "dropout"),
    ],
)
def test_a_run_that_cannot_be_had_in_8_bits_says_why(
    overrides: tuple[str, ...],
    why: str,
    recipe_for: Callable[..., Recipe],
    eight_rows: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=f"train.fp8_matmul: .*{why}"):
        train(recipe_for(*overrides, "train.fp8_matmul=true"), eight_rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()

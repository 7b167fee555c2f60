"""What makes a step fast is chosen for the device, with a reason, and changes no number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from roadscribe.model.load import load_base
from roadscribe.model.vision import CompiledBlock, compile_vision
from roadscribe.recipe import Model
from roadscribe.train.speed import choose_compile, choose_dense, linear_parameters

GIB = 2**30


@pytest.mark.parametrize(
    ("asked", "weights", "card", "kept"),
    [
        ("auto", 2.6 * GIB, 15 * GIB, "on"),
        ("auto", 13 * GIB, 24 * GIB, "off"),
        ("auto", 13 * GIB, 80 * GIB, "on"),
        (True, 13 * GIB, 15 * GIB, "on"),
        (False, 1 * GIB, 140 * GIB, "off"),
    ],
)
def test_dense_weights_are_kept_where_there_is_room_or_as_asked(
    asked: Any, weights: float, card: float, kept: str
) -> None:
    choice = choose_dense(asked, int(weights), int(card))
    assert choice.value == kept
    assert f"{weights / GIB:.1f} GiB" in choice.reason


def test_layers_are_compiled_where_a_run_is_long_enough_to_pay_for_it() -> None:
    assert choose_compile("auto", "cuda", 1000).value == "on"
    assert choose_compile("auto", "cuda", 10).value == "off"
    assert choose_compile("auto", "cpu", 10**6).value == "off"
    assert choose_compile(True, "cpu", 1).value == "on"


def test_the_2b_model_has_its_published_number_of_linear_weights() -> None:
    text = SimpleNamespace(
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=28,
    )
    # Per layer: query and output 2 x 2048 x 2048, key and value 2 x 1024 x 2048, three of 6144 x 2048.
    assert linear_parameters(text) == 28 * (2 * 2048 * 2048 + 2 * 1024 * 2048 + 3 * 6144 * 2048)


def test_the_compiled_tower_gives_the_towers_features(tiny_folder: Path) -> None:
    loaded = load_base(
        Model(base=str(tiny_folder), quantization="none"), max_pixels=6144, device=torch.device("cpu")
    )
    inner = loaded.model.model
    grid = torch.tensor([[1, 4, 6]] * 3)
    pixels = torch.randn(72, 3 * 2 * 16 * 16, generator=torch.Generator().manual_seed(0))

    def features() -> list[torch.Tensor]:
        with torch.no_grad():
            out = inner.get_image_features(pixels, grid, return_dict=True)
        return [torch.cat(out.pooler_output), *(torch.cat(layer) for layer in out.deepstack_features)]

    plain = features()
    names = list(inner.visual.state_dict())
    compile_vision(loaded.model)
    assert all(isinstance(block, CompiledBlock) for block in inner.visual.blocks)
    assert list(inner.visual.state_dict()) == names
    assert all(torch.equal(a, b) for a, b in zip(features(), plain, strict=True)), (
        "as shipped when not training"
    )
    inner.visual.train()
    for ours, theirs in zip(features(), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

"""The faster vision encoder gives the shipped tower's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from roadscribe.qwen3_vl.vision_tower import EqualFrameAttention, speed_up_vision


@pytest.fixture(scope="module")
def models(tiny_folder: Path) -> tuple[Any, Any]:
    """The base as transformers ships it, and the same base with batched frames."""
    shipped, batched = (
        AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype=torch.float32).eval() for _ in range(2)
    )
    speed_up_vision(batched)
    return shipped, batched


def features(model: Any, grid: list[list[int]]) -> list[torch.Tensor]:
    thw = torch.tensor(grid)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(int(thw.prod(-1).sum()), 3 * 2 * 16 * 16, generator=generator)
    with torch.no_grad():
        out = model.model.get_image_features(pixels, thw, return_dict=True)
    return [torch.cat(out.pooler_output), *(torch.cat(layer) for layer in out.deepstack_features)]


@pytest.mark.parametrize(
    "grid", [[[1, 4, 6]] * 5, [[1, 2, 2]], [[1, 4, 6], [1, 6, 4]]], ids=["equal", "one", "mixed"]
)
def test_features_are_those_of_the_shipped_tower(models: tuple[Any, Any], grid: list[list[int]]) -> None:
    shipped, batched = models
    for theirs, ours in zip(features(shipped, grid), features(batched, grid), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_equal_frames_share_one_attention_call(
    models: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def counting(*args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(args[0].shape)
        return attend(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    features(models[1], [[1, 4, 6]] * 5)
    assert [shape[0] for shape in calls] == [5] * len(models[1].model.visual.blocks)


def test_the_parameters_keep_their_names(models: tuple[Any, Any]) -> None:
    shipped, batched = models
    assert list(shipped.state_dict()) == list(batched.state_dict())
    assert isinstance(batched.model.visual.blocks[0].attn, EqualFrameAttention)

"""Compiling the vision encoder changes no feature."""

from __future__ import annotations

from pathlib import Path

import torch

from roadscribe.model.load import load_base
from roadscribe.qwen3_vl.vision_tower import CompiledBlock, compile_vision
from roadscribe.recipe import Model


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

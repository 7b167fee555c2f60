"""Rows become batches through `model.encode`; the frozen vision tower's features are kept where it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from roadscribe.model.encode import Sample, encode_images, encode_text
from roadscribe.train.data import clip_key, open_image

CLIPS = "clips"
"""Key of a batch that names its samples; the trainer takes it out before the model sees the batch."""
KEPT_FEATURES_BYTES = 2**30
"""Features are kept in memory only up to this size."""

Features = list[torch.Tensor]
"""A clip's visual tokens (tokens, hidden) from the merger, then from each DeepStack layer."""


@dataclass(frozen=True)
class ClipPlace:
    """One sample of a batch: whose frames, how many, and whether their pixels came with the batch."""

    clip_id: str
    key: str
    frames: int
    fresh: bool


@dataclass
class KeptFeatures:
    """The frozen tower's features of the clips seen so far, by `clip_key`. What is in is never dropped."""

    by_clip: dict[str, Features] = field(default_factory=dict)


def choose_features(device: str, uses: float, size_bytes: int) -> tuple[bool, str]:
    """Whether to keep the frozen tower's features in memory, and why.

    Args:
        device: "cuda" or "cpu".
        uses: how often each clip is looked at in the whole run.
        size_bytes: what the features of all clips take.
    """
    size = f"{size_bytes / 2**20:,.0f} MiB"
    if device != "cpu":
        return False, "on a card the tower is faster than fetching its features"
    if uses <= 1:
        return False, "each clip is looked at once"
    if size_bytes > KEPT_FEATURES_BYTES:
        return False, f"they would take {size}"
    return True, f"each clip is looked at {uses:.1f} times and they take {size}"


def feature_bytes(config: Any, tokens: int, dtype: torch.dtype) -> int:
    """Memory of the features of this many visual tokens: the merger's and each DeepStack layer's."""
    layers = 1 + len(config.vision_config.deepstack_visual_indexes)
    return int(tokens * layers * config.vision_config.out_hidden_size * dtype.itemsize)


class Collator:
    """Makes a batch of dataset rows; the images of clips whose features are kept are not even decoded."""

    def __init__(self, processor: Any, kept: KeptFeatures | None = None) -> None:
        self.processor = processor
        self.kept = kept

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`encode_text`'s tensors of the rows, their `ClipPlace`s under `CLIPS`, and the pixels needed."""
        samples = [
            Sample([open_image(image) for image in row["images"]], row["prompt"], row["completion"])
            for row in rows
        ]
        batch: dict[str, Any] = encode_text(self.processor, samples)
        places: list[ClipPlace] = []
        unseen: list[Image.Image] = []
        for row, sample in zip(rows, samples, strict=True):
            key = clip_key(row["images"])
            fresh = self.kept is None or key not in self.kept.by_clip
            places.append(ClipPlace(row["clip_id"], key, len(sample.images), fresh))
            if fresh:
                unseen += sample.images
        batch[CLIPS] = places
        if unseen:
            batch["pixel_values"] = encode_images(self.processor, unseen)
        return batch


def visual_features(
    model: Any,
    places: Sequence[ClipPlace],
    grid: torch.Tensor,
    pixels: torch.Tensor | None,
    kept: KeptFeatures | None,
) -> BaseModelOutputWithDeepstackFeatures:
    """The frozen tower's features of a batch, without a graph for gradients.

    Where features are kept, each clip goes through the tower by itself, so that a feature does not depend on
    the batch in which its clip was first seen (a resumed run sees other batches first).

    Args:
        model: the inner ``Qwen3VLModel``.
        places: the clips of the batch, in order.
        grid: (frames of all clips, 3), the frames' sizes in patches.
        pixels: the patches of the fresh clips' frames, in order.
        kept: where features are kept, if at all.
    """
    if kept is None:
        with torch.no_grad():
            return model.get_image_features(pixels, grid, return_dict=True)
    grids = torch.split(grid, [place.frames for place in places])
    start = 0
    for place, frames in zip(places, grids, strict=True):
        if not place.fresh or pixels is None:
            continue
        end = start + int(frames.prod(-1).sum())
        if place.key not in kept.by_clip:
            with torch.no_grad():
                out = model.get_image_features(pixels[start:end], frames, return_dict=True)
            kept.by_clip[place.key] = [
                torch.cat(layer) for layer in (out.pooler_output, *out.deepstack_features)
            ]
        start = end
    layers = list(zip(*(kept.by_clip[place.key] for place in places), strict=True))
    return BaseModelOutputWithDeepstackFeatures(pooler_output=layers[0], deepstack_features=layers[1:])

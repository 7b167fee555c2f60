"""Cache of the frozen vision encoder's features, in GPU memory or page-locked host memory.

The encoder is frozen, so a clip's features are the same in every epoch. They take 16 KiB per visual token of the 2B
model (the merger's and three DeepStack layers'), 34 MiB per clip of ten frames: on the GPU where it has room next to
the run, else in the machine's memory. A cached clip is neither decoded nor encoded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

CHUNK = 2**30
"""Bytes of page-locked memory taken at a time; torch rounds each time up to a power of two."""


@dataclass(frozen=True)
class ClipPlace:
    """One sample of a batch: whose frames, how many, and whether their pixels came with the batch."""

    clip_id: str
    key: str
    frames: int
    fresh: bool


class KnownClips:
    """Which clips' features are kept: written by the process that trains, read by its workers."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        known = torch.zeros(max(1, len(self._places)), dtype=torch.bool)
        self._known: torch.Tensor = known.share_memory_()  # type: ignore[no-untyped-call]

    def __contains__(self, key: object) -> bool:
        place = self._places.get(key)  # type: ignore[call-overload]
        return place is not None and bool(self._known[place])

    def add(self, key: str) -> None:
        """Say that a clip's features are there to stay."""
        self._known[self._places[key]] = True


class KeptFeatures:
    """The frozen encoder's features of the clips seen so far, by `dataset.clip_key`. What is in is never dropped."""

    def __init__(self, keys: Iterable[str], *, on_gpu: bool = False, size_bytes: int = 0) -> None:
        """
        Args:
            keys: of all clips of the run.
            on_gpu: on the GPU, or in the host's memory, which for a GPU's features is page-locked.
            size_bytes: what all of them take on the GPU: one allocation, so that they do not fragment what a step
                needs.
        """
        self.known = KnownClips(keys)
        self._on_gpu, self._chunk_bytes = on_gpu, size_bytes if on_gpu else CHUNK
        self._by_clip: dict[str, torch.Tensor] = {}
        self._chunk = torch.empty(0, dtype=torch.uint8)

    def put(self, key: str, features: torch.Tensor) -> None:
        """Keep a clip's features, (levels, tokens, hidden): the merger's, then each DeepStack layer's."""
        if features.is_cuda:
            features = self._piece(features).copy_(features, non_blocking=True)
        self._by_clip[key] = features
        self.known.add(key)

    def get(self, key: str, device: torch.device) -> torch.Tensor:
        """A clip's features, on the device."""
        return self._by_clip[key].to(device, non_blocking=True)

    def _piece(self, like: torch.Tensor) -> torch.Tensor:
        """Room for features like these, of the last chunk or a new one."""
        size = like.numel() * like.element_size()
        if size > self._chunk.numel():
            self._chunk = torch.empty(
                max(self._chunk_bytes, size),
                dtype=torch.uint8,
                device=like.device if self._on_gpu else "cpu",
                pin_memory=not self._on_gpu,
            )
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        return piece.view(like.dtype).view_as(like)


def visual_features(
    model: Any,
    places: Sequence[ClipPlace],
    grid: torch.Tensor,
    pixels: torch.Tensor | None,
    kept: KeptFeatures | None,
) -> BaseModelOutputWithDeepstackFeatures:
    """The frozen encoder's features of a batch, without a graph for gradients.

    Where features are kept, each clip goes through the encoder by itself, so that a feature does not depend on
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
        if place.key not in kept.known:
            with torch.no_grad():
                out = model.get_image_features(pixels[start:end], frames, return_dict=True)
            levels = (out.pooler_output, *out.deepstack_features)
            kept.put(place.key, torch.stack([torch.cat(list(level)) for level in levels]))
        start = end
    device = model.visual.device
    clips = [kept.get(place.key, device).unbind() for place in places]
    merged, *deep = zip(*clips, strict=True)
    return BaseModelOutputWithDeepstackFeatures(pooler_output=merged, deepstack_features=list(deep))

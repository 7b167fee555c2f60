"""Patches made on the GPU from decoded frames, as Qwen3-VL's image processor makes them on the CPU."""

from __future__ import annotations

import functools
from typing import Any

import torch

FRAMES = "frames"
"""Key of the decoded frames, bytes, where the card makes the patches: (frames, 3, rows, columns) where all are of
one size that the encoder takes as it is, else a list of (3, rows, columns)."""


def pixels_of(
    processor: Any, batch: dict[str, Any], dtype: torch.dtype = torch.float32
) -> torch.Tensor | None:
    """Take a batch's patches out of it, (patches, 3 x 2 x 16 x 16); frames on the card become patches there.

    Frames as bytes are an eighth of their patches, and the card makes patches in no time: workers only decode.

    Args:
        processor: the base's processor.
        batch: of a `Collator`.
        dtype: what the encoder computes in.
    """
    frames = batch.pop(FRAMES, None)
    if frames is None:
        return batch.pop("pixel_values", None)  # type: ignore[no-any-return]
    images = processor.image_processor
    if not isinstance(frames, torch.Tensor) or not (images.do_rescale and images.do_normalize):
        return images(images=list(frames), return_tensors="pt")["pixel_values"]  # type: ignore[no-any-return]
    # Put in order as bytes; the processor would move eight times as much, and ask the card whether a deviation is 0.
    ordered = images.patchify(
        frames, patch_size=images.patch_size, merge_size=images.merge_size, temporal_patch_size=1
    )[0]
    values = ordered.reshape(-1, frames.shape[1], images.patch_size**2).float()
    mean, deviation = _scale(
        tuple(images.image_mean), tuple(images.image_std), images.rescale_factor, frames.device
    )
    values = values.sub_(mean).div_(deviation).to(dtype)
    patches: torch.Tensor = values.unsqueeze(2).expand(-1, -1, images.temporal_patch_size, -1).flatten(1)
    return patches


@functools.lru_cache(maxsize=8)
def _scale(
    mean: tuple[float, ...], deviation: tuple[float, ...], factor: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The processor's mean and deviation for values of 0..255, (channels, 1) each."""
    scaled = (torch.tensor(mean) * (1 / factor), torch.tensor(deviation) * (1 / factor))
    return scaled[0][:, None].to(device), scaled[1][:, None].to(device)

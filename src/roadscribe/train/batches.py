"""Rows become batches through `model.encode`, with what a card would otherwise be asked for worked out before."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import pad

from roadscribe.model.encode import IGNORED, encode_images, processed_size
from roadscribe.train.branches import BRANCHES, PADDING, encode_branches
from roadscribe.train.claim_weights import WEIGHTS, claim_weights
from roadscribe.train.data import clip_key, open_image
from roadscribe.train.features import ClipPlace, KnownClips
from roadscribe.train.shared import item_samples

CLIPS = "clips"
"""Key of a batch that names its samples; the trainer takes it out before the model sees the batch."""
FRAMES = "frames"
"""Key of the decoded frames, bytes, where the card makes the patches: (frames, 3, rows, columns) where all are of
one size that the tower takes as it is, else a list of (3, rows, columns)."""
LENGTH_STEP = 64
"""Batches for the card are a multiple of this many tokens long."""
PLACED = "placed"
"""Key of a `Placed` batch's places."""


class Placed(TypedDict):
    """Where things stand in a batch, worked out before it goes to the card: no pass has to ask the card for it."""

    grid: list[list[int]]
    """Each frame's time, rows and columns in patches."""
    visual: torch.Tensor
    """Places of the visual tokens among the batch's tokens, row after row."""
    before: torch.Tensor
    """(rows, most tokens of an answer, rounded up): where in its row each token stands that predicts an answer's
    token; short rows repeat their last."""
    counts: torch.Tensor
    """(tokens of all answers): which places of `before`, row after row, count."""
    targets: torch.Tensor
    """(tokens of all answers): the tokens to predict."""
    weights: NotRequired[torch.Tensor]
    """(tokens of all answers): what each of them counts in the loss, where not all count the same."""


class Collator:
    """Makes a batch of dataset rows, or of items that hold all rows of a clip (`shared.item_rows`).

    The images of clips whose features are kept are not even decoded.
    """

    def __init__(
        self,
        processor: Any,
        known: KnownClips | None = None,
        *,
        on_card: bool = False,
        claim_weight: float = 1.0,
    ) -> None:
        """``known``: the clips whose features are kept. ``on_card`` ships decoded frames, for `pixels_of` to make
        the patches on the card. ``claim_weight``: what the tokens that decide a claim count in the loss."""
        self.processor = processor
        self.known = known
        self.on_card = on_card
        self.claim_weight = claim_weight

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`encode_branches`'s tensors of the rows, their `ClipPlace`s under `CLIPS`, and the pixels needed."""
        clips = [item_samples(row, [open_image(image) for image in row["images"]]) for row in rows]
        batch: dict[str, Any] = encode_branches(self.processor, clips)
        places: list[ClipPlace] = []
        unseen: list[Image.Image] = []
        for row, (sample, *_) in zip(rows, clips, strict=True):
            key = clip_key(row["images"])
            fresh = self.known is None or key not in self.known
            places.append(ClipPlace(row["clip_id"], key, len(sample.images), fresh))
            if fresh:
                unseen += sample.images
        batch[CLIPS] = places
        if self.claim_weight != 1:
            batch[WEIGHTS] = claim_weights(self.processor.tokenizer, batch["labels"], self.claim_weight)
        if unseen and self.on_card:
            batch[FRAMES] = self._frames(unseen)
        elif unseen:
            batch["pixel_values"] = encode_images(self.processor, unseen)
        if self.on_card:
            round_up(batch, self.processor.tokenizer.pad_token_id)
            batch[PLACED] = _place(batch)
            batch.pop(WEIGHTS, None)
            for name in ("attention_mask", "mm_token_type_ids", "image_grid_thw"):
                del batch[name]
        return batch

    def _frames(self, images: Sequence[Image.Image]) -> torch.Tensor | list[torch.Tensor]:
        frames = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) for image in images]
        sizes = {image.size for image in images}
        limit = self.processor.image_processor.size.longest_edge
        if len(sizes) == 1 and processed_size(*images[0].size, limit) == images[0].size:
            return torch.stack(frames)
        return frames


def round_up(batch: dict[str, Any], pad_token: int) -> None:
    """Pad a batch on the right to a length that other batches have, too.

    cuDNN plans each new length of its attention anew, which takes a fifth of a step; a padded token costs its
    share of a step, on average one in a hundred here.
    """
    length = batch["input_ids"].shape[1]
    more = -length % LENGTH_STEP
    padding = {"input_ids": pad_token, "labels": IGNORED, BRANCHES: PADDING}
    for name in (
        "input_ids",
        "labels",
        "position_ids",
        "attention_mask",
        "mm_token_type_ids",
        BRANCHES,
        WEIGHTS,
    ):
        if name in batch:
            batch[name] = pad(batch[name], (0, more), value=padding.get(name, 0))


def _place(batch: dict[str, Any]) -> Placed:
    labels = batch["labels"]
    ahead = torch.full_like(labels, IGNORED)
    ahead[:, :-1] = labels[:, 1:]
    wanted = ahead != IGNORED
    most = max(1, int(wanted.sum(1).max()))
    # Rounded up like the length, and for the same reason; what repeats is not counted.
    most = min(most + -most % LENGTH_STEP, labels.shape[1])
    # Places of each row first, in order; the rest repeats the row's last place.
    order = torch.where(wanted, torch.arange(labels.shape[1]), labels.shape[1]).sort(dim=1).values[:, :most]
    last = order.masked_fill(order == labels.shape[1], -1).max(1, keepdim=True).values.clamp(min=0)
    before = torch.where(order == labels.shape[1], last, order)
    placed = Placed(
        grid=batch["image_grid_thw"].tolist(),
        visual=batch["mm_token_type_ids"].flatten().nonzero().squeeze(1),
        before=before,
        counts=(order < labels.shape[1]).flatten().nonzero().squeeze(1),
        targets=ahead[wanted],
    )
    if WEIGHTS in batch:
        placed["weights"] = batch[WEIGHTS].roll(-1, 1)[wanted]
    return placed


def pixels_of(
    processor: Any, batch: dict[str, Any], dtype: torch.dtype = torch.float32
) -> torch.Tensor | None:
    """Take a batch's patches out of it, (patches, 3 x 2 x 16 x 16); frames on the card become patches there.

    Frames as bytes are an eighth of their patches, and the card makes patches in no time: workers only decode.

    Args:
        processor: the base's processor.
        batch: of a `Collator`.
        dtype: what the tower computes in.
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

"""Rows become batches through `qwen3_vl.processor`, with what a card would otherwise be asked for worked out before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch.nn.functional import pad

from roadscribe.errors import RoadscribeError, WorkError, error_line
from roadscribe.qwen3_vl.answer_forward import Placed
from roadscribe.qwen3_vl.gpu_patches import FRAMES
from roadscribe.qwen3_vl.processor import IGNORED, encode_images, processed_size
from roadscribe.qwen3_vl.tree_attention import BRANCHES, PADDING, encode_branches
from roadscribe.qwen3_vl.vision_cache import ClipPlace, KnownClips
from roadscribe.train.claim_weights import WEIGHTS, claim_weights
from roadscribe.train.dataset import clip_key, open_image
from roadscribe.train.prefix_sharing import item_samples

CLIPS = "clips"
"""Key of a batch that names its samples; the trainer takes it out before the model sees the batch."""
LENGTH_STEP = 64
"""Batches for the card are a multiple of this many tokens long."""
PLACED = "placed"
"""Key of a `Placed` batch's places."""


class BatchError(WorkError):
    """A batch cannot be made of some rows."""

    def __init__(self, message: str) -> None:
        """``message``: one line, or what torch hands on from a worker: its whole traceback, which ends in that line."""
        super().__init__(message.rstrip().splitlines()[-1].removeprefix(f"{__name__}.BatchError: "))


@contextlib.contextmanager
def batch_errors() -> Iterator[None]:
    """Turn what stops rows on their way from disk to the trainer into one line.

    Raises:
        WorkError: naming the reason.
    """
    try:
        yield
    except RoadscribeError:
        raise
    except (OSError, EOFError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise WorkError(f"the next rows of the dataset cannot be read ({_reason(error)})") from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkError(
            f"a process that prepares batches failed ({_reason(error)}); free some memory or lower train.workers, "
            "then use --resume"
        ) from error


def _reason(error: Exception) -> str:
    """An error's line; of a worker's traceback that is the last."""
    lines = str(error).strip().splitlines()
    if lines and lines[0].startswith("Caught "):
        return lines[-1].strip()
    return f"{type(error).__name__}: {error_line(error)}"


class Collator:
    """Makes a batch of dataset rows, or of items that hold all rows of a clip (`prefix_sharing.item_rows`).

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
        """`encode_branches`'s tensors of the rows, their `ClipPlace`s under `CLIPS`, and the pixels needed.

        Raises:
            BatchError: whatever went wrong, with the clips; the trainer would take a StopIteration for the end of
                the data.
        """
        try:
            return self._batch(rows)
        except Exception as error:
            clips = ", ".join(str(row.get("clip_id")) for row in rows)
            why = str(error) if isinstance(error, RoadscribeError) else error_line(error)
            raise BatchError(
                f"no batch can be made of clips {clips} ({type(error).__name__}: {why}); look at these rows of the "
                "dataset"
            ) from error

    def _batch(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
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

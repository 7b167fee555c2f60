"""What a fine-tuning run has to compute: the sizes of its sequences, and how they are cut into optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from roadscribe.qwen3_vl.processor import MERGE, visual_tokens
from roadscribe.recipe import Recipe, Train


class SampleSize(NamedTuple):
    """One sequence of the training; ``visual`` and ``answer`` are parts of ``tokens``."""

    tokens: int
    visual: int
    answer: int
    frames: int
    width: int
    """Of its largest frame, in pixels."""
    height: int

    @property
    def patches(self) -> int:
        """Patches that the vision encoder sees."""
        return self.visual * MERGE * MERGE


class EvalBatch(NamedTuple):
    """Reports on held-out clips that are generated while a run lasts (`train.eval_callback`)."""

    reports: int
    """Generated at once."""
    new_tokens: int
    """At most, of each."""


class Batch(NamedTuple):
    """How an optimizer step is cut, per process, counted in sequences."""

    batch_size: int
    gradient_accumulation: int

    @property
    def sequences(self) -> int:
        """Sequences per optimizer step."""
        return self.batch_size * self.gradient_accumulation


class Workload(NamedTuple):
    """The dataset as the estimator sees it."""

    sizes: tuple[SampleSize, ...]
    """Of each sequence that the trainer sees: a row, or all rows that share a clip."""
    rows: int
    clips: int
    """Different clips among the rows."""
    row_tokens: int
    """Tokens of all rows together, if each were a sequence of its own."""
    visual_tokens: int
    """Visual tokens of all different clips together."""
    evaluation: EvalBatch | None = None
    """The held-out reports that are generated meanwhile; None where none are."""

    @property
    def shares(self) -> bool:
        """Whether rows share a sequence."""
        return len(self.sizes) < self.rows

    def resized(self, change: Callable[[SampleSize], SampleSize]) -> Workload:
        """The same workload with every sequence's frames changed."""
        sizes = tuple(change(size) for size in self.sizes)
        before, after = (sum(size.visual for size in some) for some in (self.sizes, sizes))
        return self._replace(sizes=sizes, visual_tokens=round(self.visual_tokens * after / max(1, before)))


def eval_batch(recipe: Recipe) -> EvalBatch | None:
    """The held-out reports that a run of the recipe generates at once."""
    if not recipe.train.eval_steps:
        return None
    return EvalBatch(min(recipe.infer.batch_size, recipe.train.eval_clips), recipe.infer.max_new_tokens)


def cut_steps(batch: Batch, rows: int, sequences: int) -> Batch:
    """Micro-batch and accumulation counted in sequences, so that an optimizer step keeps its number of rows.

    A step is asked for ``batch.sequences`` rows. Sequences hold ``rows / sequences`` rows on average, so a step
    takes fewer of them: in micro-batches of at most ``batch_size``, as many as it takes. With one row per
    sequence nothing changes.
    """
    if sequences == rows:
        return batch
    wanted = max(1, round(batch.sequences * sequences / rows))
    passes = math.ceil(wanted / batch.batch_size)
    return Batch(max(1, round(wanted / passes)), passes)


def rows_per_step(batch: Batch, rows: int, sequences: int) -> float:
    """Rows that an optimizer step of one process sees on average."""
    return batch.sequences * rows / sequences


def sequences_seen(train: Train, batch: Batch, sequences: int, processes: int = 1) -> float:
    """Sequences that each process goes through in the whole run over this many."""
    if train.max_steps > 0:
        return train.max_steps * batch.sequences
    return train.epochs * sequences / processes


def with_frames(size: SampleSize, frames: int) -> SampleSize:
    """A sequence with fewer frames of the same size; each frame has two tokens of its own around it."""
    gone = size.frames - frames
    visual = size.visual // size.frames * frames
    return size._replace(tokens=size.tokens - (size.visual - visual) - 2 * gone, visual=visual, frames=frames)


def with_pixels(size: SampleSize, max_pixels: int) -> SampleSize:
    """A sequence whose frames are shrunk to a pixel budget."""
    visual = size.frames * visual_tokens(size.width, size.height, max_pixels)
    return size._replace(tokens=size.tokens - size.visual + visual, visual=visual)

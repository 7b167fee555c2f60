"""What a fine-tuning run has to do, from its recipe and the dataset's sizes, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import datasets

from roadscribe.model.encode import visual_tokens, word_ids
from roadscribe.recipe import Recipe
from roadscribe.train.branches import choose_branch_attention
from roadscribe.train.cards import Card
from roadscribe.train.data import DatasetFacts, open_image
from roadscribe.train.fused import unfused
from roadscribe.train.memory import Look, ModelShape, SampleSize, shape_of
from roadscribe.train.shared import Item, group_rows


class Work(NamedTuple):
    """A run's work, apart from how it is cut into micro-batches."""

    shape: ModelShape
    sizes: tuple[SampleSize, ...]
    """Of each sequence that the trainer sees: a row, or all rows that share a clip."""
    rows: int
    dtype: str
    quantized: bool
    unfused: str | None
    """Why the adapter cannot take the fused pass; None where it can."""
    branches: str | None
    """What computes attention over shared prefixes; None where no row shares one."""
    look: Look | None = None
    """The held-out reports that are written meanwhile; None where none are."""
    processes: int = 1
    """Cards of this kind that learn together."""
    clips: int | None = None
    """Different clips; None where each sequence shows one of its own."""


def work_of(
    recipe: Recipe,
    rows: datasets.Dataset,
    facts: DatasetFacts,
    processor: Any,
    config: Any,
    dtype: str,
    card: Card,
    processes: int,
) -> Work:
    """A recipe's work on checked rows, with a base of this ``Qwen3VLConfig`` computing in ``dtype``."""
    train = recipe.train
    if train.shared_prefix:
        most = train.batch_size * train.gradient_accumulation
        items = group_rows(rows, facts.keys, facts.tokens, processor, train.max_length, most)
    else:
        items = single_rows(facts.tokens)
    return Work(
        shape=shape_of(config, recipe.lora.r, recipe.lora.targets),
        sizes=sequence_sizes(rows, items, processor),
        rows=len(rows),
        dtype=dtype,
        quantized=recipe.model.quantization == "nf4",
        unfused=unfused(recipe.lora),
        branches=choose_branch_attention(
            "cuda", card.capability, card.name, train.branch_attention, dtype
        ).value
        if len(items) < len(rows)
        else None,
        look=look_of(recipe),
        processes=processes,
        clips=facts.clips,
    )


def look_of(recipe: Recipe) -> Look | None:
    """The held-out reports that a run of the recipe writes at once."""
    if not recipe.train.eval_steps:
        return None
    return Look(min(recipe.infer.batch_size, recipe.train.eval_clips), recipe.infer.max_new_tokens)


def single_rows(tokens: Sequence[int]) -> list[Item]:
    """Each row as a sequence of its own."""
    return [Item((row,), count) for row, count in enumerate(tokens)]


def sequence_sizes(rows: datasets.Dataset, items: Sequence[Item], processor: Any) -> tuple[SampleSize, ...]:
    """The sizes of every sequence that the trainer sees, from image headers and words.

    Args:
        rows: the dataset's rows, checked.
        items: the rows of each sequence, and its tokens.
        processor: the base's processor.
    """
    limit = processor.image_processor.size.longest_edge
    words = rows.select_columns(["prompt", "completion"])
    pictures = rows.select_columns(["images"])
    sizes = []
    for item in items:
        frames = [open_image(image).size for image in pictures[item.rows[0]]["images"]]
        answers = 0
        for row in item.rows:
            _, answer = word_ids(processor, words[row]["prompt"], words[row]["completion"], len(frames))
            answers += len(answer)
        width, height = max(frames, key=lambda size: size[0] * size[1])
        visual = sum(visual_tokens(*size, limit) for size in frames)
        sizes.append(SampleSize(item.tokens, visual, answers, len(frames), width, height))
    return tuple(sizes)


def with_frames(size: SampleSize, frames: int) -> SampleSize:
    """A sequence with fewer frames of the same size; each stands between two tokens of its own."""
    gone = size.frames - frames
    visual = size.visual // size.frames * frames
    return size._replace(tokens=size.tokens - (size.visual - visual) - 2 * gone, visual=visual, frames=frames)


def with_pixels(size: SampleSize, max_pixels: int) -> SampleSize:
    """A sequence whose frames are shrunk to a pixel budget."""
    visual = size.frames * visual_tokens(size.width, size.height, max_pixels)
    return size._replace(tokens=size.tokens - size.visual + visual, visual=visual)

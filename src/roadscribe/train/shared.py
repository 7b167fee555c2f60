"""Rows that show one clip become one training item; an optimizer step keeps the rows it was asked for."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from roadscribe.model.encode import Sample, encode_text
from roadscribe.progress import say
from roadscribe.recipe import Train
from roadscribe.train.branches import answer_starts
from roadscribe.train.data import DatasetFacts, open_image

ITEM = "item"
"""Column of `item_rows` before it is read: the places of an item's rows."""
ALSO = "also"
"""Key of an item that holds its further rows (prompt and completion); the item itself is its first row."""


@dataclass(frozen=True)
class Tokens:
    """One row as the model reads it."""

    ids: tuple[int, ...]
    answer: int
    """Where the answer begins."""
    visual_end: int
    """One after the last visual token."""


@dataclass(frozen=True)
class Item:
    """Rows of one clip that go through the model as one sequence."""

    rows: tuple[int, ...]
    """Their places in the dataset, ascending."""
    tokens: int
    """Of the sequence: what the rows share once, and the rest of each."""


def share_prefixes(
    train: Train, rows: datasets.Dataset, facts: DatasetFacts, processor: Any
) -> tuple[datasets.Dataset, Train]:
    """What the trainer goes through, and in which steps; says why.

    Where no two rows of a step show the same clip, or the recipe forbids it, that is the rows and the recipe
    as they are.
    """
    tokens = facts.tokens
    asked = train.batch_size * train.gradient_accumulation
    if not train.shared_prefix:
        if facts.clips < len(rows):
            say("shared prefix: off (train.shared_prefix=false); every answer reads its clip anew")
        return rows, train
    items = group_rows(rows, facts.keys, tokens, processor, train.max_length, asked)
    if len(items) == len(rows):
        say("shared prefix: nothing to share (no two rows that fit into one step show the same clip)")
        return rows, train
    shape = step_shape(train, len(rows), len(items))
    say(
        f"shared prefix: {len(rows)} rows become {len(items)} sequences with "
        f"{sum(tokens) / sum(item.tokens for item in items):.1f} times fewer tokens; a step takes "
        f"{shape.gradient_accumulation} x {shape.batch_size} of them, "
        f"{rows_a_step(shape, len(rows), len(items)):.1f} rows on average ({asked} asked for)"
    )
    return item_rows(rows, items), shape


def rows_a_step(train: Train, rows: int, items: int) -> float:
    """Rows that an optimizer step sees on average."""
    return train.batch_size * train.gradient_accumulation * rows / items


def sequences_seen(train: Train, items: int, processes: int = 1) -> float:
    """Sequences that each process goes through in the whole run, as `step_shape` cut it, over this many."""
    if train.max_steps > 0:
        return train.max_steps * train.batch_size * train.gradient_accumulation
    return train.epochs * items / processes


def group_rows(
    rows: datasets.Dataset,
    keys: Sequence[str],
    tokens: Sequence[int],
    processor: Any,
    max_length: int,
    most: int,
) -> list[Item]:
    """Put rows that show the same clip together, as many as fit into one sequence.

    Args:
        rows: the dataset, images as stored.
        keys: what identifies each row's clip (`DatasetFacts.keys`).
        tokens: of each row (`DatasetFacts.tokens`).
        processor: the base's processor.
        max_length: most tokens of a sequence; more rows of a clip make a further sequence.
        most: most rows of a sequence.

    Returns:
        Items in the order of their first rows. Every row is in exactly one.
    """
    clips: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        clips.setdefault(key, []).append(row)
    items: list[Item] = []
    for places in clips.values():
        if len(places) == 1 or most == 1:
            items += [Item((place,), tokens[place]) for place in places]
            continue
        read = [_read(processor, rows[place]) for place in places]
        for members, count in fill(read, max_length, most):
            items.append(Item(tuple(places[member] for member in members), count))
    return sorted(items, key=lambda item: item.rows)


def _read(processor: Any, row: dict[str, Any]) -> Tokens:
    images = [open_image(image) for image in row["images"]]
    text = encode_text(processor, [Sample(images, row["prompt"], row["completion"])])
    visual = text["mm_token_type_ids"][0].nonzero()
    ids = tuple(text["input_ids"][0].tolist())
    return Tokens(ids, answer_starts(text["labels"])[0], int(visual[-1]) + 1 if len(visual) else 0)


def fill(rows: Sequence[Tokens], max_length: int, most: int) -> list[tuple[list[int], int]]:
    """Put the rows of one clip, in order, into as few sequences as each one's neighbours allow.

    Rows share a sequence only if they share everything up to the last visual token: else the frames would be
    in it twice.

    Returns:
        For each sequence its rows and its tokens. Every row is in exactly one; a row longer than
        ``max_length`` stands alone.
    """
    alike: dict[Hashable, list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault(row.ids[: row.visual_end], []).append(index)
    done: list[tuple[list[int], int]] = []
    for places in alike.values():
        members: list[int] = []
        shared = length = 0
        for place in places:
            row = rows[place]
            if members and len(members) < most:
                common = min(shared, row.answer - 1, common_prefix(rows[members[0]].ids, row.ids))
                joined = common + sum(len(rows[member].ids) - common for member in [*members, place])
                if common >= row.visual_end and joined <= max_length:
                    members.append(place)
                    shared, length = common, joined
                    continue
            if members:
                done.append((members, length))
            members, shared, length = [place], row.answer - 1, len(row.ids)
        done.append((members, length))
    return done


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences share from their start."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))


def step_shape(train: Train, rows: int, items: int) -> Train:
    """The recipe with micro-batch and accumulation counted in items, so that a step keeps its rows.

    A step is asked for ``batch_size * gradient_accumulation`` rows. Items hold ``rows / items`` rows on
    average, so a step takes fewer of them: in micro-batches of at most ``batch_size``, as many as it takes.
    With one row an item nothing changes.
    """
    if items == rows:
        return train
    wanted = max(1, round(train.batch_size * train.gradient_accumulation * items / rows))
    passes = math.ceil(wanted / train.batch_size)
    return train.model_copy(
        update={"batch_size": max(1, round(wanted / passes)), "gradient_accumulation": passes}
    )


def item_rows(rows: datasets.Dataset, items: Sequence[Item]) -> datasets.Dataset:
    """A dataset that reads ``rows`` item by item: the first row of each whole, of the others only the words."""
    index = datasets.Dataset.from_dict({ITEM: [list(item.rows) for item in items]})
    return index.with_transform(_Reader(rows))


class _Reader:
    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows, self.words = rows, rows.select_columns(["prompt", "completion"])

    def __call__(self, batch: dict[str, list[list[int]]]) -> dict[str, list[Any]]:
        read: dict[str, list[Any]] = {name: [] for name in (*self.rows.column_names, ALSO)}
        for first, *others in batch[ITEM]:
            for name, value in self.rows[first].items():
                read[name].append(value)
            read[ALSO].append([self.words[row] for row in others])
        return read


def are_items(rows: datasets.Dataset) -> bool:
    """Whether a dataset is one of `item_rows`."""
    return bool(rows.column_names == [ITEM])


def item_samples(item: dict[str, Any], images: Sequence[Any]) -> list[Sample]:
    """The samples of one item, all on the same images."""
    rows: Iterable[dict[str, Any]] = [item, *item.get(ALSO, ())]
    return [Sample(images, row["prompt"], row["completion"]) for row in rows]

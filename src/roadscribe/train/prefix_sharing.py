"""Rows that show one clip become one training item; an optimizer step keeps the rows it was asked for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from roadscribe.estimate.workload import SampleSize, Workload, eval_batch
from roadscribe.qwen3_vl.processor import Sample, encode_text
from roadscribe.qwen3_vl.tree_attention import answer_starts
from roadscribe.recipe import Recipe
from roadscribe.train.dataset import DatasetFacts, open_image

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


def workload_of(
    recipe: Recipe, rows: datasets.Dataset, facts: DatasetFacts, processor: Any
) -> tuple[list[Item], Workload]:
    """The sequences that a run of the recipe goes through, and their sizes for `resolve`.

    Args:
        recipe: `train` and `infer` count.
        rows: the dataset's rows, checked.
        facts: what the check found.
        processor: the base's processor.
    """
    train = recipe.train
    if train.shared_prefix:
        most = train.batch_size * train.gradient_accumulation
        items = group_rows(rows, facts.keys, facts.tokens, processor, train.max_length, most)
    else:
        items = [Item((row,), count) for row, count in enumerate(facts.tokens)]
    work = Workload(
        sizes=tuple(item_size(item, facts.sizes) for item in items),
        rows=len(rows),
        clips=facts.clips,
        row_tokens=sum(facts.tokens),
        visual_tokens=facts.visual_tokens,
        evaluation=eval_batch(recipe),
    )
    return items, work


def item_size(item: Item, sizes: Sequence[SampleSize]) -> SampleSize:
    """The size of a sequence, of the sizes of its rows: their frames are there once, every answer is."""
    return sizes[item.rows[0]]._replace(
        tokens=item.tokens, answer=sum(sizes[row].answer for row in item.rows)
    )


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


def item_rows(rows: datasets.Dataset, items: Sequence[Item]) -> datasets.Dataset:
    """A dataset that reads ``rows`` item by item: the first row of each whole, of the others only the words.

    Where every item is a row by itself, the rows as they are.
    """
    if len(items) == len(rows):
        return rows
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


def item_samples(item: dict[str, Any], images: Sequence[Any]) -> list[Sample]:
    """The samples of one item, all on the same images."""
    rows: Iterable[dict[str, Any]] = [item, *item.get(ALSO, ())]
    return [Sample(images, row["prompt"], row["completion"]) for row in rows]

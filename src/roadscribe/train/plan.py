"""`roadscribe plan`: whether a run fits a card and how long it takes, said before a weight is loaded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoConfig

from roadscribe.model.load import (
    Choice,
    check_config,
    choose_dtype,
    load_processor,
    resolve_base,
)
from roadscribe.recipe import Recipe, Train
from roadscribe.train import float8
from roadscribe.train.cards import Card
from roadscribe.train.data import check_rows, open_rows
from roadscribe.train.duration import Duration, card_speed, duration
from roadscribe.train.features import CARD, NO_ROOM, Room, choose_features, feature_bytes
from roadscribe.train.fused import unfused
from roadscribe.train.memory import (
    Compute,
    Prediction,
    Setting,
    predict,
)
from roadscribe.train.shared import sequences_seen, step_shape
from roadscribe.train.speed import choose_compile, choose_dense
from roadscribe.train.work import Work, with_frames, with_pixels, work_of

GIB = 2**30
SPARE = 0.08
"""Share of the card that a proposed setting leaves free, for what no plan foresees."""
WORTH_SAYING = 0.03
"""A setting that is faster by less than this share is not proposed."""
DOUBT_MEASURED, DOUBT_COUNTED = 0.1, 0.25
"""Shares of a run's predicted memory that kept features leave free beside it."""
FEWEST_PIXELS = 128 * 128
"""Smaller frames are not proposed; nothing on a road could be made out."""


class Candidate(NamedTuple):
    """One way to run the same work, with what it would take."""

    train: Train
    setting: Setting
    prediction: Prediction
    duration: Duration | None
    """None where the card's speed is not known."""
    features: Choice
    """Where visual features are kept."""
    products: Choice
    """In how many bits the language model multiplies."""

    def fits(self, card: Card, spare: float = 0.0) -> bool:
        """Whether the card has the memory, allocator's slack and context included, and this share beside it."""
        return self.prediction.needed <= (1 - spare) * card.memory_gib * GIB


class Decision(NamedTuple):
    """One choice for the card, and why."""

    what: str
    value: str
    reason: str


class Way(NamedTuple):
    """Overrides that make a run fit, and the memory it needs then, in bytes."""

    overrides: tuple[str, ...]
    needed: float


@dataclass(frozen=True)
class Plan:
    """What `plan` found."""

    base: str
    card: Card
    work: Work
    asked: Candidate
    """The recipe as it stands."""
    chosen: Candidate | None
    """The fastest setting that fits with the same effective batch; None where none does."""
    decisions: tuple[Decision, ...]
    ways: tuple[Way, ...]
    """Where the recipe does not fit as it stands: what makes it fit, the nearest first."""

    @property
    def fits(self) -> bool:
        """Whether the recipe fits as it stands."""
        return self.asked.fits(self.card)


def plan(recipe: Recipe, dataset_folder: Path, card: Card, processes: int = 1) -> Plan:
    """Predict memory and time of fine-tuning a recipe's base on a dataset, on a card or on several alike.

    Of the base only its configuration and tokenizer are read (of a hub id, fetched).

    Raises:
        InputError: the base, the dataset or an option is wrong, or a row breaks the recipe's limits.
    """
    rows = open_rows(dataset_folder, checksums=True)
    base = resolve_base(recipe.model)
    check_config(base)
    dtype = choose_dtype(recipe.model.dtype, "cuda", card.name, card.bf16)
    float8.choose(recipe.train.float8_products, unfused(recipe.lora), dtype.value, card.name, card.capability)
    processor = load_processor(base, recipe.footage.max_pixels)
    facts = check_rows(rows, processor, recipe.footage, recipe.train.max_length)
    config = AutoConfig.from_pretrained(base.path_or_id, revision=base.revision)
    work = work_of(recipe, rows, facts, processor, config, dtype.value, card, processes)
    return decide(recipe, base.name, work, card, dtype.reason)


def decide(recipe: Recipe, base: str, work: Work, card: Card, dtype_reason: str) -> Plan:
    """Hold the recipe's setting and every other that keeps its effective batch against the card."""
    asked = candidate(recipe.train, work, card)
    settings = [candidate(train, work, card) for train in settings_of(recipe.train)]
    fitting = [one for one in settings if one.fits(card, SPARE)]
    chosen = fastest(fitting)
    if chosen is not None and asked.fits(card) and not _worth(asked, chosen):
        chosen = asked
    ways: tuple[Way, ...] = ()
    if not asked.fits(card):
        if chosen is not None:
            ways = (Way(overrides_of(recipe.train, chosen.train), chosen.prediction.needed),)
        else:
            smallest = min(settings, key=lambda one: one.prediction.needed)
            ways = fewer_reports(recipe, work, card) or smaller_clips(recipe, work, card, smallest.train)
    return Plan(
        base=base,
        card=card,
        work=work,
        asked=asked,
        chosen=chosen,
        decisions=tuple(_decisions(work, card, settings, chosen or asked, dtype_reason)),
        ways=ways,
    )


def settings_of(train: Train) -> list[Train]:
    """Every way to cut a recipe's optimizer step: micro-batch, checkpointing, dense weights where left open."""
    clips = train.batch_size * train.gradient_accumulation
    dense = ("auto", False) if train.dense_weights == "auto" else (train.dense_weights,)
    return [
        train.model_copy(
            update={
                "batch_size": size,
                "gradient_accumulation": clips // size,
                "gradient_checkpointing": checkpointing,
                "dense_weights": kept,
            }
        )
        for size in range(1, clips + 1)
        if clips % size == 0
        for checkpointing in (False, True)
        for kept in dense
    ]


def candidate(train: Train, work: Work, card: Card) -> Candidate:
    """What a setting would take on a card."""
    shaped = step_shape(train, work.rows, len(work.sizes))
    itemsize = 4 if work.dtype == "float32" else 2
    total = sequences_seen(shaped, len(work.sizes), work.processes)
    compiled = choose_compile(train.compile, "cuda", int(total / shaped.batch_size)).value == "on"
    weight_bytes = work.shape.linear_parameters * itemsize
    dense = choose_dense(train.dense_weights, weight_bytes, int(card.memory_gib * GIB)).value == "on"
    products = float8.choose(
        train.float8_products,
        work.unfused,
        work.dtype,
        card.name,
        card.capability,
        compiled=compiled,
        quantized=work.quantized,
        room=dense,
    )
    eight = products.value == "8 bits"
    setting = Setting(
        batch_size=shaped.batch_size,
        accumulation=shaped.gradient_accumulation,
        checkpointing=train.gradient_checkpointing,
        dense=(dense or eight) and work.quantized,
        compiled=compiled,
        quantized=work.quantized,
        fused=work.unfused is None,
        processes=work.processes,
        eight=eight,
    )
    compute = Compute(itemsize, card.flash, masked=work.branches == "mask")
    speed = card_speed(card, compiled=compiled, eight=eight) if itemsize == 2 else None
    took = None
    prediction = predict(work.shape, work.sizes, setting, compute, work.look)
    clips, passes = work.clips or len(work.sizes), total / len(work.sizes)
    visual = sum(size.visual for size in work.sizes) * clips / len(work.sizes)
    features = feature_bytes(visual, work.shape.deepstack, work.shape.hidden, itemsize)
    rooms = [Room(CARD, room_beside(prediction, card))]
    kept = choose_features(train.keep_features, total / clips, features, rooms)
    seen = passes
    if kept.value == CARD:
        setting = setting._replace(features=features)
        prediction = predict(work.shape, work.sizes, setting, compute, work.look)
        seen = min(passes, clips / len(work.sizes))
    if speed is not None:
        took = duration(work.shape, work.sizes, setting, speed, passes, train.seed, seen)
    return Candidate(train, setting, prediction, took, kept, products)


def room_beside(prediction: Prediction, card: Card) -> float:
    """Bytes that a run leaves on its card, with room for what the prediction does not know."""
    doubt = DOUBT_MEASURED if prediction.measured else DOUBT_COUNTED
    return (1 - SPARE) * card.memory_gib * GIB - (1 + doubt) * prediction.needed


def fastest(fitting: Sequence[Candidate]) -> Candidate | None:
    """The fastest, then the one that needs least. Where no time is known: without recomputing if that fits, then
    the largest micro-batch."""

    def rank(one: Candidate) -> tuple[float, ...]:
        if one.duration is not None:
            return (one.duration.seconds, one.prediction.needed)
        return (one.setting.checkpointing, -one.setting.batch_size, one.prediction.needed)

    return min(fitting, key=rank, default=None)


def _worth(asked: Candidate, other: Candidate) -> bool:
    """Whether another setting is enough faster to be proposed."""
    if asked.duration is None or other.duration is None:
        return asked.setting.checkpointing and not other.setting.checkpointing
    return other.duration.seconds < (1 - WORTH_SAYING) * asked.duration.seconds


def overrides_of(asked: Train, other: Train) -> tuple[str, ...]:
    """The ``--set`` values that make one recipe's training section the other."""
    names = ("batch_size", "gradient_accumulation", "gradient_checkpointing", "dense_weights")
    return tuple(
        f"train.{name}={str(getattr(other, name)).lower()}"
        for name in names
        if getattr(asked, name) != getattr(other, name)
    )


def fewer_reports(recipe: Recipe, work: Work, card: Card) -> tuple[Way, ...]:
    """What makes a run fit that only its looks at held-out reports keep from fitting: the fastest setting that
    fits at all, with the most reports at once that it leaves room for."""
    look = work.look
    if look is None or look.reports == 1:
        return ()

    def writing(reports: int, train: Train) -> Candidate:
        return candidate(train, work._replace(look=look._replace(reports=reports)), card)

    tried = [writing(1, train) for train in settings_of(recipe.train)]
    best = fastest([one for one in tried if one.fits(card, SPARE)])
    if best is None:
        return ()
    train = best.train
    most = (
        bisect_left(range(2, look.reports), True, key=lambda n: not writing(n, train).fits(card, SPARE)) + 1
    )
    overrides = (*overrides_of(recipe.train, train), f"infer.batch_size={most}")
    return (Way(overrides, writing(most, train).prediction.needed),)


def smaller_clips(recipe: Recipe, work: Work, card: Card, train: Train) -> tuple[Way, ...]:
    """What makes a run fit that no setting does: the most frames that fit, and the largest frames that do."""
    setting = overrides_of(recipe.train, train)
    ways = []
    for frames in range(recipe.footage.frames - 1, 0, -1):
        fewer = work._replace(sizes=tuple(with_frames(size, frames) for size in work.sizes))
        one = candidate(train, fewer, card)
        if one.fits(card, SPARE):
            ways.append(Way((*setting, f"footage.frames={frames}"), one.prediction.needed))
            break
    for twentieths in range(19, 0, -1):
        pixels = recipe.footage.max_pixels * twentieths // 20
        if pixels < FEWEST_PIXELS:
            break
        less = work._replace(sizes=tuple(with_pixels(size, pixels) for size in work.sizes))
        one = candidate(train, less, card)
        if one.fits(card, SPARE):
            ways.append(Way((*setting, f"footage.max_pixels={pixels}"), one.prediction.needed))
            break
    return tuple(ways)


def _decisions(
    work: Work, card: Card, settings: Sequence[Candidate], chosen: Candidate, dtype_reason: str
) -> Iterable[Decision]:
    yield Decision("dtype", work.dtype, dtype_reason)
    if work.branches is not None:
        yield Decision(
            "attention", work.branches, "answers that share a clip see it once, and not each other"
        )
    elif not card.flash:
        yield Decision(
            "attention", "sdpa", f"memory-efficient kernel, keys repeated; {card.name} has no flash"
        )
    else:
        yield Decision("attention", "sdpa", "flash kernels, which keep no pairs")

    def like(**changes: Any) -> Candidate | None:
        wanted = chosen.train.model_copy(update=changes)
        return next((one for one in settings if one.train == wanted), None)

    clips = chosen.train.batch_size * chosen.train.gradient_accumulation
    larger = min(
        (size for size in range(chosen.train.batch_size + 1, clips + 1) if clips % size == 0), default=None
    )
    value = f"{chosen.train.batch_size} x {chosen.train.gradient_accumulation}"
    if larger is None:
        yield Decision("micro-batch", value, "the whole step at once")
    else:
        more = like(batch_size=larger, gradient_accumulation=clips // larger)
        if more is not None and not more.fits(card, SPARE):
            reason = f"{larger} would need {_needed(more, card)}"
        else:
            reason = f"{larger} would be no faster"
        yield Decision("micro-batch", value, reason)
    on = chosen.train.gradient_checkpointing
    other = like(gradient_checkpointing=not on)
    if other is not None:
        yield Decision("checkpointing", "on" if on else "off", _why_checkpointing(on, chosen, other, card))
    if chosen.train.float8_products is not False:
        yield Decision("products", f"in {chosen.products.value}", chosen.products.reason)
    if work.quantized and not chosen.setting.eight:
        size = work.shape.linear_parameters * (4 if work.dtype == "float32" else 2)
        kept = choose_dense(chosen.train.dense_weights, size, int(card.memory_gib * GIB))
        with_them = None if chosen.setting.dense else like(dense_weights="auto")
        if with_them is not None and with_them.setting.dense:
            reason = f"{size / 2**30:.1f} GiB more would be {_needed(with_them, card)}"
        else:
            reason = kept.reason
        yield Decision("dense weights", "on" if chosen.setting.dense else "off", reason)
    where, reason = chosen.features
    if where == NO_ROOM:
        reason += "; `train` looks whether the machine's memory has it"
    value = {CARD: "kept on the card", NO_ROOM: "not on the card"}.get(where, "computed each time")
    yield Decision("visual features", value, reason)


def _needed(one: Candidate, card: Card) -> str:
    words = f"{one.prediction.needed / GIB:.1f} of {card.memory_gib:.1f} GiB"
    return f"{words}, too close to propose" if one.fits(card) else words


def _why_checkpointing(on: bool, chosen: Candidate, other: Candidate, card: Card) -> str:
    if on and not other.fits(card, SPARE):
        return f"without it the run would need {_needed(other, card)}"
    if chosen.duration is None or other.duration is None:
        return "saves memory" if on else "fits without"
    ratio = other.duration.seconds / chosen.duration.seconds
    if on:
        return f"leaves room for the larger micro-batch; without it {100 * (ratio - 1):+.0f} % time"
    return f"fits without; recomputing would take {100 * (ratio - 1):.0f} % more time"

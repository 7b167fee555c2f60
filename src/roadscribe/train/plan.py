"""`roadscribe plan`: whether a run fits a card and how long it takes, said before a weight is loaded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
from transformers import AutoConfig

from roadscribe.model.encode import render, visual_tokens
from roadscribe.model.load import (
    Choice,
    check_config,
    choose_dtype,
    load_processor,
    resolve_base,
)
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.progress import clock
from roadscribe.recipe import Recipe, Train
from roadscribe.train.branches import choose_branch_attention
from roadscribe.train.cards import Card
from roadscribe.train.data import DatasetFacts, check_rows, open_image, open_rows
from roadscribe.train.duration import Duration, card_speed, duration
from roadscribe.train.features import CARD, NO_ROOM, Room, choose_features
from roadscribe.train.memory import (
    Compute,
    Look,
    ModelShape,
    Prediction,
    SampleSize,
    Setting,
    Term,
    predict,
    shape_of,
)
from roadscribe.train.shared import Item, group_rows, step_shape
from roadscribe.train.speed import choose_compile, choose_dense

GIB = 2**30
SPARE = 0.08
"""Share of the card that a proposed setting leaves free, for what no plan foresees."""
WORTH_SAYING = 0.03
"""A setting that is faster by less than this share is not proposed."""
DOUBT_MEASURED, DOUBT_COUNTED = 0.1, 0.25
"""Shares of a run's predicted memory that kept features leave free beside it."""
FEWEST_PIXELS = 128 * 128
"""Smaller frames are not proposed; nothing on a road could be made out."""


class Work(NamedTuple):
    """A run's work, apart from how it is cut into micro-batches."""

    shape: ModelShape
    sizes: tuple[SampleSize, ...]
    """Of each sequence that the trainer sees: a row, or all rows that share a clip."""
    rows: int
    dtype: str
    quantized: bool
    fused: bool
    branches: str | None
    """What computes attention over shared prefixes; None where no row shares one."""
    look: Look | None = None
    """The held-out reports that are written meanwhile; None where none are."""
    processes: int = 1
    """Cards of this kind that learn together."""
    clips: int | None = None
    """Different clips; None where each sequence shows one of its own."""


class Candidate(NamedTuple):
    """One way to run the same work, with what it would take."""

    train: Train
    setting: Setting
    prediction: Prediction
    duration: Duration | None
    """None where the card's speed is not known."""
    features: Choice
    """Where visual features are kept."""

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
    rows = open_rows(dataset_folder)
    base = resolve_base(recipe.model)
    check_config(base)
    dtype = choose_dtype(recipe.model.dtype, "cuda", card.name, card.bf16)
    processor = load_processor(base, recipe.footage.max_pixels)
    facts = check_rows(rows, processor, recipe.footage, recipe.train.max_length)
    config = AutoConfig.from_pretrained(base.path_or_id, revision=base.revision)
    work = work_of(recipe, rows, facts, processor, config, dtype.value, card, processes)
    return decide(recipe, base.name, work, card, dtype.reason)


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
    all_seven = set(recipe.lora.targets) == set(LANGUAGE_LINEARS)
    capability = (8, 0) if card.flash else (7, 5)
    return Work(
        shape=shape_of(config, recipe.lora.r, recipe.lora.targets),
        sizes=sequence_sizes(rows, items, processor),
        rows=len(rows),
        dtype=dtype,
        quantized=recipe.model.quantization == "nf4",
        fused=all_seven and not recipe.lora.dropout,
        branches=choose_branch_attention("cuda", capability, card.name, train.branch_attention).value
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
            _, answer = render(processor, words[row]["prompt"], words[row]["completion"], len(frames))
            answers += len(processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
        width, height = max(frames, key=lambda size: size[0] * size[1])
        visual = sum(visual_tokens(*size, limit) for size in frames)
        sizes.append(SampleSize(item.tokens, visual, answers, len(frames), width, height))
    return tuple(sizes)


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
    samples = train.max_steps * shaped.batch_size * shaped.gradient_accumulation
    # Of each process.
    total = samples if train.max_steps > 0 else train.epochs * len(work.sizes) / work.processes
    compiled = choose_compile(train.compile, "cuda", int(total / shaped.batch_size)).value == "on"
    weight_bytes = work.shape.linear_parameters * itemsize
    dense = choose_dense(train.dense_weights, weight_bytes, int(card.memory_gib * GIB)).value == "on"
    setting = Setting(
        batch_size=shaped.batch_size,
        accumulation=shaped.gradient_accumulation,
        checkpointing=train.gradient_checkpointing,
        dense=dense and work.quantized,
        compiled=compiled,
        quantized=work.quantized,
        fused=work.fused,
        processes=work.processes,
    )
    compute = Compute(itemsize, card.flash, masked=work.branches == "mask")
    speed = card_speed(card, compiled=compiled) if itemsize == 2 else None
    took = None
    prediction = predict(work.shape, work.sizes, setting, compute, work.look)
    clips, passes = work.clips or len(work.sizes), total / len(work.sizes)
    visual = sum(size.visual for size in work.sizes) * clips / len(work.sizes)
    features = visual * (1 + work.shape.deepstack) * work.shape.hidden * itemsize
    kept = choose_features(
        train.keep_features, total / clips, int(features), [Room(CARD, room_beside(prediction, card))]
    )
    seen = passes
    if kept.value == CARD:
        setting = setting._replace(features=features)
        prediction = predict(work.shape, work.sizes, setting, compute, work.look)
        seen = min(passes, clips / len(work.sizes))
    if speed is not None:
        took = duration(work.shape, work.sizes, setting, speed, passes, train.seed, seen)
    return Candidate(train, setting, prediction, took, kept)


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


def with_frames(size: SampleSize, frames: int) -> SampleSize:
    """A sequence with fewer frames of the same size; each stands between two tokens of its own."""
    gone = size.frames - frames
    visual = size.visual // size.frames * frames
    return size._replace(tokens=size.tokens - (size.visual - visual) - 2 * gone, visual=visual, frames=frames)


def with_pixels(size: SampleSize, max_pixels: int) -> SampleSize:
    """A sequence whose frames are shrunk to a pixel budget."""
    visual = size.frames * visual_tokens(size.width, size.height, max_pixels)
    return size._replace(tokens=size.tokens - size.visual + visual, visual=visual)


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
    if work.quantized:
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


def as_json(found: Plan) -> dict[str, Any]:
    """A plan as plain JSON values; bytes become GiB."""
    sizes = found.work.sizes
    return {
        "fits": found.fits,
        "base": found.base,
        "card": {"name": found.card.name, "memory_gib": found.card.memory_gib},
        "processes": found.work.processes,
        "dtype": found.work.dtype,
        "trained_parameters": found.work.shape.adapter,
        "base_parameters": found.work.shape.base,
        "dataset": {
            "rows": found.work.rows,
            "sequences": len(sizes),
            "tokens": [size.tokens for size in sizes],
            "visual_tokens": sum(size.visual for size in sizes),
            "answer_tokens": sum(size.answer for size in sizes),
        },
        "asked": _candidate_json(found.asked),
        "chosen": None if found.chosen is None else _candidate_json(found.chosen),
        "decisions": [one._asdict() for one in found.decisions],
        "set": [] if found.chosen is None else list(overrides_of(found.asked.train, found.chosen.train)),
        "ways": [
            {"set": list(way.overrides), "needed_gib": round(way.needed / GIB, 3)} for way in found.ways
        ],
    }


def _candidate_json(one: Candidate) -> dict[str, Any]:
    return {
        "batch_size": one.train.batch_size,
        "gradient_accumulation": one.train.gradient_accumulation,
        "gradient_checkpointing": one.train.gradient_checkpointing,
        "dense_weights": one.setting.dense,
        "compiled": one.setting.compiled,
        "features_on_card": one.features.value == CARD,
        "terms_gib": {term.name: round(term.bytes / GIB, 4) for term in one.prediction.terms},
        "peak_gib": round(one.prediction.peak / GIB, 3),
        "needed_gib": round(one.prediction.needed / GIB, 3),
        "seconds": None if one.duration is None else round(one.duration.seconds, 1),
        "sequences_per_s": None if one.duration is None else round(one.duration.sequences_a_second, 3),
        "time_basis": None if one.duration is None else one.duration.basis,
        "memory_measured": one.prediction.measured,
    }


def _cards(found: Plan) -> str:
    several = found.work.processes
    return found.card.name if several == 1 else f"{several} x {found.card.name}, each"


def _look_lines(prediction: Prediction, look: Look | None) -> list[str]:
    if look is None:
        return []
    if prediction.look_moment < prediction.peak:
        took = f"writing {look.reports} held-out reports at once takes {prediction.look_moment / GIB:.2f} GiB"
        return [f"    {took}, less than a step"]
    return [f"    a training step alone takes {prediction.step_moment / GIB:.2f} GiB"]


def as_text(found: Plan) -> str:
    """A plan for a reader."""
    work, asked = found.work, found.asked
    shape = work.shape
    tokens = sorted(size.tokens for size in work.sizes)
    visual = sorted(size.visual for size in work.sizes)
    answer = sorted(size.answer for size in work.sizes)
    what = "rows" if len(work.sizes) == work.rows else f"rows in {len(work.sizes)} sequences"
    lines = [
        f"{found.base}: {shape.base:,} parameters, trains {shape.adapter:,} "
        f"({100 * shape.adapter / shape.base:.4f} %)",
        f"dataset: {work.rows} {what}, tokens {tokens[0]:,} to {tokens[-1]:,} "
        f"(visual {visual[0]:,} to {visual[-1]:,}, answers {answer[0]:,} to {answer[-1]:,})",
        "",
        f"the recipe as it stands on {_cards(found)}: micro-batch {asked.train.batch_size} x "
        f"{asked.train.gradient_accumulation}, checkpointing "
        f"{'on' if asked.train.gradient_checkpointing else 'off'}",
        *_memory_lines(asked.prediction, found.card),
        *_look_lines(asked.prediction, work.look),
        *([] if asked.prediction.measured else ["    counted from the code, not yet measured on a card"]),
        *_time_lines(asked.duration, found.card, work.processes),
        "",
        f"for {found.card.name}:" if found.chosen is not None else f"least for {found.card.name}:",
    ]
    width = max(len(one.what) for one in found.decisions)
    lines += [f"  {one.what.ljust(width)}  {one.value} ({one.reason})" for one in found.decisions]
    if found.chosen is None:
        return "\n".join(lines)
    changed = overrides_of(asked.train, found.chosen.train)
    if not changed:
        return "\n".join([*lines, "  which is the recipe as it stands"])
    flags = " ".join(f"--set {one}" for one in changed)
    needed = f"{found.chosen.prediction.needed / GIB:.1f} GiB"
    took = "" if found.chosen.duration is None else f", {clock(found.chosen.duration.seconds)}"
    return "\n".join([*lines, f"  {flags}   ({needed}{took})"])


def _memory_lines(prediction: Prediction, card: Card) -> list[str]:
    rest = prediction.needed - prediction.peak
    terms: list[Term] = [
        *prediction.terms,
        Term("peak allocated", prediction.peak, ""),
        Term("allocator and context", rest, ""),
        Term("needed", prediction.needed, f"of {card.memory_gib:.1f} GiB"),
    ]
    width = max(len(term.name) for term in terms)
    lines = []
    for term in terms:
        if term.name in ("peak allocated", "needed"):
            lines.append("  " + "-" * (width + 11))
        lines.append(f"  {term.name.ljust(width)}  {term.bytes / GIB:6.2f} GiB  {term.how}".rstrip())
    return lines


def _time_lines(took: Duration | None, card: Card, processes: int) -> list[str]:
    if took is None:
        return [f"  time: not predicted (no speed known for {card.name} in this type)"]
    return [
        f"  time: {clock(took.seconds)}, {took.sequences_a_second * processes:.2f} clips/s: language model "
        f"{clock(took.language_s)}, vision tower {clock(took.vision_s)}, launching {clock(took.launch_s)}"
        + (f", writing weights out {clock(took.rewrite_s)}" if took.rewrite_s else ""),
        f"    {took.basis}; loading, compiling, checkpoints and evaluation come on top"
        + (", and what the cards wait for one another" if processes > 1 else ""),
    ]


def cannot_fit(found: Plan) -> str:
    """One line on a run that does not fit, with the nearest setting that does."""
    needed = found.asked.prediction.needed / GIB
    line = f"does not fit on {found.card.name}: needs {needed:.1f} of {found.card.memory_gib:.1f} GiB"
    if not found.ways:
        return f"{line}, and no smaller setting of this base fits; take a smaller base or a larger card"
    ways = [
        " ".join(f"--set {one}" for one in way.overrides) + f" ({way.needed / GIB:.1f} GiB)"
        for way in found.ways
    ]
    collect = "; collect and curate again with it" if "footage." in ways[0] else ""
    return f"{line}; the nearest that fits: {' or '.join(ways)}{collect}"

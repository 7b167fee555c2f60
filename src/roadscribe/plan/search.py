"""Searches the ways to cut a recipe's optimizer step for the fastest one that fits a GPU."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from roadscribe.estimate.gpus import Gpu
from roadscribe.estimate.memory import Prediction, linear_bytes, predict
from roadscribe.estimate.model_shape import ModelShape
from roadscribe.estimate.resolve import GIB, SPARE, resolve
from roadscribe.estimate.step_time import Duration, duration, gpu_speed
from roadscribe.estimate.train_setup import TrainSetup, World
from roadscribe.estimate.workload import Workload, sequences_seen, with_frames, with_pixels
from roadscribe.recipe import Recipe, Train

WORTH_SAYING = 0.03
"""A setting that is faster by less than this share is not proposed."""
FEWEST_PIXELS = 128 * 128
"""Smaller frames are not proposed; nothing on a road could be made out."""


class Case(NamedTuple):
    """What does not change while a plan is searched for."""

    recipe: Recipe
    model: ModelShape
    work: Workload
    gpu: Gpu
    world: World = World()


class Candidate(NamedTuple):
    """One way to run the same work, with what it would take."""

    train: Train
    """The recipe's section, cut this way."""
    setup: TrainSetup
    prediction: Prediction
    duration: Duration | None
    """None where the GPU's speed is not known."""

    def fits(self, gpu: Gpu, spare: float = 0.0) -> bool:
        """Whether the GPU has the memory, allocator's slack and context included, and this share besides."""
        return self.prediction.needed <= (1 - spare) * gpu.memory_gib * GIB


class Decision(NamedTuple):
    """One choice for the GPU, and why."""

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
    case: Case
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
        return self.asked.fits(self.case.gpu)


def decide(base: str, case: Case) -> Plan:
    """Compare the recipe's setting, and every other that keeps its effective batch, with the GPU."""
    recipe, gpu = case.recipe, case.gpu
    asked = candidate(recipe.train, case)
    settings = [candidate(train, case) for train in settings_of(recipe.train)]
    fitting = [one for one in settings if one.fits(gpu, SPARE)]
    chosen = fastest(fitting)
    if chosen is not None and asked.fits(gpu) and not _worth(asked, chosen):
        chosen = asked
    ways: tuple[Way, ...] = ()
    if not asked.fits(gpu):
        if chosen is not None:
            ways = (Way(overrides_of(recipe.train, chosen.train), chosen.prediction.needed),)
        else:
            smallest = min(settings, key=lambda one: one.prediction.needed)
            ways = fewer_reports(case) or smaller_clips(case, smallest.train)
    decisions = tuple(_decisions(case, settings, chosen or asked))
    return Plan(base=base, case=case, asked=asked, chosen=chosen, decisions=decisions, ways=ways)


def settings_of(train: Train) -> list[Train]:
    """Every way to cut a recipe's optimizer step: micro-batch, checkpointing, dense weights where left open."""
    clips = train.batch_size * train.gradient_accumulation
    dense = ("auto", False) if train.dequantize_weights == "auto" else (train.dequantize_weights,)
    return [
        train.model_copy(
            update={
                "batch_size": size,
                "gradient_accumulation": clips // size,
                "gradient_checkpointing": checkpointing,
                "dequantize_weights": kept,
            }
        )
        for size in range(1, clips + 1)
        if clips % size == 0
        for checkpointing in (False, True)
        for kept in dense
    ]


def candidate(train: Train, case: Case) -> Candidate:
    """What a way to cut the recipe's step would take."""
    recipe, model, work, gpu, world = case
    setup = resolve(recipe.model_copy(update={"train": train}), model, work, gpu, world)
    prediction = predict(model, work.sizes, setup.step, setup.compute, work.evaluation)
    speed = None
    if setup.compute.itemsize == 2:
        speed = gpu_speed(gpu, compiled=setup.compile_layers.value, fp8=setup.fp8_matmul.value)
    if speed is None:
        return Candidate(train, setup, prediction, None)
    passes = sequences_seen(train, setup.batch.value, len(work.sizes), world.processes) / len(work.sizes)
    # Cached features leave the vision encoder one pass over the clips.
    encoded = min(passes, work.clips / len(work.sizes)) if setup.step.features else passes
    took = duration(model, work.sizes, setup.step, speed, passes, train.seed, encoded)
    return Candidate(train, setup, prediction, took)


def fastest(fitting: Sequence[Candidate]) -> Candidate | None:
    """The fastest, then the one that needs least. Where no time is known: without recomputing if that fits, then
    the largest micro-batch."""

    def rank(one: Candidate) -> tuple[float, ...]:
        if one.duration is not None:
            return (one.duration.seconds, one.prediction.needed)
        return (one.setup.checkpointing.value, -one.setup.batch.value.batch_size, one.prediction.needed)

    return min(fitting, key=rank, default=None)


def _worth(asked: Candidate, other: Candidate) -> bool:
    """Whether another setting is enough faster to be proposed."""
    if asked.duration is None or other.duration is None:
        return asked.setup.checkpointing.value and not other.setup.checkpointing.value
    return other.duration.seconds < (1 - WORTH_SAYING) * asked.duration.seconds


def overrides_of(asked: Train, other: Train) -> tuple[str, ...]:
    """The ``--set`` values that make one recipe's training section the other."""
    names = ("batch_size", "gradient_accumulation", "gradient_checkpointing", "dequantize_weights")
    return tuple(
        f"train.{name}={str(getattr(other, name)).lower()}"
        for name in names
        if getattr(asked, name) != getattr(other, name)
    )


def fewer_reports(case: Case) -> tuple[Way, ...]:
    """What makes a run fit that only its evaluations keep from fitting: the fastest setting that fits at all, with
    the most reports at once that it leaves room for."""
    evaluation, gpu = case.work.evaluation, case.gpu
    if evaluation is None or evaluation.reports == 1:
        return ()

    def writing(reports: int, train: Train) -> Candidate:
        work = case.work._replace(evaluation=evaluation._replace(reports=reports))
        return candidate(train, case._replace(work=work))

    tried = [writing(1, train) for train in settings_of(case.recipe.train)]
    best = fastest([one for one in tried if one.fits(gpu, SPARE)])
    if best is None:
        return ()
    train, counts = best.train, range(2, evaluation.reports)
    most = bisect_left(counts, True, key=lambda n: not writing(n, train).fits(gpu, SPARE)) + 1
    overrides = (*overrides_of(case.recipe.train, train), f"infer.batch_size={most}")
    return (Way(overrides, writing(most, train).prediction.needed),)


def smaller_clips(case: Case, train: Train) -> tuple[Way, ...]:
    """What makes a run fit that no setting does: the most frames that fit, and the largest frames that do."""
    setting, footage = overrides_of(case.recipe.train, train), case.recipe.footage
    ways = []
    for frames in range(footage.frames - 1, 0, -1):
        fewer = case.work.resized(lambda size, frames=frames: with_frames(size, frames))  # type: ignore[misc]
        one = candidate(train, case._replace(work=fewer))
        if one.fits(case.gpu, SPARE):
            ways.append(Way((*setting, f"footage.frames={frames}"), one.prediction.needed))
            break
    for twentieths in range(19, 0, -1):
        pixels = footage.max_pixels * twentieths // 20
        if pixels < FEWEST_PIXELS:
            break
        less = case.work.resized(lambda size, pixels=pixels: with_pixels(size, pixels))  # type: ignore[misc]
        one = candidate(train, case._replace(work=less))
        if one.fits(case.gpu, SPARE):
            ways.append(Way((*setting, f"footage.max_pixels={pixels}"), one.prediction.needed))
            break
    return tuple(ways)


def _decisions(case: Case, settings: Sequence[Candidate], chosen: Candidate) -> Iterator[Decision]:
    """What was chosen; where another setting was tried, with what that would have taken."""
    train, gpu = chosen.train, case.gpu

    def like(**changes: Any) -> Candidate | None:
        wanted = train.model_copy(update=changes)
        return next((one for one in settings if one.train == wanted), None)

    reasons = {"micro-batch": _why_batch(like, train, gpu)}
    on = train.gradient_checkpointing
    other = like(gradient_checkpointing=not on)
    if other is not None:
        reasons["checkpointing"] = _why_checkpointing(on, chosen, other, gpu)
    dense = None if chosen.setup.dequantize_weights.value else like(dequantize_weights="auto")
    if dense is not None and dense.setup.dequantize_weights.value:
        more = linear_bytes(case.model, dense.setup.compute.itemsize) / GIB
        reasons["dense weights"] = f"{more:.1f} GiB more would be {_needed(dense, gpu)}"
    for name, value, why in chosen.setup.shown():
        if name == "micro-batch":
            # In rows, as the recipe is written.
            value = f"{train.batch_size} x {train.gradient_accumulation}"
        if name != "workers":
            yield Decision(name, value, reasons.get(name, why))


def _why_batch(like: Callable[..., Candidate | None], train: Train, gpu: Gpu) -> str:
    rows = train.batch_size * train.gradient_accumulation
    larger = next((size for size in range(train.batch_size + 1, rows + 1) if rows % size == 0), None)
    if larger is None:
        return "the whole step at once"
    more = like(batch_size=larger, gradient_accumulation=rows // larger)
    if more is not None and not more.fits(gpu, SPARE):
        return f"{larger} would need {_needed(more, gpu)}"
    return f"{larger} would be no faster"


def _needed(one: Candidate, gpu: Gpu) -> str:
    words = f"{one.prediction.needed / GIB:.1f} of {gpu.memory_gib:.1f} GiB"
    return f"{words}, too close to propose" if one.fits(gpu) else words


def _why_checkpointing(on: bool, chosen: Candidate, other: Candidate, gpu: Gpu) -> str:
    if on and not other.fits(gpu, SPARE):
        return f"without it the run would need {_needed(other, gpu)}"
    if chosen.duration is None or other.duration is None:
        return "saves memory" if on else "fits without"
    ratio = other.duration.seconds / chosen.duration.seconds
    if on:
        return f"leaves room for the larger micro-batch; without it {100 * (ratio - 1):+.0f} % time"
    return f"fits without; recomputing would take {100 * (ratio - 1):.0f} % more time"

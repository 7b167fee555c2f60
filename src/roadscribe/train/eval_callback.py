"""While a model trains, it writes reports on held-out clips: a loss says nothing about what it would write.

Every `train.eval_steps` optimizer steps the reports are held against the dataset's own: how many hold the
schema, how many values are right (by the scorecard's rules), and what one of them reads like. The best
step's adapter is kept. Evaluation draws no random number and changes no weight, so a watched run learns exactly
what an unwatched one does.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import peft
import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save
from transformers import TrainerCallback

from roadscribe.artifacts import write_bytes
from roadscribe.errors import InputError, WorkError, error_line
from roadscribe.evaluate.predictions import stated_values
from roadscribe.evaluate.prose_scores import judge_prose
from roadscribe.evaluate.scores import Values, correct_flags
from roadscribe.infer.engine import FrameFeatures, GeneratedReport, ReportEngine
from roadscribe.infer.lru_cache import LRUCache
from roadscribe.model.adapter import adapter_state
from roadscribe.progress import clock, say
from roadscribe.recipe import Infer, Recipe, Train
from roadscribe.report import PARAMETERS, DrivingParameters, holds_schema
from roadscribe.train.checkpoints import CHECKPOINTS, all_best_weights, all_checkpoints, best_weights
from roadscribe.train.dataset import check_rows, clip_key, is_standard, open_image, open_rows
from roadscribe.train.trainer import trim_log

RESULTS = "watch.jsonl"
"""One line per evaluation: `EvalResult` as JSON."""
FEATURES_BYTES = 2**30
"""On a CPU the held-out clips' vision features are cached between evaluations up to this size: the vision encoder is
frozen. A GPU computes them faster than that, and its memory is for the training."""

BestBy = Literal["field_accuracy", "schema_then_accuracy", "report_accuracy", "agreement_then_accuracy"]
_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class HeldOutClip:
    """One clip that is not trained on, as stored, with the values of its report."""

    clip_id: str
    images: Sequence[dict[str, Any]]
    truth: Values


@dataclass(frozen=True)
class HeldOut:
    """The held-out clips of each evaluation, and a digest of their frames and reports."""

    clips: tuple[HeldOutClip, ...]
    sha256: str


class Sample(NamedTuple):
    """What the model wrote about the first of the clips."""

    clip_id: str
    text: str


@dataclass(frozen=True)
class EvalResult:
    """What the reports of one step were worth. Shares lie in 0..1."""

    step: int
    clips: int
    schema_valid: float
    """Reports whose text is the report's form to the last byte."""
    finished: float
    """Reports that ended before the limit of new tokens."""
    field_accuracy: float
    """Right values of the 12 parameters, over all clips; a value that is not stated is wrong."""
    parameters: dict[str, float]
    """The same, by parameter."""
    seconds: float
    sample: Sample
    prose_accuracy: float | None = None
    """Right claims of the prose's claims; None where no report makes one."""
    contradicting: float = 0.0
    """Reports whose prose contradicts their own JSON."""

    @property
    def report_accuracy(self) -> float:
        """Mean of right values and right claims; a prose without any claim counts as none right."""
        return (self.field_accuracy + (self.prose_accuracy or 0.0)) / 2

    def numbers(self) -> dict[str, float]:
        """What boards draw, under the names that transformers' callbacks sort by."""
        whole = ("field_accuracy", "schema_valid", "finished", "prose_accuracy", "contradicting")
        numbers = {f"eval_{name}": share for name in whole if (share := getattr(self, name)) is not None}
        return numbers | {f"eval_correct_{name}": share for name, share in self.parameters.items()}


def open_held_out(dataset: Path, processor: Any, recipe: Recipe) -> HeldOut:
    """The clips to evaluate on: evenly spaced over the split, one row per clip, only rows that ask for the report.

    Raises:
        InputError: no such split, no row in it that can be evaluated, or a row that does not fit the recipe.
    """
    train = recipe.train
    try:
        rows = open_rows(dataset, train.eval_split, also=("report",))
    except InputError as error:
        raise InputError(
            f"{error}; train.eval_steps={train.eval_steps} needs held-out clips: curate with "
            f"curate.{train.eval_split}_share, name another train.eval_split, or set train.eval_steps=0"
        ) from error
    usable: dict[str, tuple[int, Values]] = {}
    for index, row in enumerate(rows.select_columns(["clip_id", "prompt", "report"])):
        truth = _truth(row["report"])
        if truth is not None and is_standard(row["prompt"], recipe.footage.frames):
            usable.setdefault(row["clip_id"], (index, truth))
    if not usable:
        raise InputError(
            f"{dataset}: none of the {len(rows)} {train.eval_split} rows asks for the standard report and holds "
            "one, so there is nothing to evaluate on; set train.eval_steps=0 or curate more held-out clips"
        )
    clips = spread(list(usable.values()), train.eval_clips)
    chosen = rows.select([index for index, _ in clips])
    try:
        check_rows(chosen, processor, recipe.footage, train.max_length)
    except InputError as error:
        raise InputError(f"{train.eval_split} split: {error}") from error
    digest = hashlib.sha256()
    for row in chosen:
        digest.update(f"{row['clip_id']}\0{clip_key(row['images'])}\0{row['report']}\0".encode())
    say(
        f"watching: {len(clips)} clips of {len(rows)} {train.eval_split} rows, every {train.eval_steps} steps, "
        f"{'with' if train.eval_grammar else 'without'} the grammar; the best is by {train.best_by}, "
        f"the adapter will be the {'best' if train.load_best_at_end else 'last'} one (train.load_best_at_end)"
    )
    return HeldOut(
        tuple(
            HeldOutClip(row["clip_id"], row["images"], truth)
            for row, (_, truth) in zip(chosen, clips, strict=True)
        ),
        digest.hexdigest(),
    )


def _truth(report: str) -> Values | None:
    """The values of a row's report; None where the row holds none."""
    try:
        parameters = DrivingParameters.model_validate(json.loads(report)["driving_parameters"])
    except (ValueError, KeyError, TypeError, ValidationError):
        return None
    return parameters.model_dump()


def spread(things: Sequence[_Thing], count: int) -> list[_Thing]:
    """Up to ``count`` of the things, evenly spaced, in order."""
    count = min(count, len(things))
    return [things[index * len(things) // count] for index in range(count)]


def judge(
    step: int, clips: Sequence[HeldOutClip], reports: Sequence[GeneratedReport], seconds: float
) -> EvalResult:
    """What one report a clip is worth."""
    flags = [
        correct_flags(stated_values(report.text), clip.truth)
        for clip, report in zip(clips, reports, strict=True)
    ]
    parameters = {name: sum(one[name] for one in flags) / len(flags) for name in PARAMETERS}
    prose = [
        judge_prose(report.text, stated_values(report.text), clip.truth)
        for clip, report in zip(clips, reports, strict=True)
    ]
    made = sum(one.claims for one in prose)
    return EvalResult(
        step=step,
        clips=len(clips),
        schema_valid=sum(holds_schema(report.text) for report in reports) / len(reports),
        finished=sum(report.finished for report in reports) / len(reports),
        field_accuracy=sum(parameters.values()) / len(parameters),
        parameters=parameters,
        seconds=round(seconds, 2),
        sample=Sample(clips[0].clip_id, reports[0].text),
        prose_accuracy=sum(one.right for one in prose) / made if made else None,
        contradicting=sum(one.contradicts for one in prose) / len(prose),
    )


def best_result(results: Sequence[EvalResult], by: BestBy) -> EvalResult | None:
    """The best of some evaluations.

    Of equals the one with more right values, then more valid and more finished reports, then the later one,
    which has learned longer.
    """

    def worth(result: EvalResult) -> tuple[float, ...]:
        return (*_worth(result, by), result.field_accuracy, result.schema_valid, result.finished, result.step)

    return max(results, key=worth, default=None)


def _worth(result: EvalResult, by: BestBy) -> tuple[float, ...]:
    if by == "schema_then_accuracy":
        return (result.schema_valid, result.field_accuracy)
    if by == "report_accuracy":
        return (result.report_accuracy,)
    if by == "agreement_then_accuracy":
        return (1 - result.contradicting, result.report_accuracy)
    return (result.field_accuracy,)


def read_results(path: Path) -> list[EvalResult]:
    """The evaluations of a run so far.

    Raises:
        InputError: a line is no evaluation.
    """
    if not path.exists():
        return []
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            read = json.loads(line)
            results.append(EvalResult(**{**read, "sample": Sample(**read["sample"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: is no evaluation of held-out reports; delete that line to go on without it, or "
                "begin anew with --overwrite"
            ) from error
    return results


def restore_adapter(model: Any, weights: Path) -> None:
    """Put an adapter's tensors back into the PEFT model that wrote them.

    Raises:
        WorkError: the file does not hold exactly the model's tensors.
    """
    try:
        state = load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise WorkError(
            f"{weights}: cannot be read ({error_line(error)}); go on with --resume, or begin anew with --overwrite"
        ) from error
    odd = sorted(state.keys() ^ adapter_state(model).keys())
    if odd:
        raise WorkError(f"{weights}: does not fit the model (the first tensor is {odd[0]})")
    peft.set_peft_model_state_dict(model, state)


class EvalCallback(TrainerCallback):  # type: ignore[misc]
    """Evaluates, logs the results, and keeps the adapter of the best.

    What an evaluation leaves on disk carries its step, so that a resumed run can forget what came after its checkpoint.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        held_out: HeldOut,
        train: Train,
        infer: Infer,
        out: Path,
        tell: Callable[[EvalResult, bool], None],
    ) -> None:
        """
        Args:
            model: the PEFT model in training.
            held_out: the clips to write reports on.
            train: how often, how, and what counts as better.
            infer: how many reports at once, and how long they may become.
            out: the run's folder.
            tell: called with each result and whether it is the best so far.
        """
        self.model, self.processor, self.held_out = model, processor, held_out
        self.train, self.infer = train, infer
        self.out, self.log, self.tell = out, out / RESULTS, tell
        self.results: list[EvalResult] = []
        self.seconds = 0.0
        """Seconds that this process spent on evaluation."""
        on_cpu = next(model.parameters()).device.type == "cpu"
        self._features: LRUCache[FrameFeatures] = LRUCache(FEATURES_BYTES if on_cpu else 0)

    @property
    def best(self) -> EvalResult | None:
        """The best result so far."""
        return best_result(self.results, self.train.best_by)

    def go_on_from(self, step: int) -> None:
        """Forget what was seen and kept after a step: it will be done again."""
        trim_log(self.log, step)
        self.results = read_results(self.log)
        for best_step, weights in all_best_weights(self.out).items():
            if best_step > step:
                weights.unlink()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was loaded, if any."""
        self.go_on_from(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate where a step is due, before its checkpoint is written, which then covers the result."""
        due = state.global_step % self.train.eval_steps == 0 or state.global_step == state.max_steps
        if due and state.is_world_process_zero:
            self.evaluate(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Adapters go that were the best at the time of no checkpoint from which the run may still go on."""
        steps = [*all_checkpoints(self.out / CHECKPOINTS), state.global_step]
        best = [
            best_result([result for result in self.results if result.step <= step], self.train.best_by)
            for step in steps
        ]
        needed = {result.step for result in best if result is not None}
        for step, weights in all_best_weights(self.out).items():
            if step not in needed:
                weights.unlink()

    def evaluate(self, step: int) -> None:
        """Write the reports, judge them, keep the adapter if it is the best so far."""
        say(f"step {step}: writing {len(self.held_out.clips)} held-out reports")
        begun = time.monotonic()
        result = judge(step, self.held_out.clips, self._write(), time.monotonic() - begun)
        self.results.append(result)
        is_best = self.best is result
        if is_best:
            state = {name: one.detach().cpu().contiguous() for name, one in adapter_state(self.model).items()}
            write_bytes(best_weights(self.out, step), save(state))
        with self.log.open("a") as file:
            file.write(json.dumps(asdict(result) | {"sample": result.sample._asdict()}) + "\n")
        self.seconds += time.monotonic() - begun
        self.tell(result, is_best)

    def _write(self) -> list[GeneratedReport]:
        # A new engine each time: what one remembers of prompts and answers belongs to the weights it saw.
        engine = ReportEngine(
            self.model,
            self.processor,
            batch_size=self.infer.batch_size,
            max_new_tokens=self.infer.max_new_tokens,
            features=self._features,
        )
        frames = [[open_image(image) for image in clip.images] for clip in self.held_out.clips]
        try:
            # Greedy writing draws no random number; should a library do so, training must not notice.
            with torch.random.fork_rng(devices=_cards()):
                return engine.generate(frames, grammar=self.train.eval_grammar, remember=False)
        except torch.cuda.OutOfMemoryError as error:
            raise WorkError(
                "the card's memory is full while held-out reports are written; lower infer.batch_size and go on "
                "with --resume"
            ) from error
        finally:
            if torch.cuda.is_available():
                # Training takes blocks of other sizes.
                torch.cuda.empty_cache()


def _cards() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


def describe_result(result: EvalResult, is_best: bool, by: BestBy) -> str:
    """A result in one line."""
    best = f", the best so far by {by}" if is_best else ""
    claims = (
        "no claims" if result.prose_accuracy is None else f"{100 * result.prose_accuracy:.0f} % of the claims"
    )
    cut = "" if result.finished == 1 else f", {100 * (1 - result.finished):.0f} % cut off at the limit"
    return (
        f"step {result.step}: {result.clips} held-out reports: {100 * result.schema_valid:.0f} % hold the schema, "
        f"{100 * result.field_accuracy:.0f} % of the values and {claims} in the prose right, "
        f"{100 * result.contradicting:.0f} % contradict themselves{cut}{best} ({clock(result.seconds)})"
    )


def choose_adapter(results: Sequence[EvalResult], train: Train, last_step: int) -> tuple[int, str]:
    """The step whose adapter a run leaves, and why in one line."""
    best = best_result(results, train.best_by)
    if best is None:
        return last_step, f"adapter: that of the last step, {last_step} (without evaluation)"
    last = next((result for result in results if result.step == last_step), best)
    worth = f"{train.best_by}: {_shown(best, train.best_by)}"
    if last.step == best.step:
        return last_step, f"adapter: that of the last step, {last_step}, which is the best, too ({worth})"
    if train.load_best_at_end:
        return best.step, (
            f"adapter: that of step {best.step}, the best of {len(results)} evaluations by {worth}, "
            f"against {_shown(last, train.best_by)} at the last step, {last_step} (train.load_best_at_end=true)"
        )
    return last_step, (
        f"adapter: that of the last step, {last_step} (train.load_best_at_end=false), with {train.best_by}: "
        f"{_shown(last, train.best_by)}; step {best.step} was the best with {_shown(best, train.best_by)}"
    )


def _shown(result: EvalResult, by: BestBy) -> str:
    return " and ".join(f"{100 * share:.0f} %" for share in _worth(result, by))

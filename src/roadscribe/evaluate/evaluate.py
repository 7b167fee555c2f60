"""The evaluate stage: ask the models about held-out drives, under each control, and write the scorecard.

It reads clips whose truth is known and engines that answer; it writes an artifact of kind "scorecard":
``answers.jsonl`` (an append-only log, so that a stopped run asks nothing twice), ``predictions.parquet``,
``scorecard.json`` and ``scorecard.html``.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text

from roadscribe.artifacts import KeyedLog, disk_errors, finish, open_output, write_json, write_text
from roadscribe.clip import Clip
from roadscribe.errors import InputError, WorkError
from roadscribe.evaluate.controls import CONTROLS, check_controls
from roadscribe.evaluate.page import render_page
from roadscribe.evaluate.predictions import Prediction, RunKey, predict, write_predictions
from roadscribe.evaluate.scorecard import LeftOut, Scorecard, main_runs, read_scorecard, score
from roadscribe.evaluate.scores import Values
from roadscribe.evaluate.statistics import Interval
from roadscribe.evaluate.verdicts import conclude, parameters_by_outcome, percent
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe
from roadscribe.report import PARAMETERS, DrivingParameters

ANSWERS = "answers.jsonl"
PREDICTIONS = "predictions.parquet"
SCORECARD = "scorecard.json"
PAGE = "scorecard.html"

MAX_TRUTH_GAP_S = 0.5
"""A truth further than this from the clip's last frame is the truth of another moment."""


class Answer(Protocol):
    """What an engine gives back for one clip."""

    @property
    def text(self) -> str: ...
    @property
    def tokens(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    @property
    def seconds(self) -> float: ...


class ReportsEngine(Protocol):
    """Anything that writes one report a clip: the local engine, a remote one, a table in a test."""

    def generate(self, clips_frames: Sequence[Sequence[Image.Image]], *, grammar: bool) -> Sequence[Answer]:
        """Reports for a batch of clips, in order. ``clips_frames``: frames of each clip, oldest first."""
        ...


def plan_runs(recipe: Recipe, models: Sequence[str]) -> list[RunKey]:
    """Which passes over the clips the recipe asks for, grouped by model so that each is loaded once.

    The model named "base" is scored once, to be compared with; every other one also under each control and,
    where the recipe says so, without the grammar. A base model on its own is treated like any other.

    Raises:
        InputError: no model is left to score.
    """
    grammar = recipe.infer.grammar
    subjects = [model for model in models if model != "base"]
    runs = []
    for model in models:
        if model == "base" and subjects:
            runs += [RunKey(model, grammar, "none")] if recipe.evaluate.base else []
            continue
        runs.append(RunKey(model, grammar, "none"))
        if grammar and recipe.evaluate.without_grammar:
            runs.append(RunKey(model, False, "none"))
        runs += [RunKey(model, grammar, control) for control in dict.fromkeys(recipe.evaluate.controls)]
    if not runs:
        raise InputError("no model to evaluate; give an adapter or a base model")
    return runs


def evaluate(
    recipe: Recipe,
    clips: Sequence[Clip],
    engines: Mapping[str, ReportsEngine],
    out: Path,
    *,
    train_parameters: Sequence[DrivingParameters] | None = None,
    provenance: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Scorecard:
    """Score engines on clips whose truth is known.

    Args:
        recipe: its ``evaluate`` and ``infer`` sections decide the runs, batches and intervals.
        clips: held-out clips; those without a truth at their last frame are left out and listed.
        engines: by name, "base" and "tuned"; looked up one after the other, and only when there is something
            to ask, so a mapping may load a model when it is looked up.
        out: the output folder.
        train_parameters: the truth of the training split, on which the majority answers are chosen; without
            it they are chosen on the evaluated clips themselves, and the scorecard says so.
        provenance: what the engines are (adapter, base model, versions), as plain JSON; kept in the
            scorecard, and a resumed run must have the same.
        resume: go on where an earlier run was stopped; batches that were answered are not asked again.
        overwrite: delete what is in ``out`` first.

    Raises:
        InputError: no clip has a truth, clip ids repeat, a control does not fit the clips, or ``out`` holds
            something else.
        WorkError: an engine does not give one answer a clip, or the disk is full.
    """
    known, left_out = with_truth(clips)
    runs = plan_runs(recipe, list(engines))
    check_controls([run.control for run in runs], known)
    origin = {**(provenance or {}), "clips": _fingerprint(known)}
    train_truths = None if train_parameters is None else [one.model_dump() for one in train_parameters]
    made_by = {
        **recipe.as_json(),
        "provenance": origin,
        "runs": [list(run) for run in runs],
        # It decides the baseline, so another training split is another scorecard.
        "train_truths": hashlib.sha256(repr(train_truths).encode()).hexdigest(),
    }
    with disk_errors(out):
        if open_output(out, "scorecard", made_by, resume=resume, overwrite=overwrite):
            return read_scorecard(out / SCORECARD)
        predictions, seconds = _ask(recipe, known, engines, runs, out / ANSWERS)
        scores = score(
            predictions,
            train_truths=train_truths,
            seconds=seconds,
            resamples=recipe.evaluate.resamples,
            seed=recipe.evaluate.seed,
        )
        scorecard = Scorecard(
            runs=scores.runs,
            majority=scores.majority,
            differences=scores.differences,
            verdicts=conclude(scores),
            clips=len(known),
            drives=len({clip.drive_id for clip in known}),
            left_out=left_out,
            resamples=recipe.evaluate.resamples,
            seed=recipe.evaluate.seed,
            recipe=recipe.as_json(),
            provenance=origin,
        )
        write_predictions(out / PREDICTIONS, [one for run in predictions.values() for one in run])
        write_text(out / PAGE, render_page(scorecard, predictions, known))
        write_json(out / SCORECARD, scorecard.model_dump(mode="json"))
        means = {run.key.label: run.mean_accuracy for run in scorecard.runs}
        finish(
            out,
            left_out=len(left_out),
            listed_in=[SCORECARD],
            clips=scorecard.clips,
            drives=scorecard.drives,
            mean_accuracy=means,
        )
    if left_out:
        first = f"{left_out[0].clip_id}: {left_out[0].reason}"
        say(f"{len(left_out)} of {len(clips)} clips left out, listed in {out / SCORECARD}; first: {first}")
    return scorecard


def with_truth(clips: Sequence[Clip]) -> tuple[list[Clip], list[LeftOut]]:
    """The clips that can be scored, and the others with the reason.

    Raises:
        InputError: a clip id occurs twice, or no clip can be scored.
    """
    known: list[Clip] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    for clip in clips:
        if clip.clip_id in seen:
            raise InputError(f"clip {clip.clip_id}: occurs twice; every clip is scored once, so remove one")
        seen.add(clip.clip_id)
        truth = clip.evidence.truth
        if truth is None:
            left_out.append(LeftOut(clip_id=clip.clip_id, reason="no truth is known"))
        elif abs(truth.time_s - clip.now_s) > MAX_TRUTH_GAP_S:
            reason = f"the truth is of {truth.time_s:.2f} s, the last frame of {clip.now_s:.2f} s"
            left_out.append(LeftOut(clip_id=clip.clip_id, reason=reason))
        else:
            known.append(clip)
    if not known:
        why = left_out[0].reason if left_out else "there are none"
        raise InputError(
            f"none of {len(clips)} clips can be scored ({why}); evaluate on clips with a known truth"
        )
    return known, left_out


def _truth(clip: Clip) -> Values:
    assert clip.evidence.truth is not None  # with_truth let it through
    return clip.evidence.truth.parameters.model_dump()


def _fingerprint(clips: Sequence[Clip]) -> dict[str, Any]:
    """Which clips these are: a resumed run must see the same ones, in the same order, with the same truth."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(f"{clip.clip_id}\0{clip.drive_id}\0{_truth(clip)}\0".encode())
        for frame in clip.frames:
            digest.update(hashlib.sha256(frame).digest())
    return {"count": len(clips), "sha256": digest.hexdigest()}


def _ask(
    recipe: Recipe,
    clips: Sequence[Clip],
    engines: Mapping[str, ReportsEngine],
    runs: Sequence[RunKey],
    path: Path,
) -> tuple[dict[RunKey, list[Prediction]], dict[RunKey, float]]:
    """Every run's answers, from the log where they are there, from the engine where not.

    The log holds one record a batch: batches never change their members, so that an engine whose last digits
    depend on who shares a batch gives a resumed run the same answers.
    """
    size = recipe.infer.batch_size
    starts = range(0, len(clips), size)
    predictions: dict[RunKey, list[Prediction]] = {run: [] for run in runs}
    seconds = dict.fromkeys(runs, 0.0)
    with KeyedLog(path) as log, progress(len(runs) * len(clips), "evaluate") as advance:
        for run in runs:
            for start in starts:
                members = range(start, min(start + size, len(clips)))
                key = f"{run.model}/{'grammar' if run.grammar else 'plain'}/{run.control}/{start}"
                if key not in log:
                    frames = [CONTROLS[run.control](clips, index, recipe.evaluate.seed) for index in members]
                    began = time.perf_counter()
                    answers = list(engines[run.model].generate(frames, grammar=run.grammar))
                    if len(answers) != len(members):
                        raise WorkError(
                            f"model {run.model}: gave {len(answers)} answers to {len(members)} clips"
                        )
                    log.append(
                        key,
                        seconds=round(time.perf_counter() - began, 4),
                        answers=[
                            {
                                "clip_id": clips[index].clip_id,
                                "text": answer.text,
                                "finished": answer.finished,
                                "tokens": answer.tokens,
                                "seconds": round(answer.seconds, 4),
                            }
                            for index, answer in zip(members, answers, strict=True)
                        ],
                    )
                record = log.records[key]
                if not _is_record(record, [clips[index].clip_id for index in members]):
                    raise InputError(f"{path}: its record {key!r} is damaged; evaluate anew with --overwrite")
                seconds[run] += record["seconds"]
                for index, kept in zip(members, record["answers"], strict=True):
                    clip = clips[index]
                    predictions[run].append(predict(run, drive_id=clip.drive_id, truth=_truth(clip), **kept))
                advance(len(members), run.label)
    return predictions, seconds


def _is_record(record: Mapping[str, Any], clip_ids: Sequence[str]) -> bool:
    """Whether a log's record is what `_ask` writes about these clips."""
    answers, kinds = record.get("answers"), {"clip_id": str, "text": str, "finished": bool, "tokens": int}
    return (
        isinstance(record.get("seconds"), int | float)
        and isinstance(answers, list)
        and all(isinstance(one, dict) and one.keys() == {*kinds, "seconds"} for one in answers)
        and all(isinstance(one[name], kind) for one in answers for name, kind in kinds.items())
        and all(isinstance(one["seconds"], int | float) for one in answers)
        and [one["clip_id"] for one in answers] == list(clip_ids)
    )


def print_table(scorecard: Scorecard, console: Console | None = None) -> None:
    """Print runs as columns, parameters as rows, and the verdicts below, to stdout.

    Intervals stand beside the values where the terminal is wide enough; a pipe or a file always gets them.
    """
    console = console or Console(file=sys.stdout)
    needed = 24 + 10 + 13 * len(scorecard.runs)
    wide = not console.is_terminal or console.width >= needed
    if not console.is_terminal:
        console.width = max(console.width, needed, 100)
    console.print(_table(scorecard, intervals=wide))
    if not wide:
        console.print(
            Text("Widen the terminal to see the 95 % intervals; they are in scorecard.json.", style="dim")
        )
    marks = {"good": ("✓", "green"), "prior": ("✕", "red"), "bad": ("✕", "red"), "unclear": ("?", "yellow")}
    for verdict in scorecard.verdicts:
        if verdict.rule != "parameter":
            mark, style = marks.get(verdict.outcome, ("·", "dim"))
            console.print(Text.assemble((mark, style), " ", verdict.text))
    for model in main_runs([run.key for run in scorecard.runs]):
        groups = parameters_by_outcome(scorecard.verdicts, model)
        no_better = [name for outcome in ("prior", "bad") for name in groups.get(outcome, [])]
        if no_better:
            names = ", ".join(no_better)
            console.print(Text.assemble(("✕", "red"), f" {model}: not above the majority answer: {names}."))
    if scorecard.left_out:
        console.print(
            Text(f"{len(scorecard.left_out)} clips were left out; scorecard.json says why.", style="yellow")
        )


def _table(scorecard: Scorecard, *, intervals: bool) -> Table:
    where = "training split" if scorecard.majority.source == "train" else "evaluated drives"
    table = Table(
        title=f"{scorecard.drives} held-out drives, {scorecard.clips} clips: correct values in %",
        caption=f"95 % intervals resample whole drives; the majority answer is the {where}'s",
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    table.add_column("parameter", no_wrap=True)
    table.add_column("majority", justify="right", no_wrap=True)
    for run in scorecard.runs:
        table.add_column(run.key.label.replace(", ", "\n"), justify="right")

    def cell(value: Interval, style: str = "") -> Text:
        shown = Text(f"{100 * value[0]:.0f}", style=style)
        return (
            shown.append(f" {100 * value[1]:3.0f}–{100 * value[2]:<3.0f}", style="dim")
            if intervals
            else shown
        )

    for name in PARAMETERS:
        majority = scorecard.runs[0].parameters[name].majority
        cells = []
        for run in scorecard.runs:
            accuracy = run.parameters[name].accuracy
            cells.append(
                cell(accuracy, "green" if accuracy[1] > majority else "red" if accuracy[2] < majority else "")
            )
        table.add_row(name, f"{100 * majority:.0f}", *cells)
    table.add_section()
    means = [cell(run.mean_accuracy, "bold") for run in scorecard.runs]
    table.add_row(Text("mean of 12", style="bold"), f"{100 * scorecard.majority.mean_accuracy:.0f}", *means)
    schema = [percent(run.schema_valid) for run in scorecard.runs]
    table.add_row("holds the schema", "", *schema)
    return table

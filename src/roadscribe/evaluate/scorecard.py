"""The scorecard: every number of an evaluation, computed from the predictions alone.

Evaluate writes it as ``scorecard.json``; the table, the page, sweeps and dataset cards read it. All runs are
over the same clips, and one set of resampled drives stands behind every interval and every difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from roadscribe.artifacts import read_json
from roadscribe.errors import InputError
from roadscribe.evaluate.predictions import Prediction, RunKey
from roadscribe.evaluate.prose_scores import ProseScore, score_prose
from roadscribe.evaluate.scores import (
    CLASS_PARAMETERS,
    Value,
    Values,
    balanced_accuracy,
    confusion,
    flags_array,
    majority_answers,
    number_errors,
)
from roadscribe.evaluate.statistics import DriveResamples, Interval, interval, resample_drives
from roadscribe.report import PARAMETERS, RANGES

MUST_NOT_MISS: dict[str, Value] = {
    "risk_factor": "high",
    "pedestrian_on_road": True,
    "traffic_light_state": "red",
}
"""The classes a driver cannot afford to have missed; their recall is reported apart."""

MAJORITY = "majority"
"""The name of the constant answer where a difference is taken to it."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConfusionCounts(_Record):
    """``counts[i][j]``: clips whose truth is ``truths[i]`` and whose answer is ``answers[j]``."""

    truths: list[str]
    answers: list[str]
    counts: list[list[int]]


class ParameterScore(_Record):
    """One parameter in one run."""

    accuracy: Interval
    majority: float
    """Accuracy of the constant answer on the same clips."""
    commonest_answer: Value
    """What the model says most often; null also where it states nothing."""
    commonest_share: float
    balanced_accuracy: float | None
    """Mean recall over the true classes; null for speed and distance."""
    confusion: ConfusionCounts | None
    numbers_compared: int | None
    """Clips where both answer and truth are numbers; null for words."""
    mean_absolute_error: float | None
    """In km/h, metres or lanes over those clips."""
    mean_signed_error: float | None


class Recall(_Record):
    """Of the clips where something is there, the share in which the model says so."""

    value: Value
    cases: int
    recall: Interval


class RunScore(_Record):
    """One model over all clips, with or without the grammar, under one control."""

    model: str
    grammar: bool
    control: str
    drives: int
    clips: int
    schema_valid: float
    schema_valid_interval: Interval
    finished: float
    """Share of answers that ended before the limit of new tokens."""
    mean_accuracy: Interval
    """Mean over clips and the 12 parameters."""
    majority_mean_accuracy: float
    all_right: float
    """Share of reports with all 12 parameters right."""
    distinct_answers: int
    """Different sets of 12 values among the reports; 1 means that the model says the same of every clip."""
    must_not_miss: dict[str, Recall]
    tokens: float
    """Mean tokens a report."""
    seconds: float
    """Time the engine took for all reports of this run."""
    parameters: dict[str, ParameterScore]
    prose: ProseScore | None = None
    """Scores of the two prose sections; null in scorecards written before they were scored."""

    @property
    def key(self) -> RunKey:
        return RunKey(self.model, self.grammar, self.control)


class Difference(_Record):
    """``plus`` minus ``minus``, paired clip by clip, as shares of 1."""

    plus: str
    minus: str
    mean_accuracy: Interval
    parameters: dict[str, Interval]


class Majority(_Record):
    """The constant answers that every run is held against."""

    source: Literal["train", "evaluated"]
    """Chosen on the training split's truth, or, where none was given, on the evaluated clips themselves."""
    examples: int
    answers: dict[str, Value]
    mean_accuracy: float
    """On the evaluated clips."""


Outcome = Literal["good", "partly", "prior", "bad", "unclear", "note"]
"""partly: the values of the JSON are good, the prose is not."""


class Verdict(_Record):
    """One conclusion in plain words, reached by a stated rule (see verdicts.py)."""

    rule: str
    model: str
    parameter: str | None
    outcome: Outcome
    text: str


class LeftOut(_Record):
    """A clip that was not evaluated, and why."""

    clip_id: str
    reason: str


class Scorecard(_Record):
    """Everything in ``scorecard.json``."""

    version: Literal[1] = 1
    runs: list[RunScore]
    majority: Majority
    differences: list[Difference]
    verdicts: list[Verdict]
    clips: int
    drives: int
    left_out: list[LeftOut]
    resamples: int
    seed: int
    recipe: dict[str, Any]
    provenance: dict[str, Any]

    def run(self, key: RunKey) -> RunScore | None:
        """The run of this key, or None where it was not made."""
        return next((run for run in self.runs if run.key == key), None)


def read_scorecard(path: Path) -> Scorecard:
    """Read ``scorecard.json``. Raises InputError where it is missing or another kind of file."""
    try:
        return Scorecard.model_validate(read_json(path, "a scorecard"))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{path}: not a scorecard of version 1 ({first['msg']} at {first['loc']})"
        ) from error


@dataclass(frozen=True)
class Scores:
    """The computed part of a scorecard, before anything is concluded from it."""

    runs: list[RunScore]
    majority: Majority
    differences: list[Difference]


def score(
    predictions: Mapping[RunKey, Sequence[Prediction]],
    *,
    train_truths: Sequence[Values] | None,
    seconds: Mapping[RunKey, float],
    resamples: int,
    seed: int,
) -> Scores:
    """Turn predictions into runs, the majority baseline and paired differences.

    Args:
        predictions: per run, one prediction a clip; the same clips in the same order in every run.
        train_truths: true values of the training split, on which the constant answers are chosen; None
            chooses them on the evaluated clips, which flatters the baseline.
        seconds: time each run took.
        resamples: bootstrap resamples of whole drives.
        seed: of the resamples.

    Raises:
        ValueError: no predictions, or runs over different clips.
    """
    first = next(iter(predictions.values()))
    if any([one.clip_id for one in run] != [one.clip_id for one in first] for run in predictions.values()):
        raise ValueError("runs over different clips cannot stand on one scorecard")
    truths = [one.truth for one in first]
    draws = resample_drives([one.drive_id for one in first], resamples, seed)

    chosen_on = truths if train_truths is None else train_truths
    answers = majority_answers(chosen_on)
    majority_flags = flags_array([answers] * len(truths), truths)
    majority = Majority(
        source="evaluated" if train_truths is None else "train",
        examples=len(chosen_on),
        answers=answers,
        mean_accuracy=_share(majority_flags),
    )
    flags = {key: flags_array([one.predicted for one in run], truths) for key, run in predictions.items()}
    runs = [
        _score_run(key, run, flags[key], majority_flags, answers, draws, seconds[key])
        for key, run in predictions.items()
    ]
    named = {key.label: array for key, array in flags.items()} | {MAJORITY: majority_flags}
    differences = [
        Difference(
            plus=plus,
            minus=minus,
            mean_accuracy=interval((named[plus] - named[minus]).mean(axis=1), draws),
            parameters={
                name: interval(named[plus][:, column] - named[minus][:, column], draws)
                for column, name in enumerate(PARAMETERS)
            },
        )
        for plus, minus in _pairs(list(predictions))
    ]
    return Scores(runs, majority, differences)


def _pairs(keys: Sequence[RunKey]) -> list[tuple[str, str]]:
    """Which runs are compared: each with the constant answer, a model's main run with its others."""
    pairs = [(key.label, MAJORITY) for key in keys]
    mains = main_runs(keys)
    for model, main in mains.items():
        if model != "base" and "base" in mains:
            pairs.append((main.label, mains["base"].label))
        pairs += [(main.label, key.label) for key in keys if key.model == model and key != main]
    return pairs


def main_runs(keys: Sequence[RunKey]) -> dict[str, RunKey]:
    """The run each model is judged by: its first one with frames as they are."""
    mains: dict[str, RunKey] = {}
    for key in keys:
        if key.control == "none":
            mains.setdefault(key.model, key)
    return mains


def _score_run(
    key: RunKey,
    run: Sequence[Prediction],
    flags: np.ndarray,
    majority_flags: np.ndarray,
    majority: Values,
    draws: DriveResamples,
    seconds: float,
) -> RunScore:
    truths = [one.truth for one in run]
    predicted = [one.predicted for one in run]
    schema = np.array([one.schema_valid for one in run], dtype=np.float64)
    recalls = {}
    for name, value in MUST_NOT_MISS.items():
        there = np.array([truth[name] == value for truth in truths])
        if there.any():
            said = interval(flags[:, PARAMETERS.index(name)], draws, where=there)
            recalls[name] = Recall(value=value, cases=int(there.sum()), recall=said)
    return RunScore(
        **key._asdict(),
        drives=draws.drives,
        clips=len(run),
        schema_valid=_share(schema),
        schema_valid_interval=interval(schema, draws),
        finished=_share(np.array([one.finished for one in run], dtype=np.float64)),
        mean_accuracy=interval(flags.mean(axis=1), draws),
        majority_mean_accuracy=_share(majority_flags),
        all_right=_share(flags.min(axis=1)),
        distinct_answers=len({tuple(sorted(one.items())) for one in predicted}),
        must_not_miss=recalls,
        tokens=round(sum(one.tokens for one in run) / len(run), 1),
        seconds=round(seconds, 3),
        parameters={
            name: _score_parameter(
                name, predicted, truths, flags[:, column], majority_flags[:, column], draws
            )
            for column, name in enumerate(PARAMETERS)
        },
        prose=score_prose(
            [one.text for one in run],
            predicted,
            truths,
            [one.time_of_day for one in run],
            majority,
            draws,
        ),
    )


def _score_parameter(
    name: str,
    predicted: Sequence[Values],
    truths: Sequence[Values],
    flags: np.ndarray,
    majority_flags: np.ndarray,
    draws: DriveResamples,
) -> ParameterScore:
    table = confusion(name, predicted, truths) if name in CLASS_PARAMETERS else None
    errors = number_errors(name, predicted, truths) if name in RANGES else None
    [(answer, count)] = Counter(one.get(name) for one in predicted).most_common(1)
    return ParameterScore(
        accuracy=interval(flags, draws),
        majority=_share(majority_flags),
        commonest_answer=answer,
        commonest_share=round(count / len(predicted), 6),
        balanced_accuracy=None if table is None else round(balanced_accuracy(table), 6),
        confusion=None if table is None else ConfusionCounts(**table._asdict()),
        numbers_compared=None if errors is None else errors.compared,
        mean_absolute_error=None if errors is None else _rounded(errors.mean_absolute),
        mean_signed_error=None if errors is None else _rounded(errors.mean_signed),
    )


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 6)

"""When is an answer right? Pure functions from predicted and true parameters to the numbers on the scorecard.

Evaluate's ground: everything else in this room counts what these functions decide. Two things are measured
apart. *Schema validity* is strict: the text is the report's form, byte for byte. *Accuracy* looks at what can
still be read in a text that is not: a value recovered from a sloppy answer counts, a parameter that the text
does not state, or states in words nobody can read, is wrong, even where the truth is null.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from roadscribe.report import PARAMETERS, RANGES, VOCABULARY

Value = str | int | bool | None
"""A canonical value of one parameter."""

Values = Mapping[str, Value]
"""Canonical values by parameter; a key that is absent was not stated."""

NOT_STATED = "not stated"
"""The column of a confusion table for answers that leave the parameter out."""


class Tolerance(NamedTuple):
    """A number is right within max(``absolute``, ``relative`` x truth) of the truth, edges included."""

    absolute: float
    relative: float


TOLERANCES: dict[str, Tolerance] = {
    "closest_vehicle_distance": Tolerance(5, 0.25),  # metres
    "ego_vehicle_speed": Tolerance(5, 0.15),  # km/h
}
"""The parameters that are measured, not counted; every other one must be exact."""

CLASS_PARAMETERS: tuple[str, ...] = tuple(name for name in PARAMETERS if name not in TOLERANCES)
"""Words, booleans and the lane count: parameters with classes, for which a confusion table makes sense."""


def is_correct(parameter: str, predicted: Value, truth: Value) -> bool:
    """Whether one stated value is right.

    Words, booleans and the lane count must be equal; speed and distance lie within their tolerance of the
    truth. Null is right only where the truth is null, "unknown" only where the truth is "unknown".
    """
    if predicted is None or truth is None:
        return predicted is None and truth is None
    if isinstance(predicted, bool) != isinstance(truth, bool):
        return False  # True == 1 in Python; a lane count of 1 is not a yes
    tolerance = TOLERANCES.get(parameter)
    if tolerance is None:
        return predicted == truth
    if not isinstance(predicted, int | float) or not isinstance(truth, int | float):
        return False
    # In exact arithmetic 0.15 x 100 is 15; in floats it may fall just short of it.
    allowed = max(tolerance.absolute, tolerance.relative * truth) + 1e-9
    return abs(predicted - truth) <= allowed


def correct_flags(predicted: Values, truth: Values) -> dict[str, bool]:
    """Which of the 12 parameters of one report are right; a parameter that is not stated is wrong."""
    return {name: name in predicted and is_correct(name, predicted[name], truth[name]) for name in PARAMETERS}


def flags_array(predicted: Sequence[Values], truths: Sequence[Values]) -> np.ndarray:
    """``correct_flags`` of many reports: float64 of shape (reports, 12), 1 where right."""
    rows = [list(correct_flags(one, truth).values()) for one, truth in zip(predicted, truths, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(PARAMETERS))


def majority_answer(parameter: str, values: Sequence[Value]) -> Value:
    """The constant answer that is right most often on ``values``: the best score without looking.

    For speed and distance that is the number (or null) with the most values within tolerance; of several
    equally good numbers the middle one is taken. For all others it is the commonest value; of several equally
    common ones the first in the vocabulary's order.

    Raises:
        ValueError: ``values`` is empty.
    """
    if not values:
        raise ValueError(f"no values of {parameter} to choose a majority answer from")
    candidates: list[Value] = [*_domain(parameter), None]
    counted = Counter((type(value), value) for value in values)
    hits = [
        sum(count for (_, value), count in counted.items() if is_correct(parameter, candidate, value))
        for candidate in candidates
    ]
    best = [candidate for candidate, hit in zip(candidates, hits, strict=True) if hit == max(hits)]
    return best[len(best) // 2] if parameter in TOLERANCES else best[0]


def _domain(parameter: str) -> Sequence[Value]:
    """Every value a parameter can take besides null, in canonical order."""
    if parameter in VOCABULARY:
        return VOCABULARY[parameter]
    if parameter in RANGES:
        low, high = RANGES[parameter]
        return range(low, high + 1)
    return (False, True)


def majority_answers(truths: Sequence[Values]) -> dict[str, Value]:
    """The majority answer of each of the 12 parameters."""
    return {name: majority_answer(name, [truth[name] for truth in truths]) for name in PARAMETERS}


def word(value: Value) -> str:
    """A value as it stands in a report, without quotes: null, true, 3, rainy."""
    return value if isinstance(value, str) else json.dumps(value)


class Confusion(NamedTuple):
    """How often each true class got each answer: ``counts[i][j]`` times ``answers[j]`` for ``truths[i]``."""

    truths: list[str]
    answers: list[str]
    counts: list[list[int]]


def confusion(parameter: str, predicted: Sequence[Values], truths: Sequence[Values]) -> Confusion:
    """The confusion table of a parameter with classes; only classes that occur, in canonical order."""
    order = [word(value) for value in (*_domain(parameter), None)] + [NOT_STATED]
    pairs = Counter(
        (word(truth[parameter]), word(one[parameter]) if parameter in one else NOT_STATED)
        for one, truth in zip(predicted, truths, strict=True)
    )
    rows = sorted({truth for truth, _ in pairs}, key=order.index)
    columns = sorted({answer for _, answer in pairs} | set(rows), key=order.index)
    return Confusion(rows, columns, [[pairs[row, column] for column in columns] for row in rows])


def balanced_accuracy(table: Confusion) -> float:
    """The mean recall over the true classes that occur; any constant answer scores 1 / classes."""
    recalls = [
        row[table.answers.index(truth)] / sum(row)
        for truth, row in zip(table.truths, table.counts, strict=True)
    ]
    return sum(recalls) / len(recalls)


class NumberErrors(NamedTuple):
    """Errors of a number where both the answer and the truth are numbers."""

    compared: int
    mean_absolute: float | None
    mean_signed: float | None
    """Above zero: the model says too much."""


def number_errors(parameter: str, predicted: Sequence[Values], truths: Sequence[Values]) -> NumberErrors:
    """Mean absolute and mean signed error in the parameter's unit; None where nothing can be compared."""
    errors = [
        said - true
        for one, truth in zip(predicted, truths, strict=True)
        if isinstance(said := one.get(parameter), int) and isinstance(true := truth[parameter], int)
    ]
    if not errors:
        return NumberErrors(0, None, None)
    return NumberErrors(len(errors), float(np.mean(np.abs(errors))), float(np.mean(errors)))

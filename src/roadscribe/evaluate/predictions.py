"""One row a clip and run: what the model wrote, what could be read in it, the truth, and what is right.

Evaluate fills these rows from the engines' answers; the scorecard and the page are computed from them alone,
so ``predictions.parquet`` is all that is needed to check every number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from roadscribe.artifacts import atomic_open
from roadscribe.errors import InputError
from roadscribe.evaluate.scores import Value, Values, correct_flags
from roadscribe.report import PARAMETERS, VOCABULARY, holds_schema
from roadscribe.report_text import parse_answer

CONTROL_WORDS = {
    "none": "",
    "black": "black frames",
    "shuffled": "shuffled",
    "repeat_last": "last frame only",
    "swapped": "other drive",
}
"""What each control shows the model, in two words for a column's head."""


class RunKey(NamedTuple):
    """One pass over all clips: which model, with or without the grammar, under which control."""

    model: str
    grammar: bool
    control: str

    @property
    def label(self) -> str:
        """For people: ``tuned``, ``tuned, no grammar``, ``tuned, black frames``."""
        parts = [self.model, "" if self.grammar else "no grammar", CONTROL_WORDS[self.control]]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Prediction:
    """One report of one run, beside the truth of its clip."""

    clip_id: str
    drive_id: str
    run: RunKey
    text: str
    finished: bool
    """False where the answer ran into the limit of new tokens."""
    tokens: int
    seconds: float
    schema_valid: bool
    """Strict: the text is the report's form and nothing else."""
    predicted: Mapping[str, Value]
    """Canonical values by parameter; what the text does not state legibly is absent."""
    truth: Mapping[str, Value]
    time_of_day: str | None = None
    """The true time of day ("day", "night", "dawn_dusk"), which only the prose speaks of; None: not known."""

    @property
    def correct(self) -> dict[str, bool]:
        return correct_flags(self.predicted, self.truth)


def stated_values(text: str) -> Values:
    """The parameters that ``text`` states, as canonical values; missing and illegible ones are absent.

    Saying that something cannot be told (null, "not visible") is a statement. Leaving the key out, an empty
    value, or one that cannot be understood ("slow" for a speed) is none, although all are read as null.
    """
    answer = parse_answer(text)
    why_null = {finding.parameter: finding.rule for finding in answer.findings}
    return {
        name: answer.parameters[name]
        for name in answer.found_parameters
        if answer.parameters[name] not in (None, "unknown")
        or name not in why_null  # the report's own form, in which null stands for itself
        or (why_null[name] == f"absent.{name}" and answer.raw_values[name] not in ("", [], {}))
    }


def prose(text: str) -> tuple[str, list[str]]:
    """The scene description and the points of the risk assessment, as far as ``text`` has them."""
    answer = parse_answer(text)
    return answer.scene_description, list(answer.risk_assessment)


def predict(
    run: RunKey,
    clip_id: str,
    drive_id: str,
    truth: Values,
    text: str,
    *,
    finished: bool,
    tokens: int,
    seconds: float,
    time_of_day: str | None = None,
) -> Prediction:
    """Read one answer: strict schema check and every value that can be recovered."""
    return Prediction(
        clip_id=clip_id,
        drive_id=drive_id,
        run=run,
        text=text,
        finished=finished,
        tokens=tokens,
        seconds=seconds,
        schema_valid=holds_schema(text),
        predicted=stated_values(text),
        truth=truth,
        time_of_day=time_of_day,
    )


def _arrow_type(parameter: str) -> pa.DataType:
    if parameter in VOCABULARY:
        return pa.string()
    return pa.bool_() if parameter == "pedestrian_on_road" else pa.int32()


PREDICTION_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("drive_id", pa.string()),
        ("model", pa.string()),
        ("grammar", pa.bool_()),
        ("control", pa.string()),
        ("text", pa.string()),
        ("finished", pa.bool_()),
        ("tokens", pa.int32()),
        ("seconds", pa.float64()),
        ("schema_valid", pa.bool_()),
        ("not_stated", pa.list_(pa.string())),
    ]
    + [(f"predicted_{name}", _arrow_type(name)) for name in PARAMETERS]
    + [(f"true_{name}", _arrow_type(name)) for name in PARAMETERS]
    + [(f"correct_{name}", pa.bool_()) for name in PARAMETERS]
    + [("true_time_of_day", pa.string())]
)
"""``not_stated`` tells a null that the model wrote from a parameter that it left out."""


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write all rows as one Parquet file, atomically."""
    rows: list[dict[str, Any]] = [
        {
            "clip_id": one.clip_id,
            "drive_id": one.drive_id,
            **one.run._asdict(),
            "text": one.text,
            "finished": one.finished,
            "tokens": one.tokens,
            "seconds": one.seconds,
            "schema_valid": one.schema_valid,
            "not_stated": [name for name in PARAMETERS if name not in one.predicted],
            **{f"predicted_{name}": one.predicted.get(name) for name in PARAMETERS},
            **{f"true_{name}": one.truth[name] for name in PARAMETERS},
            **{f"correct_{name}": right for name, right in one.correct.items()},
            "true_time_of_day": one.time_of_day,
        }
        for one in predictions
    ]
    with atomic_open(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), file, compression="zstd")


def read_predictions(path: Path) -> list[Prediction]:
    """Read back what ``write_predictions`` wrote. Raises InputError where that is not what is there."""
    try:
        rows = pq.read_table(path, schema=PREDICTION_SCHEMA).to_pylist()
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{path}: not the predictions of `roadscribe evaluate` ({error})") from error
    return [
        Prediction(
            clip_id=row["clip_id"],
            drive_id=row["drive_id"],
            run=RunKey(row["model"], row["grammar"], row["control"]),
            text=row["text"],
            finished=row["finished"],
            tokens=row["tokens"],
            seconds=row["seconds"],
            schema_valid=row["schema_valid"],
            predicted={
                name: row[f"predicted_{name}"] for name in PARAMETERS if name not in row["not_stated"]
            },
            truth={name: row[f"true_{name}"] for name in PARAMETERS},
            time_of_day=row["true_time_of_day"],
        )
        for row in rows
    ]

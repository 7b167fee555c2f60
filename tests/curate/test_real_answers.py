"""200 answers of a real teacher beside evidence as a label file gives it: nothing true is lost to what is absent.

The labels are made up here in BDD100K's layout: the frame's boxes without light colours, with boxes that the
picture's edge cuts and small ones far away, and telemetry that now and then shows a speed no car has.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roadscribe.answers.limits import is_overall_risk
from roadscribe.clip import Clip, Evidence, Provenance, Telemetry
from roadscribe.curate.mend import Row, judge, settle
from roadscribe.curate.now import evidence_now
from roadscribe.curate.read import read_original
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.footage.bdd100k import read_labels
from roadscribe.report import RANGES, VOCABULARY
from roadscribe.report_text import parse_answer

ANSWERS = (
    Path(__file__).resolve().parents[2] / "../shared/data/raw_instructions/bdd_raw_instructions_200.json"
)

pytestmark = pytest.mark.skipif(not ANSWERS.is_file(), reason="the real answers are not on this machine")


class Judged(NamedTuple):
    """One real answer, its labels, and what curation made of it."""

    answer: RawAnswer
    lights: int
    row: Row


def labels_of(number: int) -> dict[str, Any]:
    """A label file's record of one frame: cars near, far and cut off, one or two lights without a colour."""
    rng = random.Random(number)
    objects: list[dict[str, Any]] = []
    for _ in range(rng.randrange(6)):
        x, y, width = rng.uniform(0, 1240), rng.uniform(330, 420), rng.choice([20, 41, 90, 260, 500])
        height = width * rng.uniform(0.5, 0.8)
        box = {"x1": x, "y1": y, "x2": min(x + width, 1280), "y2": min(y + height, 720)}
        objects.append({"category": "car", "attributes": {}, "box2d": box})
    for _ in range(rng.randrange(3)):
        x, y = rng.uniform(200, 1000), rng.uniform(60, 250)
        box = {"x1": x, "y1": y, "x2": x + 18, "y2": y + rng.choice([12, 30, 48])}
        objects.append({"category": "traffic light", "attributes": {}, "box2d": box})
    return {"name": f"{number}.jpg", "timestamp": 10000, "labels": objects}


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    found = []
    for answer in read_original(ANSWERS):
        record = labels_of(answer.row)
        speeds = [8.0, 8.2, 999 / 3.6 if answer.row % 4 == 0 else 8.1, 8.0]
        clip = Clip(
            clip_id=answer.clip_id, drive_id=answer.clip_id, source="bdd100k", frames=(b"",), timestamps_s=(10.0,),
            width=1280, height=720, provenance=Provenance(path="a.mov", size_bytes=1, sha256="0"),
            evidence=Evidence(
                labels=read_labels(record, start_ms=None).labels,
                telemetry=tuple(Telemetry(time_s=9.7 + n / 10, speed_mps=v) for n, v in enumerate(speeds)),
            ),
        )  # fmt: skip
        now = evidence_now(clip)
        lights = sum(thing["category"] == "traffic light" for thing in record["labels"])
        found.append(Judged(answer, lights, settle(judge(answer, now), now, {})))
    return found


def test_every_value_is_canonical_or_null_with_a_finding(judged: list[Judged]) -> None:
    for item in judged:
        parsed = parse_answer(item.answer.text)
        for parameter, value in parsed.parameters.items():
            if value is None or value == "unknown":
                assert any(f.parameter == parameter for f in parsed.findings), (item.answer.row, parameter)
            elif parameter in VOCABULARY:
                assert value in VOCABULARY[parameter]
            elif parameter in RANGES:
                assert RANGES[parameter][0] <= int(value) <= RANGES[parameter][1]
            else:
                assert isinstance(value, bool)


def test_no_light_is_lost_to_a_colour_that_was_not_labelled(judged: list[Judged]) -> None:
    seen = [item for item in judged if item.lights and item.row.report]
    claimed = [
        item for item in seen if item.row.read_values["traffic_light_state"] not in ("none", "unknown")
    ]
    assert len(claimed) > 50
    for item in claimed:
        assert item.row.report is not None
        kept = item.row.report.driving_parameters.traffic_light_state
        assert kept == item.row.read_values["traffic_light_state"]


def test_no_distance_is_made_up(judged: list[Judged]) -> None:
    for item in judged:
        if item.row.report is not None:
            after = item.row.report.driving_parameters.closest_vehicle_distance
            assert after in (None, item.row.read_values["closest_vehicle_distance"])


def test_an_implausible_speed_is_noted_and_corrects_nothing(judged: list[Judged]) -> None:
    for item in judged:
        if item.row.report is None:
            continue
        after = item.row.report.driving_parameters.ego_vehicle_speed
        assert after is None or after in (29, item.row.read_values["ego_vehicle_speed"])
        noted = any(finding.rule == "implausible_telemetry" for finding in item.row.findings)
        assert noted == (item.answer.row % 4 == 0)


def test_the_overall_risk_is_kept_in_every_row_that_has_one(judged: list[Judged]) -> None:
    with_one = 0
    for item in judged:
        if item.row.report is None or not any(
            map(is_overall_risk, parse_answer(item.answer.text).risk_assessment)
        ):
            continue
        with_one += 1
        assert any(map(is_overall_risk, item.row.report.risk_assessment)), item.answer.row
    assert with_one > 180


def test_no_risk_is_lowered_and_few_are_changed(judged: list[Judged]) -> None:
    levels = ("low", "medium", "high")
    changed = 0
    for item in judged:
        if item.row.report is None:
            continue
        before = item.row.read_values["risk_factor"]
        after = item.row.report.driving_parameters.risk_factor
        changed += before != after
        assert levels.index(after) >= levels.index(before), item.answer.row
    assert changed <= 10


def test_what_was_written_is_in_the_findings_or_the_report(judged: list[Judged]) -> None:
    for item in judged:
        json.dumps([finding.model_dump(mode="json") for finding in item.row.findings])
        assert item.row.report is not None or item.row.quarantine is not None

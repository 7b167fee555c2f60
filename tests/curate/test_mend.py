"""One answer on its way through the rules: nothing leaves it without a finding, and a reason is the right one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from curate_cases import PLAIN, parameters

from roadscribe.curate.mend import Row, judge, mend_paragraph, settle
from roadscribe.curate.now import Now
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.report import Finding

SCENE = "The ego vehicle drives along a wide street in the middle lane. Two cars are ahead."
POINTS = ("The road is dry.", "The lane is free.")


def answer(scene: str = SCENE, points: tuple[str, ...] = POINTS, **values: Any) -> RawAnswer:
    said = {name: value for name, value in {**PLAIN, **values}.items() if value != "left out"}
    risk = "\n".join(f"- {point}" for point in points)
    text = (
        f"**Scene Description:**\n{scene}\n\n**Driving Parameters (JSON):**\n```json\n{json.dumps(said)}\n```"
        f"\n\n**Risk Assessment:**\n{risk}"
    )
    return RawAnswer(0, "a", text)


def settled(raw: RawAnswer) -> Row:
    return settle(judge(raw, Now()), Now(), {})


def test_what_is_said_twice_is_kept_once_and_has_a_finding() -> None:
    row = settled(answer(f"{SCENE} Two cars are ahead.", (*POINTS, "The road is dry.", "The road is dry.")))
    assert row.report is not None
    assert row.report.scene_description == SCENE and row.report.risk_assessment == POINTS
    repeated = [finding for finding in row.findings if finding.rule == "form.repeated"]
    assert [finding.before for finding in repeated] == [["Two cars are ahead."], ["The road is dry."] * 2]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (answer(risk_factor="low or medium"), "risk factor is not understood ('low or medium')"),
        (answer(risk_factor="left out"), "1 of the 12 parameters are missing"),
        (answer(scene=""), "no scene description"),
        (answer(points=()), "no risk assessment"),
    ],
)
def test_an_answer_that_makes_no_report_is_kept_out_for_what_it_lacks(raw: RawAnswer, reason: str) -> None:
    row = judge(raw, Now())
    assert row.quarantine is not None and row.quarantine.rule == "incomplete"
    assert reason in row.quarantine.message


def test_a_scene_of_which_nothing_agrees_is_kept_out() -> None:
    row = settled(answer("It is a rainy day. Heavy rain falls on the street and the cars."))
    assert row.quarantine is not None and row.quarantine.rule == "prose_empty"


def test_every_sentence_that_goes_is_in_a_finding() -> None:
    text = "It rains. The road is wet. It rains. The light is red. A man crosses the street. The road is wet."
    findings: list[Finding] = []
    kept = mend_paragraph(text, parameters(), Now(), findings)
    told = json.dumps([finding.model_dump(mode="json") for finding in findings])
    for sentence in {f"{part.strip()}." for part in text.split(".") if part.strip()}:
        assert sentence in kept or sentence in told
    assert kept == "The road is wet."

"""What does not fit into a report goes, but never the statement of the overall risk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.answers.limits import fit_points, fit_text, is_overall_risk, overall_clause
from roadscribe.curate.mend import Row, judge, settle
from roadscribe.curate.now import Now
from roadscribe.curate.quality import Quality
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.report import MAX_RISK_CHARS, MAX_RISK_POINTS, Finding
from roadscribe.report_text import parse_answer

VALUES: dict[str, Any] = {
    "road_type": "urban", "lane_count": 2, "ego_lane_position": "right", "traffic_light_state": "none",
    "pedestrian_on_road": False, "closest_vehicle_distance": 20, "ego_vehicle_speed": 30,
    "road_curvature": "straight", "weather": "clear", "visibility": "good", "traffic_density": "low",
    "risk_factor": "low",
}  # fmt: skip
OVERALL = "Risk Factor: The overall risk factor is low as nothing is near."
SCENE = "The ego vehicle drives along a wide urban street with two cars ahead of it."


def written(points: list[str]) -> str:
    bullets = "\n".join(f"- {point}" for point in points)
    return (
        f"**Scene Description:**\n{SCENE}\n\n**Driving Parameters (JSON):**\n```json\n{json.dumps(VALUES)}\n```\n\n"
        f"**Risk Assessment:**\n{bullets}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Risk Factor: Medium due to the red light.",
        "Overall, the scene presents a relatively safe driving environment with minimal risks.",
        "The risk assessment indicates a moderate level of risk due to rain.",
        "Overall risk: low",
        "Overall, the driving parameters indicate a low risk factor, as nothing is near.",
        "Overall Risk Assessment: The situation is of low risk.",
    ],
)
def test_a_statement_of_the_overall_risk_is_recognised(text: str) -> None:
    assert is_overall_risk(text)


@pytest.mark.parametrize(
    "text",
    [
        "Rain increases the risk of skidding.",
        "Nearby Vehicles: The bus ahead poses a low risk of collision.",
        "High traffic density makes lane changes harder.",
        "Visibility: Good visibility allows for clear sightlines.",
    ],
)
def test_a_single_hazard_is_not_the_overall_risk(text: str) -> None:
    assert not is_overall_risk(text)


def test_the_overall_risk_at_the_end_stays_and_an_earlier_point_goes() -> None:
    points = [f"Vehicle {number} is near." for number in range(7)]
    parsed = parse_answer(written([*points, OVERALL]))
    report = parsed.report()
    assert report is not None
    assert report.risk_assessment == (*points[:5], OVERALL)
    (finding,) = [finding for finding in parsed.findings if finding.rule == "form.length"]
    assert finding.before == points[5:] and "the overall risk at the end stays" in finding.message


def test_a_long_overall_risk_loses_its_reasons_not_itself() -> None:
    reasons = "the wet road, the dense traffic, the many people beside the road, the low sun, " * 3
    kept, left_out = fit_text(f"Overall, the risk is high due to {reasons}and the bend.", MAX_RISK_CHARS)
    assert kept.startswith("Overall, the risk is high") and len(kept) <= MAX_RISK_CHARS
    assert left_out.endswith("and the bend.")


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Overall, the risk is medium due to the", "Overall, the risk is medium."),
        ("Overall, it shows a medium level of risk", "Overall, it shows a medium level of risk."),
        ("Overall, the risk is low due to the following factors:", "Overall, the risk is low."),
        ("Risk Factor: The overall risk", ""),
        ("Overall, the risk is low to", ""),
        ("The bus ahead may stop due to", ""),
    ],
)  # fmt: skip
def test_an_overall_risk_is_taken_out_of_a_text_that_is_cut_off(text: str, clause: str) -> None:
    assert overall_clause(text) == clause


def test_a_cut_off_last_point_keeps_the_overall_risk_that_it_states() -> None:
    report = parse_answer(
        written(["A car is near.", "A bus is near.", "Overall, the risk is low due to the"])
    ).report()
    assert report is not None and report.risk_assessment[-1] == "Overall, the risk is low."


@given(
    st.lists(
        st.sampled_from(["A car is near.", "A bus may stop.", OVERALL, "Overall risk: low."]), max_size=14
    )
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_points_the_limits_hold_and_the_overall_risk_stays(points: list[str]) -> None:
    findings: list[Finding] = []
    kept = fit_points(points, findings)
    assert len(kept) <= MAX_RISK_POINTS and bool(findings) == (len(points) > MAX_RISK_POINTS)
    assert any(map(is_overall_risk, kept)) == any(map(is_overall_risk, points))
    left_out = [point for finding in findings for point in finding.before]
    assert sorted(kept + left_out) == sorted(points)


def settled(text: str) -> Row:
    return settle(judge(RawAnswer(0, "a", text), Now()), Now(), {})


def test_a_row_of_which_the_limits_left_something_out_counts_as_changed() -> None:
    for count, changed in ((5, 0), (9, 1)):
        quality = Quality()
        row = settled(written([*(f"Vehicle {number} is near." for number in range(count)), OVERALL]))
        quality.add(row, "train", "drive", None)
        assert (quality.changed, quality.summary()["rows_shortened"]) == (changed, changed)


def test_an_overall_risk_whose_reasons_contradict_the_json_is_said_again_without_them() -> None:
    overall = "Overall, the risk is low although a man crosses the road."
    row = settled(written(["The lane is free.", "The road is dry.", overall]))
    assert row.report is not None and any(map(is_overall_risk, row.report.risk_assessment))

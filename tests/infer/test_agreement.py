"""With `infer.agree` a report does not contradict itself, and what was changed is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.infer.agreement import contradiction_findings, contradictions, make_agree, statement
from roadscribe.report import PARAMETERS, VOCABULARY, DrivingParameters, DrivingReport, holds_schema, render

VALUES: dict[str, Any] = {
    "road_type": "urban",
    "lane_count": 2,
    "ego_lane_position": "left",
    "traffic_light_state": "red",
    "pedestrian_on_road": True,
    "closest_vehicle_distance": 15,
    "ego_vehicle_speed": 40,
    "road_curvature": "straight",
    "weather": "rainy",
    "visibility": "moderate",
    "traffic_density": "low",
    "risk_factor": "high",
}


def report(scene: str, *points: str, **changed: Any) -> DrivingReport:
    return DrivingReport(
        scene_description=scene,
        driving_parameters=DrivingParameters.model_validate({**VALUES, **changed}),
        risk_assessment=points or ("Keep a safe gap.",),
    )


def silent(beginning: str) -> str:
    return ""


def test_a_report_that_agrees_is_left_alone() -> None:
    one = report("The weather is rainy. A person is on the road.", "The overall risk is high.")
    assert make_agree(one, silent) == (one, [])
    assert contradiction_findings(render(one)) == ()


def test_each_contradicting_sentence_is_written_anew_with_what_the_json_says() -> None:
    one = report(
        "The weather is clear. The ego vehicle is stopped.", "Pedestrians: no person is on the road."
    )
    asked: list[str] = []

    def complete(beginning: str) -> str:
        asked.append(beginning)
        return " in this drive. And more text" if beginning.endswith("rainy") else ""

    agreed, findings = make_agree(one, complete)
    assert contradictions(agreed) == []
    assert agreed.scene_description.startswith("The weather is rainy in this drive.")
    assert "drives at about 40 km/h" in agreed.scene_description
    assert (
        "person is on the road" in agreed.risk_assessment[0] and "no person" not in agreed.risk_assessment[0]
    )
    assert agreed.driving_parameters == one.driving_parameters
    assert [finding.parameter for finding in findings] == [
        "weather",
        "ego_vehicle_speed",
        "pedestrian_on_road",
    ]
    assert asked[0] == "**Scene Description:**\nThe weather is rainy"
    assert holds_schema(render(agreed))


def test_what_is_said_already_is_not_said_twice() -> None:
    one = report("The weather is rainy. The sky is clear and sunny.")
    agreed, findings = make_agree(one, silent)
    assert agreed.scene_description == "The weather is rainy."
    assert "left out" in findings[0].message


def test_a_completion_that_contradicts_again_is_not_taken() -> None:
    one = report("The weather is clear.")
    agreed, _ = make_agree(one, lambda beginning: " and the ego vehicle is stopped.")
    assert agreed.scene_description == "The weather is rainy."


def test_where_the_prose_is_right_more_often_the_json_takes_its_value() -> None:
    one = report("The weather is clear.", "The overall risk is low.")
    agreed, findings = make_agree(one, silent, frozenset({"weather"}))
    assert agreed.driving_parameters.weather == "clear"
    assert agreed.scene_description == "The weather is clear."
    assert agreed.risk_assessment == ("The overall risk is high.",)
    assert (findings[0].before, findings[0].after) == ("rainy", "clear")


def test_a_contradiction_is_a_finding_without_any_change() -> None:
    (finding,) = contradiction_findings(render(report("The weather is clear. A red light shows.")))
    assert (finding.rule, finding.parameter, finding.before) == (
        "prose.contradiction",
        "weather",
        "The weather is clear.",
    )
    assert contradiction_findings("no report at all") == ()


ALL_VALUES = [
    *((name, value) for name, words in VOCABULARY.items() for value in words),
    *(("lane_count", value) for value in (None, 1, 2, 12)),
    *(("pedestrian_on_road", value) for value in (None, True, False)),
    *(("closest_vehicle_distance", value) for value in (None, 0, 15, 200)),
    *(("ego_vehicle_speed", value) for value in (None, 0, 37, 200)),
]


@pytest.mark.parametrize(("topic", "value"), ALL_VALUES)
def test_a_statement_of_a_value_never_contradicts_the_value(topic: str, value: Any) -> None:
    said = statement(topic, value)
    if not said:
        assert value in (None, "unknown")
        return
    assert contradictions(report(f"{said}.", **{topic: value})) == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_report_of_statements_is_brought_to_agree(data: st.DataObject) -> None:
    said = [statement(*data.draw(st.sampled_from(ALL_VALUES))) for _ in range(3)]
    scene = " ".join(f"{one}." for one in said if one) or "A road."
    changed = dict(data.draw(st.lists(st.sampled_from(ALL_VALUES), max_size=4)))
    agreed, findings = make_agree(report(scene, **changed), silent)
    assert contradictions(agreed) == []
    assert holds_schema(render(agreed))
    assert set(PARAMETERS) >= {finding.parameter for finding in findings}

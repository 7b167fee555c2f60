"""The report: its text reads back byte for byte, its schema bounds everything, wrong text is told where."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    PARAMETERS,
    PROSE_CHARACTERS,
    RANGES,
    VOCABULARY,
    DrivingParameters,
    DrivingReport,
    ReportFormatError,
    holds_schema,
    parameters_json_schema,
    parse,
    prose_pattern,
    render,
    render_parameters,
    report_json_schema,
)

_ALPHABET = [
    character for character in map(chr, range(32, 127)) if re.match(f"[ {PROSE_CHARACTERS}]", character)
]


def prose(max_chars: int) -> st.SearchStrategy[str]:
    return st.text(_ALPHABET, min_size=1, max_size=max_chars).map(str.strip).filter(bool)


def parameters() -> st.SearchStrategy[DrivingParameters]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name in PARAMETERS:
        if name in VOCABULARY:
            fields[name] = st.sampled_from(VOCABULARY[name])
        elif name in RANGES:
            fields[name] = st.none() | st.integers(*RANGES[name])
        else:
            fields[name] = st.none() | st.booleans()
    return st.builds(DrivingParameters, **fields)


reports = st.builds(
    DrivingReport,
    scene_description=prose(MAX_SCENE_CHARS),
    driving_parameters=parameters(),
    risk_assessment=st.lists(prose(MAX_RISK_CHARS), min_size=1, max_size=MAX_RISK_POINTS).map(tuple),
)

PLAIN = DrivingReport(
    scene_description="A wet street at night. A bus is ahead.",
    driving_parameters=DrivingParameters(
        road_type="urban",
        lane_count=2,
        ego_lane_position="left",
        traffic_light_state="none",
        pedestrian_on_road=None,
        closest_vehicle_distance=15,
        ego_vehicle_speed=32,
        road_curvature="straight",
        weather="rainy",
        visibility="moderate",
        traffic_density="low",
        risk_factor="medium",
    ),
    risk_assessment=("The bus may stop.", "The road is slippery."),
)

PLAIN_TEXT = """\
**Scene Description:**
A wet street at night. A bus is ahead.

**Driving Parameters (JSON):**
```json
{
  "road_type": "urban",
  "lane_count": 2,
  "ego_lane_position": "left",
  "traffic_light_state": "none",
  "pedestrian_on_road": null,
  "closest_vehicle_distance": 15,
  "ego_vehicle_speed": 32,
  "road_curvature": "straight",
  "weather": "rainy",
  "visibility": "moderate",
  "traffic_density": "low",
  "risk_factor": "medium"
}
```

**Risk Assessment:**
- The bus may stop.
- The road is slippery."""


def test_the_text_form_is_the_one_that_is_written_down() -> None:
    assert render(PLAIN) == PLAIN_TEXT
    assert render_parameters(PLAIN.driving_parameters) in PLAIN_TEXT


@given(reports)
def test_every_report_reads_back_from_its_text(report: DrivingReport) -> None:
    text = render(report)
    assert parse(text) == report
    assert holds_schema(text)
    assert text == text.strip()


@given(reports)
def test_every_report_reads_back_from_its_json(report: DrivingReport) -> None:
    as_json = report.model_dump(mode="json")
    assert isinstance(as_json["risk_assessment"], list)
    assert DrivingReport.model_validate_json(json.dumps(as_json)) == report
    assert DrivingReport.model_validate(as_json) == report
    # Nothing in the prose needs an escape, so a grammar may treat both forms alike.
    assert "\\" not in json.dumps(as_json)


@given(reports, st.data())
def test_a_text_that_is_read_is_rendered_to_the_same_bytes(
    report: DrivingReport, data: st.DataObject
) -> None:
    text = render(report)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    put_in = data.draw(
        st.sampled_from(["", " ", "\n", "-", "0", "1", "a", '"', "*", "\t", "é", "null", "{", "- x"])
    )
    changed = text[:start] + put_in + text[end:]
    try:
        read = parse(changed)
    except ReportFormatError:
        assert not holds_schema(changed)
    else:
        assert render(read) == changed


@given(st.text())
def test_any_other_text_is_refused_and_never_breaks_the_parser(text: str) -> None:
    assert not holds_schema(text)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (lambda text: text + "\n", "line 25, column 1: expected '- '"),
        (lambda text: "\n" + text, "line 1, column 1"),
        (lambda text: text.replace('"urban"', '"city"'), "`driving_parameters.road_type`"),
        (lambda text: text.replace(": 32,", ": 32.0,"), "`driving_parameters.ego_vehicle_speed`"),
        (lambda text: text.replace(": 32,", ": 201,"), "less than or equal to 200"),
        (lambda text: text.replace(": 32,", ': "32",'), "`driving_parameters.ego_vehicle_speed`"),
        (lambda text: text.replace(": 32,", ": NaN,"), "`driving_parameters.ego_vehicle_speed`"),
        (lambda text: text.replace(": 32,", ": 3,2,"), "line 13, column 26: the JSON does not parse"),
        (lambda text: text.replace(": null", ":null"), "line 11, column 24: expected ' null"),
        (
            lambda text: text.replace('  "weather": "rainy",\n', ""),
            "`driving_parameters.weather`: Field required",
        ),
        (lambda text: text.replace('"left",\n', '"left",\n  "extra": 1,\n'), "Extra inputs"),
        (
            lambda text: text.replace('"left",\n', '"left",\n  "lane_count": 2,\n'),
            "line 10, column 4: expected",
        ),
        (lambda text: text.replace("A wet", "A *wet*"), "`scene_description`"),
        (lambda text: text.replace("A wet", " A wet"), "`scene_description`"),
        (lambda text: text.replace("night. ", "night.\n"), "`scene_description`"),
        (lambda text: text.replace("- The road", "-The road"), "line 24, column 1: expected '- '"),
        (lambda text: text.replace("- The bus may stop.", "- "), "`risk_assessment.0`"),
        (lambda text: text.replace("\n```\n\n**Risk", "\n```\n**Risk"), "is missing"),
        (lambda text: text + "\n- more" * 5, "`risk_assessment`"),
        (lambda text: text.replace("{\n", "[" * 100_000), "the JSON does not parse"),
    ],
)
def test_a_wrong_text_is_told_where_it_is_wrong(wrong: Any, where: str) -> None:
    text = wrong(PLAIN_TEXT)
    assert text != PLAIN_TEXT
    with pytest.raises(ReportFormatError, match=re.escape(where)):
        parse(text)


@pytest.mark.parametrize("character", list('"\\*`<>{}[]|#_~@$^=\n\téß€\u2028\U0001f6a6'))
def test_prose_holds_no_character_that_means_something_elsewhere(character: str) -> None:
    fields = PLAIN.model_dump()
    for changed in (
        {**fields, "scene_description": f"A{character}b."},
        {**fields, "risk_assessment": (f"A{character}b.",)},
    ):
        with pytest.raises(ValidationError):
            DrivingReport.model_validate(changed)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("scene_description", "x" * MAX_SCENE_CHARS, "x" * (MAX_SCENE_CHARS + 1)),
        ("scene_description", "x", ""),
        ("risk_assessment", ("x" * MAX_RISK_CHARS,), ("x" * (MAX_RISK_CHARS + 1),)),
        ("risk_assessment", ("x",) * MAX_RISK_POINTS, ("x",) * (MAX_RISK_POINTS + 1)),
        ("risk_assessment", ("x",), ()),
    ],
)
def test_prose_is_bounded_and_the_bound_itself_is_allowed(field: str, good: Any, bad: Any) -> None:
    report = DrivingReport.model_validate({**PLAIN.model_dump(), field: good})
    assert parse(render(report)) == report
    with pytest.raises(ValidationError):
        DrivingReport.model_validate({**PLAIN.model_dump(), field: bad})


def _walk(schema: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    inner += [schema["items"]] if "items" in schema else []
    return [schema, *(found for each in inner for found in _walk(each))]


def test_the_json_schema_bounds_every_string_array_and_number() -> None:
    parts = _walk(report_json_schema())
    assert {part["type"] for part in parts if "type" in part} == {
        "object",
        "array",
        "string",
        "integer",
        "boolean",
        "null",
    }
    for part in parts:
        match part.get("type"):
            case "object":
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])
            case "array":
                assert (part["minItems"], part["maxItems"]) == (1, MAX_RISK_POINTS)
            case "string":
                assert "enum" in part or (
                    part["maxLength"] and part["pattern"] == f"^{prose_pattern(part['maxLength'])}$"
                )
            case "integer":
                assert part["minimum"] <= part["maximum"]


def test_the_parameters_schema_has_the_twelve_keys_in_order_with_their_values() -> None:
    properties = parameters_json_schema()["properties"]
    assert tuple(properties) == PARAMETERS and len(PARAMETERS) == 12
    assert {name: tuple(properties[name]["enum"]) for name in VOCABULARY} == VOCABULARY
    for name, (low, high) in RANGES.items():
        assert properties[name]["anyOf"][0] == {"type": "integer", "minimum": low, "maximum": high}
    assert report_json_schema()["properties"]["driving_parameters"] == parameters_json_schema()

"""The DrivingReport (`adas/1`): twelve parameters, a scene description, a risk assessment, parse <-> render.

Everything on the street speaks of a clip in these terms: the teacher's answers become reports, the model is
trained to write them, the grammar admits nothing else and the scorecard compares them. All parameters
describe the clip's last frame. None (null) means "cannot be told from the frames".

`parse` here reads the report's own text form and nothing else; `roadscribe.report_text.parse_answer` reads
what real models write.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

SCHEMA_VERSION = "adas/1"

RoadType = Literal[
    "highway", "urban", "suburban", "residential", "rural", "tunnel", "parking_lot", "gas_station", "unknown"
]
EgoLanePosition = Literal["left", "middle", "right", "single", "turn_left", "turn_right", "unknown"]
TrafficLightState = Literal["red", "yellow", "green", "off", "none", "unknown"]
RoadCurvature = Literal[
    "straight", "slight_left", "slight_right", "sharp_left", "sharp_right", "curved", "unknown"
]
Weather = Literal["clear", "partly_cloudy", "overcast", "rainy", "snowy", "foggy", "unknown"]
Visibility = Literal["good", "moderate", "poor", "unknown"]
TrafficDensity = Literal["none", "low", "moderate", "high", "unknown"]
RiskFactor = Literal["low", "medium", "high"]

MAX_SCENE_CHARS = 600
MAX_RISK_POINTS = 6
MAX_RISK_CHARS = 200


class DrivingParameters(BaseModel):
    """The 12 parameters in their canonical order. Distances in metres, speed in km/h."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    road_type: RoadType
    lane_count: int | None = Field(ge=1, le=12)
    """Lanes of the ego carriageway (both directions where nothing divides them)."""
    ego_lane_position: EgoLanePosition
    traffic_light_state: TrafficLightState
    """`none` means that no light is in view."""
    pedestrian_on_road: bool | None
    """True only for a person on the carriageway or a crossing."""
    closest_vehicle_distance: int | None = Field(ge=0, le=200)
    """Metres to the nearest vehicle ahead in the ego lane or one beside it."""
    ego_vehicle_speed: int | None = Field(ge=0, le=200)
    """km/h."""
    road_curvature: RoadCurvature
    weather: Weather
    visibility: Visibility
    traffic_density: TrafficDensity
    risk_factor: RiskFactor


PARAMETERS: tuple[str, ...] = tuple(DrivingParameters.model_fields)
"""The 12 keys, in the order in which they are written."""

VOCABULARY: dict[str, tuple[str, ...]] = {
    "road_type": get_args(RoadType),
    "ego_lane_position": get_args(EgoLanePosition),
    "traffic_light_state": get_args(TrafficLightState),
    "road_curvature": get_args(RoadCurvature),
    "weather": get_args(Weather),
    "visibility": get_args(Visibility),
    "traffic_density": get_args(TrafficDensity),
    "risk_factor": get_args(RiskFactor),
}
"""The canonical words of each parameter that is a word."""

RANGES: dict[str, tuple[int, int]] = {
    "lane_count": (1, 12),
    "closest_vehicle_distance": (0, 200),
    "ego_vehicle_speed": (0, 200),
}
"""Inclusive bounds of each parameter that is a number."""

PROSE_CHARACTERS = "A-Za-z0-9.,;:!?'()/%&+-"
"""The characters of the prose sections beside the space, as the inside of a character class (`-` is last).

None of them is special in JSON, Markdown, HTML or a chat template: prose cannot open a fence, fake a heading,
smuggle in a token such as `<|im_end|>`, or need an escape, so its text form and its JSON form are the same.
"""


def prose_pattern(max_chars: int) -> str:
    """The regular expression (unanchored) of prose: 1..``max_chars`` characters, no space at either end."""
    return f"[{PROSE_CHARACTERS}]([ {PROSE_CHARACTERS}]{{0,{max_chars - 2}}}[{PROSE_CHARACTERS}])?"


SceneText = Annotated[str, StringConstraints(pattern=f"^{prose_pattern(MAX_SCENE_CHARS)}$")]
RiskText = Annotated[str, StringConstraints(pattern=f"^{prose_pattern(MAX_RISK_CHARS)}$")]


class DrivingReport(BaseModel):
    """One clip's report: what is seen, the 12 parameters, what may become dangerous."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scene_description: SceneText
    """One paragraph of 1..MAX_SCENE_CHARS characters on one line."""
    driving_parameters: DrivingParameters
    risk_assessment: tuple[RiskText, ...] = Field(min_length=1, max_length=MAX_RISK_POINTS)
    """Bullet points of 1..MAX_RISK_CHARS characters, one line each; a list of strings in JSON."""

    @field_validator("risk_assessment", mode="before")
    @classmethod
    def _from_json_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class Grade(StrEnum):
    """How evidence came about, which decides what it may do to a value.

    What was measured or labelled may write another value; what was estimated or detected may only take a value
    out or note a doubt.
    """

    MEASURED = "measured"
    """Read from an instrument: telemetry."""
    LABELLED = "labelled"
    """Marked by a person, or by the simulator that painted the frame."""
    ESTIMATED = "estimated"
    """Computed on assumptions, such as a distance by an assumed camera."""
    DETECTED = "detected"
    """Found by another model."""

    @property
    def may_fix(self) -> bool:
        """Whether evidence of this grade may write another value."""
        return self in (Grade.MEASURED, Grade.LABELLED)


class Finding(BaseModel):
    """One thing noticed about an answer: what stood there, what it became, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    """Short id of the rule, such as `units.speed`, `vocabulary.weather` or `form.json`."""
    parameter: str | None = None
    """One of PARAMETERS, or None when the finding is about the answer as a whole."""
    before: Any = None
    """The value as it was written (a JSON value)."""
    after: Any = None
    """What became of it (a JSON value); None or "unknown" where it was not understood."""
    message: str
    """One sentence for a person."""
    evidence: str | None = None
    """What the finding rests on, where that is something outside the answer."""
    grade: Grade | None = None
    """How that evidence came about; None where the finding rests on the answer alone."""


class ReportFormatError(ValueError):
    """The text is not a report in its text form; the message names the line and column."""


SCENE_HEADING = "**Scene Description:**"
PARAMETERS_HEADING = "**Driving Parameters (JSON):**"
RISK_HEADING = "**Risk Assessment:**"

TEXT_HEAD = f"{SCENE_HEADING}\n"
"""What stands before the scene description."""
TEXT_SCENE_TO_JSON = f"\n\n{PARAMETERS_HEADING}\n```json\n"
"""What stands between the scene description and the JSON object."""
TEXT_JSON_TO_RISK = f"\n```\n\n{RISK_HEADING}\n"
"""What stands between the JSON object and the first bullet point."""
TEXT_BULLET = "- "
"""What every bullet point begins with; a newline stands between two points, none after the last."""


def render_parameters(parameters: DrivingParameters) -> str:
    """The JSON object of the text form: two spaces of indent, the keys in their order."""
    return json.dumps(parameters.model_dump(mode="json"), indent=2)


def render(report: DrivingReport) -> str:
    """The report's text form, byte for byte what a grammar emits and a model learns; no final newline."""
    points = "\n".join(f"{TEXT_BULLET}{point}" for point in report.risk_assessment)
    json_object = render_parameters(report.driving_parameters)
    return (
        f"{TEXT_HEAD}{report.scene_description}{TEXT_SCENE_TO_JSON}{json_object}{TEXT_JSON_TO_RISK}{points}"
    )


def parse(text: str) -> DrivingReport:
    """Read the text form back: ``parse(render(report)) == report`` and ``render(parse(text)) == text``.

    Raises:
        ReportFormatError: the text differs from the text form anywhere, however little.
    """
    position = _expect(text, 0, TEXT_HEAD)
    scene_end = _find(text, position, TEXT_SCENE_TO_JSON)
    json_start = scene_end + len(TEXT_SCENE_TO_JSON)
    json_end = _find(text, json_start, TEXT_JSON_TO_RISK)
    points_start = json_end + len(TEXT_JSON_TO_RISK)
    points = text[points_start:].split("\n")
    for point in points:
        points_start = _expect(text, points_start, TEXT_BULLET) + len(point) - len(TEXT_BULLET) + 1
    try:
        values = json.loads(text[json_start:json_end])
    except json.JSONDecodeError as error:
        raise _format_error(text, json_start + error.pos, f"the JSON does not parse: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise _format_error(text, json_start, f"the JSON does not parse: {error}") from error
    fields = {
        "scene_description": text[position:scene_end],
        "driving_parameters": values,
        "risk_assessment": [point.removeprefix(TEXT_BULLET) for point in points],
    }
    starts = {"scene_description": position, "driving_parameters": json_start, "risk_assessment": json_end}
    try:
        report = DrivingReport.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _format_error(text, starts[str(first["loc"][0])], f"`{field}`: {first['msg']}") from error
    expected = render(report)
    if expected != text:
        differs = next(
            at for at, (a, b) in enumerate(zip(expected + "\0", text + "\0", strict=False)) if a != b
        )
        raise _format_error(text, differs, f"expected {expected[differs : differs + 20]!r}")
    return report


def holds_schema(text: str) -> bool:
    """Whether a text is a report in its text form, to the last byte."""
    try:
        parse(text)
    except ReportFormatError:
        return False
    return True


def _expect(text: str, position: int, wanted: str) -> int:
    if not text.startswith(wanted, position):
        raise _format_error(text, position, f"expected {wanted!r}")
    return position + len(wanted)


def _find(text: str, position: int, wanted: str) -> int:
    found = text.find(wanted, position)
    if found < 0:
        raise _format_error(text, len(text), f"{wanted!r} is missing")
    return found


def _format_error(text: str, position: int, problem: str) -> ReportFormatError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return ReportFormatError(f"line {line}, column {column}: {problem}")


def parameters_json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the 12-key object: all strings and numbers bounded, the keys in order."""
    properties: dict[str, Any] = {}
    for parameter in PARAMETERS:
        if parameter in VOCABULARY:
            properties[parameter] = {"type": "string", "enum": list(VOCABULARY[parameter])}
        elif parameter in RANGES:
            low, high = RANGES[parameter]
            number = {"type": "integer", "minimum": low, "maximum": high}
            properties[parameter] = {"anyOf": [number, {"type": "null"}]}
        else:
            properties[parameter] = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
    return _closed_object(properties)


def report_json_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the whole report's JSON form: all strings, arrays and numbers bounded."""
    return _closed_object(
        {
            "scene_description": _prose_schema(MAX_SCENE_CHARS),
            "driving_parameters": parameters_json_schema(),
            "risk_assessment": {
                "type": "array",
                "items": _prose_schema(MAX_RISK_CHARS),
                "minItems": 1,
                "maxItems": MAX_RISK_POINTS,
            },
        }
    )


def _prose_schema(max_chars: int) -> dict[str, Any]:
    # The bound stands in the pattern, too: some grammar engines heed only one of the two.
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": max_chars,
        "pattern": f"^{prose_pattern(max_chars)}$",
    }


def _closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }

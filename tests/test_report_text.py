"""Answers of real models: every one is read, whatever its form, and nothing is dropped or guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    PARAMETERS,
    RANGES,
    VOCABULARY,
    DrivingReport,
    parse,
    render,
)
from roadscribe.report_text import ParsedAnswer, parse_answer

RAW = (
    Path(__file__).resolve().parents[1] / "../shared/data/raw_instructions/bdd_raw_instructions_200.json"
).resolve()

VALUES: dict[str, Any] = {
    "road_type": "urban",
    "lane_count": 3,
    "ego_lane_position": "right",
    "traffic_light_state": "red",
    "pedestrian_on_road": False,
    "closest_vehicle_distance": 12,
    "ego_vehicle_speed": 30,
    "road_curvature": "straight",
    "weather": "clear",
    "visibility": "good",
    "traffic_density": "low",
    "risk_factor": "low",
}
SCENE = "A busy street. Two cars are ahead."
POINTS = ("A car may brake.", "The road is wet.")
JSON = json.dumps(VALUES, indent=2)
LABELS = {name: name.replace("_", " ").title() for name in PARAMETERS}


def answer(parameters: str, before: str = "", after: str = "") -> str:
    return (
        f"{before}**Scene Description:**\n{SCENE}\n\n**Driving Parameters (JSON):**\n{parameters}\n\n"
        f"**Risk Assessment:**\n- {POINTS[0]}\n- {POINTS[1]}{after}"
    )


def rules(parsed: ParsedAnswer) -> set[str]:
    return {finding.rule for finding in parsed.findings}


AS_A_TABLE = "| Parameter | Value | Note |\n|---|---|---|\n" + "".join(
    f"| **{LABELS[name]}** | {value} | seen |\n" for name, value in VALUES.items()
)
UNITS = {"closest_vehicle_distance": "12 m", "ego_vehicle_speed": "30 km/h"}

FORMS: dict[str, tuple[str, set[str]]] = {
    "the report's own form, spaced otherwise": (answer(f"```json\n{json.dumps(VALUES)}\n```"), set()),
    "no fence": (answer(JSON), set()),
    "a fence of another kind": (answer(f"~~~JSON5\n{JSON}\n~~~"), set()),
    "a fence that never closes": (answer(f"```json\n{JSON}"), set()),
    "text around the object": (
        answer(f"Here they are:\n```json\n{JSON}\n```\nEnd."),
        {"form.other_sections"},
    ),
    "numbered # headings": (
        f"### 1. Scene Description:\n{SCENE}\n### 2. **Driving Parameters**\n{JSON}\n"
        f"### 3. Risk Assessment:\n1. {POINTS[0]}\n2. {POINTS[1]}",
        set(),
    ),
    "Windows line ends": (answer(JSON).replace("\n", "\r\n"), set()),
    "trailing comma and comments": (
        answer(JSON.replace('"low"\n}', '"low",\n}').replace('"urban",', '"urban", // city')),
        {"form.json"},
    ),
    "Python literals and single quotes": (answer(str(VALUES)), {"form.json"}),
    "keys without quotes": (answer(JSON.replace('"road_type"', "road_type")), {"form.json"}),
    "no closing brace": (answer(f"```json\n{JSON[:-2]}\n```"), {"form.json"}),
    "keys in title case": (answer(json.dumps({LABELS[k]: v for k, v in VALUES.items()})), set()),
    "keys in camel case": (
        answer(
            json.dumps(
                {
                    k.split("_")[0] + k.title().replace("_", "")[len(k.split("_")[0]) :]: v
                    for k, v in VALUES.items()
                }
            )
        ),
        set(),
    ),
    "extra keys": (answer(json.dumps({**VALUES, "confidence": 0.9})), {"form.extra_keys"}),
    "an object in an object": (answer(json.dumps({"driving_parameters": VALUES})), set()),
    "a list of one object": (answer(json.dumps([VALUES])), set()),
    "a bare list of names and values": (
        answer(json.dumps([{"parameter": LABELS[k], "value": v} for k, v in VALUES.items()])),
        set(),
    ),
    "one object a parameter": (answer(json.dumps([{k: v} for k, v in VALUES.items()], indent=1)), set()),
    "full-width signs": (
        answer(JSON.replace('": ', '"：').replace(",\n", "，\n")).replace(":**", "：**"),
        {"form.json"},
    ),
    "HTML": (
        f"<h2>Scene Description</h2>\n<p>{SCENE}</p>\n<h2>Driving Parameters</h2>\n<pre><code>{JSON}</code></pre>\n"
        f"<h2>Risk Assessment</h2>\n<ul><li>{POINTS[0]}</li><li>{POINTS[1]}</li></ul>",
        set(),
    ),
    "JSON written twice": (json.dumps(answer(JSON)), {"form.json"}),
    "a list of names and values": (
        answer(json.dumps({"items": [{"parameter": LABELS[k], "value": v} for k, v in VALUES.items()]})),
        set(),
    ),
    "grouped values": (
        answer(
            json.dumps(
                {
                    "road": {"type": "urban", "lane_count": 3, "curvature": "straight"},
                    "ego_vehicle": {"lane_position": "right", "speed": 30},
                    "traffic": {"light_state": "red", "density": "low"},
                    "closest_vehicle": {"distance": 12, "speed": 99},
                    "environment": {"weather": "clear", "visibility": "good"},
                    "pedestrian_on_road": False,
                    "risk": {"factor": "low"},
                }
            )
        ),
        {"form.extra_keys"},
    ),
    "bullet points": (
        answer("\n".join(f"- **{LABELS[k]}**: {UNITS.get(k, v)}" for k, v in VALUES.items())),
        set(),
    ),
    "numbered pairs with dashes": (
        answer(
            "\n".join(f"{n}. {LABELS[k]} - {UNITS.get(k, v)}" for n, (k, v) in enumerate(VALUES.items(), 1))
        ),
        set(),
    ),
    "headings with values": (
        answer("\n".join(f"### {LABELS[k]}\n{UNITS.get(k, v)}\n" for k, v in VALUES.items())).replace(
            "**S", "# **S"
        ),
        set(),
    ),
    "lines of JSON without braces": (answer("\n".join(JSON.split("\n")[1:-1])), set()),
    "a table": (answer(AS_A_TABLE.replace("| 12 |", "| 12 m |").replace("| 30 |", "| 30 km/h |")), set()),
    "a table with the names on top": (
        answer(
            f"| {' | '.join(LABELS.values())} |\n|{'---|' * 12}\n"
            f"| {' | '.join(str(UNITS.get(k, v)) for k, v in VALUES.items())} |"
        ),
        set(),
    ),
    "a conclusion": (answer(JSON, after="\n\n**Conclusion:**\nFine."), {"form.other_sections"}),
    "a preamble": (answer(JSON, before="Sure! Here you go:\n\n"), {"form.other_sections"}),
    "a repeated answer": (f"{answer(JSON)}\n\n{answer(JSON)}", {"form.repeated", "form.other_sections"}),
    "reasoning": (
        f'<think>\n**Scene Description:** draft {{"road_type": "rural"}}\n</think>\n\n{answer(JSON)}',
        {"form.reasoning"},
    ),
    "reasoning whose start is not shown": (
        f'{{"road_type": "rural"}} hm\n</think>\n{answer(JSON)}',
        {"form.reasoning"},
    ),
    "the whole answer as JSON": (
        json.dumps(
            {"scene_description": SCENE, "driving_parameters": VALUES, "risk_assessment": list(POINTS)}
        ),
        set(),
    ),
    "the whole answer as JSON in a fence": (
        "```json\n"
        + json.dumps(
            {"Scene Description": SCENE, "parameters": VALUES, "Risk Assessment": " ".join(POINTS)}, indent=1
        )
        + "\n```",
        set(),
    ),
    "the whole answer in a fence": (f"```markdown\n{answer(JSON)}\n```", set()),
    "no headings": (
        f"The picture shows what follows here. {SCENE}\n\n{JSON}\n\n- {POINTS[0]}\n- {POINTS[1]}",
        {"form.heading"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_answer_in_another_form_says_the_same(form: str) -> None:
    text, expected_rules = FORMS[form]
    parsed = parse_answer(text)
    assert parsed.parameters == VALUES
    assert parsed.found_parameters == PARAMETERS
    assert parsed.scene_description.endswith(SCENE)
    assert parsed.risk_assessment == POINTS
    assert {rule for rule in rules(parsed) if rule.startswith("form.")} == expected_rules
    report = parsed.report()
    assert report is not None and report.driving_parameters.model_dump() == VALUES
    assert parse(render(report)) == report


def test_a_report_in_its_own_form_is_taken_as_it_is() -> None:
    report = DrivingReport.model_validate(
        {
            "scene_description": "Risk Assessment: low. Driving Parameters: none.",
            "driving_parameters": {**VALUES, "lane_count": None, "weather": "unknown"},
            "risk_assessment": ["Conclusion: fine."],
        }
    )
    parsed = parse_answer(f"\n{render(report)}\n")
    assert parsed.report() == report
    assert parsed.findings == () and parsed.found_parameters == PARAMETERS


def test_reasoning_that_never_ends_is_no_answer() -> None:
    parsed = parse_answer(f"<think>\n{answer(JSON)}")
    assert parsed.found_parameters == () and parsed.report() is None
    assert {"form.reasoning", "form.no_parameters"} <= rules(parsed)


def test_an_answer_cut_off_in_a_value_does_not_guess_the_value() -> None:
    whole = answer(JSON)
    parsed = parse_answer(whole[: whole.index('12,\n  "ego') + 1])
    assert parsed.parameters["closest_vehicle_distance"] is None
    assert parsed.parameters["pedestrian_on_road"] is False
    (finding,) = [f for f in parsed.findings if f.parameter == "closest_vehicle_distance"]
    assert finding.rule == "form.truncated" and finding.before == "1"
    assert parsed.report() is None


def test_a_list_cut_off_in_a_value_does_not_guess_the_value() -> None:
    parsed = parse_answer("**Driving Parameters:**\n- Weather: clear\n- Ego Vehicle Speed: 3")
    assert parsed.parameters["weather"] == "clear"
    assert parsed.parameters["ego_vehicle_speed"] is None
    assert "form.truncated" in rules(parsed)


def test_a_last_sentence_that_is_cut_off_is_left_out_and_kept_in_a_finding() -> None:
    parsed = parse_answer(answer(JSON, after="\n\nOverall, the ego vehicle sho"))
    assert parsed.risk_assessment == POINTS
    (finding,) = [f for f in parsed.findings if f.rule == "form.truncated"]
    assert finding.before == "Overall, the ego vehicle sho"


def test_a_key_written_twice_with_two_meanings_is_unknown() -> None:
    parsed = parse_answer(
        answer('{"weather": "clear", "weather": "rainy", "road_type": "urban", "roadType": "Urban"}')
    )
    assert parsed.parameters["weather"] == "unknown"
    assert parsed.parameters["road_type"] == "urban"
    assert parsed.raw_values["weather"] == ["clear", "rainy"]


def test_one_speed_in_two_units_agrees_with_itself() -> None:
    parsed = parse_answer(answer('{"speed_mph": 20, "speed_kmh": 32, "risk_factor": "low"}'))
    assert parsed.parameters["ego_vehicle_speed"] == 32
    parsed = parse_answer(answer('{"speed_mph": 20, "speed_kmh": 20, "risk_factor": "low"}'))
    assert parsed.parameters["ego_vehicle_speed"] is None


def test_a_missing_parameter_is_unknown_with_a_finding() -> None:
    without = {name: value for name, value in VALUES.items() if name not in ("lane_count", "weather")}
    parsed = parse_answer(answer(json.dumps(without)))
    assert parsed.parameters["lane_count"] is None and parsed.parameters["weather"] == "unknown"
    missing = {f.parameter for f in parsed.findings if f.rule == "form.missing_parameter"}
    assert missing == {"lane_count", "weather"}
    assert "lane_count" not in parsed.raw_values
    assert parsed.report() is not None


@pytest.mark.parametrize(
    "text",
    [
        f"**Scene Description:**\n{SCENE}\n**Driving Parameters:**\n{JSON}",
        f"**Driving Parameters:**\n{JSON}\n**Risk Assessment:**\n- x.",
        JSON,
    ],
)
def test_without_a_section_there_is_no_report_and_a_finding_says_which(text: str) -> None:
    parsed = parse_answer(text)
    assert parsed.parameters == VALUES
    assert parsed.report() is None
    messages = [f.message for f in parsed.findings if f.rule == "form.missing_section"]
    assert len(messages) == ("Scene" not in text) + ("Risk" not in text)


def test_without_a_risk_factor_there_is_no_report() -> None:
    parsed = parse_answer(answer(json.dumps({**VALUES, "risk_factor": "low or medium"})))
    assert parsed.parameters["risk_factor"] is None and parsed.report() is None
    assert {"conflict.risk_factor", "form.no_report"} <= rules(parsed)


def test_a_refusal_is_no_scene() -> None:
    text = "I am sorry, but I cannot help with the analysis of these pictures of the road."
    parsed = parse_answer(text)
    assert parsed.scene_description == "" and parsed.report() is None
    assert parsed.other_sections == {"preamble": text}


def test_long_prose_is_cut_at_sentence_ends_and_what_is_left_out_is_kept_in_findings() -> None:
    scene = " ".join(f"Sentence number {n} tells of car {n}." for n in range(40))
    points = [f"Point {n} is short." for n in range(MAX_RISK_POINTS + 2)]
    points[1] = "Short. " + "Then one that goes on and on " * 10 + "here."
    points[2] = "No sentence end for ever and ever " * 10 + "here."
    text = f"**Scene Description:**\n{scene}\n{JSON}\n**Risk Assessment:**\n" + "\n".join(
        f"- {p}" for p in points
    )
    parsed = parse_answer(text)
    assert parsed.scene_description == scene and parsed.risk_assessment == tuple(
        " ".join(p.split()) for p in points
    )
    report = parsed.report()
    assert report is not None
    assert len(report.scene_description) <= MAX_SCENE_CHARS and report.scene_description.endswith(".")
    assert all(len(point) <= MAX_RISK_CHARS for point in report.risk_assessment)
    assert report.risk_assessment[:3] == ("Point 0 is short.", "Short.", "Point 3 is short.")
    left_out = [f.before for f in parsed.findings if f.rule == "form.length"]
    assert f"{report.scene_description} {left_out[0]}" == scene
    assert left_out[1].startswith("Then one") and left_out[2].startswith("No sentence end")
    assert left_out[3] == ["Point 7 is short."]


def test_special_tokens_do_not_reach_the_report() -> None:
    report = parse_answer(answer(JSON, after="<|im_end|>\n<|endoftext|>")).report()
    assert report is not None and report.risk_assessment == POINTS


_PIECES = st.sampled_from(
    [
        *(
            "**Scene Description:**",
            "**Driving Parameters (JSON):**",
            "### Risk Assessment",
            "\n",
            "\n\n",
            "```",
            "```json",
        ),
        *(
            "{",
            "}",
            '"',
            ":",
            ",",
            "[",
            "]",
            "- ",
            "1. ",
            "|",
            "<think>",
            "</think>",
            "\ud800",
            "\0",
            "é",
            "½",
            "٣",
        ),
        *(f'"{name}": ' for name in PARAMETERS),
        *(f"- {LABELS[name]}: " for name in PARAMETERS),
        *(
            "20 mph",
            "urban",
            "red",
            "none",
            "unknown",
            "50-100 feet",
            "A sentence.",
            "true",
            "null",
            "{'a': 1}",
        ),
    ]
)


@given(st.text() | st.lists(_PIECES | st.text(max_size=8), max_size=40).map("".join))
def test_any_text_is_read_without_an_exception_and_without_a_guess(text: str) -> None:
    parsed = parse_answer(text)
    assert tuple(parsed.parameters) == PARAMETERS
    noted = {finding.parameter for finding in parsed.findings}
    for name, value in parsed.parameters.items():
        if name in VOCABULARY:
            assert value in VOCABULARY[name] or (name == "risk_factor" and value is None)
        elif name in RANGES:
            assert value is None or RANGES[name][0] <= int(value) <= RANGES[name][1]
        if value in (None, "unknown") and parsed.found_parameters:
            assert name in noted
    json.dumps(parsed.model_dump(mode="json"), allow_nan=False).encode()
    report = parsed.report()
    if report is not None:
        assert parse(render(report)) == report
        assert parse_answer(render(report)).report() == report


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000,
        "*" * 1_000_000,
        "\n" * 1_000_000,
        '{"a": "' + '" "' * 330_000,
        "**Driving Parameters:**\n" + '{"road_type": "urban"}\n' * 20_000,
        "**Driving Parameters:**\n" + "Road Type: urban\n" * 15_000,
        "**Scene Description:**\n" + "A. " * 100_000,
        "**Risk Assessment:**\n" + "a:\n" * 50_000,
        "<think></think>" * 60_000,
        "| Road Type | urban |\n" * 10_000,
        '**Driving Parameters:** {"lane_count": ' + "9" * 1_000_000 + "}",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_up_to_a_megabyte_of_anything_is_read_to_its_end(text: str) -> None:
    parsed = parse_answer(text)
    assert parsed.report() is None


@pytest.fixture(scope="module")
def real_answers() -> list[ParsedAnswer]:
    if not RAW.exists():
        pytest.skip(f"the 200 raw answers are not here ({RAW})")
    return [parse_answer(row["QA"]["a"]) for row in json.loads(RAW.read_text())]


def test_every_real_answer_names_all_parameters_and_becomes_a_report(
    real_answers: list[ParsedAnswer],
) -> None:
    assert len(real_answers) == 200
    for parsed in real_answers:
        assert parsed.found_parameters == PARAMETERS
        assert len(parsed.scene_description) > 300 and len(parsed.risk_assessment) >= 3
        report = parsed.report()
        assert report is not None and parse(render(report)) == report


def test_each_of_the_2400_real_values_is_canonical_or_unknown_with_a_finding(
    real_answers: list[ParsedAnswer],
) -> None:
    values = 0
    for parsed in real_answers:
        noted = {finding.parameter: finding for finding in parsed.findings}
        for name, value in parsed.parameters.items():
            values += 1
            if value in (None, "unknown"):
                assert noted[name].before == parsed.raw_values[name] and noted[name].message
            elif name in VOCABULARY:
                assert value in VOCABULARY[name]
    assert values == 2400


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("closest_vehicle_distance", "50 feet", 15),
        ("closest_vehicle_distance", "50-100 feet", 23),
        ("closest_vehicle_distance", "safe", None),
        ("ego_vehicle_speed", "20 mph", 32),
        ("ego_vehicle_speed", "approximately 60 km/h", 60),
        ("ego_vehicle_speed", "slow", None),
        ("traffic_light_state", {"left": "red", "middle": "green", "right": "red"}, "unknown"),
        ("traffic_light_state", {"current_light": "red", "next_light": "green"}, "red"),
        ("pedestrian_on_road", "No Pedestrians Present", False),
        ("lane_count", "Multiple lanes", None),
        ("risk_factor", "moderate", "medium"),
    ],
)
def test_real_values_mean_what_a_careful_reader_takes_them_for(
    real_answers: list[ParsedAnswer], name: str, raw: Any, value: Any
) -> None:
    found = [parsed for parsed in real_answers if parsed.raw_values[name] == raw]
    assert found
    for parsed in found:
        assert parsed.parameters[name] == value
        assert any(f.parameter == name and f.before == raw for f in parsed.findings)

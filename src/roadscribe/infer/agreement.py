"""Agreement of a report with itself: contradictions between its prose and its JSON, found and written anew.

Both come from the same frames, so one of the two is wrong. By default the JSON decides: each contradicting
sentence is replaced by one that begins with what the JSON says and that the model completes under the grammar.
For parameters in which the prose was measured to be right more often (the scorecard counts both), the JSON's
value is replaced instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from PIL import Image
from pydantic import ValidationError

from roadscribe.answers.claims import Claim, contradicts, read_claims, section_sentences
from roadscribe.infer.engine import GeneratedReport, ReportEngine
from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_SCENE_CHARS,
    DrivingParameters,
    DrivingReport,
    Finding,
    ReportFormatError,
    parse,
    render,
)

RULE = "prose.contradiction"
COMPLETION_TOKENS = 32
"""New tokens in which a sentence that was begun must end; otherwise it ends after what the JSON says."""
MAX_PASSES = 24
"""Rewritten sentences per report; a report holds 600 + 6 x 200 characters of prose."""

Value = str | int | bool | None


class Contradiction(NamedTuple):
    """A claim of a report's prose that its own JSON rules out."""

    section: int
    """0 is the scene description, n the n-th point of the risk assessment."""
    start: int
    end: int
    """The sentence of the claim within its section."""
    claim: Claim


def contradictions(report: DrivingReport) -> list[Contradiction]:
    """All claims of a report's prose that contradict its JSON, in reading order."""
    values = report.driving_parameters.model_dump()
    return [
        Contradiction(number, start, end, claim)
        for number, text in enumerate(_sections(report))
        for start, end in _spans(text)
        for claim in read_claims(text[start:end])
        if claim.topic in values and contradicts(claim, values)
    ]


def contradiction_findings(text: str) -> tuple[Finding, ...]:
    """A finding per contradiction of a report in its text form; none for a text that is no report."""
    try:
        report = parse(text)
    except ReportFormatError:
        return ()
    sections = _sections(report)
    return tuple(
        Finding(
            rule=RULE,
            parameter=one.claim.topic,
            before=sections[one.section][one.start : one.end],
            message=f"the prose contradicts the JSON ({_value(report, one.claim.topic)!r})",
        )
        for one in contradictions(report)
    )


class AgreeingEngine:
    """A report engine whose reports do not contradict themselves; what was changed is in their findings."""

    def __init__(self, engine: ReportEngine, prose_decides: Sequence[str] = ()) -> None:
        """
        Args:
            engine: writes the reports and completes the sentences.
            prose_decides: parameters in which the prose decides and the JSON is changed.
        """
        self._engine = engine
        self._prose_decides = frozenset(prose_decides)

    def generate(
        self, clips_frames: Sequence[Sequence[Image.Image]], *, grammar: bool = True
    ) -> list[GeneratedReport]:
        """One report per clip, in order; see `ReportEngine.generate`. Texts that are no report stay as they are."""
        written = self._engine.generate(clips_frames, grammar=grammar)
        return [self._agree(frames, one) for frames, one in zip(clips_frames, written, strict=True)]

    def _agree(self, frames: Sequence[Image.Image], written: GeneratedReport) -> GeneratedReport:
        try:
            report = parse(written.text)
        except ReportFormatError:
            return written

        def complete(beginning: str) -> str:
            (answer,) = self._engine.generate(
                [frames], beginnings=[beginning], max_new_tokens=COMPLETION_TOKENS
            )
            return answer.text[len(beginning) :]

        agreed, findings = make_agree(report, complete, self._prose_decides)
        return replace(written, text=render(agreed), findings=tuple(findings)) if findings else written


def make_agree(
    report: DrivingReport, complete: Callable[[str], str], prose_decides: frozenset[str] = frozenset()
) -> tuple[DrivingReport, list[Finding]]:
    """A report without contradictions, and a finding per change.

    Args:
        report: any report.
        complete: goes on with a report's text, given its beginning.
        prose_decides: parameters in which the JSON takes the prose's first contradicting value.
    """
    findings: list[Finding] = []
    for _ in range(MAX_PASSES):
        found = contradictions(report)
        if not found:
            break
        first = found[0]
        topic = first.claim.topic
        changed = _with_value(report, first.claim) if topic in prose_decides else None
        if changed is not None:
            before, after = _value(report, topic), _value(changed, topic)
            message = "the JSON took the value of the prose, which is right more often (infer.agree_prose)"
            findings.append(Finding(rule=RULE, parameter=topic, before=before, after=after, message=message))
            report = changed
            continue
        report, finding = _rewritten(report, first, complete)
        findings.append(finding)
    return report, findings


def _with_value(report: DrivingReport, claim: Claim) -> DrivingReport | None:
    values = {**report.driving_parameters.model_dump(), claim.topic: claim.value}
    try:
        parameters = DrivingParameters.model_validate(values)
    except ValidationError:
        return None
    return report.model_copy(update={"driving_parameters": parameters})


def _rewritten(
    report: DrivingReport, at: Contradiction, complete: Callable[[str], str]
) -> tuple[DrivingReport, Finding]:
    """The report with one sentence that says what the JSON says, or without the sentence where that is said already."""
    sections = _sections(report)
    text = sections[at.section]
    sentence = text[at.start : at.end]
    values = report.driving_parameters.model_dump()
    stem = _statements(sentence, values)
    before, after = text[: at.start].rstrip(), text[at.end :].lstrip()
    candidates = []
    if stem and not any(stem in section for section in sections):
        beginning = _text_until(report, at.section, " ".join(part for part in (before, stem) if part))
        candidates = [stem + _to_sentence_end(complete(beginning)), stem + "."]
    limit = MAX_RISK_CHARS if at.section else MAX_SCENE_CHARS
    for candidate in candidates:
        new = " ".join(part for part in (before, candidate, after) if part)
        agrees = not any(
            claim.topic in values and contradicts(claim, values) for claim in read_claims(candidate)
        )
        if agrees and len(new) <= limit and candidate.endswith("."):
            message = "the sentence contradicted the JSON and is written anew"
            finding = Finding(
                rule=RULE, parameter=at.claim.topic, before=sentence, after=candidate, message=message
            )
            return _with_section(report, at.section, new), finding
    rest = " ".join(part for part in (before, after) if part)
    if rest or (at.section and len(report.risk_assessment) > 1):
        message = "the sentence contradicted the JSON and is left out"
        finding = Finding(rule=RULE, parameter=at.claim.topic, before=sentence, message=message)
        return _with_section(report, at.section, rest), finding
    # The only sentence of its section: what the JSON says stands in its place.
    new = f"{_statements(sentence, values)}."
    message = "the sentence contradicted the JSON and is replaced"
    finding = Finding(rule=RULE, parameter=at.claim.topic, before=sentence, after=new, message=message)
    return _with_section(report, at.section, new), finding


def _to_sentence_end(text: str) -> str:
    """A completion up to its first full stop; "" where the line ends before one."""
    line = text.split("\n")[0]
    spans = _spans(line)
    first = line[: spans[0][1]] if spans else ""
    return first if first.endswith(".") else ""


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a section begin and end."""
    spans, at = [], 0
    for sentence in section_sentences(text):
        at = text.index(sentence, at)
        spans.append((at, at + len(sentence)))
        at += len(sentence)
    return spans


def _sections(report: DrivingReport) -> list[str]:
    return [report.scene_description, *report.risk_assessment]


def _with_section(report: DrivingReport, section: int, text: str) -> DrivingReport:
    if section == 0:
        return report.model_copy(update={"scene_description": text})
    points = list(report.risk_assessment)
    points[section - 1 : section] = [text] if text else []
    return report.model_copy(update={"risk_assessment": tuple(points)})


def _text_until(report: DrivingReport, section: int, beginning: str) -> str:
    """The report's text form up to and including ``beginning`` in one of its sections."""
    marked = render(_with_section(report, section, f"{beginning}\0"))
    return marked[: marked.index("\0")]


def _value(report: DrivingReport, topic: str) -> Value:
    value: Value = getattr(report.driving_parameters, topic)
    return value


_NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_LANES = {
    "single": "in the only lane",
    "turn_left": "in the left turn lane",
    "turn_right": "in the right turn lane",
}
_ROADS = {"urban": "an urban street", "tunnel": "a tunnel", "residential": "a residential street"}
_BENDS = {
    "straight": "The road is straight",
    "slight_left": "The road bends slightly to the left",
    "slight_right": "The road bends slightly to the right",
    "sharp_left": "The road bends sharply to the left",
    "sharp_right": "The road bends sharply to the right",
    "curved": "The road is curved",
}


def statement(topic: str, value: Value) -> str:
    """What a parameter's value says as a sentence without its full stop; "" for a value that says nothing."""
    if topic == "closest_vehicle_distance":
        return (
            "The lanes ahead are free"
            if value is None
            else f"The nearest vehicle is about {value} meters ahead"
        )
    if value is None or value == "unknown":
        return ""
    word = str(value).replace("_", " ")
    match topic:
        case "road_type":
            return f"The ego vehicle is on {_ROADS.get(str(value), f'a {word} road')}".replace(
                "road road", "road"
            )
        case "lane_count":
            count = _NUMBER_WORDS.get(int(value), word)
            return f"The road has {count} lane{'' if value == 1 else 's'}"
        case "ego_lane_position":
            return f"The ego vehicle is {_LANES.get(str(value), f'in the {word} lane')}"
        case "traffic_light_state":
            return "No traffic light is in view" if value == "none" else f"The traffic light is {word}"
        case "pedestrian_on_road":
            return f"{'A' if value else 'No'} person is on the road"
        case "ego_vehicle_speed":
            return (
                "The ego vehicle is stopped"
                if value == 0
                else f"The ego vehicle drives at about {value} km/h"
            )
        case "road_curvature":
            return _BENDS[str(value)]
        case "visibility":
            return f"Visibility is {word}"
        case "traffic_density":
            return "No traffic is in view" if value == "none" else f"The traffic is {word}"
        case "weather":
            return f"The weather is {word}"
        case "risk_factor":
            return f"The overall risk is {word}"
    return ""


def _statements(sentence: str, values: Mapping[str, Any]) -> str:
    """What the JSON says of every topic that a sentence makes a claim about, without the last full stop."""
    topics = dict.fromkeys(claim.topic for claim in read_claims(sentence) if claim.topic in values)
    return ". ".join(said for topic in topics if (said := statement(topic, values[topic])))

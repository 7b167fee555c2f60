"""Reads what real models write: any answer, however untidy, to canonical values, prose and findings.

Curate makes reports of teachers' answers with it, evaluate reads a model's answers that hold no schema.
`roadscribe.answers` holds the parts: sections, lenient JSON, vocabulary, quantities, prose.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from roadscribe.answers.canonical import Value, canonical, json_value, unknown_value
from roadscribe.answers.limits import fit_points, fit_text, is_overall_risk, overall_clause
from roadscribe.answers.named_values import Named, named_values
from roadscribe.answers.prose import (
    as_paragraph,
    as_points,
    in_report_characters,
    without_cut_off_end,
)
from roadscribe.answers.sections import Section, cut_into_sections
from roadscribe.answers.vocabulary import parameter_of_key
from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_SCENE_CHARS,
    PARAMETERS,
    DrivingParameters,
    DrivingReport,
    Finding,
    ReportFormatError,
    parse,
)


class ParsedAnswer(BaseModel):
    """What an answer says, and what had to be done to read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scene_description: str
    """The scene as one paragraph without markup; "" where the answer has none."""
    risk_assessment: tuple[str, ...]
    """The risk points without markup; empty where the answer has none."""
    other_sections: dict[str, str]
    """Everything else by its heading, as it was written: a preamble, a conclusion, repeated sections."""
    raw_values: dict[str, Any]
    """The values as they were written, of the parameters that the answer names."""
    parameters: dict[str, Value]
    """Canonical values of all 12; None or "unknown" where nothing is understood (`risk_factor`: None)."""
    findings: tuple[Finding, ...]
    """Everything that was converted, interpreted, not understood, left out or missing."""
    found_parameters: tuple[str, ...]
    """The parameters that the answer names, in their order; empty where it has none at all."""

    def report(self) -> DrivingReport | None:
        """The answer as a report, its prose cut to the report's bounds at sentence ends.

        None where a section or the risk factor (which has no word "unknown") is missing. `findings` already
        says what is missing and what was left out.
        """
        return _build(self.scene_description, self.risk_assessment, self.parameters)[0]


def parse_answer(text: str) -> ParsedAnswer:
    """Read an answer in whatever form; never raises, in time proportional to its length.

    A text in the report's own form is taken as it is, without findings.
    """
    findings: list[Finding] = []
    answer = _without_reasoning(_tidied(_unquoted(text, findings)), findings)
    try:
        return _as_written(parse(answer.strip()), findings)
    except ReportFormatError:
        pass
    sections = cut_into_sections(answer)
    named = named_values(answer, sections, findings)
    values, raw_values = _canonical_values(named, findings)
    prose = _Prose(answer, sections, named.spans, named.prose)
    scene = prose.scene(findings)
    points = prose.risk(findings)
    _, shortened = _build(scene, points, values)
    return ParsedAnswer(
        scene_description=scene,
        risk_assessment=points,
        other_sections=prose.others(findings),
        raw_values=raw_values,
        parameters=values,
        findings=(*findings, *shortened),
        found_parameters=tuple(name for name in PARAMETERS if name in raw_values),
    )


def _as_written(report: DrivingReport, findings: list[Finding]) -> ParsedAnswer:
    values = report.driving_parameters.model_dump()
    return ParsedAnswer(
        scene_description=report.scene_description,
        risk_assessment=report.risk_assessment,
        other_sections={},
        raw_values=values,
        parameters=dict(values),
        findings=tuple(findings),
        found_parameters=PARAMETERS,
    )


_SPECIAL_TOKEN = re.compile(r"<\|[A-Za-z_]{1,30}\|>|</?(?:answer|output|response|s)>", re.IGNORECASE)
_REASONING_START = re.compile(r"<(?:think|thinking|reasoning|thought)>", re.IGNORECASE)
_REASONING_END = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.IGNORECASE)


def _unquoted(text: str, findings: list[Finding]) -> str:
    """The answer in a text that is one JSON string, as a pipeline leaves it that writes JSON twice."""
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] == stripped[-1] == '"' and "\\n" in stripped:
        try:
            inner = json.loads(stripped)
        except ValueError:
            return text
        if isinstance(inner, str):
            findings.append(Finding(rule="form.json", message="the whole answer stands in a JSON string"))
            return inner
    return text


_HTML = (
    (re.compile(r"<h([1-6])\b[^<>\n]{0,80}>", re.IGNORECASE), lambda tag: "\n" + "#" * int(tag[1]) + " "),
    (re.compile(r"<li\b[^<>\n]{0,80}>", re.IGNORECASE), lambda tag: "\n- "),
    (re.compile(r"</?(?:b|strong)>", re.IGNORECASE), lambda tag: "**"),
    (re.compile(r"</?(?:h[1-6]|p|div|ul|ol|pre|br)\b[^<>\n]{0,80}>", re.IGNORECASE), lambda tag: "\n"),
    (re.compile(r"</?(?:li|code|em|i|span)\b[^<>\n]{0,80}>", re.IGNORECASE), lambda tag: ""),
)
_HTML_BLOCK = re.compile(r"<(?:h[1-6]|p|li|pre|div)\b[^<>\n]{0,80}>", re.IGNORECASE)


def _without_html(text: str) -> str:
    """Markdown for the tags of an answer that is written in HTML."""
    if not _HTML_BLOCK.search(text):
        return text
    for tag, markdown in _HTML:
        text = tag.sub(markdown, text)
    return text


def _tidied(text: str) -> str:
    """One kind of newline, and no lone surrogates, which no file can hold."""
    text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    return _without_html(re.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text))


def _without_reasoning(text: str, findings: list[Finding]) -> str:
    """The answer behind a reasoning block. A block that never ends is a draft, not an answer."""
    ends = list(_REASONING_END.finditer(text))
    start = _REASONING_START.search(text)
    answer = text
    if ends:
        before = text[: start.start()] if start and start.start() < ends[-1].start() else ""
        answer = before + text[ends[-1].end() :]
        message = "the reasoning before the answer is left out"
    if start and (not ends or _REASONING_START.search(text, ends[-1].end())):
        unfinished = _REASONING_START.search(answer)
        if unfinished:
            answer = answer[: unfinished.start()]
            message = "the reasoning never ends, so what stands in it is no answer"
    if answer != text:
        left_out = len(text) - len(answer)
        findings.append(
            Finding(rule="form.reasoning", before=left_out, message=f"{message} ({left_out} characters)")
        )
    return _SPECIAL_TOKEN.sub("", answer)


def _canonical_values(named: Named, findings: list[Finding]) -> tuple[dict[str, Value], dict[str, Any]]:
    """(canonical values of all 12, values as written); what is missing or cut off has a finding."""
    values: dict[str, Value] = {}
    raw_values: dict[str, Any] = {}
    cut = {found[0]: rest for key, rest in named.cut if (found := parameter_of_key(key))}
    if not named.values and not cut:
        findings.append(
            Finding(rule="form.no_parameters", message="the answer names none of the 12 parameters")
        )
    for parameter in PARAMETERS:
        written = named.values.get(parameter)
        if written is None:
            values[parameter] = unknown_value(parameter)
            if parameter in cut:
                message = f"the end of the answer cuts through its value ({cut[parameter][:60]!r})"
                finding = _lost("form.truncated", parameter, message, before=cut[parameter])
                findings.append(finding)
            elif named.values or cut:
                findings.append(_lost("form.missing_parameter", parameter, "the answer does not name it"))
            continue
        distinct = list({repr(value): value for value in written}.values())
        raw, unit = distinct[0]
        if len(distinct) > 1:
            # Each value keeps the unit of its own key: {"speed_mph": 20, "speed_kmh": 32} agree.
            raw = [f"{value} {its_unit}" if its_unit else value for value, its_unit in distinct]
            message = "it is named more than once, with different values"
            findings.append(
                Finding(rule="form.repeated", parameter=parameter, before=json_value(raw), message=message)
            )
        values[parameter], finding_or_none = canonical(parameter, raw, unit if len(distinct) == 1 else None)
        raw_values[parameter] = json_value(raw)
        if finding_or_none:
            findings.append(finding_or_none)
    return values, raw_values


def _lost(rule: str, parameter: str, message: str, before: Any = None) -> Finding:
    return Finding(
        rule=rule, parameter=parameter, before=before, after=unknown_value(parameter), message=message
    )


class _Prose:
    """The prose of an answer: each section's text without the values that stand in it."""

    def __init__(
        self, answer: str, sections: list[Section], spans: list[tuple[int, int]], inside: Mapping[str, str]
    ) -> None:
        self._answer = answer
        self._sections = sections
        self._spans = _joined(spans)
        self._span_ends = [end for _, end in self._spans]
        self._inside = inside
        self._used: set[int] = set()
        self._ends_the_answer = False

    def scene(self, findings: list[Finding]) -> str:
        """The scene description as one paragraph."""
        body = self._first("scene")
        if body:
            return as_paragraph(body)
        if "scene" in self._inside:
            return as_paragraph(self._inside["scene"])
        if not self._spans and not any(section.kind for section in self._sections):
            return ""  # a refusal, or something else altogether
        before = self._beside_the_values(before=True)
        paragraph = as_paragraph(
            "\n".join(line for line in before.split("\n") if not line.rstrip().endswith(":"))
        )
        if len(paragraph.split()) < 8:
            return ""
        findings.append(
            Finding(
                rule="form.heading",
                message="no heading announces the scene description; the first text is taken",
            )
        )
        self._used.add(-1)
        return paragraph

    def risk(self, findings: list[Finding]) -> tuple[str, ...]:
        """The risk assessment as points, without a last sentence that the end of the answer cuts off."""
        body = self._first("risk")
        if not body:
            body = self._inside.get("risk", "")
        if not body:
            body = self._beside_the_values(before=False)
            if as_points(body).points:
                self._used.add(-2)
                message = "no heading announces the risk assessment; the text behind the parameters is taken"
                findings.append(Finding(rule="form.heading", message=message))
        found = as_points(body)
        if found.lead_ins:
            message = "lines that only announce points are left out of the risk assessment"
            findings.append(Finding(rule="form.lead_in", before=list(found.lead_ins), message=message))
        points = found.points
        if self._ends_the_answer:
            points, cut = without_cut_off_end(points)
            if cut:
                message = "the end of the answer cuts through the last sentence, which is left out"
                clause = overall_clause(cut) or None
                message += " but for the overall risk that it states" if clause else ""
                findings.append(Finding(rule="form.truncated", before=cut, after=clause, message=message))
                points = _with_overall_risk(points, (cut,))
        return _with_overall_risk(points, found.lead_ins)

    def others(self, findings: list[Finding]) -> dict[str, str]:
        """Everything that no section of the report is made of, by its heading."""
        others: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for at, section in enumerate(self._sections):
            if at in self._used or (-1 in self._used and not section.title):
                continue
            if -2 in self._used and section.kind == "parameters":
                continue
            body = self._body(section).strip()
            if not any(character.isalnum() for character in body):
                continue
            title = section.title or "preamble"
            counts[title] += 1
            others[f"{title} ({counts[title]})" if counts[title] > 1 else title] = body
        repeated = [
            s.title
            for at, s in enumerate(self._sections)
            if s.kind in ("scene", "risk") and at not in self._used
        ]
        if repeated:
            message = f"a section is written more than once ({repeated[0]}); the first one counts"
            findings.append(Finding(rule="form.repeated", message=message))
        if others:
            message = f"what a report has no place for is left out: {', '.join(others)[:200]}"
            findings.append(Finding(rule="form.other_sections", before=list(others)[:40], message=message))
        return others

    def _first(self, kind: str) -> str:
        for at, section in enumerate(self._sections):
            body = self._body(section) if section.kind == kind else ""
            if as_paragraph(body):
                self._used.add(at)
                self._ends_the_answer = kind == "risk" and at == len(self._sections) - 1
                return body
        return ""

    def _body(self, section: Section) -> str:
        return self._without_values(section.start, section.end)

    def _without_values(self, start: int, end: int) -> str:
        pieces = []
        at = start
        for span_start, span_end in self._spans[bisect_right(self._span_ends, start) :]:
            if span_start >= end:
                break
            pieces.append(self._answer[at : max(at, span_start)])
            at = min(span_end, end)
        pieces.append(self._answer[at:end])
        lines = "".join(pieces).split("\n")
        return "\n".join(line for line in lines if not line.lstrip().startswith(("```", "~~~")))

    def _beside_the_values(self, *, before: bool) -> str:
        """The text without a heading before the values, or the one behind them up to the next heading."""
        if before:
            first = self._sections[0]
            end = min([first.end, *(start for start, _ in self._spans)])
            return self._without_values(first.start, end)
        if not self._spans:
            return ""
        last = max(end for _, end in self._spans)
        section = next((s for s in self._sections if s.start <= last <= s.end), None)
        return (
            self._without_values(last, section.end) if section and section.kind in ("", "parameters") else ""
        )


def _with_overall_risk(points: tuple[str, ...], left_out: Iterable[str]) -> tuple[str, ...]:
    """The points, with the overall risk that a left-out text states before it is cut off or announces points."""
    said = [clause for text in left_out if (clause := overall_clause(text))]
    return points if any(map(is_overall_risk, points)) else (*points, *said[-1:])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches in order, with those that overlap made one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _build(
    scene: str, points: Iterable[str], values: Mapping[str, Value]
) -> tuple[DrivingReport | None, tuple[Finding, ...]]:
    """(the report or None, what was left out or is missing)."""
    findings: list[Finding] = []
    scene_text = _fitted(scene, MAX_SCENE_CHARS, "scene description", findings)
    fitted = [text for point in points if (text := _fitted(point, MAX_RISK_CHARS, "risk point", findings))]
    fitted = fit_points(fitted, findings)
    missing = [
        *(["scene description"] if not scene_text else []),
        *(["risk assessment"] if not fitted else []),
    ]
    for section in missing:
        findings.append(
            Finding(rule="form.missing_section", message=f"the answer has no {section} that can be taken")
        )
    if values["risk_factor"] is None:
        message = "without a risk factor there is no report: the schema has no word for an unknown one"
        findings.append(Finding(rule="form.no_report", message=message))
    if missing or values["risk_factor"] is None:
        return None, tuple(findings)
    report = DrivingReport(
        scene_description=scene_text,
        driving_parameters=DrivingParameters.model_validate(dict(values)),
        risk_assessment=tuple(fitted),
    )
    return report, tuple(findings)


def _fitted(text: str, max_chars: int, what: str, findings: list[Finding]) -> str:
    """Prose in the report's characters and within its bound; what is left out goes to the findings."""
    plain_text, lost = in_report_characters(text)
    if lost:
        message = f"characters that a report cannot hold are left out of the {what}: {lost[:40]}"
        findings.append(Finding(rule="form.characters", before=lost[:200], message=message))
    kept, left_out = fit_text(plain_text, max_chars)
    if left_out:
        message = f"the {what} is longer than {max_chars} characters; whole sentences are left out"
        findings.append(Finding(rule="form.length", before=left_out, after=kept or None, message=message))
    return kept

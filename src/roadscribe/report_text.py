"""Reads what real models write: any answer, however untidy, to canonical values, prose and findings.

Curate makes reports of teachers' answers with it, evaluate reads a model's answers that hold no schema.
`roadscribe.answers` holds the parts: sections, lenient JSON, vocabulary, quantities, prose.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from roadscribe.answers.canonical import Value, canonical, json_value, unknown_value
from roadscribe.answers.clean_text import clean_report
from roadscribe.answers.corrections import CORRECTION
from roadscribe.answers.drafts import compare_drafts, last_report, without_cut_end
from roadscribe.answers.limits import fit_points, fit_text, is_overall_risk, overall_clause
from roadscribe.answers.markers import stray_markers
from roadscribe.answers.named_values import Named, named_values
from roadscribe.answers.plain_form import tidied, unquoted
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
    text: str = ""
    """The answer that counts, without reasoning and earlier answers; what was read."""
    problem: str = ""
    """Why nothing may be learnt from the answer, however it was read: markers that are not understood, an end inside
    its reasoning; "" where it may."""

    def report(self) -> DrivingReport | None:
        """The answer as a report, its prose cut to the report's bounds at sentence ends.

        None where a section or the risk factor (which has no word "unknown") is missing. `findings` already
        says what is missing and what was left out.
        """
        return _build(self.scene_description, self.risk_assessment, self.parameters)[0]


def parse_answer(text: str, *, whole: bool = True) -> ParsedAnswer:
    """Read an answer in whatever form; never raises, in time proportional to its length.

    A text in the report's own form is taken as it is, without findings. Of several answers in one text the last
    complete one counts; reasoning and earlier answers are left out.

    Args:
        text: the answer as the teacher gave it.
        whole: False where something else than the model ended it; then a last sentence without its end is left out.
    """
    findings: list[Finding] = []
    plain = tidied(unquoted(text, findings))
    if (written := _exact(plain, findings)) is not None:
        return written
    cleaned = clean_report(plain, _is_report, _has_parts)
    findings += cleaned.findings
    answer = cleaned.text
    if not whole:
        answer, cut = without_cut_end(answer)
        if cut:
            message = "the end of the answer cuts through its last line, which is left out"
            findings.append(Finding(rule="form.truncated", before=cut[:400], message=message))
    compare_drafts(cleaned.drafts, answer, findings)
    if (written := _exact(answer, findings)) is not None:
        return written.model_copy(update={"problem": cleaned.problem})
    return _read(answer, findings, cleaned.problem)


def _exact(text: str, findings: list[Finding]) -> ParsedAnswer | None:
    try:
        return _as_written(parse(text.strip()), text, findings)
    except ReportFormatError:
        return None


def _is_report(text: str) -> bool:
    """Whether a text is a whole report, with every parameter that reports mostly have."""
    found = _exact(text, []) or _read(text, [])
    return len(found.found_parameters) >= len(PARAMETERS) // 2 and found.report() is not None


def _has_parts(text: str) -> bool:
    """Whether a text holds any section or parameter of a report."""
    sections = cut_into_sections(text)
    return any(section.kind for section in sections) or bool(named_values(text, sections, []).values)


def _read(text: str, findings: list[Finding], problem: str = "") -> ParsedAnswer:
    """An answer whose sections and parameters have to be found."""
    answer, sections, unfinished = last_report(text, _is_report, findings)
    named = named_values(answer, sections, findings)
    values, raw_values = _canonical_values(named, findings)
    prose = _Prose(answer, sections, named.spans, named.prose, latest=named.corrected)
    scene = prose.scene(findings)
    points = _without_corrections(prose.risk(findings), findings)
    _, shortened = _build(scene, points, values)
    problem = problem or named.problem or unfinished
    if not problem and (strays := stray_markers("\n".join((scene, *points)))):
        problem = f"its prose holds markers that are not understood: {', '.join(strays)[:120]}"
    return ParsedAnswer(
        scene_description=scene,
        risk_assessment=points,
        other_sections=prose.others(findings),
        raw_values=raw_values,
        parameters=values,
        findings=(*findings, *shortened),
        found_parameters=tuple(name for name in PARAMETERS if name in raw_values),
        text=answer,
        problem=problem,
    )


def _without_corrections(points: tuple[str, ...], findings: list[Finding]) -> tuple[str, ...]:
    """The points without those that only take back what stands before them."""
    taken_back = [point for point in points if CORRECTION.fullmatch(point)]
    if taken_back:
        message = "lines that only announce a correction are left out of the risk assessment"
        findings.append(Finding(rule="form.lead_in", before=taken_back, message=message))
    return tuple(point for point in points if point not in taken_back)


def _as_written(report: DrivingReport, text: str, findings: list[Finding]) -> ParsedAnswer:
    values = report.driving_parameters.model_dump()
    return ParsedAnswer(
        scene_description=report.scene_description,
        risk_assessment=report.risk_assessment,
        other_sections={},
        raw_values=values,
        parameters=dict(values),
        findings=tuple(findings),
        found_parameters=PARAMETERS,
        text=text,
    )


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
        self,
        answer: str,
        sections: list[Section],
        spans: list[tuple[int, int]],
        inside: Mapping[str, str],
        *,
        latest: bool = False,
    ) -> None:
        """``latest``: of a section that is written more than once the last one counts."""
        self._latest = latest
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
            which = "last" if self._latest else "first"
            message = f"a section is written more than once ({repeated[0]}); the {which} one counts"
            findings.append(Finding(rule="form.repeated", message=message))
        if others:
            message = f"what a report has no place for is left out: {', '.join(others)[:200]}"
            findings.append(Finding(rule="form.other_sections", before=list(others)[:40], message=message))
        return others

    def _first(self, kind: str) -> str:
        in_order = list(enumerate(self._sections))
        for at, section in reversed(in_order) if self._latest else in_order:
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

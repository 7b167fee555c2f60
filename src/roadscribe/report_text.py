"""Reads what real models write: any answer, however untidy, to canonical values, prose and a list of findings.

Curate makes reports of teachers' answers with it, evaluate reads a model's answers that hold no schema.
`roadscribe.answers` holds the parts: sections, lenient JSON, vocabulary, quantities, prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from roadscribe.answers.canonical import Value, canonical, json_value, unknown_value
from roadscribe.answers.lenient_json import Reading, read_object
from roadscribe.answers.prose import (
    as_paragraph,
    as_points,
    cut_at_sentence,
    in_report_characters,
    without_cut_off_end,
    without_markup,
)
from roadscribe.answers.sections import Section, cut_into_sections
from roadscribe.answers.vocabulary import parameter_of_key, vocabulary, words
from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    PARAMETERS,
    DrivingParameters,
    DrivingReport,
    Finding,
    ReportFormatError,
    parse,
)

_MAX_OBJECTS = 30
"""So many opening braces are tried as the beginning of the parameters."""
_OTHER_VEHICLES = frozenset(("closest", "nearest", "lead", "vehicle", "vehicles", "car", "cars", "other", "objects"))


class ParsedAnswer(BaseModel):
    """What an answer says, and what had to be done to read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scene_description: str
    """The scene as one paragraph without markup; "" where the answer has none."""
    risk_assessment: tuple[str, ...]
    """The risk points without markup; empty where the answer has none."""
    other_sections: dict[str, str]
    """Everything else by its heading, as it was written: what stands before the first one, a conclusion, repeats."""
    raw_values: dict[str, Any]
    """The values as they were written, of the parameters that the answer names."""
    parameters: dict[str, Value]
    """Canonical values of all 12; None or "unknown" where nothing is said, and for `risk_factor` None, too."""
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
    answer = _without_reasoning(_one_kind_of_newline(text), findings)
    try:
        return _as_written(parse(answer.strip()), findings)
    except ReportFormatError:
        pass
    sections = cut_into_sections(answer)
    named = _named_values(answer, sections, findings)
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


def _one_kind_of_newline(text: str) -> str:
    return re.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text)


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
        findings.append(Finding(rule="form.reasoning", before=left_out, message=f"{message} ({left_out} characters)"))
    return _SPECIAL_TOKEN.sub("", answer)


@dataclass
class _Named:
    """The values that an answer names, and where they stand."""

    values: dict[str, list[tuple[Any, str | None]]] = field(default_factory=dict)
    """parameter -> (value as written, unit of its key), more than one where it is named again."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Stretches of the answer that are values, not prose."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Pairs that name no parameter."""
    prose: dict[str, str] = field(default_factory=dict)
    """Sections (`scene`, `risk`) that stood inside a JSON object."""
    cut: list[tuple[str, str]] = field(default_factory=list)
    """(key, rest) of values that the end of the answer cuts through."""
    mended: list[str] = field(default_factory=list)

    def add(self, parameter: str, value: Any, unit: str | None) -> None:
        self.values.setdefault(parameter, []).append((value, unit))


def _named_values(answer: str, sections: list[Section], findings: list[Finding]) -> _Named:
    """The parameters of an answer: as JSON, as a list of pairs or a table, under their heading or anywhere."""
    parts = [section for section in sections if section.kind == "parameters"]
    candidates = [named for part in parts if (named := _best_in(answer, part.start, part.end)).values]
    if not candidates:
        found = _best_object(answer, 0, len(answer))
        if not found.values and not any(section.kind for section in sections):
            found = _pairs(answer, 0, len(answer))
            if len(found.values) < 3:  # a stray "Speed: ..." in prose is no list of parameters
                found = _Named()
        candidates = [found]
    best = max(candidates, key=lambda named: len(named.values))
    for other in candidates:
        if other is not best:
            best.spans.extend(other.spans)
            raw = {name: json_value(values[-1][0]) for name, values in other.values.items()}
            message = "the parameters are written more than once; the fullest, else the first ones count"
            findings.append(Finding(rule="form.repeated", before=raw, message=message))
    if best.mended:
        findings.append(Finding(rule="form.json", message=f"the JSON had to be mended: {'; '.join(best.mended)}"))
    if best.extra:
        keys = ", ".join(list(best.extra)[:8])
        message = f"{len(best.extra)} keys name none of the 12 parameters: {keys[:200]}"
        findings.append(Finding(rule="form.extra_keys", before=json_value(best.extra), message=message))
    return best


def _best_in(answer: str, start: int, stop: int) -> _Named:
    """The parameters in a stretch of the answer, from an object or from pairs, whichever names more."""
    as_object = _best_object(answer, start, stop)
    if len(as_object.values) == len(PARAMETERS):
        return as_object
    as_pairs = _pairs(answer, start, stop)
    return as_pairs if len(as_pairs.values) > len(as_object.values) else as_object


def _best_object(answer: str, start: int, stop: int) -> _Named:
    """The object that names most parameters."""
    best = _Named()
    at = answer.find("{", start, stop)
    for _ in range(_MAX_OBJECTS):
        if at < 0:
            break
        reading = read_object(answer, at, stop)
        named = _from_reading(reading, at)
        if len(named.values) > len(best.values) or (named.prose and not best.values and not best.prose):
            best = named
        if len(best.values) == len(PARAMETERS):
            break
        at = answer.find("{", reading.end if named.values else at + 1, stop)
    return best


def _from_reading(reading: Reading, start: int) -> _Named:
    named = _Named(spans=[(start, reading.end)], cut=reading.cut, mended=reading.mended)
    _collect(reading.value, (), named, reading)
    return named


def _collect(value: Any, path: tuple[str, ...], named: _Named, reading: Reading) -> None:
    """Walk through nested objects: {"road": {"type": ...}}, {"driving_parameters": {...}}, lists of pairs."""
    if isinstance(value, list):
        for item in value:
            _collect(item, path, named, reading)
        return
    if not isinstance(value, dict):
        return
    keys = {" ".join(words(key)): key for key in value}
    label = next((keys[name] for name in ("parameter", "name", "key", "field") if name in keys), None)
    if label is not None and "value" in keys and isinstance(value[label], str):
        value = {value[label]: value[keys["value"]]}
    for key, inner in value.items():
        kind = _section_kind(key)
        if kind in ("scene", "risk") and not named.prose.get(kind) and (text := _as_text(inner)):
            named.prose[kind] = text
            continue
        found = _parameter_at(path, key)
        if isinstance(inner, dict | list) and (found is None or _names_parameters(inner, (*path, key))):
            _collect(inner, (*path, key), named, reading)
        elif found is None:
            named.extra[".".join((*path, key))[:80]] = inner
        else:
            for again in reading.repeated.get(key, [inner]):
                named.add(found[0], again, found[1])


def _parameter_at(path: tuple[str, ...], key: str) -> tuple[str, str | None] | None:
    """The parameter that a key names where it stands: "speed" under "closest_vehicle" is not the ego's."""
    if path:
        joined = parameter_of_key(f"{path[-1]} {key}")
        if joined:
            return joined
        above = set(words(path[-1]))
        if above & _OTHER_VEHICLES and "ego" not in above:
            return None
    return parameter_of_key(key)


def _names_parameters(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a nested value holds parameters of its own rather than being one."""
    if isinstance(value, list):
        return any(_names_parameters(item, path) for item in value)
    return isinstance(value, dict) and any(_parameter_at(path, key) for key in value)


def _section_kind(key: str) -> str | None:
    table = vocabulary()["sections"]["names"]
    name = " ".join(words(key))
    return next((kind for kind, names in table.items() if name in names), None)


def _as_text(value: Any) -> str:
    """A section that stands in an object as text: a list as bullet points, an object as labelled ones."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(f"- {text}" for item in value if (text := " ".join(_as_text(item).split())))
    if isinstance(value, dict):
        return "\n".join(f"- {key}: {text}" for key, item in value.items() if (text := " ".join(_as_text(item).split())))
    return ""


_PAIR = re.compile(
    r"[\"']?(?P<key>[A-Za-z][A-Za-z0-9_ /()'-]{0,80}?)(?P<quoted>[\"'])?[ \t]{0,8}"
    r"(?::|=|：|->|→|[ \t][-–—][ \t])[ \t]{0,8}(?P<value>[^\n]*)"
)
_LIST_MARK = re.compile(r"[ \t]{0,40}(?:[-*+•‣◦▪][ \t]{1,8}|\(?\d{1,2}[.)][ \t]{0,8})?")


def _pairs(answer: str, start: int, stop: int) -> _Named:
    """Parameters written as a list of pairs ("- **Road Type**: urban"), as headings with values, or as a table."""
    named = _Named()
    header: list[tuple[int, str, str | None]] = []
    waiting: tuple[str, str | None] | None = None
    for line_start, line_end in _line_spans(answer, start, stop):
        line = answer[line_start : min(line_end, line_start + 600)]
        cells = _cells(line)
        if cells:
            if all(not cell.strip("-: ") for cell in cells):
                continue
            heads = [(at, *key) for at, cell in enumerate(cells) if (key := parameter_of_key(cell))]
            if len(heads) >= 3:
                header = heads
                named.spans.append((line_start, line_end))
            elif header:
                for at, parameter, unit in header:
                    if at < len(cells):
                        named.add(parameter, cells[at], unit)
                named.spans.append((line_start, line_end))
                header = []
            elif heads and heads[0][0] == 0 and len(cells) > 1:
                named.add(heads[0][1], cells[1], heads[0][2])
                named.spans.append((line_start, line_end))
            continue
        mark = _LIST_MARK.match(line)
        text = without_markup(line[mark.end() :] if mark else line).replace("**", "")
        pair = _PAIR.match(text)
        key = parameter_of_key(pair["key"]) if pair else None
        if pair is not None and key is not None:
            value = pair["value"].strip().rstrip(",").rstrip()
            waiting = key if not value else None
            if value:
                whole = line_end < len(answer) or len(named.values) + 1 >= len(PARAMETERS)
                _add_pair(named, key, value, quoted=bool(pair["quoted"]), whole=whole)
            named.spans.append((line_start, line_end))
        elif waiting and text.strip("`{}[], "):
            named.add(waiting[0], text.strip().rstrip(","), waiting[1])
            named.spans.append((line_start, line_end))
            waiting = None
        elif not pair and (key := parameter_of_key(text.strip("{}[], "))):
            waiting = key  # "### Road Type", its value on the next line
            named.spans.append((line_start, line_end))
    return named


def _add_pair(named: _Named, key: tuple[str, str | None], value: str, *, quoted: bool, whole: bool) -> None:
    """A value behind a key on one line; one that the end of the answer may cut through is not taken."""
    parameter, unit = key
    if not whole and value[-1] not in "\"'.)}]":
        named.cut.append((parameter, value))
        return
    if quoted or value[0] in "\"'{[":
        # A line of JSON that lost its braces: read it as what it is, a number as a number.
        read = read_object(f'{{"value": {value}\n}}', 0).value
        named.add(parameter, read.get("value", value), unit)
        return
    named.add(parameter, value, unit)


def _cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table, without markup; empty for any other line."""
    if line.count("|") < 2 and not line.lstrip().startswith("|"):
        return []
    return [without_markup(cell) for cell in line.strip().strip("|").split("|")]


def _line_spans(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = text.find("\n", start, stop)
        end = stop if end < 0 else end
        yield start, end
        start = end + 1


def _canonical_values(named: _Named, findings: list[Finding]) -> tuple[dict[str, Value], dict[str, Any]]:
    """(canonical values of all 12, values as written); what is missing or cut off has a finding."""
    values: dict[str, Value] = {}
    raw_values: dict[str, Any] = {}
    cut = {found[0]: rest for key, rest in named.cut if (found := parameter_of_key(key))}
    if not named.values and not cut:
        findings.append(Finding(rule="form.no_parameters", message="the answer names none of the 12 parameters"))
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
        distinct = [value for at, value in enumerate(written) if value not in written[:at]]
        raw: Any = distinct[0][0] if len(distinct) == 1 else [value for value, _ in distinct]
        if len(distinct) > 1:
            message = "it is named more than once, with different values"
            findings.append(Finding(rule="form.repeated", parameter=parameter, before=json_value(raw), message=message))
        values[parameter], finding_or_none = canonical(parameter, raw, distinct[0][1])
        raw_values[parameter] = json_value(raw)
        if finding_or_none:
            findings.append(finding_or_none)
    return values, raw_values


def _lost(rule: str, parameter: str, message: str, before: Any = None) -> Finding:
    return Finding(rule=rule, parameter=parameter, before=before, after=unknown_value(parameter), message=message)


class _Prose:
    """The prose of an answer: each section's text without the values that stand in it."""

    def __init__(
        self, answer: str, sections: list[Section], spans: list[tuple[int, int]], inside: Mapping[str, str]
    ) -> None:
        self._answer = answer
        self._sections = sections
        self._spans = sorted(spans)
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
        before = self._beside_the_values(before=True)
        paragraph = as_paragraph("\n".join(line for line in before.split("\n") if not line.rstrip().endswith(":")))
        if len(paragraph.split()) < 8:
            return ""
        findings.append(
            Finding(rule="form.heading", message="no heading announces the scene description; the first text is taken")
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
                findings.append(Finding(rule="form.truncated", before=cut, message=message))
        return points

    def others(self, findings: list[Finding]) -> dict[str, str]:
        """Everything that no section of the report is made of, by its heading."""
        others: dict[str, str] = {}
        for at, section in enumerate(self._sections):
            if at in self._used or (-1 in self._used and not section.title):
                continue
            if -2 in self._used and section.kind == "parameters":
                continue
            body = self._body(section).strip()
            if not body:
                continue
            title = section.title or "preamble"
            count = sum(1 for other in others if other == title or other.startswith(f"{title} ("))
            others[f"{title} ({count + 1})" if count else title] = body
        repeated = [s.title for at, s in enumerate(self._sections) if s.kind in ("scene", "risk") and at not in self._used]
        if repeated:
            message = f"a section is written more than once ({repeated[0]}); the first one that says something counts"
            findings.append(Finding(rule="form.repeated", message=message))
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
        for span_start, span_end in self._spans:
            if span_end > at and span_start < end:
                pieces.append(self._answer[at : max(at, span_start)])
                at = max(at, span_end)
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
        return self._without_values(last, section.end) if section and section.kind in ("", "parameters") else ""


def _build(
    scene: str, points: Iterable[str], values: Mapping[str, Value]
) -> tuple[DrivingReport | None, tuple[Finding, ...]]:
    """(the report or None, what was left out or is missing)."""
    findings: list[Finding] = []
    scene_text = _fitted(scene, MAX_SCENE_CHARS, "scene description", findings)
    fitted = [text for point in points if (text := _fitted(point, MAX_RISK_CHARS, "risk point", findings))]
    if len(fitted) > MAX_RISK_POINTS:
        message = f"{len(fitted) - MAX_RISK_POINTS} risk points beyond the first {MAX_RISK_POINTS} are left out"
        findings.append(Finding(rule="form.length", before=fitted[MAX_RISK_POINTS:], message=message))
    missing = [
        *(["scene description"] if not scene_text else []),
        *(["risk assessment"] if not fitted else []),
    ]
    for section in missing:
        findings.append(Finding(rule="form.missing_section", message=f"the answer has no {section} that can be taken"))
    if values["risk_factor"] is None:
        message = "without a risk factor there is no report: the schema has no word for an unknown one"
        findings.append(Finding(rule="form.no_report", parameter="risk_factor", message=message))
    if missing or values["risk_factor"] is None:
        return None, tuple(findings)
    report = DrivingReport(
        scene_description=scene_text,
        driving_parameters=DrivingParameters.model_validate(dict(values)),
        risk_assessment=tuple(fitted[:MAX_RISK_POINTS]),
    )
    return report, tuple(findings)


def _fitted(text: str, max_chars: int, what: str, findings: list[Finding]) -> str:
    """Prose in the report's characters and within its bound; what is left out goes to the findings."""
    plain_text, lost = in_report_characters(text)
    if lost:
        message = f"characters that a report cannot hold are left out of the {what}: {lost[:40]}"
        findings.append(Finding(rule="form.characters", before=lost[:200], message=message))
    kept, left_out = cut_at_sentence(plain_text, max_chars)
    if left_out:
        message = f"the {what} is longer than {max_chars} characters; whole sentences are left out at its end"
        findings.append(Finding(rule="form.length", before=left_out, after=kept or None, message=message))
    return kept

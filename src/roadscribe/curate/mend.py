"""One raw answer through the rules: read, held against evidence, made consistent, or kept out with a reason.

Two pure steps with the dataset's statistics between them: `judge` reads an answer and holds its parameters
against the evidence; `settle` takes out values that collapse over the dataset, makes the parameters agree
with each other and the prose with them. Every change is a Finding.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadscribe.answers.limits import fit_text, is_overall_risk
from roadscribe.answers.prose import sentences
from roadscribe.curate.now import Now
from roadscribe.curate.own import mended_answer, whole_sentences
from roadscribe.curate.rules.answer import ANSWER_RULES, RawAnswer, incomplete
from roadscribe.curate.rules.collapse import Collapse
from roadscribe.curate.rules.collapse import collapse as collapse_rule
from roadscribe.curate.rules.consistency import CONSISTENCY_RULES
from roadscribe.curate.rules.evidence import EVIDENCE_RULES, light_of_several, supported_by
from roadscribe.curate.rules.prose import PROSE_RULES, prose_empty
from roadscribe.curate.rules.rule import null_of, require_allowed
from roadscribe.report import (
    MAX_RISK_CHARS,
    MAX_RISK_POINTS,
    MAX_SCENE_CHARS,
    DrivingParameters,
    DrivingReport,
    Finding,
    Grade,
)
from roadscribe.report_text import parse_answer


@dataclass
class Row:
    """One answer on its way into the dataset."""

    row: int
    clip_id: str
    question: str | None = None
    """What was asked, where that was another question than the standard one."""
    answer: str | None = None
    """The answer to that question as it goes into the dataset; such a row has no report."""
    report: DrivingReport | None = None
    findings: list[Finding] = field(default_factory=list)
    quarantine: Finding | None = None
    """Why the row is kept out; None while it is in."""
    confirmed: Mapping[str, Grade] = field(default_factory=dict)
    """Parameters whose value evidence supports, whether it agreed or corrected, and the grade of that evidence."""
    raw_values: Mapping[str, Any] = field(default_factory=dict)
    """The parameters as the teacher wrote them."""
    read_values: Mapping[str, Any] = field(default_factory=dict)
    """The parameters as they were understood, before any rule."""

    def to_json(self) -> str:
        """The row as one line of JSON."""
        return json.dumps(
            {
                "row": self.row,
                "clip_id": self.clip_id,
                "question": self.question,
                "answer": self.answer,
                "report": self.report.model_dump(mode="json") if self.report else None,
                "findings": [finding.model_dump(mode="json") for finding in self.findings],
                "quarantine": self.quarantine.model_dump(mode="json") if self.quarantine else None,
                "confirmed": dict(self.confirmed),
                "raw_values": dict(self.raw_values),
                "read_values": dict(self.read_values),
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, line: str) -> Row:
        """The row that `to_json` wrote."""
        fields = json.loads(line)
        return cls(
            row=fields["row"],
            clip_id=fields["clip_id"],
            question=fields["question"],
            answer=fields["answer"],
            report=DrivingReport.model_validate(fields["report"]) if fields["report"] else None,
            findings=[Finding.model_validate(finding) for finding in fields["findings"]],
            quarantine=Finding.model_validate(fields["quarantine"]) if fields["quarantine"] else None,
            confirmed={name: Grade(grade) for name, grade in fields["confirmed"].items()},
            raw_values=fields["raw_values"],
            read_values=fields["read_values"],
        )


def _out(row: Row, rule_id: str, message: str, before: Any = None) -> Row:
    row.quarantine = Finding(rule=rule_id, message=message, before=before)
    row.findings.append(row.quarantine)
    return row


def judge(answer: RawAnswer, now: Now) -> Row:
    """Read one raw answer and hold what it claims against the evidence of its last frame.

    The answer to a question of one's own is no report: only its form is looked at.
    """
    row = Row(answer.row, answer.clip_id, answer.question)
    cut = None
    for check in ANSWER_RULES:
        if (reason := check.check(answer)) is None:
            continue
        if check.action == "quarantine":
            return _out(row, check.id, reason)
        cut = Finding(rule=check.id, message=reason)
        row.findings.append(cut)
    if answer.question is not None:
        text = answer.text if cut is None else whole_sentences(answer.text)
        if cut is not None and not text:
            row.findings.remove(cut)
            return _out(row, cut.rule, f"no sentence of it is whole; {cut.message}", answer.text)
        row.answer = mended_answer(text.strip(), answer.question, row.findings)
        return row
    parsed = parse_answer(answer.text)
    row.findings.extend(parsed.findings)
    row.raw_values = parsed.raw_values
    row.report = parsed.report()
    if row.report is None:
        problem = str(incomplete.check(parsed))
        if cut is None:
            return _out(row, incomplete.id, problem)
        row.findings.remove(cut)
        return _out(row, cut.rule, f"{problem}; {cut.message}")
    row.read_values = row.report.driving_parameters.model_dump()
    parameters = row.report.driving_parameters
    if any(finding.rule == "conflict.traffic_light_state" for finding in row.findings):
        written = json.dumps(row.raw_values.get("traffic_light_state"), ensure_ascii=False)
        if (finding := light_of_several.check(parameters, now, written)) is not None:
            parameters = _changed(parameters, finding)
            row.findings.append(finding)
    for rule in EVIDENCE_RULES:
        if (finding := rule.check(parameters, now)) is not None:
            parameters = _changed(parameters, finding)
            row.findings.append(finding)
    row.confirmed = supported_by(parameters, now)
    row.report = row.report.model_copy(update={"driving_parameters": parameters})
    return row


def _changed(parameters: DrivingParameters, finding: Finding) -> DrivingParameters:
    """The parameters after a finding; raises ValueError where its evidence does not allow the change."""
    require_allowed(finding)
    if finding.parameter is None or finding.before == finding.after:
        return parameters
    values = parameters.model_dump()
    values[str(finding.parameter)] = finding.after
    return DrivingParameters.model_validate(values)


def settle(row: Row, now: Now, collapses: Mapping[tuple[str, int], Collapse]) -> Row:
    """Finish a row that `judge` let through: collapsed values out, parameters consistent, prose mended."""
    report = row.report
    if report is None or row.quarantine is not None:
        return row
    parameters = report.driving_parameters
    for parameter in collapse_rule.parameters:
        found = collapses.get((parameter, getattr(parameters, parameter)))
        if found is None or parameter in row.confirmed:
            continue
        raw = row.raw_values.get(parameter)
        finding = Finding(
            rule=collapse_rule.id,
            parameter=parameter,
            before=getattr(parameters, parameter),
            after=null_of(parameter),
            message=f"{raw!r} stands in {found.share:.0%} of the answers and nothing confirms it here",
            evidence=f"{found.rows} answers; at most {found.allowed:.0%} can be so",
        )
        parameters = _changed(parameters, finding)
        row.findings.append(finding)
    said = " ".join((report.scene_description, *report.risk_assessment))
    for rule in CONSISTENCY_RULES:
        if (finding_or_none := rule.check(parameters, now, said)) is not None:
            parameters = _changed(parameters, finding_or_none)
            row.findings.append(finding_or_none)
    scene = mend_paragraph(report.scene_description, parameters, now, row.findings)
    points = [mend_point(point, parameters, now, row.findings) for point in report.risk_assessment]
    scene = _fitted(scene, MAX_SCENE_CHARS, row.findings)
    points = [_fitted(point, MAX_RISK_CHARS, row.findings) for point in points]
    kept = _once([point for point in points if point], "risk point", row.findings)
    if (reason := prose_empty.check(scene)) is not None:
        return _out(row, prose_empty.id, reason, report.scene_description)
    if not kept:
        kept = [f"The overall risk is {parameters.risk_factor}."]
        row.findings.append(
            Finding(
                rule=prose_empty.id,
                before=list(report.risk_assessment),
                after=kept,
                message="no point of the risk assessment agrees with the parameters",
            )
        )
    kept = _with_overall_risk(kept, report, parameters, row.findings)
    row.report = DrivingReport(
        scene_description=scene, driving_parameters=parameters, risk_assessment=tuple(kept)
    )
    return row


def _with_overall_risk(
    points: list[str], before: DrivingReport, parameters: DrivingParameters, findings: list[Finding]
) -> list[str]:
    """The points with a statement of the overall risk, where the answer had one and the rules dropped it."""
    lost = [point for point in before.risk_assessment if is_overall_risk(point)]
    if not lost or any(map(is_overall_risk, points)):
        return points
    said = f"The overall risk is {parameters.risk_factor}."
    message = "the overall risk is said again without the reasons that do not agree with the parameters"
    findings.append(Finding(rule="form.overall_risk", before=lost[-1], after=said, message=message))
    return [*points[: MAX_RISK_POINTS - 1], said]


def _fitted(text: str, max_chars: int, findings: list[Finding]) -> str:
    """Mended prose within its bound again: "60 mph" is shorter than "97 km/h"."""
    kept, left_out = fit_text(text, max_chars)
    if left_out:
        message = f"mending made it longer than {max_chars} characters; whole sentences are left out"
        findings.append(Finding(rule="form.length", before=left_out, after=kept or None, message=message))
    return kept


def mend_paragraph(text: str, parameters: DrivingParameters, now: Now, findings: list[Finding]) -> str:
    """A paragraph whose sentences all agree with the parameters; changes are added to ``findings``."""
    kept = [
        mended
        for sentence in sentences(text)
        if (mended := mend_sentence(sentence, parameters, now, findings))
    ]
    return " ".join(_once(kept, "sentence", findings))


def _once(texts: list[str], what: str, findings: list[Finding]) -> list[str]:
    """The texts in their order, each once; what is said again has a finding."""
    for text, count in Counter(texts).items():
        if count > 1:
            message = f"the same {what} {count} times; the first one stays"
            findings.append(Finding(rule="form.repeated", before=[text] * (count - 1), message=message))
    return list(dict.fromkeys(texts))


_LABEL = re.compile(r"^(?P<label>[A-Z][\w/ -]{2,40}): (?=\S)")


def mend_point(text: str, parameters: DrivingParameters, now: Now, findings: list[Finding]) -> str:
    """A bullet point whose sentences all agree with the parameters; empty when only its label is left."""
    label = _LABEL.match(text)
    if label is None:
        return mend_paragraph(text, parameters, now, findings)
    body = text[label.end() :]
    if re.match(r"risk", label["label"], re.IGNORECASE) and re.match(
        r"(?:low|medium|moderate|high)\b", body, re.IGNORECASE
    ):
        return mend_paragraph(text, parameters, now, findings)
    mended = mend_paragraph(body, parameters, now, findings)
    return f"{label['label']}: {mended}" if mended else ""


def mend_sentence(
    sentence: str, parameters: DrivingParameters, now: Now, findings: list[Finding]
) -> str | None:
    """One sentence after all prose rules, or None when one of them drops it."""
    for rule in PROSE_RULES:
        mended = rule.check(sentence, parameters, now)
        if mended == sentence:
            continue
        findings.append(
            Finding(
                rule=rule.id,
                parameter=rule.parameters[0] if rule.parameters else None,
                before=sentence,
                after=mended,
                message="sentence dropped" if mended is None else "sentence mended",
            )
        )
        if mended is None:
            return None
        sentence = mended
    return sentence

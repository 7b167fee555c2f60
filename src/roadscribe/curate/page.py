"""``quality.html``: one self-contained page a person reads before training on a dataset."""

from __future__ import annotations

import base64
import io
from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from roadscribe.artifacts import write_text
from roadscribe.curate.quality import Example, Quality, counted, weight_of
from roadscribe.curate.rules import RULES
from roadscribe.curate.rules.collapse import MEASURED
from roadscribe.report import PARAMETERS, Finding

_BY_ID = {rule.id: rule for rule in RULES}
THUMBNAIL_PX = 288
BARS = 8
"""Values a parameter's distribution shows; the rest is summed up."""


def write_page(out: Path, quality: Quality) -> None:
    """Write ``out/quality.html``; frames are embedded as small JPEGs, nothing is loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("roadscribe.curate", "."),
        autoescape=select_autoescape(("html", "j2")),
        trim_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        summary=quality.summary(),
        values=quality.values,
        total_values=sum(quality.values.values()),
        rules=_rule_table(quality, of_rules=True),
        readings=_rule_table(quality, of_rules=False),
        collapses=quality.collapsed,
        splits=quality.as_json()["splits"],
        own=quality.own,
        answered=[_shown(item) for item in quality.own.examples],
        distributions=[_distribution(quality, name) for name in PARAMETERS if any(quality.before.values())],
        examples=[
            (rule_id, [_shown(item, rule_id) for item in items]) for rule_id, items in _examples(quality)
        ],
        suspicious=[_shown(item) for item in quality.suspicious()],
        without_clip=quality.rows_without_clip,
        told=_told,
        unanswered=quality.clips_without_answer,
    )
    write_text(out / "quality.html", page)


READ_AS = {
    "units": "A number in another unit, converted.",
    "approximate": "A number given as approximate, taken as it is.",
    "range": "A range, taken at its middle.",
    "vocabulary": "Another word for a value, or one that was not understood.",
    "collapsed": "Several values in one, of which one could be taken.",
    "conflict": "Two values that exclude each other.",
    "absent": "The teacher says that it cannot tell.",
    "form": "Form, sections and length of the answer.",
}
"""What the parser's findings are about, by the first part of their id."""


def _rule_table(quality: Quality, of_rules: bool) -> list[dict[str, Any]]:
    """Lines of the table of rules, or of the parser's findings, the most frequent first."""
    table = []
    for rule_id, count in sorted(quality.rules.items(), key=lambda item: (-item[1].rows, item[0])):
        rule = _BY_ID.get(rule_id)
        if (rule is not None) != of_rules:
            continue
        claim = rule.claim if rule else READ_AS.get(rule_id.partition(".")[0], "")
        table.append(
            {"id": rule_id, "severity": rule.severity if rule else "info", "claim": claim, "count": count}
        )
    return table


def _distribution(quality: Quality, parameter: str) -> dict[str, Any]:
    before, after = quality.before[parameter], quality.after[parameter]
    if parameter in MEASURED:
        named = _binned(before), _binned(after)
        shown = sorted(
            set(named[0]) | set(named[1]), key=lambda name: int(name.split()[0]) if name != "null" else 999
        )
    else:
        named = counted(before), counted(after)
        shown = [name for name, _ in (Counter(named[0]) + Counter(named[1])).most_common(BARS)]
    totals = [max(1, sum(counts.values())) for counts in named]
    bars = [
        {
            "value": name,
            "before": named[0].get(name, 0),
            "after": named[1].get(name, 0),
            "before_share": 100 * named[0].get(name, 0) / totals[0],
            "after_share": 100 * named[1].get(name, 0) / totals[1],
        }
        for name in shown
    ]
    return {"parameter": parameter, "bars": bars, "rest": len(set(named[0]) | set(named[1])) - len(shown)}


def _binned(counts: Counter[Any]) -> dict[str, int]:
    """Measurements counted in steps of ten; 0 stands alone: a car that stands is a case of its own."""
    bins: Counter[str] = Counter()
    for value, count in counts.items():
        ten = None if not value else value // 10 * 10
        bins["null" if value is None else "0" if ten is None else f"{ten or 1} to {ten + 9}"] += count
    return dict(bins)


def _examples(quality: Quality) -> list[tuple[str, list[Example]]]:
    order = {rule.id: place for place, rule in enumerate(RULES)}
    return sorted(quality.examples.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _shown(example: Example, rule_id: str | None = None) -> dict[str, Any]:
    findings = [finding for finding in example.findings if rule_id is None or finding.rule == rule_id]
    # What weighs must not hide behind a dozen converted units.
    findings.sort(key=lambda finding: -weight_of(finding))
    return {
        "example": example,
        "findings": [_finding(finding) for finding in findings[:8]],
        "more": max(0, len(findings) - 8),
        "frames": [_thumbnail(frame) for frame in example.frames],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "parameter": finding.parameter or "",
        "before": _told(finding.before),
        "after": "dropped" if finding.message == "sentence dropped" else _told(finding.after),
        "changed": finding.before != finding.after,
        "message": finding.message,
        "evidence": finding.evidence or "",
    }


def _told(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _thumbnail(frame: bytes) -> str:
    """A frame as a data URL of a small JPEG."""
    with Image.open(io.BytesIO(frame)) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

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
from roadscribe.curate.quality import Example, Quality, counted
from roadscribe.curate.rules import RULES
from roadscribe.report import PARAMETERS, Finding

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
        rules=_rule_table(quality),
        collapses=quality.collapsed,
        splits=quality.as_json()["splits"],
        distributions=[_distribution(quality, parameter) for parameter in PARAMETERS],
        examples=[
            (rule_id, [_shown(item, rule_id) for item in items]) for rule_id, items in _examples(quality)
        ],
        suspicious=[_shown(item) for item in quality.suspicious()],
        without_clip=quality.rows_without_clip,
        unanswered=quality.clips_without_answer,
    )
    write_text(out / "quality.html", page)


def _rule_table(quality: Quality) -> list[dict[str, Any]]:
    known = {rule.id: rule for rule in RULES}
    table = []
    for rule_id, count in sorted(quality.rules.items(), key=lambda item: (-item[1].rows, item[0])):
        rule = known.get(rule_id)
        table.append(
            {
                "id": rule_id,
                "severity": rule.severity if rule else "info",
                "claim": rule.claim if rule else "Form of the answer, as the parser read it.",
                "count": count,
            }
        )
    return table


def _distribution(quality: Quality, parameter: str) -> dict[str, Any]:
    before, after = counted(quality.before[parameter]), counted(quality.after[parameter])
    top = [name for name, _ in (Counter(before) + Counter(after)).most_common(BARS)]
    totals = max(1, sum(before.values())), max(1, sum(after.values()))
    bars = [
        {
            "value": name,
            "before": before.get(name, 0),
            "after": after.get(name, 0),
            "before_share": 100 * before.get(name, 0) / totals[0],
            "after_share": 100 * after.get(name, 0) / totals[1],
        }
        for name in top
    ]
    rest = len(set(before) | set(after)) - len(top)
    return {"parameter": parameter, "bars": bars, "rest": rest}


def _examples(quality: Quality) -> list[tuple[str, list[Example]]]:
    order = {rule.id: place for place, rule in enumerate(RULES)}
    return sorted(quality.examples.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _shown(example: Example, rule_id: str | None = None) -> dict[str, Any]:
    findings = [finding for finding in example.findings if rule_id is None or finding.rule == rule_id]
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

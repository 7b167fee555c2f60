"""What curation did, counted: the figures of ``quality.json`` and the rows shown on the quality page."""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from roadscribe.clip import Clip
from roadscribe.curate.mend import Row
from roadscribe.curate.rules import SEVERITY_OF
from roadscribe.curate.rules.collapse import Collapse
from roadscribe.report import PARAMETERS, Finding

EXAMPLES_A_RULE = 2
EXAMPLES_OF_OWN = 4
SUSPICIOUS = 10
SHORTENED = "form.length"
"""The parser's finding where the report's limits leave a sentence or a point out."""
WEIGHT = {"error": 3, "warning": 2, "info": 0}
"""How much a finding of each severity adds to a row's suspicion."""


@dataclass(frozen=True)
class Example:
    """One row as the page shows it."""

    row: int
    clip_id: str
    split: str | None
    findings: tuple[Finding, ...]
    frames: tuple[bytes, ...]
    scene: str | None
    parameters: dict[str, Any]
    risk: tuple[str, ...]
    score: int = 0
    question: str | None = None
    """What was asked, where that was another question than the standard one; ``scene`` is the answer then."""


@dataclass
class RuleCount:
    """How often one rule spoke."""

    findings: int = 0
    rows: int = 0
    fixed: int = 0
    nulled: int = 0
    mended: int = 0
    dropped: int = 0
    noted: int = 0
    quarantined: int = 0


@dataclass
class OwnQuestions:
    """Answers to other questions than the standard one; the rest of `Quality` counts them as rows."""

    read: int = 0
    kept: int = 0
    quarantined: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    clips: set[str] = field(default_factory=set)
    """Clips with at least one kept answer."""
    examples: list[Example] = field(default_factory=list)


@dataclass
class Quality:
    """Counts over all rows; memory does not grow with them."""

    read: int = 0
    kept: int = 0
    changed: int = 0
    """Kept rows in which a rule corrected something, or the report's limits left something out; converted units and
    synonyms do not count."""
    shortened: int = 0
    """Kept rows of which the report's limits left something out."""
    quarantined: int = 0
    values: Counter[str] = field(default_factory=Counter)
    rules: dict[str, RuleCount] = field(default_factory=lambda: defaultdict(RuleCount))
    before: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    after: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    splits: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sources: Counter[str] = field(default_factory=Counter)
    drives: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    examples: dict[str, list[Example]] = field(default_factory=lambda: defaultdict(list))
    rows_without_clip: list[tuple[int, str]] = field(default_factory=list)
    clips_without_answer: list[str] = field(default_factory=list)
    look_alikes: list[tuple[str, str]] = field(default_factory=list)
    """Pairs of drives with nearly the same last frame, enough to join each group; they share a split."""
    collapsed: list[Collapse] = field(default_factory=list)
    own: OwnQuestions = field(default_factory=OwnQuestions)
    _suspicious: list[tuple[int, int, Example]] = field(default_factory=list)

    @property
    def unread(self) -> int:
        """Answers whose clip is missing."""
        return len(self.rows_without_clip)

    def add(self, row: Row, split: str | None, drive_id: str, clip: Clip | None) -> None:
        """Count one settled row; ``split`` is None when it was quarantined."""
        self.read += 1
        for rule_id in {finding.rule for finding in row.findings}:
            self.rules[rule_id].rows += 1
        for finding in row.findings:
            self._count(finding, row)
        for parameter, value in row.read_values.items():
            self.before[parameter][value] += 1
        self.own.read += row.question is not None
        if row.quarantine is not None:
            self.quarantined += 1
            self.own.quarantined += row.question is not None
        elif split is not None:
            self.kept += 1
            shortened = any(finding.rule == SHORTENED for finding in row.findings)
            self.shortened += shortened
            self.changed += shortened or any(
                SEVERITY_OF.get(finding.rule, "info") != "info" and finding.before != finding.after
                for finding in row.findings
            )
            self.drives[split].add(drive_id)
            self.sources[clip.source if clip else "no frames"] += 1
            self._add_answer(row, split, clip)
        self._remember(row, split, clip)

    def _add_answer(self, row: Row, split: str, clip: Clip | None) -> None:
        """Count what a kept row says: the values of its report, or the answer to its own question."""
        if row.report is not None:
            values = row.report.driving_parameters.model_dump()
            for parameter, value in values.items():
                self.after[parameter][value] += 1
                read = row.read_values[parameter]
                if value == read:
                    self.values[
                        "not understood" if value in (None, "unknown") and _said(row, parameter) else "kept"
                    ] += 1
                else:
                    self.values["nulled" if value in (None, "unknown") else "corrected"] += 1
            self.splits[split][str(values["risk_factor"])] += 1
            return
        own = self.own
        own.kept += 1
        own.splits[split] += 1
        if len(own.examples) < EXAMPLES_OF_OWN and row.clip_id not in own.clips:
            own.examples.append(_example(row, split, clip))
        own.clips.add(row.clip_id)

    def _count(self, finding: Finding, row: Row) -> None:
        count = self.rules[finding.rule]
        count.findings += 1
        if row.quarantine is not None and finding == row.quarantine:
            count.quarantined += 1
        elif (
            finding.parameter in PARAMETERS
            and not isinstance(finding.after, str | list)
            and finding.after is None
        ):
            dropped = finding.message == "sentence dropped"
            count.dropped += dropped
            count.nulled += not dropped
        elif finding.message == "sentence dropped":
            count.dropped += 1
        elif finding.message == "sentence mended":
            count.mended += 1
        elif finding.after == "unknown":
            count.nulled += 1
        elif finding.before != finding.after:
            count.fixed += 1
        else:
            count.noted += 1

    def _remember(self, row: Row, split: str | None, clip: Clip | None) -> None:
        score = sum(map(weight_of, row.findings))
        wanted = [f.rule for f in row.findings if len(self.examples[f.rule]) < EXAMPLES_A_RULE]
        in_top = len(self._suspicious) < SUSPICIOUS or score > self._suspicious[0][0]
        if not wanted and not (in_top and score):
            return
        example = _example(row, split, clip, score)
        for rule_id in dict.fromkeys(wanted):
            self.examples[rule_id].append(example)
        if in_top and score:
            heapq.heappush(self._suspicious, (score, -row.row, example))
            if len(self._suspicious) > SUSPICIOUS:
                heapq.heappop(self._suspicious)

    def suspicious(self) -> list[Example]:
        """The rows with the weightiest findings, the worst first."""
        return [
            example for _, _, example in sorted(self._suspicious, key=lambda item: item[:2], reverse=True)
        ]

    def commonest(self) -> str:
        """The rule that quarantined most rows, with its count."""
        rule_id, count = max(self.rules.items(), key=lambda item: item[1].quarantined)
        return f"{rule_id}, {count.quarantined} rows"

    def summary(self) -> dict[str, Any]:
        """The figures a manifest holds."""
        return {
            "rows_read": self.read + self.unread,
            "rows_kept": self.kept,
            "rows_changed": self.changed,
            "rows_shortened": self.shortened,
            "rows_quarantined": self.quarantined + self.unread,
            "own_questions": self.own.kept,
            "splits": {split: self.rows_of(split) for split in self.filled_splits()},
        }

    def filled_splits(self) -> list[str]:
        """The splits that hold rows."""
        return sorted(self.splits.keys() | self.own.splits.keys())

    def rows_of(self, split: str) -> int:
        """Rows of a split, reports and answers to other questions."""
        return sum(self.splits[split].values()) + self.own.splits[split]

    def as_json(self) -> dict[str, Any]:
        """The content of ``quality.json``."""
        return {
            "version": 1,
            **self.summary(),
            "splits": {
                split: {
                    "rows": self.rows_of(split),
                    "drives": len(self.drives[split]),
                    "risk": dict(sorted(self.splits[split].items())),
                    "own_questions": self.own.splits[split],
                }
                for split in self.filled_splits()
            },
            "own_questions": {
                "read": self.own.read,
                "kept": self.own.kept,
                "quarantined": self.own.quarantined,
                "clips": len(self.own.clips),
            },
            "values": dict(sorted(self.values.items())),
            "rules": {
                rule_id: {"severity": SEVERITY_OF.get(rule_id, "info"), **asdict(count)}
                for rule_id, count in sorted(
                    self.rules.items(), key=lambda item: (-item[1].findings, item[0])
                )
            },
            "collapses": [asdict(found) for found in self.collapsed],
            "parameters": {
                parameter: {
                    "before": counted(self.before[parameter]),
                    "after": counted(self.after[parameter]),
                }
                for parameter in PARAMETERS
            },
            "suspicious": [
                {
                    "row": item.row,
                    "clip_id": item.clip_id,
                    "score": item.score,
                    "rules": [f.rule for f in item.findings],
                }
                for item in self.suspicious()
            ],
            "look_alikes": [list(pair) for pair in self.look_alikes],
            "rows_without_clip": [{"row": row, "clip_id": name} for row, name in self.rows_without_clip],
            "clips_without_answer": self.clips_without_answer,
        }


def _example(row: Row, split: str | None, clip: Clip | None, score: int = 0) -> Example:
    report = row.report
    return Example(
        row=row.row,
        clip_id=row.clip_id,
        split=split,
        findings=tuple(row.findings),
        frames=tuple(dict.fromkeys((clip.frames[0], clip.frames[-1]))) if clip else (),
        scene=report.scene_description if report else row.answer,
        parameters=report.driving_parameters.model_dump() if report else {},
        risk=report.risk_assessment if report else (),
        score=score,
        question=row.question,
    )


def _said(row: Row, parameter: str) -> bool:
    """Whether the teacher said something for a parameter that is null, other than that it cannot tell."""
    return any(f.parameter == parameter and not f.rule.startswith("absent.") for f in row.findings)


def weight_of(finding: Finding) -> int:
    """How much a finding adds to a row's suspicion; those of the parser add nothing."""
    return WEIGHT[SEVERITY_OF.get(finding.rule, "info")]


def counted(counter: Counter[Any]) -> dict[str, int]:
    """Counts with JSON keys, the commonest first; null, true and false are written as in JSON."""
    named = (
        (value if isinstance(value, str) else json.dumps(value), count) for value, count in counter.items()
    )
    return dict(sorted(named, key=lambda item: (-item[1], item[0])))

"""Several reports in one text: the last complete one, and what the earlier ones say otherwise.

A report begins anew where one of its sections is written again. `report_text` reads what `last_report` returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from roadscribe.answers.canonical import Value, canonical
from roadscribe.answers.named_values import named_values
from roadscribe.answers.sections import KINDS, Section, cut_into_sections
from roadscribe.report import Finding

_MAX_REPORTS = 8
"""So many reports of one text are tried, from its end."""


def last_report(
    text: str, is_report: Callable[[str], bool], findings: list[Finding]
) -> tuple[str, list[Section], str]:
    """(the text from its last complete report on, its sections, why nothing may be learnt from it or "").

    Args:
        text: an answer without markers.
        is_report: whether a text is a whole report.
        findings: a finding with both values is added where an earlier report says something else.
    """
    sections = cut_into_sections(text)
    problem = ""
    for start, end in reversed(_starts(sections)[-_MAX_REPORTS:]):
        if any(section.kind == "scene" and section.start > end for section in sections):
            problem = "a later report in the text is not complete"
        if start > 0 and is_report(text[start:end]):
            compare_drafts([text[:start]], text[start:], findings)
            return text[start:], cut_into_sections(text[start:]), problem
    return text, sections, problem


def compare_drafts(drafts: Sequence[str], text: str, findings: list[Finding]) -> None:
    """Add a finding for each earlier report, with the values in which the one that counts differs from it."""
    for draft in drafts:
        _compare(draft, text, cut_into_sections(text), findings)


def _starts(sections: list[Section]) -> list[tuple[int, int]]:
    """(start, end) of each stretch with all three sections; the first stretch begins with the text."""
    starts: list[tuple[int, int]] = []
    begun, kinds = 0, set[str]()
    for at, section in enumerate(sections):
        if section.kind in kinds:
            if kinds >= set(KINDS):
                starts.append((begun, sections[at - 1].end))
            begun, kinds = sections[at - 1].end, set()
        if section.kind:
            kinds.add(section.kind)
    if kinds >= set(KINDS):
        starts.append((begun, sections[-1].end))
    return starts


def _compare(draft: str, text: str, sections: list[Section], findings: list[Finding]) -> None:
    """Add a finding that names the values in which a draft differs from the answer that counts."""
    before, after = _values(draft, cut_into_sections(draft)), _values(text, sections)
    if not before:
        return
    differing = [name for name in before if name in after and before[name] != after[name]]
    if differing:
        listed = ", ".join(f"{name} {before[name]!r}, then {after[name]!r}" for name in differing)
        message = f"an earlier report in the text says otherwise, the last complete one counts: {listed}"[
            :400
        ]
    else:
        message = "the text holds more than one report; the last complete one counts"
    findings.append(
        Finding(
            rule="form.draft" if differing else "form.repeated",
            before={name: before[name] for name in differing},
            after={name: after[name] for name in differing},
            message=message,
        )
    )


def _values(text: str, sections: list[Section]) -> dict[str, Value]:
    """What a text says about each parameter that it names, as canonical values."""
    named = named_values(text, sections, [])
    return {name: canonical(name, *values[-1])[0] for name, values in named.values.items()}


_LAST_LINE = re.compile(r"[^\n]*\Z")
_SENTENCE_END = re.compile(r"[.!?]['\")]{0,2}(?=\s|$)")


def without_cut_end(text: str) -> tuple[str, str]:
    """(the text up to its last whole sentence, the piece behind it that has no end).

    Inside a JSON object nothing is cut: its reader knows a value that the end cuts through.
    """
    stripped = text.rstrip()
    if not stripped or stripped.endswith(("```", "~~~", "}", "]")):
        return text, ""
    if text.rfind("{") > text.rfind("}"):
        return text, ""
    line = _LAST_LINE.search(stripped)
    assert line is not None, "every text has a last line"
    ends = [match.end() for match in _SENTENCE_END.finditer(line[0])]
    kept = line.start() + (ends[-1] if ends else 0)
    return stripped[:kept], stripped[kept:].strip()

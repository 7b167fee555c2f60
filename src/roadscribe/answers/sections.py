"""Where the sections of an answer begin and end, under whatever headings a model gives them.

`report_text` looks for the parameters and the prose inside these stretches. Positions are indices into the
answer, so that a JSON object found in a section can be taken out of its prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from roadscribe.answers.vocabulary import parameter_of_key, vocabulary, words

KINDS = ("scene", "parameters", "risk")


@dataclass(frozen=True)
class Section:
    """A stretch of an answer under one heading."""

    kind: str
    """`scene`, `parameters`, `risk`, or "" for anything else."""
    title: str
    """The heading's words; "" for what stands before the first heading."""
    start: int
    """Where the body begins: behind the heading."""
    end: int
    """Where the body ends: at the next heading or the end of the answer."""


@dataclass(frozen=True)
class _Heading:
    kind: str
    title: str
    body: int
    """Index of the body's first character within the line."""
    level: int
    """Number of #; 0 for a bold or plain heading."""


# How far into a line a heading is looked for; the rest of a long line is body.
_HEAD_CHARS = 200
_BOLD = r"\*{2,3}|__"
# An emoji or another sign before the words.
_SYMBOLS = r"(?:[^\w\s\"'`{(\[|*#~>+.:-]{1,4}[ \t]*)?"
_START = re.compile(
    r"[ \t]{0,12}(?:>[ \t]?)?(?P<hash>\#{1,6}[ \t]*)?(?P<bullet>[-*+•][ \t]+)?"
    rf"{_SYMBOLS}(?P<bold>{_BOLD})?[ \t]*"
    r"(?P<number>(?:\(?\d{1,2}[.):]|(?:step|section|part|task)[ \t]+\d{1,2}[.:)]?|[IVX]{1,4}[.)]|[a-c][.)])"
    r"[ \t]*)?"
    rf"(?P<bold_after>{_BOLD})?{_SYMBOLS}",
    re.IGNORECASE,
)
_TAIL = re.compile(rf"(?:[ \t]*(?:\([^()\n]{{0,40}}\)|{_BOLD}|[:：`]))*[ \t]*(?:[-–—][ \t]+)?")
_TITLE = re.compile(r"(?P<title>[A-Za-z][^*_:：#\n]{0,80})")
_LINE = re.compile(r"[^\n]+")
_FENCE = re.compile(r"[ \t]{0,12}(?:```|~~~)")


_MAY_BE_KNOWN = re.compile(r"scene|description|param|json|risk|hazard|safety", re.IGNORECASE)
_MAY_BE_OTHER = re.compile(r"[ \t>]{0,12}(?:[#*_]|[^\n:：]{1,60}[:：])")


def cut_into_sections(answer: str) -> list[Section]:
    """The sections of an answer in order; the first one, without title, is what stands before any heading."""
    sections = _cut(answer, heed_fences=True)
    if not any(section.kind for section in sections) and ("```" in answer or "~~~" in answer):
        # The whole answer may stand in a fence, as YAML or plain text.
        sections = _cut(answer, heed_fences=False)
    return sections


def _cut(answer: str, *, heed_fences: bool) -> list[Section]:
    sections: list[Section] = []
    seen: set[str] = set()
    kind, title, body, level = "", "", 0, 0
    in_fence = False
    for start, end in lines(answer, 0, len(answer)):
        line = answer[start : min(end, start + _HEAD_CHARS)]
        if _FENCE.match(line):
            in_fence = not in_fence and heed_fences
            continue
        # Most lines are no headings: the cheap questions come first.
        heading = _known_heading(line, seen, in_fence) if _MAY_BE_KNOWN.search(line) else None
        if heading is None and not in_fence and _MAY_BE_OTHER.match(line):
            heading = _other_heading(line, kind, level)
        if heading is None:
            continue
        in_fence = False
        sections.append(Section(kind, title, body, start))
        kind, title, level = heading.kind, heading.title, heading.level
        body = min(start + heading.body, end)
        seen.add(kind)
    sections.append(Section(kind, title, body, len(answer)))
    return sections


def lines(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where each line of a stretch begins and ends that is not empty."""
    for line in _LINE.finditer(text, start, stop):
        yield line.start(), line.end()


@cache
def _names(short: bool) -> tuple[re.Pattern[str], dict[tuple[str, ...], str]]:
    table = vocabulary()["sections"]["short_names" if short else "names"]
    kinds = {words(name): kind for kind, names in table.items() for name in names}
    longest_first = sorted((" ".join(name) for name in kinds), key=len, reverse=True)
    alternatives = "|".join(re.escape(name).replace(r"\ ", r"[ _]{1,2}") for name in longest_first)
    return re.compile(rf"(?P<name>{alternatives})(?![A-Za-z])", re.IGNORECASE), kinds


@cache
def _closing_words() -> frozenset[str]:
    return frozenset(vocabulary()["sections"]["closing"])


def _known_heading(line: str, seen: set[str], in_fence: bool) -> _Heading | None:
    """The heading of one of the three sections, if this line is one."""
    start = _START.match(line)
    if start is None:
        return None
    level = len(start["hash"].strip()) if start["hash"] else 0
    bold = start["bold"] or start["bold_after"]
    for short in (False, True):
        pattern, kinds = _names(short)
        found = pattern.match(line, start.end())
        if found is None:
            continue
        kind = kinds[words(found["name"])]
        tail = _TAIL.match(line, found.end())
        body = tail.end() if tail else found.end()
        marks = line[found.end() : body]
        whole = not line[body:].strip()
        announced = (
            whole
            or ":" in marks
            or "：" in marks
            or "-" in marks
            or (bold and ("*" in marks or "_" in marks))
        )
        if level and not announced and len(line[body:].split()) <= 3:
            announced, body = True, len(line)  # "# Risk Assessment Report"
        marked = bool(level or bold or start["number"])
        if in_fence and not (level or bold):
            continue
        if start["bullet"] and kind in seen:
            continue
        if not announced or (short and not (whole and (level or bold))):
            continue
        if not marked and not whole and ":" not in marks and "：" not in marks:
            continue
        return _Heading(kind, " ".join(found["name"].replace("_", " ").split()), body, level)
    return None


def _other_heading(line: str, current: str, current_level: int) -> _Heading | None:
    """A heading that ends the section before it: a closing one ("Conclusion"), or one of the same rank."""
    start = _START.match(line)
    if start is None or start["bullet"]:
        return None
    found = _TITLE.match(line, start.end())
    if found is None:
        return None
    title = found["title"].strip()
    tail = _TAIL.match(line, found.end())
    body = tail.end() if tail else found.end()
    marks = line[found.end() : body]
    whole = not line[body:].strip()
    level = len(start["hash"].strip()) if start["hash"] else 0
    bold = bool(start["bold"] or start["bold_after"]) and ("*" in marks or "_" in marks)
    if current == "parameters" and parameter_of_key(title):
        return None
    closing = not _closing_words().isdisjoint(title.lower().split())
    if level:
        ends = closing or (level <= current_level) or not current_level
    elif bold:
        ends = closing and (whole or ":" in marks)
    else:
        # Without any mark only a short title with a colon is one: "Conclusion: ...".
        ends = closing and ":" in marks and len(title.split()) <= 3 and not start["number"]
    return _Heading("", title, body if not level or whole else found.end(), level) if ends else None

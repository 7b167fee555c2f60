"""The prose of an answer: its markup taken off, its bullet points found, cut to length at sentence ends.

`report_text` uses it for the scene description and the risk assessment. Whatever a bound leaves out is handed
back, so that nothing is dropped without a finding.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from roadscribe.report import PROSE_CHARACTERS

_ALLOWED = re.compile(f"[ {PROSE_CHARACTERS}]")
_ALL_ALLOWED = re.compile(f"[ {PROSE_CHARACTERS}]*")
_SAME_IN_ASCII = {
    **dict.fromkeys('‘’‚‛`´′“”„‟″"«»', "'"),
    **dict.fromkeys("‐‑‒–−﹣－", "-"),
    **dict.fromkeys("—―", " - "),
    **dict.fromkeys("[{【", "("),
    **dict.fromkeys("]}】", ")"),
    **dict.fromkeys("|\\⁄∕", "/"),
    **dict.fromkeys("~≈∼≃≅", " about "),
    "…": "...",
    "°": " degrees ",
    "×": "x",
    "<": " less than ",
    ">": " more than ",
    "≤": " at most ",
    "≥": " at least ",
    "→": " to ",
    "=": " is ",
    "@": " at ",
    "_": " ",
    "#": " ",
    "•": " ",
    "·": " ",
    "\t": " ",
    "\u00a0": " ",
    "\u200b": "",
    "\ufeff": "",
    "ß": "ss",
    "æ": "ae",
    "ø": "o",
    "ł": "l",
}
_BULLET = re.compile(
    r"(?P<indent>[ \t]{0,40})(?:[-*+•‣◦▪–—●·]\s|\(?\d{1,2}[.)]\s|\d{1,2}[.)](?=\*\*))\s{0,8}"
)
_EMPHASIS = re.compile(r"\*{1,3}|`+|(?<!\w)_{1,3}(?=\w)|(?<=[\w.:!?])_{1,3}(?!\w)")
_SENTENCE_END = re.compile(r"[.!?]['\")]{0,2}\s+(?=[A-Z0-9'\"(])")
_ABBREVIATIONS = (
    "approx.",
    "e.g.",
    "i.e.",
    "etc.",
    "vs.",
    "st.",
    "no.",
    "dr.",
    "mr.",
    "ave.",
    "min.",
    "max.",
    "ca.",
)
_ENDS_WHOLE = (".", "!", "?", ".'", ".)", "!'", "?'", ")")


@dataclass(frozen=True)
class Points:
    """The risk section as bullet points."""

    points: tuple[str, ...]
    lead_ins: tuple[str, ...] = ()
    """Lines that only announce what follows ("The risks are:") or label nothing; they are no points."""


@dataclass(frozen=True)
class _Item:
    text: str
    indent: int
    is_bullet: bool


def without_markup(text: str) -> str:
    """A line without emphasis, code marks, heading marks and quote marks of Markdown."""
    return _EMPHASIS.sub("", text.strip().lstrip("#>").strip()).strip()


def as_paragraph(body: str) -> str:
    """A section's lines as one paragraph without markup; a bullet point that has no full stop gets one."""
    pieces: list[str] = []
    for line in body.split("\n"):
        bullet = _BULLET.match(line)
        text = " ".join(without_markup(line[bullet.end() :] if bullet else line).split())
        if not text.strip("-=*_`~ "):
            continue
        if bullet and text[-1] not in ".!?:;,":
            text += "."
        pieces.append(text)
    return " ".join(pieces)


def as_points(body: str) -> Points:
    """A section's bullet points in order.

    Sub-points are points of their own, led by their label ("Pedestrians: two people wait"). Paragraphs are
    points, too; a section that is one paragraph becomes one point a sentence.
    """
    body, heads = _rows_as_bullets(body)
    items = _items(body)
    if len(items) == 1 and not items[0].is_bullet:
        items = [_Item(sentence, 0, False) for sentence in sentences(items[0].text)]
    points: list[str] = []
    lead_ins: list[str] = list(heads)
    label: _Item | None = None
    used = True
    for item in items:
        if item.text.endswith(":"):
            if label and not used:
                lead_ins.append(label.text)
            short = len(item.text.split()) <= 5
            label, used = (item, False) if short else (None, True)
            if not short:
                lead_ins.append(item.text)
            continue
        sibling = label and label.is_bullet and item.is_bullet and item.indent <= label.indent
        if label and (sibling or (used and not item.is_bullet)):
            if not used:
                lead_ins.append(label.text)
            label, used = None, True
        points.append(f"{label.text} {item.text}" if label else item.text)
        used = True
    if label and not used:
        lead_ins.append(label.text)
    return Points(tuple(points), tuple(lead_ins))


_TABLE_ROW = re.compile(r"[ \t]*\|(?P<cells>.+)\|[ \t]*")


def _rows_as_bullets(body: str) -> tuple[str, list[str]]:
    """(the body with each row of a Markdown table as a bullet point, "first cell: the others"; its head rows)."""
    lines: list[str] = []
    heads: list[str] = []
    for line in body.split("\n"):
        row = _TABLE_ROW.fullmatch(line)
        if row is None:
            lines.append(line)
            continue
        cells = [cell.strip() for cell in row["cells"].split("|")]
        if all(cell and not cell.strip("-: ") for cell in cells):
            if lines and lines[-1].startswith("- "):
                heads.append(lines.pop().removeprefix("- "))
            continue
        first, *others = [cell for cell in cells if cell] or [""]
        lines.append(f"- {first}" + (f": {', '.join(others)}" if others else ""))
    return "\n".join(lines), heads


def _items(body: str) -> list[_Item]:
    """Bullet points and paragraphs; a line that goes on is joined to what it goes on from."""
    items: list[list[str]] = []
    kinds: list[tuple[int, bool]] = []
    open_item = False
    for line in body.split("\n"):
        bullet = _BULLET.match(line)
        text = " ".join(without_markup(line[bullet.end() :] if bullet else line).split())
        if not text.strip("-=*_`~ "):
            open_item = False
            continue
        if bullet is None and open_item:
            items[-1].append(text)
        else:
            items.append([text])
            kinds.append((len(bullet["indent"].expandtabs(4)) if bullet else 0, bullet is not None))
        # A label on a line of its own is not continued by the paragraph under it.
        open_item = not text.endswith(":")
    return [_Item(" ".join(text), *kind) for text, kind in zip(items, kinds, strict=True)]


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; abbreviations such as "approx." end none."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        last_word = text[max(start, end.start() - 12) : end.start() + 1].rpartition(" ")[2].lower()
        if last_word.lstrip("('\"") in _ABBREVIATIONS:
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def cut_at_sentence(text: str, max_chars: int) -> tuple[str, str]:
    """(what fits into ``max_chars`` as whole sentences, what is left out); the first may be empty."""
    if len(text) <= max_chars:
        return text, ""
    kept = 0
    length = 0
    parts = sentences(text)
    for part in parts:
        longer = length + len(part) + (1 if kept else 0)
        if longer > max_chars:
            break
        kept, length = kept + 1, longer
    return " ".join(parts[:kept]), " ".join(parts[kept:])


_LEVEL = re.compile(r"[A-Z][\w ]{2,40}: (?:low|medium|moderate|high)", re.IGNORECASE)
"""A verdict such as "Overall risk: low" is whole without a full stop."""


def without_cut_off_end(points: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """The points without a last sentence that the end of the answer cuts off, and that piece ("" if none).

    A last point without a full stop is only cut off where all points before it end in one.
    """
    if (
        len(points) < 2
        or points[-1].endswith(_ENDS_WHOLE)
        or not all(p.endswith(_ENDS_WHOLE) for p in points[:-1])
    ):
        return points, ""
    *whole, cut = sentences(points[-1])
    if _LEVEL.fullmatch(cut):
        return points, ""
    rest = " ".join(whole)
    return ((*points[:-1], rest) if rest else points[:-1]), cut


def in_report_characters(text: str) -> tuple[str, str]:
    """(the text in the report's characters, the characters that had to be left out, each once)."""
    if _ALL_ALLOWED.fullmatch(text):  # nearly every text; letter by letter is ten times as slow
        return " ".join(text.split()).replace(" .", ".").replace(" ,", ","), ""
    pieces: list[str] = []
    lost: dict[str, None] = {}
    for character in text:
        if _ALLOWED.match(character):
            pieces.append(character)
            continue
        same = _SAME_IN_ASCII.get(character)
        if same is None:
            decomposed = unicodedata.normalize("NFKD", character)
            same = "".join(c for c in decomposed if _ALLOWED.match(c))
            if (
                not same
                and not character.isspace()
                and not unicodedata.combining(character)
                and character != "*"
            ):
                lost[character] = None
            if character.isspace():
                same = " "
        pieces.append(same)
    joined = " ".join("".join(pieces).split())
    return joined.replace(" .", ".").replace(" ,", ","), "".join(lost)

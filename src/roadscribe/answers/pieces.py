"""A teacher's text cut at its markers: reasoning, answer, tool call, another's turn, plain text.

`clean_text` chooses among the pieces; what a marker is stands in `markers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roadscribe.answers.markers import (
    ANSWER,
    ANY_FENCE,
    ASSISTANT,
    OTHERS,
    REASONING,
    TOOL,
    Marker,
    find_markers,
    has_words,
)
from roadscribe.answers.sections import KINDS
from roadscribe.answers.vocabulary import parameter_of_key, vocabulary

Kind = Literal["text", "answer", "reasoning", "tool", "pair", "section", "stray", "heading", "behind"]
"""text: no marker around it; answer: marked as the answer; reasoning, tool: marked as no answer; pair: between
markers of an unknown name; section: between markers that a report's section or parameter gives its name;
stray: a marker itself, without its partner; heading: a line that announces the answer; behind: text behind an end
of turn."""


@dataclass(frozen=True)
class Piece:
    """One stretch of a text."""

    kind: Kind
    text: str
    """What stands in it, without its own markers; of a stray marker or a heading its spelling."""
    name: str = ""
    """The marker's name in plain form; "" for text."""
    closed: bool = True
    """False where the text ends before the closing marker."""


@dataclass(frozen=True)
class Pieces:
    """A text cut at its markers."""

    pieces: tuple[Piece, ...]
    markers: tuple[str, ...]
    """The spellings of all markers outside of other pieces, in order."""
    other_turns: str = ""
    """What belongs to turns of others than the assistant."""


_MAX_NESTED_SECTIONS = 3
_WEAK_FORMS = ("square", "other", "curly", "comment")
"""Brackets that stand in ordinary text, too: one without its partner is text."""


def _partners(markers: list[Marker]) -> dict[int, int]:
    """Opening marker -> the closing one of the same name (or any two of reasoning), by index."""
    partners: dict[int, int] = {}
    waiting: list[int] = []
    for at, marker in enumerate(markers):
        if marker.role == "open" and marker.form != "channel":
            waiting.append(at)
        elif marker.role == "close":
            for place in range(len(waiting) - 1, max(-1, len(waiting) - 60), -1):
                opened = markers[waiting[place]]
                both_reason = opened.name in REASONING and marker.name in REASONING
                same = opened.name == marker.name and opened.form == marker.form
                if both_reason or same:
                    partners[waiting[place]] = at
                    del waiting[place:]
                    break
    return partners


def cut_into_pieces(text: str) -> Pieces:
    """Cut a text at its markers and keep the assistant's turns; never raises.

    Of several turns those of the assistant up to the next turn of somebody else are kept: what a model writes
    behind that answers a question that it made up.
    """
    cutter = _Cutter(text)
    cutter.cut()
    return cutter.result()


class _Cutter:
    def __init__(self, text: str, depth: int = 0) -> None:
        self._text = text
        self._depth = depth
        self._found = find_markers(text)
        self._partners = _partners(self._found)
        self._partnered = set(self._partners.values())
        self._turns: list[tuple[bool, list[Piece]]] = [(True, [])]
        """(whether it is the assistant's, its pieces)."""
        self._spellings: list[str] = []
        self._behind = False

    def cut(self) -> None:
        at = 0
        for index, marker in enumerate(self._found):
            if marker.start < at or self._is_text(index, marker):
                continue
            self._add("behind" if self._behind else "text", self._text[at : marker.start])
            if marker.role != "heading":
                self._spellings.append(marker.spelling)
            at = self._take(index, marker)
        self._add("behind" if self._behind else "text", self._text[at:])

    def _is_text(self, index: int, marker: Marker) -> bool:
        """Whether brackets are ordinary text: without a partner, and of no name that tells."""
        if marker.form not in _WEAK_FORMS or index in self._partners or index in self._partnered:
            return False
        if marker.role == "close" or marker.form == "comment":
            return marker.role == "close" and "/" not in marker.spelling
        return not (marker.form == "square" and (marker.name in REASONING | {"tool calls"}))

    def _add(self, kind: Kind, text: str, name: str = "", *, closed: bool = True) -> None:
        pieces = self._turns[-1][1]
        if kind == "text" and pieces and pieces[-1].kind == "text":
            joint = pieces[-1].text + (text.removeprefix(" ") if pieces[-1].text[-1:] in " \n" else text)
            pieces[-1] = Piece("text", joint)
        elif text or kind not in ("text", "behind"):
            pieces.append(Piece(kind, text, name, closed))

    def _take(self, index: int, marker: Marker) -> int:
        """Add what a marker begins; returns where reading goes on."""
        if marker.role == "turn":
            self._turns.append((marker.name in ASSISTANT, []))
            self._behind = False
        elif marker.role == "end":
            self._behind = True
        elif marker.role == "heading":
            self._add("heading", marker.spelling)
        elif marker.role == "fence":
            return self._fence(marker)
        elif marker.role == "open":
            return self._opened(index, marker)
        elif marker.role == "close" and marker.name in REASONING:
            self._all_before_is_reasoning(marker.name)
        elif marker.role == "either" or (marker.role == "close" and marker.name not in ANSWER):
            self._add("stray", marker.spelling, marker.name)
        return marker.end

    def _fence(self, marker: Marker) -> int:
        """Add a fenced block of reasoning, with the fences inside it; one that never closes goes to the end."""
        depth = 1
        for fence in ANY_FENCE.finditer(self._text, marker.end):
            if not fence["fence"].startswith(marker.form[:3]):
                continue
            depth += 1 if fence["info"] else -1
            if not depth:
                self._add("reasoning", self._text[marker.end : fence.start()], marker.name)
                return fence.end()
        self._add("reasoning", self._text[marker.end :], marker.name, closed=False)
        return len(self._text)

    def _opened(self, index: int, marker: Marker) -> int:
        kind = _kind_of(marker)
        if index in self._partners:
            partner = self._found[self._partners[index]]
            content, end, closed = self._text[marker.end : partner.start], partner.end, True
            self._spellings.append(partner.spelling)
        elif kind in ("reasoning", "answer", "tool") or marker.form == "channel":
            stop = self._turn_ends_behind(index, marker)
            content, end, closed = self._text[marker.end : stop], stop, stop < len(self._text)
        else:
            self._add("stray", marker.spelling, marker.name)
            return marker.end
        if marker.name == "coordinates":
            return end
        if kind == "section":
            content = _as_section(marker.name, self._nested(content))
        self._add(kind, content, marker.name, closed=closed)
        return end

    def _nested(self, content: str) -> str:
        """A section's content with the sections and parameters in it under their headings."""
        if self._depth >= _MAX_NESTED_SECTIONS:
            return content
        cutter = _Cutter(content, self._depth + 1)
        cutter.cut()
        pieces = cutter.result().pieces
        simple = all(piece.kind in ("text", "section") for piece in pieces)
        return "".join(piece.text for piece in pieces) if simple else content

    def _turn_ends_behind(self, index: int, marker: Marker) -> int:
        """Where the turn ends, or the next channel begins, behind a marker without a partner."""
        for later in self._found[index + 1 :]:
            if later.role in ("end", "turn") or (marker.form == later.form == "channel"):
                return later.start
        return len(self._text)

    def _all_before_is_reasoning(self, name: str) -> None:
        assistant, pieces = self._turns[-1]
        text = "".join(piece.text for piece in pieces)
        self._turns[-1] = (assistant, [Piece("reasoning", text, name)] if text else [])
        self._behind = False

    def result(self) -> Pieces:
        """The assistant's pieces, and what else there is."""
        mine: list[Piece] = []
        others: list[str] = []
        over = False
        for assistant, pieces in self._turns:
            said = any(has_words(piece.text) for piece in pieces)
            if assistant and not over:
                if mine and said:
                    mine.append(Piece("stray", ""))  # a new turn of the assistant: nothing goes over its edge
                mine += pieces
                continue
            over = over or any(has_words(piece.text) for piece in mine)
            others += [piece.text for piece in pieces]
        return Pieces(tuple(mine), tuple(self._spellings), "".join(others))


def _kind_of(marker: Marker) -> Kind:
    name = marker.name
    if marker.form == "channel" and name not in REASONING and name not in ANSWER:
        return "pair"
    if name in REASONING or marker.form == "comment" or "reason" in name or "think" in name.split():
        return "reasoning"
    if name in ANSWER:
        return "answer"
    if name in TOOL or name in OTHERS:
        return "tool"
    if _section_of(name) or parameter_of_key(name):
        return "section"
    return "pair"


def _section_of(name: str) -> str | None:
    """The report's section that a marker names: scene, parameters, risk."""
    table = vocabulary()["sections"]
    return next((kind for kind in KINDS if name in table["names"][kind] + table["short_names"][kind]), None)


def _as_section(name: str, content: str) -> str:
    """What stands between a section's markers under its heading; a parameter's value as a pair."""
    kind = _section_of(name)
    if kind is None:
        return f"\n- {name}: {' '.join(content.split())}\n"
    return f"\n\n**{SECTION_HEADINGS[kind]}:**\n{content}\n"


SECTION_HEADINGS = {
    "scene": "Scene Description",
    "parameters": "Driving Parameters (JSON)",
    "risk": "Risk Assessment",
}

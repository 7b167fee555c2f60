"""Clauses of a sentence and their mood: what is asserted, what is denied, what is only possible, advised or past."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Mood = Literal["asserted", "denied", "open"]
"""`open`: a condition, a possibility, an advice, an example, or what was earlier or comes later."""

_FINITE = (
    r"(?:is|are|has|have|appears?|seems?|shows?|remains?|looks?|can|could|may|might|should|must|will|needs?|"
    r"turns?|drives?|moves?|crosse?s?|stands?|walks?)"
)
_BOUNDARY = re.compile(
    r"[;:()!?]|,(?!\d)|\.(?!\d)|"
    r"\b(?:which|who|whom|where|because|since|so|but|while|whereas|although|though|however|yet|then|"
    r"(?:indicat|suggest|requir|allow|caus|mean|mak|reduc|increas|provid|signal|ensur|creat|lead)ing)\b|"
    r"\b(?:if|unless|until|when|whenever|once|before|after|in case|as soon as|whether)\b|"
    rf"\b(?:and|or|as)\b(?=(?: (?!and\b|or\b)[\w'/]+){{1,7}}? {_FINITE}\b)|\band now\b",
)
_CONDITION = re.compile(
    r"(?:and |but |or |only |even |just )?(?:if|unless|until|when|whenever|once|before|after|in case|as soon as|whether|should|as if|"
    r"in the event|ensuring?)\b"
)
_CARRIED = re.compile(r"(?:and|or|that)\b")
_OPEN = re.compile(
    r"\b(?:may|might|could|should|must|would|will|shall|can(?! be (?:seen|observed|noticed|noted)\b)|cannot|needs? to|"
    r"has to|have to|had to|ought|wants? to|about to|going to|waiting to|wait(?:s|ing)? for|ready to|supposed|"
    r"possibly|possible|possibility|potential(?:ly)?|probabl[ey]|perhaps|maybe|likely|unlikely|likelihood|chances?|"
    r"risks? (?:of|from|to|for|posed|with|that)|"
    r"danger of|threat of|threats? from|hazards? (?:from|such)|in case|if|unless|until|whether|either|unclear|unsure|"
    r"watch(?:ing)?(?: out)? for|look(?:ing)? out for|alert (?:for|to)|beware|aware of|prepared? (?:for|to)|checks? for|"
    r"cautious (?:of|for|about)|careful (?:of|with)|vigilant (?:for|of)|yield(?:ing|s)? to|monitor(?:ing)?|mindful of|"
    r"attention to|avoid(?:ing|s)?|prevent(?:ing|s)?|expect(?:ed|s|ing)?|anticipat\w+|to (?:cross|stop|slow)|"
    r"any|such as|e g|for example|like|ideal|typical(?:ly)? (?:of|for)|"
    r"recent(?:ly)?|earlier|previous(?:ly)?|past|was|were|been|former(?:ly)?|yesterday|later|soon|eventually|"
    r"forecast|upcoming|melted|melting|leftover|left over|residual|no longer|used to|usually|often|sometimes|generally when)\b"
)
_DENIED = re.compile(
    r"\b(?:no|not|\w+n't|never|without|none|nothing|nobody|neither|nor|hardly|barely|free (?:of|from)|clear of|"
    r"absence of|lack of|lacks?|devoid of|absent)\b"
)
_OPEN_AFTER = re.compile(
    r"\s*(?:\w+ )?(?:is|are|was|were|remains?) (?:possible|likely|expected|unlikely|forecast|over)\b|"
    r"\s*(?:has|have|had) (?:\w+ )?(?:stopped|ended|passed|ceased|cleared)\b|\s*(?:stopped|ended|ceased)\b"
)


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence with one mood of its own."""

    start: int
    end: int
    conditional: bool
    """Whether a condition opens the clause, or goes on from the clause before it."""


def plain(text: str) -> str:
    """The text in lower case, with one sign for each kind of dash and quote; every position stays where it is."""
    text = text.translate(_SIGNS).lower() if text.isascii() or len(text.lower()) == len(text) else text
    text = re.sub(r"\b(approx|e\.g|i\.e|vs|etc|ca)\.", lambda m: m[0].replace(".", " "), text)
    return re.sub(r"(?<!\d)-|-(?!\d)", " ", text)


_SIGNS = str.maketrans(
    {**dict.fromkeys("‐‑‒–—−", "-"), **dict.fromkeys("’‘ʼ`´", "'"), "*": " ", "_": " ", "\n": " ", '"': " "}
)


def clauses(text: str) -> tuple[Clause, ...]:
    """The clauses of one sentence in `plain` form, without gaps."""
    cuts = [0, *(match.start() for match in _BOUNDARY.finditer(text) if match.start()), len(text)]
    found: list[Clause] = []
    first = text.lstrip()
    whole = bool(re.match(r"(?:if|when|whenever|unless|should|in case|once)\b", first))
    for start, end in zip(cuts, cuts[1:], strict=False):
        body = text[start:end].lstrip(" ,;:.()")
        conditional = bool(_CONDITION.match(body))
        if not conditional and found and found[-1].conditional:
            conditional = whole or bool(_CARRIED.match(body))
        found.append(Clause(start, end, conditional))
    return tuple(found)


def clause_at(found: tuple[Clause, ...], position: int) -> Clause:
    """The clause that holds a position."""
    return next(clause for clause in reversed(found) if clause.start <= position)


def mood(
    text: str, clause: Clause, first: int, decisive: int, end: int, *, denies: bool, presupposes: bool
) -> Mood:
    """How the words from ``first`` to ``end`` are meant.

    Args:
        text: the sentence in `plain` form.
        clause: the clause that holds ``decisive``.
        first: where the words begin; may lie in an earlier clause ("the nearest car, which is 15 m away").
        decisive: where the word stands that carries the value.
        end: where the words end.
        denies: whether the words themselves hold the denial ("no person").
        presupposes: whether the words hold even in an advice ("stop at the red light").
    """
    before = text[clause.start : max(clause.start, first if denies else decisive)]
    if clause.conditional or _OPEN_AFTER.match(text, end):
        return "open"
    if not presupposes and _OPEN.search(text, clause.start, max(clause.start, first) if denies else end):
        return "open"
    return "denied" if _DENIED.search(before) else "asserted"

"""Clauses of a sentence and their mood: what is asserted, what is denied, what is only possible, advised or past."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Mood = Literal["asserted", "denied", "open"]
"""`open`: a condition, a possibility, an advice, an example, or what was earlier or comes later."""

_CONDITIONS = r"if|unless|until|when|whenever|once|before|after|in case|as soon as|whether"
_FINITE = (
    r"(?:is|are|has|have|appears?|seems?|shows?|remains?|looks?|can|could|may|might|should|must|will|needs?|"
    r"turns?|drives?|moves?|crosse?s?|stands?|walks?)"
)
_BOUNDARY = re.compile(
    r"[;:()!?]|,(?!\d)|\.(?!\d)|\b(?:and|but) (?:(?:is|are|has) )?now\b|"
    r"\b(?:which|who|whom|where|because|since|so|but|while|whereas|although|though|however|yet|then|"
    r"(?:indicat|suggest|requir|allow|caus|mean|mak|reduc|increas|provid|signal|ensur|creat|lead)ing)\b|"
    rf"\b(?:{_CONDITIONS})\b|"
    rf"\b(?:and|or|as)\b(?=(?: (?!and\b|or\b)[\w'/]+){{1,7}}? {_FINITE}\b)"
)
_CONDITION = re.compile(
    rf"(?:(?:and|but|or|only|even|just) )?(?:{_CONDITIONS}|should|as if|in the event|ensuring?)\b"
)
_WHOLLY_CONDITIONAL = re.compile(r"\s*(?:if|when|whenever|unless|should|in case|once)\b")
_CARRIED = re.compile(r"(?:and|or|that)\b")


def _any(*lines: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(lines)})\b")


_OPEN = _any(
    r"may|might|could|should|must|would|will|shall|can(?! be (?:seen|observed|noticed|noted)\b)|cannot|ought",
    r"needs? to|has to|have to|had to|wants? to|about to|going to|waiting to|ready to|to (?:cross|stop|slow)|supposed",
    r"possibly|possible|possibility|potential(?:ly)?|probabl[ey]|perhaps|maybe|likely|unlikely|likelihood|chances?",
    r"risks? (?:of|from|to|for|posed|with|that)|(?:danger|threat) of|threats? from|hazards? (?:from|such)",
    rf"{_CONDITIONS}|either|unclear|unsure|any|such as|e g|for example|like|ideal|typical(?:ly)? (?:of|for)",
    r"watch(?:ing)?(?: out)? for|look(?:ing)? out for|wait(?:s|ing)? for|alert (?:for|to)|beware|aware of",
    r"prepared? (?:for|to)|checks? for|cautious (?:of|for|about)|careful (?:of|with)|vigilant (?:for|of)",
    r"yield(?:ing|s)? to|monitor(?:ing)?|mindful of|attention to|avoid(?:ing|s)?|prevent(?:ing|s)?",
    r"expect(?:ed|s|ing)?|anticipat\w+|forecast|upcoming|soon|eventually|later|usually|often|sometimes|rarely|seldom",
    r"recent(?:ly)?|earlier|previous(?:ly)?|past|was|were|been|former(?:ly)?|yesterday|no longer|used to",
    r"melted|melting|leftover|left over|residual|generally when",
)
_DENIED = _any(
    r"no|not|\w+n't|never|without|none|nothing|nobody|neither|nor|hardly|barely",
    r"free (?:of|from)|clear of|absence of|lack of|lacks?|devoid of|absent",
)
_ADVICE = re.compile(
    r"[\s,;:.()]*(?:(?:and|so|then|but|please|always|to) )*(?:keep|maintain|watch|slow|wait|stay|yield|follow|prepare|"
    r"ensure|check|look|avoid|leave|reduce|adjust|remain|be|expect|consider|use|beware|obey|let|allow|give|take)\b"
)
_GENERIC = re.compile(r"\b(?:may|might|could|would|can(?! be (?:seen|observed|noticed)\b))\b")
_OPEN_AFTER = re.compile(
    r"\s*(?:\w+ )?(?:is|are|was|were|remains?) (?:possible|likely|expected|unlikely|forecast|over)\b|"
    r"\s*(?:has|have|had) (?:\w+ )?(?:stopped|ended|passed|ceased|cleared)\b|\s*(?:stopped|ended|ceased)\b"
)
_DOTTED = re.compile(r"\b(?:approx|e\.g|i\.e|vs|etc|ca)\.")
_SIGNS = str.maketrans(
    {**dict.fromkeys("‐‑‒–—−", "-"), **dict.fromkeys("’‘ʼ`´", "'"), **dict.fromkeys('*_\n\t"\xa0', " ")}
)


@dataclass(frozen=True)
class Clause:
    """A stretch of a sentence with one mood of its own."""

    start: int
    end: int
    conditional: bool
    """Whether a condition opens the clause, or goes on from the clause before it."""


def plain(text: str) -> str:
    """The text in lower case, one sign per kind of dash and quote, no hyphens but in ranges; positions are kept."""
    lower = text.translate(_SIGNS).lower()
    if len(lower) != len(text):  # a letter whose lower case is two letters
        lower = "".join(char.lower() if len(char.lower()) == 1 else char for char in text.translate(_SIGNS))
    lower = _DOTTED.sub(lambda match: match[0].replace(".", " "), lower)
    return re.sub(r"(?<!\d)-|-(?!\d)", " ", lower)


def clauses(text: str) -> tuple[Clause, ...]:
    """The clauses of one sentence in `plain` form, without gaps."""
    cuts = [0, *(match.start() for match in _BOUNDARY.finditer(text) if match.start()), len(text)]
    wholly = bool(_WHOLLY_CONDITIONAL.match(text))
    found: list[Clause] = []
    for start, end in pairwise(cuts):
        body = text[start:end].lstrip(" ,;:.()")
        goes_on = bool(found) and found[-1].conditional and (wholly or bool(_CARRIED.match(body)))
        found.append(Clause(start, end, goes_on or bool(_CONDITION.match(body))))
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
        end: where that word ends.
        denies: whether the words themselves hold the denial ("no person").
        presupposes: whether the words hold even in an advice ("stop at the red light").
    """
    before = max(clause.start, first if denies else decisive)
    if clause.conditional or _OPEN_AFTER.match(text, end):
        return "open"
    if not presupposes and (
        _OPEN.search(text, clause.start, before if denies else end)
        or _GENERIC.search(text, end, clause.end)  # "rain can make the road slippery"
        or _ADVICE.match(text, clause.start)
    ):
        return "open"
    return "denied" if _DENIED.search(text, clause.start, before) else "asserted"

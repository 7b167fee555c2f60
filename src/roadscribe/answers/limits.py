"""The prose of an answer within the report's limits: which sentences and points stay where it is longer.

Whole sentences are left out at the end of a text, and points at the end of the list, but never the statement of the
overall risk, which writers put last: an earlier point goes for it. `report_text` uses it on what a teacher wrote and
curate on what its rules made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from roadscribe.answers.prose import cut_at_sentence, sentences
from roadscribe.report import MAX_RISK_POINTS, Finding

LEVEL = r"(?:low|medium|moderate|high|minimal|elevated|severe)"

_OVERALL = re.compile(
    rf"\boverall\b.*\b(?:risks?|risky|hazards?|safe|safety|danger(?:ous)?)\b"
    rf"|^(?:overall )?risk (?:factor|level|rating|score)\b"
    rf"|\brisk (?:factor|level|rating|assessment)\b.*\b{LEVEL}\b"
    rf"|\b{LEVEL}(?:[ -](?:to[ -])?{LEVEL})? (?:overall risk|risk (?:factor|level|rating))\b"
    rf"|\b(?:assessment|situation|scenario|scene|risk) (?:is|indicates|presents|poses|has) (?:\w+ ){{0,3}}{LEVEL}"
    rf" (?:level of )?risk\b(?! of\b)",
    re.IGNORECASE,
)
_REASON = re.compile(
    r",? (?:due to|because|owing to|given|as|since|with|which|requiring|but|although|considering)\b|[,;:] "
)


def is_overall_risk(text: str) -> bool:
    """Whether a sentence or point states the risk of the whole situation, as the last one of an assessment does."""
    return _OVERALL.search(text) is not None


def fit_text(text: str, max_chars: int) -> tuple[str, str]:
    """(what fits into ``max_chars`` as whole sentences, what is left out); the overall risk stays.

    Where the overall risk alone is longer, its reasons are left out.
    """
    if len(text) <= max_chars:
        return text, ""
    parts = sentences(text)
    last = next((place for place in range(len(parts) - 1, -1, -1) if is_overall_risk(parts[place])), None)
    if last is None:
        return cut_at_sentence(text, max_chars)
    overall, dropped = _without_reasons(parts[last], max_chars)
    if not overall:
        return cut_at_sentence(text, max_chars)
    kept, length = [False] * len(parts), len(overall)
    for place, part in enumerate(parts):
        if place == last:
            continue
        if length + len(part) + 1 > max_chars:
            break
        kept[place], length = True, length + len(part) + 1
    before = [part for place, part in enumerate(parts) if kept[place] and place < last]
    after = [part for place, part in enumerate(parts) if kept[place] and place > last]
    left_out = [part for place, part in enumerate(parts) if not kept[place] and place != last]
    return " ".join([*before, overall, *after]), " ".join([*left_out, *([dropped] if dropped else [])])


def _without_reasons(sentence: str, max_chars: int) -> tuple[str, str]:
    """(a sentence that fits, cut where its reasons begin; what is left out); the first may be empty."""
    if len(sentence) <= max_chars:
        return sentence, ""
    ends = [match.start() for match in _REASON.finditer(sentence)]
    for end in reversed(ends):
        kept = f"{sentence[:end].rstrip(' ,;:')}."
        if len(kept) <= max_chars and is_overall_risk(kept):
            return kept, sentence[end:].strip(" ,;:")
    return "", sentence


_LEVEL = re.compile(rf"\b{LEVEL}\b", re.IGNORECASE)
_WHOLE_END = re.compile(rf"(?:risk|factor|level|{LEVEL} risk)$", re.IGNORECASE)


def overall_clause(text: str) -> str:
    """The statement of the overall risk at the beginning of a text whose end is cut off or only announces points.

    "Overall, the risk is medium due to the" states it before its reasons; "" where no level is stated in whole.
    """
    if not is_overall_risk(text):
        return ""
    for end in (match.start() for match in _REASON.finditer(text)):
        clause = text[:end].rstrip(" ,;:")
        if _LEVEL.search(clause) and is_overall_risk(f"{clause}."):
            return f"{clause}."
    whole = text.rstrip(" .:")
    return f"{whole}." if _LEVEL.search(whole) and _WHOLE_END.search(whole) else ""


def fit_points(points: Iterable[str], findings: list[Finding]) -> list[str]:
    """At most MAX_RISK_POINTS points; the overall risk stays and earlier points go for it, with a finding."""
    points = list(points)
    if len(points) <= MAX_RISK_POINTS:
        return points
    overall = [place for place, point in enumerate(points) if is_overall_risk(point)][-MAX_RISK_POINTS:]
    others = [place for place in range(len(points)) if place not in overall]
    stay = {*overall, *others[: MAX_RISK_POINTS - len(overall)]}
    left_out = [point for place, point in enumerate(points) if place not in stay]
    message = f"{len(left_out)} of {len(points)} risk points are left out, a report has {MAX_RISK_POINTS}"
    if overall and overall[-1] >= MAX_RISK_POINTS:
        message += "; the overall risk at the end stays"
    findings.append(Finding(rule="form.length", before=left_out, message=message))
    return [points[place] for place in sorted(stay)]

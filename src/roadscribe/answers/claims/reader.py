"""`read_claims`: the claims that a text asserts, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache

from roadscribe.answers.claims.claim import Claim, compatible
from roadscribe.answers.claims.clauses import Clause, clause_at, clauses, mood, plain
from roadscribe.answers.claims.measures import measure_pattern, read_measure
from roadscribe.answers.claims.phrases import LABELS, MASKS, PHRASES, Phrase
from roadscribe.answers.prose import sentences

_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_LABEL = re.compile(r"^\s*(?P<label>[a-z][\w /&()]{1,40}?)\s*:\s*(?=\S)")
_LABEL_TAIL = r"(?=\s*(?:$|[.,;(!]|-|due|because|as |with|since|and|in |on |ahead|at |for |conditions?|lane|lanes|street|road|area))"


def read_claims(text: str) -> tuple[Claim, ...]:
    """What a sentence or a longer text claims, in the order of the text.

    Only what is asserted of the present scene and of the ego vehicle's road is a claim: no conditions, advice,
    possibilities, examples, past or coming states, other objects or parts of the scene. Claims of one sentence
    about one topic that exclude each other ("one light is red, the other green") are left out.
    """
    found: list[Claim] = []
    start = 0
    for sentence in section_sentences(text):
        start = text.index(sentence, start)
        found.extend(
            Claim(c.topic, c.value, c.start + start, c.end + start, c.low, c.high) for c in _read(sentence)
        )
        start += len(sentence)
    return tuple(found)


def section_sentences(section: str | Iterable[str]) -> tuple[str, ...]:
    """The sentences of a prose section: of a paragraph, of its lines, or of bullet points; bullets are left out."""
    lines = section.split("\n") if isinstance(section, str) else section
    return tuple(sentence for line in lines for sentence in sentences(_BULLET.sub("", line)))


@lru_cache(maxsize=4096)
def _read(sentence: str) -> tuple[Claim, ...]:
    text = plain(sentence)
    parts = clauses(text)
    by_topic: dict[str, list[Claim]] = {}
    for claim in (*_labelled(text), *_stated(text, parts)):
        claims = by_topic.setdefault(claim.topic, [])
        if not any(_says_more(c, claim) for c in claims):
            claims.append(claim)
    kept = [c for claims in by_topic.values() if _agree_among_themselves(claims) for c in claims]
    return tuple(sorted(kept, key=lambda claim: claim.start))


def _says_more(one: Claim, other: Claim) -> bool:
    """Whether ``other`` adds nothing to ``one``: the same, or only a bound of it ("15 m" and "at most 15 m")."""
    return one.value == other.value and (
        (one.low, one.high) == (other.low, other.high) or None in (other.low, other.high)
    )


def _agree_among_themselves(claims: list[Claim]) -> bool:
    return all(compatible(one, other) for n, one in enumerate(claims) for other in claims[n + 1 :])


def _stated(text: str, parts: tuple[Clause, ...]) -> Iterator[Claim]:
    masked = {topic: re.sub(mask, lambda m: "~" * len(m[0]), text) for topic, mask in MASKS.items()}
    for phrase, pattern, unless, not_after in _compiled():
        seen = masked.get(phrase.topic, text)
        for match in pattern.finditer(seen):
            decisive, end = match.span("v")
            clause = clause_at(parts, decisive)
            if unless and unless.search(text, clause.start, clause.end):
                continue
            if not_after and not_after.search(seen[: match.start()]):
                continue
            meant = mood(
                text,
                clause,
                match.start(),
                decisive,
                end,
                denies=phrase.denies,
                presupposes=phrase.presupposes,
            )
            if meant == "asserted":
                yield _claim(phrase, match)


def _claim(phrase: Phrase, match: re.Match[str]) -> Claim:
    if phrase.measure:
        low, high, value = read_measure(match, phrase.measure)
        return Claim(phrase.topic, value, match.start(), match.end(), None if phrase.bound else low, high)
    start, end = match.span()
    value = _value(phrase, match["v"])
    if phrase.topic == "ego_vehicle_speed":
        moving = value == -1
        return Claim(phrase.topic, 1 if moving else 0, start, end, 1 if moving else 0, None if moving else 0)
    if phrase.topic == "lane_count" and isinstance(value, int):
        return Claim(phrase.topic, value, start, end, value, value)
    return Claim(phrase.topic, value, start, end)


def _value(phrase: Phrase, words: str) -> str | bool | int | None:
    """The value of the words that carry it: the longest known phrase in them."""
    if not isinstance(phrase.value, Mapping):
        return phrase.value
    words = " ".join(re.sub(r"\b(?:to|towards?|the|curve|bend|turn|a|an|its)\b(?! turn)", " ", words).split())
    if words in phrase.value:
        return phrase.value[words]
    known = [key for key in phrase.value if re.search(rf"\b{re.escape(key)}\b", words)]
    return phrase.value[max(known, key=len)]


def _labelled(text: str) -> Iterator[Claim]:
    """The value that stands right behind a heading: "Traffic Light: red"."""
    label = _LABEL.match(text)
    if label is None:
        return
    for phrase, heading, body in _compiled_labels():
        if not heading.fullmatch(label["label"].strip()):
            continue
        match = body.match(text, label.end())
        if match is None:
            continue
        yield _claim(phrase, match)


@cache
def _compiled() -> tuple[tuple[Phrase, re.Pattern[str], re.Pattern[str] | None, re.Pattern[str] | None], ...]:
    return tuple(
        (
            phrase,
            re.compile(phrase.pattern),
            re.compile(phrase.unless) if phrase.unless else None,
            re.compile(phrase.not_after) if phrase.not_after else None,
        )
        for phrase in PHRASES
    )


@cache
def _compiled_labels() -> tuple[tuple[Phrase, re.Pattern[str], re.Pattern[str]], ...]:
    found = []
    for phrase in LABELS:
        if isinstance(phrase.value, Mapping):
            words = "|".join(sorted((re.escape(word) for word in phrase.value), key=len, reverse=True))
            body = rf"(?:(?:the|currently|a|an|it is|mostly|very)\s+)*(?P<v>{words})\b{_LABEL_TAIL}"
        else:
            body = measure_pattern(phrase.measure)
        found.append((phrase, re.compile(phrase.pattern), re.compile(body)))
    return tuple(found)

"""`read_claims`: the claims that a text asserts, sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from roadscribe.answers.claims.claim import Claim, compatible
from roadscribe.answers.claims.clauses import Clause, clause_at, clauses, mood, plain
from roadscribe.answers.claims.measures import read_measure
from roadscribe.answers.claims.phrases import Phrase, topics
from roadscribe.answers.prose import sentences

_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_LABEL = re.compile(r"^\s*(?P<label>[a-z][\w /&()]{1,40}?)\s*:\s*(?=\S)")


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
        if not any((c.value, c.low, c.high) == (claim.value, claim.low, claim.high) for c in claims):
            claims.append(claim)
    kept = [c for claims in by_topic.values() if _agree_among_themselves(claims) for c in _telling(claims)]
    return tuple(sorted(kept, key=lambda claim: claim.start))


def _telling(claims: list[Claim]) -> list[Claim]:
    """The claims of one topic without those that only say less: "at most 15 m" beside "15 m"."""
    exact = [c for c in claims if c.value != "present" and (c.low is None) == (c.high is None)]
    return exact or claims


def _agree_among_themselves(claims: list[Claim]) -> bool:
    return all(compatible(one, other) for n, one in enumerate(claims) for other in claims[n + 1 :])


def _stated(text: str, parts: tuple[Clause, ...]) -> Iterator[Claim]:
    for topic in topics():
        seen = topic.mask.sub(lambda match: "~" * len(match[0]), text) if topic.mask else text
        for phrase in topic.phrases:
            for match in phrase.pattern.finditer(seen):
                if _asserted(phrase, match, seen, parts):
                    yield _claim(topic.name, phrase, match)


def _asserted(phrase: Phrase, match: re.Match[str], text: str, parts: tuple[Clause, ...]) -> bool:
    decisive, end = match.span("v" if "v" in match.re.groupindex else 0)
    clause = clause_at(parts, decisive)
    if phrase.unless and phrase.unless.search(text, clause.start, clause.end):
        return False
    if phrase.not_after and phrase.not_after.search(text[: match.start()]):
        return False
    first = match.start()
    meant = mood(text, clause, first, decisive, end, denies=phrase.denies, presupposes=phrase.presupposes)
    return meant == "asserted"


def _claim(topic: str, phrase: Phrase, match: re.Match[str]) -> Claim:
    start, end = match.span()
    if phrase.measure:
        low, high, middle = read_measure(match, phrase.measure)
        return Claim(topic, middle, start, end, None if phrase.bound else low, high)
    value = phrase.value(match["v"])
    if value == "standing":
        return Claim(topic, 0, start, end, 0, 0)
    if value == "moving":
        return Claim(topic, 1, start, end, 1, None)
    if topic == "lane_count" and isinstance(value, int):
        return Claim(topic, value, start, end, value, value)
    return Claim(topic, value, start, end)


def _labelled(text: str) -> Iterator[Claim]:
    """The value that stands right behind a heading: "Traffic Light: red"."""
    label = _LABEL.match(text)
    if label is None:
        return
    for topic in topics():
        if (
            topic.headings is None
            or topic.bare is None
            or not topic.headings.fullmatch(label["label"].strip())
        ):
            continue
        match = topic.bare.pattern.match(text, label.end())
        if match is not None:
            yield _claim(topic.name, topic.bare, match)

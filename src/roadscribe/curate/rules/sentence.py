"""How a sentence is mended: what in it is claimed, and how a word is replaced with what hangs on it.

Pure text; the rules of `prose` decide what is wrong, these functions change it.
"""

from __future__ import annotations

import re

_I = re.IGNORECASE

CONDITION = re.compile(
    r"\b(?:until|when(?:ever)?|once|before|if|after|ensure|ensuring|as soon as|unless|in case|should|could|"
    r"may|might|can|check for|"
    r"watch for|look out for|alert for|be aware|be prepared|potential|possibly|possible|likely|any)\b",
    _I,
)
"""Words after which nothing is claimed to be so now: "until the light turns green", "any pedestrians"."""

CONSEQUENCE = re.compile(
    r"(?:,|;)?\s+(?:so\b|indicating\b|which\b|allowing\b|requiring\b|suggesting\b|signal?ling\b|meaning\b|therefore\b|"
    r"due to\b|because\b|since\b|as (?:the|there|it|a|well)\b|and (?:vehicles|cars|traffic|the ego vehicle) "
    r"(?:must|should|can|may|has to|have to)\b)",
    _I,
)


def claimed(match: re.Match[str]) -> bool:
    """Whether the matched words are claimed to be so now: no condition stands before them in their clause."""
    clause = re.split(r"[;,:]|\b(?:and|but|while)\b", match.string[: match.start()])[-1]
    return not CONDITION.search(clause)


def without_consequence(sentence: str, after: int) -> str:
    """The sentence without what follows from the claim that ends at ``after``."""
    tail = CONSEQUENCE.search(sentence, after)
    return sentence if tail is None else sentence[: tail.start()].rstrip(" ,;") + "."


def replaced_word(sentence: str, match: re.Match[str], group: str | int, word: str) -> str:
    """The sentence with one group of a match replaced and a capital kept."""
    start, end = match.span(group)
    return sentence[:start] + _capital_kept(sentence[start], word) + sentence[end:]


def replaced(sentence: str, match: re.Match[str], group: str | int, word: str) -> str:
    """The same without its consequence: what follows from the old word need not follow from the new."""
    end = match.start(group) + len(word)
    return without_consequence(replaced_word(sentence, match, group, word), end)


def _capital_kept(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old.isupper() else new

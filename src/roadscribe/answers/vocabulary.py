"""What the words of an answer mean: the data of `vocabulary.yaml` and the one way in which it is read.

`canonical` stands on this. A value is cut into words, the longest known phrases are found, and what is
denied, given as a reason, or said of another place or time is left aside. What remains is one word or none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import yaml

from roadscribe.report import PARAMETERS, VOCABULARY

MAX_VALUE_CHARS = 400
"""A longer value is an essay, not a value; it is not read."""
MAX_KEY_CHARS = 80
"""A longer key names no parameter."""

_NO = "@no"
_REASON = "@reason"
_RELATION = "@relation"
_OTHER_TIME = "@other time"
_HEDGE = "@hedge"
ABSENT = "@absent"
_ASIDE = "@aside"
_FILLER = "@filler"
_NOTHING = "@nothing"
_ELSEWHERE = "@elsewhere"
_SEPARATORS = frozenset(",;:.()/|&+!?")
_KEPT_SIGNS = _SEPARATORS | {"<", ">"}
_JOINING_WORDS = frozenset(("and", "but", "or", "with", "while", "whereas"))

_FRACTIONS = {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
_SIGNS = {
    **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    **dict.fromkeys("’‘ʼ´`′", "'"),
    **dict.fromkeys("“”„″", '"'),
    **dict.fromkeys("≈∼~≃≅", " about "),
    **dict.fromkeys("≤⩽", "<"),
    **dict.fromkeys("≥⩾", ">"),
    **dict.fromkeys("→⇒", ", then "),
    "⁄": "/",
    "\u200b": "",
    "*": " ",
}
_TOKEN = re.compile(r"\d+(?:,\d{3})+(?!\d)|\d+\.\d+|\.\d+|\d+|[^\W\d_]+(?:'[^\W\d_]+)*|[^\w\s]")
_MINUS = re.compile(r"(?<!\S)-(?=\.?\d)")
_DOTTED = re.compile(r"\b([mk])\.p\.h\b\.?")
_RANGE_SIGN = re.compile(r"(?<=\d)[ ]?[~∼～〜][ ]?(?=\d)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Understood:
    """What a value was taken to mean."""

    value: str | int | bool | None
    """The canonical value; None or "unknown" where it was not understood."""
    rule: str | None = None
    """The rule of the finding, or None where reading it was mere spelling."""
    why: str = ""
    """What happened, as the end of a sentence."""


@cache
def vocabulary() -> dict[str, Any]:
    """The content of `vocabulary.yaml`."""
    text = resources.files("roadscribe.answers").joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def plain(text: str) -> str:
    """Lower case, with one spelling for every kind of dash, quote, digit and fraction."""
    text = _RANGE_SIGN.sub("-", text)
    text = "".join(_FRACTIONS.get(character, _SIGNS.get(character, character)) for character in text)
    text = _CAMEL.sub(" ", unicodedata.normalize("NFKC", text)).lower()
    text = "".join(
        str(unicodedata.digit(character)) if character.isdigit() and not character.isascii() else character
        for character in text
    )
    text = _MINUS.sub("minus ", text)
    text = _DOTTED.sub(r"\1ph", text)
    return text.replace("n't", " not").replace("n/a", "na").replace("_", " ")


def tokens(text: str) -> list[str]:
    """The words, numbers and signs of a text in `plain` form."""
    return _TOKEN.findall(text)


@lru_cache(maxsize=4096)  # the same keys and values stand in every answer
def words(text: str) -> tuple[str, ...]:
    """The words and numbers of a text, as the phrases of the vocabulary are compared."""
    return tuple(token for token in tokens(plain(text)) if token[0].isalnum() or token in _KEPT_SIGNS)


class Phrases:
    """Phrases and what each stands for; finds the longest ones in a sequence of words."""

    def __init__(self, *tables: tuple[str, Iterable[str]]) -> None:
        """Later tables win over earlier ones where both hold a phrase."""
        self.meaning: dict[tuple[str, ...], str] = {}
        for meaning, phrases in tables:
            for phrase in phrases:
                self.meaning[words(phrase)] = meaning
        self.longest = max((len(phrase) for phrase in self.meaning), default=0)

    def at(self, sequence: tuple[str, ...], start: int) -> tuple[str, int] | None:
        """(what the longest phrase at ``start`` stands for, its length in words), or None."""
        for length in range(min(self.longest, len(sequence) - start), 0, -1):
            meaning = self.meaning.get(sequence[start : start + length])
            if meaning is not None:
                return meaning, length
        return None


@cache
def phrases_of(parameter: str) -> Phrases:
    """The phrases that count in a value of this parameter, the general ones included."""
    general = vocabulary()["general"]
    own = (
        vocabulary()["pedestrians"] if parameter == "pedestrian_on_road" else vocabulary()["words"][parameter]
    )
    canonical = [(word, [word]) for word in VOCABULARY.get(parameter, ()) if word != "unknown"]
    return Phrases(
        (_ASIDE, general["asides"]),
        (_OTHER_TIME, general["other_times"]),
        (_RELATION, general["relations"]),
        (_REASON, general["reasons"]),
        (_HEDGE, general["hedges"]),
        (_NO, general["negators"]),
        (ABSENT, general["absent"]),
        (_ASIDE, own.get("asides", [])),
        (_OTHER_TIME, own.get("other_times", [])),
        (_FILLER, own["filler"]),
        (_ELSEWHERE, own.get("elsewhere", [])),
        *canonical,
        *((meaning, [meaning, *phrases]) for meaning, phrases in own["phrases"].items()),
        (_NOTHING, own.get("nothing", [])),
    )


@dataclass
class Clause:
    """A stretch of a value between two separators."""

    said: list[str] = field(default_factory=list)
    """What it says, as canonical words (or features), in order."""
    denied: list[str] = field(default_factory=list)
    """What it says is not so."""
    unplaced: list[str] = field(default_factory=list)
    """Words that the vocabulary does not know."""
    negated: bool = False
    other_time: bool = False
    absent: bool = False
    hedged: bool = False
    """Only a guess of the writer."""
    after_or: bool = False
    """Joined to the clause before it by "or"."""


@dataclass
class Scan:
    """What a value says, clause by clause."""

    clauses: list[Clause]
    hedged: bool = False
    only_spelling: bool = True
    """Whether nothing stood there but phrases of one meaning each and filler words."""
    elsewhere: str = ""
    """The word that makes it speak of something else than what concerns the ego vehicle."""

    def said(self) -> list[tuple[str, Clause]]:
        """Everything said of the present, with its clause."""
        return [(word, clause) for clause in self.clauses if not clause.other_time for word in clause.said]

    def says_it_does_not_know(self) -> bool:
        """Whether a whole clause says nothing but that it cannot be told."""
        return any(clause.absent and not clause.said and not clause.unplaced for clause in self.clauses)


def scan(parameter: str, text: str) -> Scan:
    """Find what a value says. See `vocabulary.yaml` for the kinds of phrases."""
    sequence = words(text)
    known = phrases_of(parameter)
    result = Scan([Clause()])
    at = 0
    skip_clause = skip_sentence = False
    while at < len(sequence):
        clause = result.clauses[-1]
        found = known.at(sequence, at)
        word = sequence[at]
        if found is None and (word in _SEPARATORS or word in _JOINING_WORDS):
            carry = clause.negated and word == "or"
            result.clauses.append(Clause(negated=carry, after_or=word == "or"))
            skip_clause = False
            skip_sentence = skip_sentence and word not in (";", ".", "but")
            at += 1
            continue
        meaning, length = found or ("", 1)
        at += length
        if meaning != _FILLER and (meaning.startswith("@") or not meaning):
            result.only_spelling = False
        if meaning == _ELSEWHERE:
            result.elsewhere = result.elsewhere or " ".join(sequence[at - length : at])
        if skip_clause or skip_sentence:
            continue
        if meaning == "":
            clause.unplaced.append(word)
        elif meaning == _NO:
            clause.negated = True
        elif meaning == _REASON:
            skip_sentence = True
        elif meaning == _RELATION:
            skip_clause = True
        elif meaning == _OTHER_TIME:
            clause.other_time = True
        elif meaning == _HEDGE:
            result.hedged = clause.hedged = True
        elif meaning == ABSENT:
            clause.absent = True
        elif not meaning.startswith("@"):
            (clause.denied if clause.negated else clause.said).append(meaning)
    return result


def read_word(parameter: str, text: str) -> Understood:
    """The canonical word of a text, or "unknown" (None for `risk_factor`, which has no such word) and why."""
    own = vocabulary()["words"][parameter]
    unknown = "unknown" if "unknown" in VOCABULARY[parameter] else None
    seen = scan(parameter, text)
    said = seen.said()
    if seen.hedged and (sure := _without_guesses(seen, own)):
        said = sure
    hedged = seen.hedged and any(clause.hedged for _, clause in said)
    named = list(dict.fromkeys(word for word, _ in said))
    if seen.says_it_does_not_know() or (not named and any(clause.absent for clause in seen.clauses)):
        return Understood(unknown, f"absent.{parameter}", "says that it cannot be told")
    if hedged or (seen.hedged and not said):
        return Understood(
            unknown, f"vocabulary.{parameter}", "is not sure of itself, and a guess is not taken over"
        )
    if not named:
        denied = [word for clause in seen.clauses for word in clause.denied]
        why = (
            f"says only what it is not ({', '.join(denied)})" if denied else "holds no word of the vocabulary"
        )
        return Understood(unknown, f"vocabulary.{parameter}", why)
    if seen.elsewhere:
        why = f"{seen.elsewhere!r} makes it unclear whether it holds for the ego vehicle"
        return Understood(unknown, f"vocabulary.{parameter}", why)
    unplaced = [word for _, clause in said for word in clause.unplaced]
    if own.get("strict") and unplaced:
        why = f"names {_listed(named)}, but what {unplaced[0]!r} says about it is not understood"
        return Understood(unknown, f"vocabulary.{parameter}", why)
    if level := _level_of_range(parameter, text, named, own):
        why = f"is a range from {named[0]!r} to {named[1]!r} and read as {level!r}"
        return Understood(level, f"range.{parameter}", why)
    value = _one_of(said, own)
    if value is None:
        return Understood(
            unknown, f"conflict.{parameter}", f"names {_listed(named)} and does not say which one counts"
        )
    spelled = tuple(
        word
        for word in words(text)
        if word not in _SEPARATORS and word not in set(own["filler"]) - set(words(value))
    )
    if len(named) == 1 and spelled == words(value):
        return Understood(value)
    covered = [word for word in named if word != value]
    more = ", the rest is left out" if not seen.only_spelling else ""
    more = f", which goes before {_listed(covered)}" if covered else more
    return Understood(value, f"vocabulary.{parameter}", f"is read as {value!r}{more}")


def _without_guesses(seen: Scan, own: Mapping[str, Any]) -> list[tuple[str, Clause]]:
    """What is said outside the clauses that are a guess; empty where a guess puts it in doubt.

    A guess leaves the value standing where it names what goes with it, one covering the other ("overcast with possible
    rain"), or speaks of something that the vocabulary does not know ("medium, potential for sudden stops").
    """
    said = seen.said()
    sure = [(word, clause) for word, clause in said if not clause.hedged]
    if own.get("strict") or any(clause.after_or for clause in seen.clauses):
        return []
    if any(clause.hedged and not clause.said and not clause.unplaced for clause in seen.clauses):
        return []
    covers: dict[str, list[str]] = own.get("covers", {})
    for guess in (word for word, clause in said if clause.hedged):
        if not all(
            word == guess or word in covers.get(guess, ()) or guess in covers.get(word, ())
            for word, _ in sure
        ):
            return []
    return sure


def _level_of_range(parameter: str, text: str, named: list[str], own: Mapping[str, Any]) -> str | None:
    """The level that a range of two neighbouring levels means, by the `range` of the parameter; None for no range."""
    levels: list[str] = own.get("levels", [])
    if len(named) != 2 or not set(named) <= set(levels):
        return None
    if abs(levels.index(named[0]) - levels.index(named[1])) != 1 or not _joined_as_range(parameter, text):
        return None
    higher = max(named, key=levels.index)
    return higher if own["range"] == "upper" else levels[1]


def _joined_as_range(parameter: str, text: str) -> bool:
    """Whether nothing but "to", a slash or a dash stands between two levels, their nouns left aside."""
    spelled = plain(text)
    sequence, known = words(text), phrases_of(parameter)
    at = words_said = 0
    between: list[str] = []
    while at < len(sequence):
        meaning, length = known.at(sequence, at) or ("", 1)
        if meaning and not meaning.startswith("@"):
            words_said += 1
            if words_said == 2:
                break
        elif words_said == 1 and meaning != _FILLER:
            between.append(sequence[at])
        at += length
    return words_said == 2 and (between in (["to"], ["/"]) or (not between and "-" in spelled))


def _one_of(said: list[tuple[str, Clause]], own: Mapping[str, Any]) -> str | None:
    """The one word that is said, or that covers all others; None where two words contradict each other."""
    named = list(dict.fromkeys(word for word, _ in said))
    if len(named) == 1:
        return named[0]
    if any(clause.after_or for _, clause in said):
        return None
    same_clause = len({id(clause) for _, clause in said}) == 1
    covers: dict[str, list[str]] = own.get("covers", {})
    covers_in_phrase: dict[str, list[str]] = own.get("covers_in_phrase", {}) if same_clause else {}
    for word in named:
        covered = {word, *covers.get(word, ()), *covers_in_phrase.get(word, ())}
        if covered.issuperset(named):
            return word
    return None


def _listed(named: list[str]) -> str:
    return " and ".join(repr(word) for word in named)


@cache
def _keys() -> dict[tuple[str, ...], str]:
    keys = {words(parameter): parameter for parameter in PARAMETERS}
    for parameter, spellings in vocabulary()["keys"].items():
        keys.update({words(spelling): parameter for spelling in spellings})
    return keys


@cache
def unit_names() -> dict[tuple[str, ...], tuple[str, str, float]]:
    """Words of a unit -> (kind: speed, distance, lanes, other; the unit's name; factor to km/h or metres)."""
    return {
        tuple(tokens(plain(name))): (kind, name if kind == "other" else unit, float(entry["factor"]))
        for kind, units in vocabulary()["units"].items()
        for unit, entry in units.items()
        for name in entry["names"]
    }


def name_and_unit(key: str) -> tuple[tuple[str, ...], str | None]:
    """A key's words without the unit of speed or distance at its end, and that unit: "Speed (mph)"."""
    spelled = tuple(word for word in tokens(plain(key[:MAX_KEY_CHARS])) if word[0].isalnum() or word == "/")
    for length in range(min(4, len(spelled)), 0, -1):
        unit = unit_names().get(spelled[len(spelled) - length :])
        if unit is not None and unit[0] in ("speed", "distance"):
            name = spelled[: len(spelled) - length]
            return name[:-1] if name[-1:] in (("in",), ("/",)) else name, unit[1]
    return spelled, None


def parameter_of_key(key: str) -> tuple[str, str | None] | None:
    """(parameter, unit or None) that a key names, in whatever spelling; None for a key that names none.

    The unit is one that stands at the key's end: "Ego Speed (mph)" is ("ego_vehicle_speed", "mph").
    """
    if len(key) > MAX_KEY_CHARS:
        return None
    name, unit = name_and_unit(key)
    while name and name[0] in ("the", "estimated", "approximate", "approx", "current"):
        if name in _keys():
            break
        name = name[1:]
    parameter = _keys().get(name)
    return (parameter, unit) if parameter else None

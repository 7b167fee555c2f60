"""Speeds and distances in prose: how they are written, and what they are in km/h and metres."""

from __future__ import annotations

import re

from roadscribe.answers.vocabulary import vocabulary

ONE_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,7})(?:\.\d+)?"
# Never the end of a longer number: "1,000 feet" is not 0 feet.
RANGE = rf"(?<![\d.,])(?P<low>{ONE_NUMBER})(?:\s*(?:-|to|and)\s*(?P<high>{ONE_NUMBER}))?"

UNITS: tuple[tuple[str, str, float], ...] = (
    ("km/h", r"\s*(?:mph|miles per hour|miles an hour)\b", 1.609344),
    ("km/h", r"\s*(?:km/h|kmh|kph|kilomet(?:er|re)s (?:per|an) hour)(?![\w/])", 1.0),
    ("meters", r"[\s-]*(?:feet|foot|ft)\b(?!\s+per\b)", 0.3048),
    ("meters", r"[\s-]*(?:yards?|yds?)\b", 0.9144),
    ("meters", r"[\s-]*(?:met(?:er|re)s?|m)\b(?!/|\s+(?:per|an)\b)", 1.0),
)
"""(unit as the report writes it, how a unit is written, how many of the report's unit it is)."""

MEASURES: tuple[tuple[re.Pattern[str], str, float], ...] = tuple(
    (re.compile(RANGE + unit, re.IGNORECASE), own, factor) for own, unit, factor in UNITS
)

_WORDS = vocabulary()["numbers"]
_WORD = "|".join(sorted(_WORDS, key=len, reverse=True))
_BOUND = (
    r"(?:(?P<below>less than|under|below|at most|up to|within|no more than)|"
    r"(?P<above>more than|over|above|at least|beyond|exceeding))?"
)
_ABOUT = r"(?:(?:only|just|about|approximately|approx|around|roughly|some|nearly|almost|an estimated|between|only about)\s+)*"


def measure_pattern(unit: str) -> str:
    """A regular expression for a measure in ``unit`` (km/h or meters), with the groups that `read_measure` needs."""
    written = "|".join(pattern for own, pattern, _ in UNITS if own == unit)
    number = rf"(?<![\w.,])(?P<low>{ONE_NUMBER}|{_WORD})(?:\s*(?:-|to|and)\s*(?P<high>{ONE_NUMBER}|{_WORD}))?"
    return rf"{_ABOUT}{_BOUND}\s?{_ABOUT}(?P<v>{number}(?P<unit>{written}))"


def number(text: str) -> float:
    """A number in digits or one word."""
    return float(_WORDS[text]) if text in _WORDS else float(text.replace(",", ""))


def read_measure(match: re.Match[str], unit: str) -> tuple[float | None, float | None, int]:
    """(low, high, value) in ``unit`` of a match of `measure_pattern`; an open end is None."""
    factor = next(f for own, pattern, f in UNITS if own == unit and re.fullmatch(pattern, match["unit"]))
    low = number(match["low"]) * factor
    high = number(match["high"]) * factor if match["high"] else low
    middle = round((low + high) / 2)
    if match["below"]:
        return None, high, round(high)
    if match["above"]:
        return low, None, round(low)
    return low, high, middle

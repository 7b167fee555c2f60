"""Speeds and distances in prose: how they are written, and what they are in km/h and metres."""

from __future__ import annotations

import re

from roadscribe.answers.vocabulary import vocabulary

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,7})(?:\.\d+)?"
_UNITS: tuple[tuple[str, str, float], ...] = (
    ("km/h", r"\s*(?:mph|miles per hour|miles an hour)\b", 1.609344),
    ("km/h", r"\s*(?:km/h|kmh|kph|kilomet(?:er|re)s (?:per|an) hour)(?![\w/])", 1.0),
    ("meters", r"[\s-]*(?:feet|foot|ft)\b(?!\s+per\b)", 0.3048),
    ("meters", r"[\s-]*(?:yards?|yds?)\b", 0.9144),
    ("meters", r"[\s-]*(?:met(?:er|re)s?|m)\b(?!/|\s+(?:per|an)\b)", 1.0),
)
"""(unit as the report writes it, how a unit is written, how many of the report's unit it is)."""

MEASURES: tuple[tuple[re.Pattern[str], str, float], ...] = tuple(
    # Never the end of a longer number: "1,000 feet" is not 0 feet.
    (
        re.compile(
            rf"(?<![\d.,])(?P<low>{_NUMBER})(?:\s*(?:-|to|and)\s*(?P<high>{_NUMBER}))?{unit}", re.IGNORECASE
        ),
        own,
        factor,
    )
    for own, unit, factor in _UNITS
)
"""(a measure in digits as it stands in prose, with the groups low and high; the report's unit; the factor to it)."""

_WORDS = vocabulary()["numbers"]
_ONE = rf"{_NUMBER}|{'|'.join(sorted(_WORDS, key=len, reverse=True))}"
_ABOUT = (
    r"(?:(?:only|just|about|approximately|approx|around|roughly|some|nearly|almost|an estimated|between) )*"
)
_BOUND = (
    r"(?:(?P<below>less than|under|below|at most|up to|within|no more than)|"
    r"(?P<above>more than|over|above|at least|beyond|exceeding))?"
)


def measure_pattern(unit: str) -> str:
    """A regular expression for a measure in ``unit`` (km/h or meters); `read_measure` reads its match."""
    written = "|".join(pattern for own, pattern, _ in _UNITS if own == unit)
    number = rf"(?<![\w.,])(?P<low>{_ONE})(?:\s*(?:-|to|and)\s*(?P<high>{_ONE}))?"
    return rf"{_ABOUT}{_BOUND} ?{_ABOUT}(?P<v>{number}(?P<unit>{written}))"


def read_measure(match: re.Match[str], unit: str) -> tuple[float | None, float | None, int]:
    """(low, high, the middle or the one end) in ``unit`` of a match of `measure_pattern`; an open end is None."""
    factor = next(f for own, pattern, f in _UNITS if own == unit and re.fullmatch(pattern, match["unit"]))
    low = number(match["low"]) * factor
    high = number(match["high"]) * factor if match["high"] else low
    if match["below"]:
        return None, high, round(high)
    if match["above"]:
        return low, None, round(low)
    return low, high, round((low + high) / 2)


def number(text: str) -> float:
    """A number in digits or in one word."""
    return float(_WORDS[text]) if text in _WORDS else float(text.replace(",", ""))

"""A claim of the prose, and whether it agrees with the values of a report or with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from roadscribe.report import PARAMETERS

Verdict = Literal["agree", "contradict", "unknown"]

TIME_OF_DAY = "time_of_day"
TOPICS: tuple[str, ...] = (*PARAMETERS, TIME_OF_DAY)
"""What a claim can be about: the 12 parameters of a report, and the time of day (day, night, dawn_dusk)."""

NUMBERS = ("lane_count", "closest_vehicle_distance", "ego_vehicle_speed")
"""Topics whose claims hold a range of numbers."""

TOLERANCES: dict[str, tuple[float, float]] = {
    "closest_vehicle_distance": (5, 0.25),
    "ego_vehicle_speed": (5, 0.15),
}
"""A stated number agrees within max(absolute, relative x value): metres and km/h, as in the scorecard."""

NEIGHBOURS: dict[str, dict[str, tuple[str, ...]]] = {
    # Rain and snow fall from an overcast sky and take the view; between clear and overcast the sky decides nothing.
    "weather": {
        "clear": ("partly_cloudy",),
        "partly_cloudy": ("clear", "overcast"),
        "overcast": ("partly_cloudy",),
        "rainy": ("overcast", "foggy"),
        "snowy": ("overcast", "foggy"),
        "foggy": ("overcast",),
    },
    "road_type": {
        "urban": ("suburban", "residential"),
        "suburban": ("urban", "residential", "rural"),
        "residential": ("urban", "suburban"),
        "rural": ("suburban", "highway"),
        "highway": ("rural",),
        "tunnel": ("highway", "urban"),
        "parking_lot": ("urban", "suburban"),
        "gas_station": ("urban", "suburban"),
    },
    "road_curvature": {
        "straight": ("slight_left", "slight_right", "curved"),
        "slight_left": ("straight", "sharp_left", "curved"),
        "slight_right": ("straight", "sharp_right", "curved"),
        "sharp_left": ("slight_left", "curved"),
        "sharp_right": ("slight_right", "curved"),
        "curved": ("straight", "slight_left", "slight_right", "sharp_left", "sharp_right"),
    },
    "visibility": {"good": ("moderate",), "moderate": ("good", "poor"), "poor": ("moderate",)},
    "traffic_density": {
        "none": ("low",),
        "low": ("none", "moderate"),
        "moderate": ("low", "high"),
        "high": ("moderate",),
    },
    "time_of_day": {"day": ("dawn_dusk",), "night": ("dawn_dusk",), "dawn_dusk": ("day", "night")},
}
"""By topic and the report's value: other words of the prose that do not contradict it."""

_SAME_TIME = {"daytime": "day", "dawn/dusk": "dawn_dusk", "undefined": None}


@dataclass(frozen=True)
class Claim:
    """One value that a text gives to one topic."""

    topic: str
    """One of `TOPICS`."""
    value: str | bool | int | None
    """Canonical as in the report, in metres and km/h; the middle of a range, the end of an open one. None: no
    vehicle is ahead. A light may also be `present` (its colour is not stated) and `unknown` (said to be
    unreadable)."""
    start: int
    end: int
    """The words that carry the claim: ``text[start:end]``."""
    low: float | None = None
    high: float | None = None
    """Of a number: the smallest and the largest value that the words allow, without any tolerance. None: open on
    that side, as in "more than 50 meters" or "is moving slowly" (a speed of 1 or more)."""

    def holds(self, value: float) -> bool:
        """Whether a number lies in the claimed range or within the tolerance of it."""
        absolute, relative = TOLERANCES.get(self.topic, (0.0, 0.0))
        allowed = relative * value
        if self.low is not None and self.high is not None:
            allowed = max(allowed, absolute)
        return (self.low is None or self.low - allowed <= value + 1e-9) and (
            self.high is None or value - 1e-9 <= self.high + allowed
        )


def compare(claim: Claim, values: Mapping[str, Any], *, strict: bool = False) -> Verdict:
    """Whether a claim agrees with values: those of a report's JSON, or the truth.

    Args:
        claim: what a sentence claims.
        values: by topic; null, "unknown" and a topic that is not there make the verdict ``unknown``. The time of
            day may also be in BDD100K's words.
        strict: whether a neighbouring word (overcast beside rain, moderate beside good) contradicts, too.
    """
    value = values.get(claim.topic)
    if claim.topic not in values:
        return "unknown"
    if claim.topic == TIME_OF_DAY:
        value = _SAME_TIME.get(value, value) if isinstance(value, str) else None
    if claim.topic in NUMBERS:
        if value is None or claim.value is None:
            return "unknown" if claim.value is not None else "agree" if value is None else "contradict"
        return "agree" if claim.holds(float(value)) else "contradict"
    if value == claim.value:
        return "agree"
    if value is None or value == "unknown":
        return "unknown"
    if claim.value == "present":
        return "contradict" if value == "none" else "agree"
    near = () if strict else NEIGHBOURS.get(claim.topic, {}).get(str(value), ())
    return "agree" if claim.value in near else "contradict"


def contradicts(claim: Claim, values: Mapping[str, Any], *, strict: bool = False) -> bool:
    """Whether a claim cannot stand beside these values; unknown values contradict nothing."""
    return compare(claim, values, strict=strict) == "contradict"


def compatible(one: Claim, other: Claim) -> bool:
    """Whether two claims of one topic can both be true."""
    if one.topic in NUMBERS:
        if one.value is None or other.value is None:
            return one.value is other.value
        low, high = (float(c.low if c.low is not None else c.high or 0) for c in (one, other))
        return one.holds(high) or other.holds(low)
    return (
        compare(one, {one.topic: other.value}) == "agree" or compare(other, {one.topic: one.value}) == "agree"
    )

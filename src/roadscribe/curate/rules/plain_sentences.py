"""Plain sentences, which carry nothing but their values, written anew with another value.

They are those of the simulated teacher (`annotate/simulated.py`), such as "The ego vehicle drives in the left lane
at about 40 km/h.": here a value can be replaced and nothing else depends on it. Any other sentence is dropped by the
rule that asks, since what a person says around a claim often follows from it.
"""

from __future__ import annotations

import re
from typing import Any

_LIGHTS: dict[Any, str] = {
    "red": "the traffic light is red",
    "yellow": "the traffic light is yellow",
    "green": "the traffic light is green",
    "off": "the traffic light is off",
    "none": "no traffic light is in view",
    None: "the traffic light cannot be made out",
}
_PEOPLE = {True: "a person is on the road", False: "no person is on the road"}
_WEATHER = {
    "clear": "in clear weather",
    "partly_cloudy": "in partly cloudy weather",
    "overcast": "in overcast weather",
    "rainy": "in rain",
    "snowy": "in snow",
    "foggy": "in fog",
}
_TIMES = {"daytime": "by day", "night": "at night", "dawn/dusk": "at dusk"}
_LANES = {
    "left": "in the left lane",
    "middle": "in the middle lane",
    "right": "in the right lane",
    "single": "in the only lane",
    "turn_left": "in the left turn lane",
    "turn_right": "in the right turn lane",
    None: "on the road",
}
_PHRASES: dict[str, dict[Any, str]] = {
    "traffic_light_state": _LIGHTS,
    "pedestrian_on_road": _PEOPLE,
    "weather": _WEATHER,
    "time_of_day": _TIMES,
    "ego_lane_position": _LANES,
}


def _any(phrases: dict[Any, str]) -> str:
    return f"(?:{'|'.join(phrases.values())})"


_EGO = re.compile(
    rf"The ego vehicle (?P<verb>is stopped|is|drives) (?P<lane>{_any(_LANES)})(?: at about \d+ km/h)?\."
)
_AHEAD = re.compile(
    r"(?:The lanes ahead are free|The nearest vehicle is about \d+ (?:meters|feet) ahead)"
    r"(?P<traffic> in \w+ traffic)?(?P<advice>, so keep [\w ]+)?\."
)
_SETTING = re.compile(
    rf"(?:The scene shows|The ego vehicle is (?:on|in)) an? [\w ]+?(?: {_any(_TIMES)})?(?: {_any(_WEATHER)})?\.|"
    rf"An? [\w ]+?(?: with \w+ lanes?)?(?: {_any(_TIMES)})?(?: {_any(_WEATHER)})?\."
)
_SIGNALS = re.compile(
    rf"{_any(_LIGHTS)}(?: and {_any(_PEOPLE)})?(?:, so prepare to stop)?\.|"
    rf"{_any(_PEOPLE)}(?:, so be ready to brake)?\.",
    re.IGNORECASE,
)


def rewritten(sentence: str, topic: str, value: Any, free_ahead: bool = False) -> str | None:
    """A plain sentence with ``value`` for ``topic``, or None where it is no plain sentence or has no such value.

    Args:
        sentence: the whole sentence.
        topic: what it says something wrong about.
        value: the report's value; null and "unknown" where it cannot be told.
        free_ahead: whether it is known that no vehicle is ahead.
    """
    value = None if value == "unknown" else value
    if topic == "ego_vehicle_speed":
        return _with_speed(sentence, value)
    if topic == "closest_vehicle_distance":
        return _with_distance(sentence, value, free_ahead)
    phrases = _PHRASES.get(topic, {})
    if value not in phrases or not any(
        plain.fullmatch(sentence) for plain in (_EGO, _SETTING, _SIGNALS, _AHEAD)
    ):
        return None
    old = re.search(rf"\b{_any(phrases)}\b", sentence, re.IGNORECASE)
    if old is None:
        return None
    new = phrases[value]
    start = new[0].upper() + new[1:] if old[0][0].isupper() else new
    # An advice follows from the old value only: ", so prepare to stop".
    rest = sentence[old.end() :].partition(", so ")
    return sentence[: old.start()] + start + rest[0] + ("." if rest[1] else "")


def _with_speed(sentence: str, kmh: int | None) -> str | None:
    plain = _EGO.fullmatch(sentence)
    if plain is None:
        return None
    if kmh == 0:
        return f"The ego vehicle is stopped {plain['lane']}."
    return f"The ego vehicle {'is' if kmh is None else 'drives'} {plain['lane']}" + (
        "." if kmh is None else f" at about {kmh} km/h."
    )


def _with_distance(sentence: str, metres: int | None, free_ahead: bool) -> str | None:
    plain = _AHEAD.fullmatch(sentence)
    if plain is None or (metres is None and not free_ahead):
        return None
    said = (
        "The lanes ahead are free"
        if metres is None
        else f"The nearest vehicle is about {metres} meters ahead"
    )
    return f"{said}{plain['traffic'] or ''}."

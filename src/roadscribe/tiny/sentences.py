"""Everyday sentences about a simulated drive: each fact in several wordings, and longer texts made of them.

The tiny base learns to write long texts here whose facts agree with the images and with each other. They are plain
prose; nothing of the report's form occurs (a test holds this).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from roadscribe.report import DrivingParameters

KMH_PER_MPH = 1.609344
METERS_PER_FOOT = 0.3048

NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}

PLACES = {
    "highway": ("highway", "motorway"),
    "urban": ("urban street", "city street", "urban road"),
    "suburban": ("suburban road", "suburban street"),
    "rural": ("rural road", "country road"),
    "tunnel": ("tunnel", "road tunnel"),
}
_TIMES = {
    "daytime": ("by day", "in daylight", "during the day"),
    "night": ("at night", "in the dark"),
    "dawn/dusk": ("at dusk", "in the twilight"),
}
_WEATHERS = {
    "clear": ("in clear weather", "under a clear sky"),
    "partly_cloudy": ("in partly cloudy weather", "under a partly cloudy sky"),
    "overcast": ("in overcast weather", "under an overcast sky"),
    "rainy": ("in rain", "in rainy weather"),
    "snowy": ("in snow", "in snowy weather"),
    "foggy": ("in fog", "in foggy weather"),
}
_LANES = {
    "left": ("in the left lane", "in the leftmost lane", "on the left"),
    "middle": ("in the middle lane", "in a middle lane", "in the middle"),
    "right": ("in the right lane", "in the rightmost lane", "on the right"),
    "single": ("in the only lane", "in the single lane"),
}
_BENDS = {
    "straight": ("The road is straight.", "The road runs straight ahead.", "There is no bend."),
    "slight_left": ("The road bends slightly to the left.", "There is a slight left bend."),
    "slight_right": ("The road bends slightly to the right.", "There is a slight right bend."),
    "sharp_left": ("The road bends sharply to the left.", "There is a sharp left bend."),
    "sharp_right": ("The road bends sharply to the right.", "There is a sharp right bend."),
}
_EGO = ("The ego vehicle", "The car", "Our car", "The ego vehicle")


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def speed_words(kmh: int, imperial: bool) -> str:
    """A speed in words, such as ``47 km/h`` or ``29 mph``."""
    return f"{round(kmh / KMH_PER_MPH)} mph" if imperial else f"{kmh} km/h"


def distance_words(meters: int, imperial: bool) -> str:
    """A distance in words, such as ``17 meters`` or ``56 feet``."""
    return f"{round(meters / METERS_PER_FOOT)} feet" if imperial else f"{meters} meters"


def place(road_type: str, lanes: int, rng: random.Random) -> str:
    """Road and lanes, such as ``a city street with two lanes``."""
    count = f"{NUMBERS[lanes]} lane{'' if lanes == 1 else 's'}"
    return (
        f"{_article(rng.choice(PLACES[road_type]))} {rng.choice(('with', 'with', 'of', 'that has'))} {count}"
    )


def _road_type(value: str, rng: random.Random, imperial: bool) -> str:
    noun = _article(rng.choice(PLACES[value]))
    return rng.choice((f"This is {noun}.", f"We are on {noun}.", f"The road is {noun}."))


def _lane_count(value: int, rng: random.Random, imperial: bool) -> str:
    count = NUMBERS[value] if rng.random() < 0.7 else str(value)
    noun = f"lane{'' if value == 1 else 's'}"
    be = "is" if value == 1 else "are"
    return rng.choice((f"There {be} {count} {noun}.", f"The road has {count} {noun}."))


def _lane_position(value: str, rng: random.Random, imperial: bool) -> str:
    where = rng.choice(_LANES[value])
    return f"{rng.choice(_EGO)} {rng.choice(('is', 'is', 'keeps', 'stays'))} {where}."


def _light(value: str, rng: random.Random, imperial: bool) -> str:
    if value == "none":
        return rng.choice(
            ("No traffic light is in view.", "There is no traffic light.", "No light is in view.")
        )
    return rng.choice(
        (f"The traffic light is {value}.", f"The traffic light ahead is {value}.", f"The light is {value}.")
    )


def _person(value: bool, rng: random.Random, imperial: bool) -> str:
    if value:
        return rng.choice(
            ("A person is on the road.", "There is a person on the road.", "Somebody is on the road.")
        )
    return rng.choice(
        ("No person is on the road.", "There is no person on the road.", "Nobody is on the road.")
    )


def _distance(value: int | None, rng: random.Random, imperial: bool) -> str:
    if value is None:
        return rng.choice(
            ("The lanes ahead are free.", "No vehicle is near ahead.", "There is no vehicle ahead.")
        )
    far = rng.choice(("", "about ", "some ")) + distance_words(value, imperial)
    return rng.choice(
        (
            f"The nearest vehicle is {far} ahead.",
            f"The closest vehicle is {far} away.",
            f"The next vehicle is {far} ahead.",
            f"The distance to the nearest vehicle is {far}.",
        )
    )


def _speed(value: int, rng: random.Random, imperial: bool) -> str:
    ego = rng.choice(_EGO)
    if value == 0 and rng.random() < 0.7:
        return rng.choice((f"{ego} is stopped.", f"{ego} stands still."))
    fast = speed_words(value, imperial)
    about = rng.choice(("at about", "at"))
    return rng.choice(
        (f"{ego} drives {about} {fast}.", f"The speed is {fast}.", f"{ego} goes {about} {fast}.")
    )


def _curvature(value: str, rng: random.Random, imperial: bool) -> str:
    return rng.choice(_BENDS[value])


def _weather(value: str, rng: random.Random, imperial: bool) -> str:
    if value == "unknown":
        return rng.choice(("The weather cannot be told.", "The sky is hidden."))
    word = value.replace("_", " ")
    return rng.choice((f"The weather is {word}.", f"The sky is {word}.", f"It is {word}."))


def _visibility(value: str, rng: random.Random, imperial: bool) -> str:
    return rng.choice((f"Visibility is {value}.", f"The visibility is {value}.", f"The view is {value}."))


def _density(value: str, rng: random.Random, imperial: bool) -> str:
    if value == "none":
        return rng.choice(("There is no traffic.", "No traffic is in view."))
    return rng.choice(
        (f"The traffic is {value}.", f"There is {value} traffic.", f"Traffic density is {value}.")
    )


def _risk(value: str, rng: random.Random, imperial: bool) -> str:
    word = "moderate" if value == "medium" and rng.random() < 0.3 else value
    return rng.choice(
        (f"The overall risk is {word}.", f"The risk is {word}.", f"All in all the risk is {word}.")
    )


_FACTS: dict[str, Callable[[Any, random.Random, bool], str]] = {
    "road_type": _road_type,
    "lane_count": _lane_count,
    "ego_lane_position": _lane_position,
    "traffic_light_state": _light,
    "pedestrian_on_road": _person,
    "closest_vehicle_distance": _distance,
    "ego_vehicle_speed": _speed,
    "road_curvature": _curvature,
    "weather": _weather,
    "visibility": _visibility,
    "traffic_density": _density,
    "risk_factor": _risk,
}
"""How a value of each parameter is said in a sentence of its own."""

_OTHERS: dict[str, Sequence[Any]] = {
    "road_type": tuple(PLACES),
    "lane_count": tuple(NUMBERS),
    "ego_lane_position": tuple(_LANES),
    "traffic_light_state": ("red", "yellow", "green", "off", "none"),
    "pedestrian_on_road": (True, False),
    "road_curvature": tuple(_BENDS),
    "weather": tuple(_WEATHERS),
    "visibility": ("good", "moderate", "poor"),
    "traffic_density": ("none", "low", "moderate", "high"),
    "risk_factor": ("low", "medium", "high"),
}


def fact(parameter: str, value: Any, rng: random.Random, imperial: bool = False) -> str:
    """One sentence that says a parameter's value."""
    return _FACTS[parameter](value, rng, imperial)


def other_value(parameter: str, value: Any, rng: random.Random) -> Any:
    """A value that is clearly not ``value``; numbers are off by a half and at least 12."""
    if parameter in _OTHERS:
        return rng.choice([one for one in _OTHERS[parameter] if one != value])
    if value is None:
        return rng.randint(6, 60)
    off = max(12, round(value * rng.uniform(0.5, 1.0)))
    return value - off if value >= off and rng.random() < 0.5 else value + off


def story_text(truth: DrivingParameters, time_of_day: str | None, rng: random.Random) -> str:
    """A text of many sentences: where we are, then facts in any order, some of them joined, each said once."""
    imperial = rng.random() < 0.15
    said: set[str] = set()
    sentences: list[str] = []
    if rng.random() < 0.75:
        sentences.append(_opening(truth, time_of_day, rng, said))
    rest: list[str] = []
    lane = rng.choice(_LANES[truth.ego_lane_position])
    speed, distance = truth.ego_vehicle_speed or 0, truth.closest_vehicle_distance
    if rng.random() < 0.6:
        said |= {"ego_lane_position", "ego_vehicle_speed"}
        ego, about = rng.choice(_EGO), rng.choice(("at about", "at"))
        rest.append(
            f"{ego} {rng.choice(('is stopped', 'stands'))} {lane}."
            if speed == 0
            else f"{ego} {rng.choice(('drives', 'goes', 'travels'))} {lane} {about} {speed_words(speed, imperial)}."
        )
    if truth.traffic_density != "none" and rng.random() < 0.6:
        said |= {"closest_vehicle_distance", "traffic_density"}
        sentence = fact("closest_vehicle_distance", distance, rng, imperial)
        rest.append(f"{sentence[:-1]} in {truth.traffic_density} traffic.")
    if rng.random() < 0.5:
        said |= {"traffic_light_state", "pedestrian_on_road"}
        pair = [
            fact(name, getattr(truth, name), rng) for name in ("traffic_light_state", "pedestrian_on_road")
        ]
        if rng.random() < 0.4:
            pair.reverse()
        rest.append(f"{pair[0][:-1]} and {pair[1][0].lower()}{pair[1][1:]}")
    singles = [name for name in _FACTS if name not in said and rng.random() < 0.85]
    rest += [fact(name, getattr(truth, name), rng, imperial) for name in singles]
    if time_of_day in _TIMES and "time" not in said and rng.random() < 0.7:
        rest.append(f"It is {'dusk' if time_of_day == 'dawn/dusk' else time_of_day}.")
    rng.shuffle(rest)
    sentences += rest
    if rng.random() < 0.5:
        sentences += warnings(truth, rng, imperial)
    return " ".join(sentences)


def _opening(truth: DrivingParameters, time_of_day: str | None, rng: random.Random, said: set[str]) -> str:
    said |= {"road_type", "lane_count"}
    where = place(truth.road_type, truth.lane_count or 1, rng)
    parts: list[str] = []
    if time_of_day in _TIMES and rng.random() < 0.85:
        parts.append(rng.choice(_TIMES[time_of_day]))
        said.add("time")
    if truth.weather in _WEATHERS and rng.random() < 0.85:
        parts.append(rng.choice(_WEATHERS[truth.weather]))
        said.add("weather")
    if rng.random() < 0.3:
        parts.reverse()
    around = " ".join(["", *parts])
    on = "in" if truth.road_type == "tunnel" else "on"
    return rng.choice(
        (
            f"{_capital(where)}{around}.",
            f"{rng.choice(_EGO)} is {on} {where}{around}.",
            f"We are {on} {where}{around}.",
            f"We see {where}{around}.",
            f"Here is {where}{around}.",
        )
    )


def warnings(truth: DrivingParameters, rng: random.Random, imperial: bool) -> list[str]:
    """What the driver should mind, each with its cause, and how high the risk is; the same order every time."""
    distance, light = truth.closest_vehicle_distance, truth.traffic_light_state
    said: list[str] = []

    def because(parameter: str, advice: tuple[str, ...]) -> None:
        cause = fact(parameter, getattr(truth, parameter), rng, imperial)[:-1]
        said.append(f"{cause}, so {rng.choice(advice)}.")

    if truth.pedestrian_on_road:
        because("pedestrian_on_road", ("be ready to brake", "slow down", "let the person pass"))
    if light in ("red", "yellow"):
        because("traffic_light_state", ("prepare to stop", "stop in time", "slow down"))
    if distance is not None:
        because("closest_vehicle_distance", ("keep a safe gap", "watch the vehicle ahead"))
    if truth.visibility != "good":
        because("visibility", ("leave more room to brake", "drive with care"))
    if not said:
        said.append(rng.choice(("Nothing is in the way, so keep the lane and the speed.", "Go on as now.")))
    said.append(fact("risk_factor", truth.risk_factor, rng))
    return said

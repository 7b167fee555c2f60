"""The simulated teacher: answers a simulated clip from its ground truth, as untidily as real teachers do.

It stands in for a large model where there is none: annotate asks it like any other teacher, curate has to
tidy up after it. The truth is exact, the form is not: headings, units, booleans and wording vary as they do
in answers that real models wrote, while the prose keeps to a small vocabulary, so that a small model can
learn to write it. `mistakes.py` holds the errors that are mixed in on purpose.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from roadscribe.clip import Clip, FrameLabels
from roadscribe.errors import InputError

KMH_PER_MPH = 1.609344
METRES_PER_FOOT = 0.3048

NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


@dataclass(frozen=True)
class Draft:
    """What the teacher is about to write about one clip."""

    values: dict[str, Any]
    """What the JSON will say, canonical."""
    told: dict[str, Any]
    """What the prose will say, canonical; differs from ``values`` only by a mistake."""
    time_of_day: str
    raw: dict[str, Any] = field(default_factory=dict)
    """JSON values to be written exactly so, whatever the style."""
    injected: tuple[dict[str, Any], ...] = ()
    """The mistakes in it: kind, parameter, before, after."""

    def wrong(self, kind: str, parameter: str, after: Any, *, prose: bool = True) -> Draft:
        """The draft with one canonical value changed, in the JSON and (unless told otherwise) the prose."""
        note = {"kind": kind, "parameter": parameter, "before": self.values[parameter], "after": after}
        return replace(
            self,
            values={**self.values, parameter: after},
            told={**self.told, parameter: after} if prose else self.told,
            injected=(*self.injected, note),
        )


@dataclass(frozen=True)
class Answer:
    """A raw answer and the mistakes that were put into it."""

    text: str
    finish_reason: str = "stop"
    injected: tuple[dict[str, Any], ...] = ()


def draft_from_truth(clip: Clip) -> Draft:
    """The flawless draft of a simulated clip.

    Raises:
        InputError: the clip carries no ground truth (it is no simulated drive).
    """
    truth = clip.evidence.truth
    if truth is None:
        raise InputError(
            f"clip {clip.clip_id}: has no ground truth; the simulated teacher knows only simulated drives, "
            "choose a real teacher for real footage"
        )
    values = truth.parameters.model_dump()
    labels = min(
        clip.evidence.labels, key=lambda item: abs(item.time_s - clip.now_s), default=FrameLabels(time_s=0)
    )
    return Draft(values=values, told=dict(values), time_of_day=labels.time_of_day or "undefined")


# --- prose -----------------------------------------------------------------------------------------------

_PLACE = {
    "highway": "a highway",
    "urban": "an urban street",
    "suburban": "a suburban road",
    "residential": "a residential street",
    "rural": "a rural road",
    "tunnel": "a tunnel",
    "parking_lot": "a parking lot",
    "gas_station": "a gas station",
    "unknown": "a road",
}
_TIME = {"daytime": "by day", "night": "at night", "dawn/dusk": "at dusk"}
_WEATHER = {
    "clear": "clear weather",
    "partly_cloudy": "partly cloudy weather",
    "overcast": "overcast weather",
    "rainy": "rain",
    "snowy": "snow",
    "foggy": "fog",
}
_LANE = {
    "left": "in the left lane",
    "middle": "in the middle lane",
    "right": "in the right lane",
    "single": "in the only lane",
    "turn_left": "in the left turn lane",
    "turn_right": "in the right turn lane",
}


def _speed(kmh: int, imperial: bool) -> str:
    return f"{round(kmh / KMH_PER_MPH)} mph" if imperial else f"{kmh} km/h"


def _distance(metres: int, imperial: bool) -> str:
    return f"{round(metres / METRES_PER_FOOT)} feet" if imperial else f"{metres} meters"


def _setting(draft: Draft) -> str:
    told = draft.told
    lanes = told["lane_count"]
    count = f" with {NUMBER_WORDS.get(lanes, lanes)} lane{'s' if lanes > 1 else ''}" if lanes else ""
    weather = f" in {_WEATHER[told['weather']]}" if told["weather"] in _WEATHER else ""
    time = f" {_TIME[draft.time_of_day]}" if draft.time_of_day in _TIME else ""
    return f"{_PLACE[told['road_type']]}{count}{time}{weather}"


def _ego(draft: Draft, imperial: bool) -> str:
    speed = draft.told["ego_vehicle_speed"]
    lane = _LANE.get(draft.told["ego_lane_position"], "on the road")
    if speed is None:
        return f"The ego vehicle is {lane}."
    if speed == 0:
        return f"The ego vehicle is stopped {lane}."
    return f"The ego vehicle drives {lane} at about {_speed(speed, imperial)}."


def _ahead(draft: Draft, imperial: bool) -> str:
    distance, density = draft.told["closest_vehicle_distance"], draft.told["traffic_density"]
    traffic = f" in {density} traffic" if density in ("low", "moderate", "high") else ""
    if distance is None:
        return f"The lanes ahead are free{traffic}."
    return f"The nearest vehicle is about {_distance(distance, imperial)} ahead{traffic}."


def _light(draft: Draft) -> str:
    state = draft.told["traffic_light_state"]
    return {"none": "No traffic light is in view", "unknown": "The traffic light cannot be made out"}.get(
        state, f"The traffic light is {state}"
    )


def _people(draft: Draft) -> str:
    return "a person is on the road" if draft.told["pedestrian_on_road"] else "no person is on the road"


def scene(draft: Draft, style: int, imperial: bool) -> str:
    """The scene description: 35 to 45 words in one of three orders."""
    setting = _setting(draft)
    opening = setting[0].upper() + setting[1:] + "."
    ego, ahead = _ego(draft, imperial), _ahead(draft, imperial)
    signals = f"{_light(draft)} and {_people(draft)}."
    if style == 0:
        return f"{opening} {ego} {ahead} {signals}"
    if style == 1:
        return f"The scene shows {setting}. {signals} {ego} {ahead}"
    place = "in" if draft.told["road_type"] in ("tunnel", "parking_lot") else "on"
    return f"The ego vehicle is {place} {setting}. {ahead} {signals} {ego}"


def risk_points(draft: Draft, style: int, imperial: bool) -> list[tuple[str, str]]:
    """Two or three (label, sentence) points, the causes first and the overall risk last."""
    told = draft.told
    points: list[tuple[str, str]] = []
    if told["pedestrian_on_road"]:
        points.append(("Pedestrians", "A person is on the road, so be ready to brake."))
    if told["traffic_light_state"] in ("red", "yellow"):
        colour = told["traffic_light_state"]
        points.append(("Traffic Light", f"The traffic light is {colour}, so prepare to stop."))
    distance = told["closest_vehicle_distance"]
    if distance is not None and len(points) < 2:
        points.append(
            (
                "Nearby Vehicles",
                f"The nearest vehicle is about {_distance(distance, imperial)} ahead, so keep a safe gap.",
            )
        )
    if told["visibility"] in ("moderate", "poor") and len(points) < 2:
        points.append(("Visibility", f"Visibility is {told['visibility']}, so leave more room to brake."))
    if not points:
        points.append(("Nearby Vehicles", "The lanes ahead are free, so keep the lane and the speed."))
    level = told["risk_factor"]
    points.append(
        ("Risk Factor", f"The overall risk is {'moderate' if level == 'medium' and style == 2 else level}.")
    )
    return points


# --- JSON values -----------------------------------------------------------------------------------------

_WORDED: dict[str, dict[Any, tuple[str, ...]]] = {
    "road_type": {
        "urban": ("Urban", "Urban Street"),
        "suburban": ("Suburban", "Suburban Street"),
        "highway": ("Highway", "multi-lane highway"),
    },
    "ego_lane_position": {
        "left": ("Left Lane", "leftmost lane"),
        "right": ("Right Lane", "rightmost lane"),
        "middle": ("Middle lane",),
        "single": ("single lane",),
        "turn_left": ("left-turn lane",),
        "turn_right": ("right-turn lane",),
    },
    "traffic_light_state": {
        "red": ("Red", "Red light ahead"),
        "green": ("Green", "Green light ahead"),
        "yellow": ("Yellow",),
        "none": ("None", "no traffic light in view"),
    },
    "pedestrian_on_road": {True: ("Yes", "yes"), False: ("No", "none", "No visible pedestrians")},
    "road_curvature": {
        "straight": ("Straight", "straight ahead"),
        "slight_left": ("Slight curve to the left", "slight left curve"),
        "slight_right": ("Slight curve to the right", "slight right curve"),
        "sharp_left": ("sharp left curve",),
        "sharp_right": ("sharp right curve",),
    },
    "weather": {
        "clear": ("Clear", "clear skies"),
        "partly_cloudy": ("partly cloudy", "Clear with some clouds"),
        "overcast": ("Overcast", "cloudy"),
        "rainy": ("Rainy", "rain"),
        "snowy": ("Snowy",),
        "foggy": ("Foggy",),
    },
    "visibility": {"good": ("Good", "Good visibility"), "moderate": ("Moderate",), "poor": ("low", "Poor")},
    "traffic_density": {
        "low": ("Low", "Low traffic density"),
        "moderate": ("Moderate",),
        "high": ("High",),
        "none": ("None", "no traffic"),
    },
    "risk_factor": {"low": ("Low", "Low risk"), "medium": ("Medium", "moderate"), "high": ("High",)},
}
"""Ways in which real teachers wrote these values."""


def _raw_value(parameter: str, value: Any, wordy: bool, imperial: bool, rng: random.Random) -> Any:
    if parameter in ("closest_vehicle_distance", "ego_vehicle_speed"):
        if value is None:
            return rng.choice((None, "unknown"))
        measure = _distance if parameter == "closest_vehicle_distance" else _speed
        return f"{rng.choice(('', 'approximately ', 'about ')) if value else ''}{measure(value, imperial)}"
    if parameter == "lane_count" and wordy and value is not None:
        return str(value)
    ways = _WORDED.get(parameter, {}).get(value)
    return rng.choice(ways) if wordy and ways else value


# --- the whole answer ------------------------------------------------------------------------------------

_HEADINGS = (
    ("**Scene Description:**", "**Driving Parameters (JSON):**", "**Risk Assessment:**"),
    ("### Scene Description", "### Driving Parameters (JSON)", "### Risk Assessment"),
    ("**1. Scene Description:**", "**2. Driving Parameters (JSON):**", "**3. Risk Assessment:**"),
    ("Scene Description:", "Driving Parameters (JSON):", "Risk Assessment:"),
)
_CONCLUSIONS = (
    "Keep watching the road and adapt the speed.",
    "**Conclusion:** The ego vehicle should stay attentive and follow the traffic rules.",
)


def write(draft: Draft, rng: random.Random) -> str:
    """One answer in a style of its own: headings, units, words, fences and endings vary."""
    style = rng.randrange(3)
    imperial, wordy = rng.random() < 0.5, rng.random() < 0.5
    headings = rng.choices(_HEADINGS, weights=(6, 2, 1, 1))[0]
    raw = {
        parameter: draft.raw.get(parameter, _raw_value(parameter, value, wordy, imperial, rng))
        for parameter, value in draft.values.items()
    }
    block = json.dumps(raw, indent=rng.choice((1, 2, 2, 2)))
    if rng.random() < 0.9:
        block = f"```json\n{block}\n```"
    bullet = rng.choice(("-", "-", "*"))
    labelled = rng.random() < 0.5
    points = "\n".join(
        f"{bullet} **{label}:** {sentence}" if labelled else f"{bullet} {sentence}"
        for label, sentence in risk_points(draft, style, imperial)
    )
    parts = [
        f"{headings[0]}\n{scene(draft, style, imperial)}",
        f"{headings[1]}\n{block}",
        f"{headings[2]}\n{points}",
    ]
    if rng.random() < 0.2:
        parts.append(rng.choice(_CONCLUSIONS))
    return "\n\n".join(parts)

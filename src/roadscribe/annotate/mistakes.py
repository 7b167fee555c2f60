"""The kinds of error that real teachers make, each a small function the simulated teacher can be told to use.

A mistake changes a draft before it is written, or the text after; it returns None where the clip gives it no
occasion (a light cannot have the wrong colour where no light is). Whatever is put in is written down beside
the answer (``injected``), so that the share that curation finds can be measured.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from roadscribe.annotate.simulated import KMH_PER_MPH, Answer, Draft, draft_from_truth, write
from roadscribe.clip import Clip

DraftMistake = Callable[[Draft, random.Random], Draft | None]
TextMistake = Callable[[Answer, random.Random], Answer]

_COLOURS = ("red", "yellow", "green")


def light_colour(draft: Draft, rng: random.Random) -> Draft | None:
    """A light is in view, but of another colour."""
    state = draft.values["traffic_light_state"]
    if state not in _COLOURS:
        return None
    return draft.wrong("light_colour", "traffic_light_state", rng.choice([c for c in _COLOURS if c != state]))


def light_invented(draft: Draft, rng: random.Random) -> Draft | None:
    """A coloured light where none is in view."""
    if draft.values["traffic_light_state"] != "none":
        return None
    return draft.wrong("light_invented", "traffic_light_state", rng.choice(_COLOURS))


def pedestrian_flipped(draft: Draft, rng: random.Random) -> Draft | None:
    """A person on the road overlooked or made up."""
    value = draft.values["pedestrian_on_road"]
    return None if value is None else draft.wrong("pedestrian_flipped", "pedestrian_on_road", not value)


def distance_wrong(draft: Draft, rng: random.Random) -> Draft | None:
    """The nearest vehicle less than half or more than twice as far as it is, and at least 12 m off."""
    metres = draft.values["closest_vehicle_distance"]
    if metres is None:
        return None
    near, far = round(metres * rng.uniform(0.2, 0.45)), round(metres * rng.uniform(2.2, 4))
    wrong = [value for value in (near, far) if abs(value - metres) >= 12 and value <= 200]
    return draft.wrong("distance_wrong", "closest_vehicle_distance", rng.choice(wrong)) if wrong else None


def distance_collapsed(draft: Draft, rng: random.Random) -> Draft | None:
    """The one distance this teacher always says, "50 feet", where it is far from true."""
    metres = draft.values["closest_vehicle_distance"]
    if metres is None or abs(metres - 15) < 12 or 15 * 0.45 <= metres <= 15 * 2.2:
        return None
    changed = draft.wrong("distance_collapsed", "closest_vehicle_distance", 15)
    return replace(
        changed,
        raw={**changed.raw, "closest_vehicle_distance": rng.choice(("50 feet", "approximately 50 feet"))},
    )


def speed_wrong(draft: Draft, rng: random.Random) -> Draft | None:
    """The ego speed off by 20 to 60 km/h, or at least doubled or halved."""
    kmh = draft.values["ego_vehicle_speed"]
    if kmh is None:
        return None
    off = rng.randint(20, 60)
    wrong = [
        value for value in (kmh + off, kmh - off) if 0 <= value <= 160 and not kmh / 2 < value < kmh * 1.4
    ]
    return draft.wrong("speed_wrong", "ego_vehicle_speed", rng.choice(wrong)) if wrong else None


def speed_unit(draft: Draft, rng: random.Random) -> Draft | None:
    """Miles an hour written as a bare number: the JSON means another speed than the prose."""
    kmh = draft.values["ego_vehicle_speed"]
    if kmh is None or kmh < 25:
        return None
    bare = round(kmh / KMH_PER_MPH)
    changed = draft.wrong("speed_unit", "ego_vehicle_speed", bare, prose=False)
    return replace(changed, raw={**changed.raw, "ego_vehicle_speed": bare})


_WEATHERS = ("clear", "partly_cloudy", "overcast", "rainy", "snowy", "foggy")
_NEIGHBOURS = {
    "clear": ("partly_cloudy",),
    "partly_cloudy": ("clear", "overcast"),
    "overcast": ("partly_cloudy",),
}
"""Words between which the sky itself does not decide."""


def _other_weather(weather: str, rng: random.Random) -> str:
    return rng.choice(
        [word for word in _WEATHERS if word != weather and word not in _NEIGHBOURS.get(weather, ())]
    )


def weather_wrong(draft: Draft, rng: random.Random) -> Draft | None:
    """Another kind of weather, not merely a neighbouring word for the same sky."""
    weather = draft.values["weather"]
    return (
        None
        if weather == "unknown"
        else draft.wrong("weather_wrong", "weather", _other_weather(weather, rng))
    )


def lane_impossible(draft: Draft, rng: random.Random) -> Draft | None:
    """A lane that a carriageway with so many lanes does not have."""
    lanes = draft.values["lane_count"]
    impossible = {1: ("left", "middle", "right"), 2: ("middle",)}.get(lanes, ())
    if not impossible:
        return None
    return draft.wrong("lane_impossible", "ego_lane_position", rng.choice(impossible))


def risk_wrong(draft: Draft, rng: random.Random) -> Draft | None:
    """High where it is low, or the other way round."""
    opposite = {"low": "high", "high": "low"}.get(draft.values["risk_factor"])
    return draft.wrong("risk_wrong", "risk_factor", opposite) if opposite else None


def prose_contradicts(draft: Draft, rng: random.Random) -> Draft | None:
    """The JSON is right and the prose says something else."""
    values = draft.values
    swaps: dict[str, object] = {
        "risk_factor": {"low": "high", "medium": "low", "high": "low"}[values["risk_factor"]],
        "pedestrian_on_road": not values["pedestrian_on_road"],
    }
    if values["weather"] != "unknown":
        swaps["weather"] = _other_weather(values["weather"], rng)
    if values["traffic_light_state"] in _COLOURS:
        swaps["traffic_light_state"] = rng.choice([c for c in _COLOURS if c != values["traffic_light_state"]])
    if values["ego_vehicle_speed"] and values["ego_vehicle_speed"] >= 15:
        swaps["ego_vehicle_speed"] = values["ego_vehicle_speed"] * 2
    parameter = rng.choice(sorted(swaps))
    note = {
        "kind": "prose_contradicts",
        "parameter": parameter,
        "before": values[parameter],
        "after": swaps[parameter],
    }
    return replace(draft, told={**draft.told, parameter: swaps[parameter]}, injected=(*draft.injected, note))


DRAFT_MISTAKES: dict[str, DraftMistake] = {
    "light_colour": light_colour,
    "light_invented": light_invented,
    "pedestrian_flipped": pedestrian_flipped,
    "distance_wrong": distance_wrong,
    "distance_collapsed": distance_collapsed,
    "speed_wrong": speed_wrong,
    "speed_unit": speed_unit,
    "weather_wrong": weather_wrong,
    "lane_impossible": lane_impossible,
    "risk_wrong": risk_wrong,
    "prose_contradicts": prose_contradicts,
}


def _noted(answer: Answer, kind: str, text: str, finish_reason: str = "stop") -> Answer:
    note = {"kind": kind, "parameter": None, "before": None, "after": None}
    return Answer(text=text, finish_reason=finish_reason, injected=(*answer.injected, note))


def refusal(answer: Answer, rng: random.Random) -> Answer:
    """The teacher declines."""
    excuses = (
        "I'm sorry, but I can't help with analysing these pictures.",
        "I am unable to assess a driving situation from the material provided.",
        "As an AI language model, I cannot give driving advice for this scene.",
    )
    return _noted(answer, "refusal", rng.choice(excuses))


def cut_off(answer: Answer, rng: random.Random) -> Answer:
    """The token limit ends the answer somewhere after its first third."""
    end = rng.randrange(len(answer.text) // 3, len(answer.text) - 20)
    return _noted(answer, "cut_off", answer.text[:end], "length")


def repetition(answer: Answer, rng: random.Random) -> Answer:
    """The last point is said over and over."""
    last = answer.text.rstrip().splitlines()[-1]
    return _noted(answer, "repetition", answer.text.rstrip() + f"\n{last}" * rng.randint(8, 30))


def mentions_video(answer: Answer, rng: random.Random) -> Answer:
    """The prose speaks of the medium, not of the road."""
    word = rng.choice(("video", "footage", "image", "video clip"))
    heading, newline, rest = answer.text.partition("\n")
    sentence = rng.choice(
        (f"The {word} was recorded from inside a car.", f"This {word} shows the road ahead.")
    )
    return _noted(answer, "mentions_video", f"{heading}{newline}{sentence} {rest}")


TEXT_MISTAKES: dict[str, TextMistake] = {
    "refusal": refusal,
    "cut_off": cut_off,
    "repetition": repetition,
    "mentions_video": mentions_video,
}

MISTAKES: tuple[str, ...] = (*DRAFT_MISTAKES, *TEXT_MISTAKES)
"""Every kind, drawn with equal chance."""


def answer_clip(clip: Clip, *, error_rate: float, seed: int) -> Answer:
    """The simulated teacher's answer to one clip; the same clip, rate and seed give the same answer.

    Args:
        clip: a simulated clip; its ground truth is what the teacher knows.
        error_rate: the chance that the answer carries one mistake.
        seed: another seed, another style and other mistakes.

    Raises:
        InputError: the clip carries no ground truth.
    """
    rng = random.Random(f"{seed}:{clip.clip_id}")
    draft = draft_from_truth(clip)
    if rng.random() >= error_rate:
        return Answer(write(draft, rng))
    kinds = list(MISTAKES)
    rng.shuffle(kinds)
    for kind in kinds:
        if kind in TEXT_MISTAKES:
            return TEXT_MISTAKES[kind](Answer(write(draft, rng)), rng)
        if changed := DRAFT_MISTAKES[kind](draft, rng):
            return Answer(write(changed, rng), injected=changed.injected)
    raise AssertionError("text mistakes are always possible")

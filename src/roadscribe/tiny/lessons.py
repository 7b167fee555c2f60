"""What the tiny base is taught: plain captions and questions about simulated drives, never the report's form.

Fine-tuning must have something left to teach. So a lesson is an everyday question with an everyday answer;
no JSON, no parameter keys, no section headings and no prompt of the report occur here (a test holds this).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from roadscribe.clip import FrameLabels
from roadscribe.report import DrivingParameters
from roadscribe.tiny.sentences import fact, other_value, story_text, warnings

FRAMES = 6
"""Images a clip in the lessons."""
SPACING_S = 0.3
"""Seconds between two images of a clip."""
FIRST_SEED = 10_000_000
"""Seeds of the lessons start here; the demo's drives all lie below 3,000,000."""
HELD_OUT_SEED = 9_000_000
"""Seeds of the drives that the card's held-out figures come from."""


class Drive(Protocol):
    """What a lesson needs of a simulated drive."""

    def truth(self, time_s: float) -> DrivingParameters: ...
    def labels(self, time_s: float) -> FrameLabels: ...
    def speed_mps(self, time_s: float) -> float: ...


@dataclass(frozen=True)
class Lesson:
    """One question with its answer; ``topic`` names what is asked, for the held-out figures."""

    topic: str
    question: str
    answer: str


_QUESTIONS: dict[str, tuple[str, ...]] = {
    "road_type": ("What kind of road is this?", "Which type of road are we on?", "Road type?"),
    "lane_count": ("How many lanes are there?", "How many lanes does the road have?", "Lane count?"),
    "ego_lane_position": ("Which lane are we in?", "Where are we among the lanes?", "Ego lane position?"),
    "traffic_light_state": (
        "What does the traffic light show?",
        "Which colour is the light?",
        "Traffic light state?",
    ),
    "pedestrian_on_road": (
        "Is a person on the road?",
        "Does anybody walk on the road ahead?",
        "Pedestrian on the road?",
    ),
    "closest_vehicle_distance": (
        "How far is the nearest vehicle ahead?",
        "What is the distance to the closest vehicle?",
        "Closest vehicle distance?",
    ),
    "ego_vehicle_speed": ("How fast are we going?", "What is our speed?", "Ego vehicle speed?"),
    "road_curvature": ("Does the road bend?", "Which way does the road turn?", "Road curvature?"),
    "weather": ("What is the weather like?", "How is the weather?", "Weather?"),
    "visibility": ("How well can we see?", "How is the visibility?", "Visibility?"),
    "traffic_density": ("How much traffic is there?", "How dense is the traffic?", "Traffic density?"),
    "risk_factor": ("How risky is this?", "How high is the risk?", "Risk factor?"),
}

_UNITS = {"closest_vehicle_distance": " m", "ego_vehicle_speed": " km/h"}


def say(parameter: str, value: object) -> str:
    """A parameter's value in everyday words, such as ``slight left``, ``47 km/h`` or ``no vehicle``."""
    if value is None:
        return "no vehicle" if parameter == "closest_vehicle_distance" else "cannot be told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if parameter == "traffic_light_state" and value == "none":
        return "no light"
    if parameter == "traffic_density" and value == "none":
        return "no traffic"
    return f"{value}".replace("_", " ") + _UNITS.get(parameter, "")


def _core(truth: DrivingParameters, rng: random.Random) -> list[Lesson]:
    lessons = []
    for parameter, questions in _QUESTIONS.items():
        answer = say(parameter, getattr(truth, parameter))
        lessons.append(Lesson(parameter, rng.choice(questions), answer))
    return lessons


def _past(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """Questions about one named image: they teach which image is which."""
    lessons = []
    for parameter, noun in (
        ("closest_vehicle_distance", "nearest vehicle"),
        ("traffic_light_state", "light"),
    ):
        index = rng.randrange(len(times))
        value = getattr(drive.truth(times[index]), parameter)
        lessons.append(Lesson(f"past_{parameter}", f"In image {index + 1}: {noun}?", say(parameter, value)))
    return lessons


def _motion(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """Questions that only several images in order can answer."""
    if len(times) < 2:
        return []
    index = rng.randrange(len(times) - 1)
    start, end = times[index], times[index + 1]
    steps = 8
    moved = (
        sum(drive.speed_mps(start + (end - start) * (i + 0.5) / steps) for i in range(steps))
        * (end - start)
        / steps
    )
    change = drive.speed_mps(times[-1]) - drive.speed_mps(times[0])
    trend = "faster" if change > 0.7 else "slower" if change < -0.7 else "the same"
    asked = rng.randrange(len(times))
    speed = round(drive.speed_mps(times[asked]) * 3.6)
    return [
        Lesson(
            "moved", f"How far did we move from image {index + 1} to image {index + 2}?", f"{moved:.1f} m"
        ),
        Lesson("trend", "Are we getting faster or slower?", trend),
        Lesson("past_speed", f"In image {asked + 1}: speed?", f"{speed} km/h"),
    ]


def _seen(labels: FrameLabels, rng: random.Random) -> list[Lesson]:
    """Questions about what stands in the last image."""
    boxes = labels.boxes or ()
    vehicles = [box for box in boxes if box.category in {"car", "truck", "bus"}]
    people = [box for box in boxes if box.category == "person"]
    width = labels.image_width or 1
    lessons = [Lesson("vehicles", "How many vehicles do you see?", str(len(vehicles)))]
    if labels.time_of_day:
        lessons.append(Lesson("time_of_day", "What time of day is it?", labels.time_of_day))
    if vehicles:
        largest = max(vehicles, key=lambda box: (box.x2 - box.x1) * (box.y2 - box.y1))
        side = _side((largest.x1 + largest.x2) / 2 / width)
        lessons.append(
            Lesson("largest", "Which vehicle looks largest, and where?", f"a {largest.category} {side}")
        )
    if people:
        person = rng.choice(people)
        where = _side((person.x1 + person.x2) / 2 / width)
        lessons.append(Lesson("people", "How many people do you see?", str(len(people))))
        lessons.append(Lesson("person", "Where is a person?", where))
    else:
        lessons.append(Lesson("people", "How many people do you see?", "0"))
    return lessons


def _side(x: float) -> str:
    return "on the left" if x < 0.4 else "on the right" if x > 0.6 else "in the middle"


def caption(truth: DrivingParameters, rng: random.Random) -> Lesson:
    """A few sentences that state some of the facts, in any order."""
    imperial = rng.random() < 0.15
    chosen = rng.sample(list(_QUESTIONS), rng.randint(3, 5))
    text = " ".join(fact(parameter, getattr(truth, parameter), rng, imperial) for parameter in chosen)
    return Lesson("caption", rng.choice(("Describe what you see.", "What is happening?")), text)


def story(truth: DrivingParameters, time_of_day: str | None, rng: random.Random) -> Lesson:
    """A longer caption in flowing prose, with the words a person would use."""
    asked = rng.choice(
        ("Tell me all about the drive.", "Describe the drive at length.", "What matters for the driver?")
    )
    return Lesson("story", asked, story_text(truth, time_of_day, rng))


def warning(truth: DrivingParameters, rng: random.Random) -> Lesson:
    """What the driver should mind."""
    asked = rng.choice(
        ("What should the driver mind?", "What could go wrong?", "What is dangerous, and what to do?")
    )
    return Lesson("warning", asked, " ".join(warnings(truth, rng, rng.random() < 0.15)))


def check(truth: DrivingParameters, rng: random.Random) -> Lesson:
    """A sentence that is right or wrong, as often the one as the other."""
    parameter = "pedestrian_on_road" if rng.random() < 0.2 else rng.choice(list(_QUESTIONS))
    value = getattr(truth, parameter)
    right = rng.random() < 0.5
    sentence = fact(
        parameter, value if right else other_value(parameter, value, rng), rng, rng.random() < 0.15
    )
    if rng.random() < 0.6:
        return Lesson("check", f"True or false: {sentence}", "true" if right else "false")
    return Lesson("check", f"Is this right? {sentence}", "yes" if right else "no")


_TOPICS = {
    "road_type": ("road", "place", "road type"),
    "lane_count": ("lanes", "lane count"),
    "ego_lane_position": ("lane", "our lane", "lane position"),
    "traffic_light_state": ("light", "traffic light"),
    "pedestrian_on_road": ("person on the road", "pedestrian", "pedestrian on the road"),
    "closest_vehicle_distance": ("nearest vehicle", "distance", "closest vehicle"),
    "ego_vehicle_speed": ("speed", "our speed", "vehicle speed"),
    "road_curvature": ("bend", "curvature", "road curvature"),
    "weather": ("weather", "sky"),
    "visibility": ("visibility", "view"),
    "traffic_density": ("traffic", "density", "traffic density"),
    "risk_factor": ("risk", "danger", "risk factor"),
}


def telegram(truth: DrivingParameters, rng: random.Random) -> Lesson:
    """A caption in catchwords, such as ``Weather: rainy. Speed: 47 km/h.``; the question may name which."""
    chosen = rng.sample(list(_TOPICS), rng.randint(4, len(_TOPICS)))
    named = [rng.choice(_TOPICS[parameter]) for parameter in chosen]
    truthful = rng.random() < 0.5
    facts = []
    for parameter, words in zip(chosen, named, strict=True):
        value = getattr(truth, parameter)
        said = (
            ("true" if value else "false") if isinstance(value, bool) and truthful else say(parameter, value)
        )
        facts.append(f"{words.capitalize()}: {said}.")
    asked = rng.choice(("In short?", "Sum it up in catchwords.", f"In catchwords: {', '.join(named)}."))
    return Lesson("telegram", asked, " ".join(facts))


def lessons(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """All questions of one clip whose images were taken at ``times`` (seconds), in random order."""
    truth, labels = drive.truth(times[-1]), drive.labels(times[-1])
    found = [
        *_core(truth, rng),
        *_past(drive, times, rng),
        *_motion(drive, times, rng),
        *_seen(labels, rng),
        *(check(truth, rng) for _ in range(2)),
        telegram(truth, rng),
    ]
    rng.shuffle(found)
    found.insert(rng.randrange(len(found) + 1), caption(truth, rng))
    return found


def prose(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """Mostly long answers about one clip: a story, warnings and catchwords among some questions, in random order."""
    truth, labels = drive.truth(times[-1]), drive.labels(times[-1])
    found = [
        *rng.sample(_core(truth, rng), 3),
        *rng.sample(_motion(drive, times, rng) or _seen(labels, rng), 1),
        *(check(truth, rng) for _ in range(3)),
        story(truth, labels.time_of_day, rng),
        warning(truth, rng),
        telegram(truth, rng),
        caption(truth, rng),
    ]
    rng.shuffle(found)
    return found

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
    """A few sentences that state some of the facts, in varying order."""
    place = say("road_type", truth.road_type)
    distance = truth.closest_vehicle_distance
    facts = [
        f"We drive at {say('ego_vehicle_speed', truth.ego_vehicle_speed)}.",
        f"This is a {place} road with {truth.lane_count} lanes.",
        f"The weather is {say('weather', truth.weather)} and the visibility is {truth.visibility}.",
        f"The nearest vehicle is {distance} m ahead." if distance is not None else "No vehicle is near.",
        f"The road is {say('road_curvature', truth.road_curvature)}.",
        "A person is on the road." if truth.pedestrian_on_road else "Nobody is on the road.",
        f"The light is {truth.traffic_light_state}."
        if truth.traffic_light_state != "none"
        else "There is no light.",
        f"There is {say('traffic_density', truth.traffic_density)} traffic."
        if truth.traffic_density != "none"
        else "There is no traffic.",
        f"The risk is {truth.risk_factor}.",
    ]
    chosen = rng.sample(facts, rng.randint(3, 5))
    return Lesson("caption", rng.choice(("Describe what you see.", "What is happening?")), " ".join(chosen))


def lessons(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """All questions of one clip whose images were taken at ``times`` (seconds), in random order."""
    truth = drive.truth(times[-1])
    found = [
        *_core(truth, rng),
        *_past(drive, times, rng),
        *_motion(drive, times, rng),
        *_seen(drive.labels(times[-1]), rng),
    ]
    rng.shuffle(found)
    found.insert(rng.randrange(len(found) + 1), caption(truth, rng))
    return found


_NUMBER = {1: "one lane", 2: "two lanes", 3: "three lanes", 4: "four lanes", 5: "five lanes"}


def story(truth: DrivingParameters, time_of_day: str | None, rng: random.Random) -> Lesson:
    """A longer caption in flowing prose, with the words a person would use."""
    distance, speed = truth.closest_vehicle_distance, truth.ego_vehicle_speed
    lane = (
        "in the only lane"
        if truth.ego_lane_position == "single"
        else f"in the {truth.ego_lane_position} lane"
    )
    place = "tunnel" if truth.road_type == "tunnel" else f"{truth.road_type} road"
    lanes = _NUMBER.get(truth.lane_count or 0, "some lanes")
    sky = say("weather", truth.weather)
    parts = [
        rng.choice((f"The car is on a {place} with {lanes}.", f"Here is a {place} that has {lanes}.")),
        rng.choice((f"It drives {lane} at {speed} km/h.", f"The ego vehicle goes {speed} km/h {lane}.")),
        f"The sky is {sky}." if truth.weather != "unknown" else "The sky is hidden.",
        f"Visibility is {truth.visibility}.",
        f"The traffic light ahead is {truth.traffic_light_state}."
        if truth.traffic_light_state != "none"
        else "No traffic light is in view.",
        f"The nearest vehicle is {distance} meters ahead."
        if distance is not None
        else "The lanes ahead are free.",
        "A person is on the road." if truth.pedestrian_on_road else "No person is on the road.",
        f"The traffic is {truth.traffic_density}."
        if truth.traffic_density != "none"
        else "No traffic is in view.",
        f"The road is {say('road_curvature', truth.road_curvature)}.",
        f"The overall risk is {truth.risk_factor}.",
    ]
    if time_of_day in ("daytime", "night"):
        parts.append("It is daytime." if time_of_day == "daytime" else "It is night.")
    if truth.pedestrian_on_road:
        parts.append("Be ready to brake for the person.")
    if truth.traffic_light_state in ("red", "yellow"):
        parts.append(f"The light is {truth.traffic_light_state}, so prepare to stop.")
    if distance is not None and distance < 25:
        parts.append("Keep a safe gap to the vehicle ahead.")
    if truth.visibility == "poor":
        parts.append("Leave more room to brake.")
    chosen = rng.sample(parts, rng.randint(5, len(parts)))
    return Lesson(
        "story",
        rng.choice(("Tell me all about the drive.", "Describe the drive at length.")),
        " ".join(chosen),
    )


_TOPICS = {
    "road_type": ("road", "place"),
    "lane_count": ("lanes", "lane count"),
    "ego_lane_position": ("lane", "position"),
    "traffic_light_state": ("light", "traffic light"),
    "pedestrian_on_road": ("person on the road", "pedestrian"),
    "closest_vehicle_distance": ("nearest vehicle", "distance"),
    "ego_vehicle_speed": ("speed", "our speed"),
    "road_curvature": ("bend", "curvature"),
    "weather": ("weather", "sky"),
    "visibility": ("visibility", "view"),
    "traffic_density": ("traffic", "density"),
    "risk_factor": ("risk", "danger"),
}


def telegram(truth: DrivingParameters, rng: random.Random) -> Lesson:
    """A caption in catchwords, such as ``Weather: rainy. Speed: 47 km/h.``, some of them in any order."""
    facts = [
        f"{rng.choice(words).capitalize()}: {say(parameter, getattr(truth, parameter))}."
        for parameter, words in _TOPICS.items()
    ]
    chosen = rng.sample(facts, rng.randint(5, len(facts)))
    return Lesson("telegram", rng.choice(("In short?", "Sum it up in catchwords.")), " ".join(chosen))

"""Rules that keep the two prose sections in agreement with the JSON, sentence by sentence.

Signature: ``(sentence: str, report: DrivingParameters, now: Now) -> str | None``: the sentence as it may stand, or
None to drop it. They run last, when the parameters are settled, on what `roadscribe.answers.claims` reads: a
sentence without a contradicting claim is never changed, one with it is dropped. Only the overall risk, which no
report can do without, and the plain sentences of the simulated teacher are written anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from roadscribe.answers.claims import Claim, compare, contradicts, read_claims
from roadscribe.answers.claims.measures import MEASURES, number
from roadscribe.curate.now import VEHICLES, Now
from roadscribe.curate.rules.evidence import EVIDENCE_RULES
from roadscribe.curate.rules.medium import without_medium
from roadscribe.curate.rules.plain_sentences import rewritten
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.report import DrivingParameters, Finding

ProseCheck = Callable[[str, DrivingParameters, Now], str | None]


def wrong_claims(sentence: str, topic: str, values: Mapping[str, Any]) -> list[Claim]:
    """The claims of a sentence about one topic that contradict these values."""
    return [claim for claim in read_claims(sentence) if claim.topic == topic and contradicts(claim, values)]


def _agreeing(sentence: str, topic: str, report: DrivingParameters, now: Now) -> str | None:
    values = report.model_dump()
    if values["ego_vehicle_speed"] is None:  # what the teacher left open is held against what was measured
        values["ego_vehicle_speed"] = now.speed_kmh
    if not wrong_claims(sentence, topic, values):
        return sentence
    return rewritten(sentence, topic, getattr(report, topic), free_ahead(now))


def free_ahead(now: Now) -> bool:
    """Whether all objects were labelled and no vehicle is among them."""
    return now.boxes_known and not now.boxes(VEHICLES)


@rule(
    reason="A model that reads red and writes green has learnt to contradict itself.",
    source="traffic_light_state of the same report",
    severity="error",
    action="mend",
    parameters=("traffic_light_state",),
)
def prose_light(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence gives the traffic light another colour than the JSON, invents a light, or denies one."""
    return _agreeing(sentence, "traffic_light_state", report, now)


@rule(
    reason="A person who is in one section and not in the other cannot be learnt.",
    source="pedestrian_on_road of the same report",
    severity="error",
    action="mend",
    parameters=("pedestrian_on_road",),
)
def prose_people(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence puts a person on the road, or denies one, against the JSON; beside the road is free."""
    return _agreeing(sentence, "pedestrian_on_road", report, now)


@rule(
    reason="Where the teacher says both, nobody knows which is true, and a person is nothing to guess about.",
    source="the sentences of both prose sections, unless labels settle it",
    severity="warning",
    action="null",
    parameters=("pedestrian_on_road",),
)
def people_in_doubt(texts: Iterable[str], report: DrivingParameters, now: Now) -> Finding | None:
    """The JSON's word on people is taken out where the prose says the opposite and no label settles it."""
    parameter, said = "pedestrian_on_road", report.pedestrian_on_road
    against = [text for text in texts if wrong_claims(text, parameter, {parameter: said})]
    if said is None or not against or settled_by_evidence(report, parameter, not said, now):
        return None
    message = f"{'a person' if said else 'nobody'} on the road in the JSON, the opposite in the prose"
    return Finding(
        rule="people_in_doubt", parameter=parameter, before=said, message=message, evidence=against[0]
    )


def settled_by_evidence(report: DrivingParameters, parameter: str, other: Any, now: Now) -> bool:
    """Whether a rule of evidence would turn the ``other`` value into the one that the report holds."""
    changed = report.model_copy(update={parameter: other})
    found = [rule.check(changed, now) for rule in EVIDENCE_RULES if parameter in rule.parameters]
    told = getattr(report, parameter)
    return any(each is not None and (each.parameter, each.after) == (parameter, told) for each in found)


@rule(
    reason="Sunshine in the prose and rain in the JSON cannot both be seen.",
    source="weather of the same report; neighbouring words for one sky agree",
    severity="error",
    action="mend",
    parameters=("weather",),
)
def prose_weather(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence speaks of other weather than the JSON."""
    return _agreeing(sentence, "weather", report, now)


@rule(
    reason="A lane that the JSON rules out should not be spoken of.",
    source="ego_lane_position of the same report",
    severity="error",
    action="mend",
    parameters=("ego_lane_position",),
)
def prose_lane(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The ego vehicle is in the lane the JSON names."""
    return _agreeing(sentence, "ego_lane_position", report, now)


@rule(
    reason="One unit for one quantity: the JSON is in km/h and metres.",
    source="1 mile = 1.609344 km, 1 foot = 0.3048 m, 1 yard = 0.9144 m",
    severity="info",
    action="mend",
    parameters=("ego_vehicle_speed", "closest_vehicle_distance"),
)
def prose_units(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """Speeds are written in km/h and lengths in meters."""
    for pattern, unit, factor in MEASURES:
        sentence = pattern.sub(lambda match, u=unit, f=factor: _written(match, u, f), sentence)  # type: ignore[misc]
    return _SAID_TWICE.sub(r"\g<once>", sentence)


_SAID_TWICE = re.compile(
    r"(?P<once>\b\d+(?: to \d+)? (?:km/h|meters)) \((?:about |approximately |around )?(?P=once)\)"
)


def _written(match: re.Match[str], unit: str, factor: float) -> str:
    low, high = (round(number(match[end] or match["low"]) * factor) for end in ("low", "high"))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


@rule(
    reason="Two numbers for one speed are noise, and a car that drives does not stand.",
    source="ego_vehicle_speed of the same report; within 5 km/h or 15 % agrees",
    severity="error",
    action="mend",
    parameters=("ego_vehicle_speed",),
)
def prose_speed(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The ego speed is the JSON's; above 5 km/h the car is not said to stand, at 0 not to move."""
    return _agreeing(sentence, "ego_vehicle_speed", report, now)


@rule(
    reason="Two numbers for one distance are noise.",
    source="closest_vehicle_distance of the same report; within 5 m or 25 % agrees",
    severity="error",
    action="mend",
    parameters=("closest_vehicle_distance",),
)
def prose_distance(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The distance of the nearest vehicle is the JSON's; none is named where the labels show a free road."""
    topic = "closest_vehicle_distance"
    if report.closest_vehicle_distance is None and free_ahead(now):
        named = [claim for claim in read_claims(sentence) if claim.topic == topic and claim.value is not None]
        return rewritten(sentence, topic, None, free_ahead=True) if named else sentence
    return _agreeing(sentence, topic, report, now)


@rule(
    reason="The last line of the assessment is the one that is read first.",
    source="risk_factor of the same report",
    severity="error",
    action="mend",
    parameters=("risk_factor",),
)
def prose_risk(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """The overall risk in the prose is the JSON's; its reasons go when the level changes."""
    wrong = wrong_claims(sentence, "risk_factor", report.model_dump())
    if not wrong:
        return sentence
    claim = wrong[0]
    word = _LEVEL.search(sentence, claim.start, claim.end)
    if word is None or len(sentence[: claim.start].split()) > 2:
        return f"The overall risk is {report.risk_factor}."
    level = report.risk_factor.capitalize() if word[0][0].isupper() else report.risk_factor
    mended = sentence[: word.start()] + level + sentence[word.end() : claim.end].rstrip(" ,;")
    return mended if claim.end == len(sentence) else f"{mended}."


_LEVEL = re.compile(r"\b(?:low|medium|moderate|high)\b", re.IGNORECASE)


@rule(
    reason="Day and night are labelled by people; dusk goes with either.",
    source="timeofday attribute of the labelled frame (BDD100K's words)",
    severity="error",
    action="mend",
)
def prose_time_of_day(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence calls a labelled night day, or a labelled day night."""
    values = {"time_of_day": now.labels.time_of_day if now.labels else None}
    if not wrong_claims(sentence, "time_of_day", values):
        return sentence
    return rewritten(sentence, "time_of_day", values["time_of_day"])


_TURNING = re.compile(
    r"\bego[ -](?:vehicle|car)\b[^.;,]{0,25}?\b(?:is (?:currently )?turning|turns|is making a) (?P<side>left|right)\b",
    re.IGNORECASE,
)
_MAY_TURN = re.compile(
    r"\b(?:if|when|until|before|once|unless|may|might|could|should|not|must|will)\b", re.IGNORECASE
)
STEADY_DEG = 3.0


@rule(
    reason="Left and right are easily swapped, and the course of the car tells them apart.",
    source="change of GPS course over the last two seconds",
    severity="error",
    action="mend",
)
def prose_turning(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence has the ego vehicle turn to a side to which its course does not turn."""
    change = now.course_change_deg
    match = _TURNING.search(sentence)
    if match is None or change is None or _MAY_TURN.search(sentence, 0, match.end()):
        return sentence
    to_side = change if match["side"].lower() == "right" else -change
    return sentence if to_side > STEADY_DEG else None


@rule(
    reason="What evidence refuted, or what the teacher says whatever it sees, must not live on in the prose.",
    source="the values that the rules before took out of the same report",
    severity="error",
    action="mend",
)
def prose_removed(sentence: str, topic: str, removed: Any, now: Now) -> str | None:
    """No sentence states a value that was taken out of the JSON."""
    claims = [claim for claim in read_claims(sentence) if claim.topic == topic]
    if not any(compare(claim, {topic: removed}) == "agree" for claim in claims):
        return sentence
    return rewritten(sentence, topic, None, free_ahead(now))


@rule(
    reason="The reader looks through a windscreen, not at a video; the instruction forbids the words.",
    source="the instruction (prompts.py)",
    severity="info",
    action="mend",
)
def prose_medium(sentence: str, report: DrivingParameters, now: Now) -> str | None:
    """No sentence speaks of a video, footage, an image, a frame or the camera."""
    return without_medium(sentence)


MIN_SCENE_WORDS = 6


@rule(
    reason="A scene of fewer words describes nothing.",
    source="what the other rules of this theme leave",
    severity="error",
    action="quarantine",
)
def prose_empty(scene: str) -> str | None:
    """Six words of the scene are left. Where no risk point is left, the overall risk is said instead."""
    if len(scene.split()) >= MIN_SCENE_WORDS:
        return None
    return "nothing of the scene description agrees with the parameters"


PROSE_RULES: tuple[Rule[ProseCheck], ...] = (
    prose_medium,
    prose_light,
    prose_people,
    prose_weather,
    prose_lane,
    prose_units,
    prose_speed,
    prose_distance,
    prose_risk,
    prose_time_of_day,
    prose_turning,
)

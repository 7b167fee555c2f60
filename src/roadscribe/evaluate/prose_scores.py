"""Scores of the prose: its claims against the truth and against the report's own JSON, and its form.

A report is more than its twelve values. The scene description and the risk assessment are read by the reader
of `roadscribe.answers.claims`, the one that curation uses, and three things are measured: of the claims that
are made, how many are right; of what must not be left out, how much is mentioned; and how often a report
contradicts its own JSON, repeats a sentence, or sets a heading over a point that speaks of something else.
The constant text, which states the majority answer of the same parameter, is the baseline of every share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from roadscribe.answers.claims import TOPICS, Claim, compare, contradicts, read_claims, section_sentences
from roadscribe.evaluate.scores import Value, Values, is_correct
from roadscribe.evaluate.statistics import DriveResamples, Interval, ratio_interval
from roadscribe.report import PARAMETERS
from roadscribe.report_text import parse_answer

TIME_OF_DAY = "time_of_day"
"""A topic of the prose that the JSON does not have."""

NEAR_VEHICLE_M = 25
"""A vehicle at most this far ahead has to be mentioned: 1.8 s of way at 50 km/h."""

HEADING_WORDS: Mapping[str, str] = {
    "traffic light": r"light|signal",
    "people": r"pedestrian|person|people|man|men|woman|women|child|children|cyclist|crossing",
    "vehicles": r"vehicle|car|truck|bus|traffic(?! (?:light|signal))|gap|distance|ahead|tailgat\w+",
    "visibility": r"visib\w+|view|fog\w*|see",
    "weather": r"weather|rain\w*|snow\w*|fog\w*|sky|skies|wet|slippery|sun\w*|cloud\w*",
    "speed": r"speed|km/h|fast|slow\w*|accelerat\w+",
    "lane": r"lane",
    "road": r"road|street|highway|curv\w+|bend|turn|intersection|junction",
    "risk": r"risk|danger\w*|hazard|safe\w*",
}
"""Subjects of headings, and the words that tell a sentence is about them."""

_HEADING = re.compile(r"^(?P<heading>[A-Z][\w /&-]{2,40}):\s+(?P<point>\S.*)$", re.DOTALL)
_SUBJECTS = {
    name: re.compile(rf"\b(?:{words})(?:e?s)?\b", re.IGNORECASE) for name, words in HEADING_WORDS.items()
}


class ReportProse(NamedTuple):
    """What the two prose sections of one report say, and in which form."""

    claims: tuple[Claim, ...]
    repeats: bool
    """Whether a sentence occurs twice."""
    headings: int
    """Points that begin with a heading whose subject is known."""
    misfits: tuple[str, ...]
    """Those of them whose sentence speaks of other subjects."""


@lru_cache(maxsize=20_000)
def read_prose(text: str) -> ReportProse:
    """Read the prose of an answer in whatever form it is; an answer without prose has no claims."""
    answer = parse_answer(text)
    sections = [answer.scene_description, *answer.risk_assessment]
    said = Counter(
        " ".join(re.sub(r"[^\w]+", " ", sentence.lower()).split())
        for section in sections
        for sentence in section_sentences(_without_heading(section))
    )
    headed = [found for point in answer.risk_assessment if (found := _subjects(point)) is not None]
    return ReportProse(
        claims=tuple(claim for section in sections for claim in read_claims(section)),
        repeats=any(count > 1 for sentence, count in said.items() if sentence),
        headings=len(headed),
        misfits=tuple(point for point, fits in headed if not fits),
    )


def _without_heading(point: str) -> str:
    found = _HEADING.match(point)
    return found["point"] if found else point


def _subjects(point: str) -> tuple[str, bool] | None:
    """A point and whether it fits its heading; None where it has no heading of a known subject."""
    found = _HEADING.match(point)
    if found is None:
        return None
    announced = {name for name, words in _SUBJECTS.items() if words.search(found["heading"])}
    treated = {name for name, words in _SUBJECTS.items() if words.search(found["point"])}
    if not announced:
        return None
    return point, bool(announced & treated) or not treated


class TopicScore(BaseModel):
    """Claims about one topic in the reports of one run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claims: int
    right: Interval
    """Share of the claims that are right."""
    constant: float
    """Share that the constant answer to this topic gets right on the same claims."""
    gain: Interval
    """``right`` minus ``constant``, paired claim by claim."""
    json_right: float | None
    """Share of the same claims' clips in which the JSON is right; null for time of day."""
    contradictions: int
    """Reports whose prose contradicts their own JSON in this topic."""
    contradicted_json_right: int
    """Of those, how often the JSON is right ..."""
    contradicted_prose_right: int
    """... and how often the prose is."""


class Mention(BaseModel):
    """Of the clips where something must be mentioned, the share whose prose does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    cases: int
    mentioned: Interval


class ProseScore(BaseModel):
    """The prose of one run's reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reports: int
    """Reports with any claim."""
    claims: int
    right: Interval | None
    """Share of all claims that are right; null where none is made."""
    constant: float | None
    gain: Interval | None
    json_right: float | None
    """Share of the same claims in which the JSON's value is right; time of day is left out."""
    contradicting: Interval
    """Share of reports that contradict their own JSON."""
    repeating: Interval
    """Share of reports in which a sentence occurs twice."""
    headings: int
    misfit_headings: Interval | None
    """Share of headings that do not fit their point; null where there is none."""
    mentions: list[Mention]
    topics: dict[str, TopicScore]


class _Counts:
    """Claims per clip, and how many of them are right by each measure."""

    def __init__(self, clips: int) -> None:
        self.made, self.right, self.constant, self.json = (np.zeros(clips) for _ in range(4))

    def add(self, clip: int, right: bool, constant: bool, json: bool) -> None:
        self.made[clip] += 1
        self.right[clip] += right
        self.constant[clip] += constant
        self.json[clip] += json


def claim_is_right(claim: Claim, truth: Value) -> bool:
    """Whether a claim agrees with the truth: words exactly, numbers within the tolerances of the scorecard.

    Where the truth is null or "unknown", only a claim that says the same is right.
    """
    if truth is None or truth == "unknown":
        return claim.value == truth
    return compare(claim, {claim.topic: truth}, strict=True) == "agree"


class ProseJudgement(NamedTuple):
    """The prose of one report against the truth and its own JSON; the time of day is left out."""

    claims: int
    right: int
    contradicts: bool


def judge_prose(text: str, values: Values, truth: Values) -> ProseJudgement:
    """Count the claims of one report, the right ones, and say whether it contradicts its JSON's ``values``."""
    claims = [claim for claim in read_prose(text).claims if claim.topic != TIME_OF_DAY]
    return ProseJudgement(
        claims=len(claims),
        right=sum(claim_is_right(claim, truth[claim.topic]) for claim in claims),
        contradicts=any(claim.topic in values and contradicts(claim, values) for claim in claims),
    )


def score_prose(
    texts: Sequence[str],
    predicted: Sequence[Values],
    truths: Sequence[Values],
    times_of_day: Sequence[str | None],
    majority: Values,
    draws: DriveResamples,
) -> ProseScore:
    """Score the prose of one report per clip.

    Args:
        texts: the answers as written.
        predicted: the values that their JSON states.
        truths: true values of the same clips.
        times_of_day: "day", "night", "dawn_dusk", or None where it is not known (claims are then not scored).
        majority: the constant answer of each parameter.
        draws: resampled drives over the same clips.
    """
    reports = [read_prose(text) for text in texts]
    known = [time for time in times_of_day if time is not None]
    constants = {**majority, TIME_OF_DAY: Counter(known).most_common(1)[0][0] if known else None}
    total, by_topic = _Counts(len(texts)), {topic: _Counts(len(texts)) for topic in TOPICS}
    contradicting = np.zeros(len(texts))
    conflicts: dict[str, list[tuple[bool, bool]]] = {topic: [] for topic in TOPICS}
    for clip, (prose, values, truth) in enumerate(zip(reports, predicted, truths, strict=True)):
        true = {**truth, TIME_OF_DAY: times_of_day[clip]}
        seen: set[str] = set()
        for claim in prose.claims:
            topic = claim.topic
            if topic == TIME_OF_DAY and true[topic] is None:
                continue
            right = claim_is_right(claim, true[topic])
            json_right = topic in values and is_correct(topic, values[topic], true[topic])
            constant = _constant_is_right(topic, constants[topic], true[topic])
            for counts in (total, by_topic[topic]):
                counts.add(clip, right, constant, json_right)
            if topic in values and contradicts(claim, values) and topic not in seen:
                seen.add(topic)
                conflicts[topic].append((json_right, right))
        contradicting[clip] = bool(seen)
    every = np.ones(len(texts))
    headings = np.array([prose.headings for prose in reports], dtype=np.float64)
    misfits = np.array([len(prose.misfits) for prose in reports], dtype=np.float64)
    made = int(total.made.sum())
    without_time = [by_topic[topic] for topic in PARAMETERS]
    timed = sum(float(counts.made.sum()) for counts in without_time)
    return ProseScore(
        reports=int((total.made > 0).sum()),
        claims=made,
        right=ratio_interval(total.right, total.made, draws) if made else None,
        constant=_share(total.constant, total.made) if made else None,
        gain=ratio_interval(total.right - total.constant, total.made, draws) if made else None,
        json_right=round(sum(float(one.json.sum()) for one in without_time) / timed, 6) if timed else None,
        contradicting=ratio_interval(contradicting, every, draws),
        repeating=ratio_interval(np.array([float(one.repeats) for one in reports]), every, draws),
        headings=int(headings.sum()),
        misfit_headings=ratio_interval(misfits, headings, draws) if headings.any() else None,
        mentions=_mentions(reports, truths, draws),
        topics={
            topic: _topic(topic, counts, conflicts[topic], draws)
            for topic, counts in by_topic.items()
            if counts.made.any()
        },
    )


def _constant_is_right(topic: str, answer: Value, truth: Value) -> bool:
    return answer == truth if topic == TIME_OF_DAY else is_correct(topic, answer, truth)


def _topic(
    topic: str, counts: _Counts, conflicts: Sequence[tuple[bool, bool]], draws: DriveResamples
) -> TopicScore:
    return TopicScore(
        claims=int(counts.made.sum()),
        right=ratio_interval(counts.right, counts.made, draws),
        constant=_share(counts.constant, counts.made),
        gain=ratio_interval(counts.right - counts.constant, counts.made, draws),
        json_right=None if topic == TIME_OF_DAY else _share(counts.json, counts.made),
        contradictions=len(conflicts),
        contradicted_json_right=sum(json for json, _ in conflicts),
        contradicted_prose_right=sum(prose for _, prose in conflicts),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return round(float(part.sum() / whole.sum()), 6)


class _Matter(NamedTuple):
    """Something that a report must not leave out."""

    what: str
    there: Callable[[Values], bool]
    mentioned: Callable[[Claim], bool]


def _vehicle_is_near(truth: Values) -> bool:
    distance = truth["closest_vehicle_distance"]
    return isinstance(distance, int) and distance <= NEAR_VEHICLE_M


MATTERS: tuple[_Matter, ...] = (
    _Matter(
        "a person on the road",
        lambda truth: truth["pedestrian_on_road"] is True,
        lambda claim: claim.topic == "pedestrian_on_road" and claim.value is True,
    ),
    _Matter(
        "a red light",
        lambda truth: truth["traffic_light_state"] == "red",
        lambda claim: claim.topic == "traffic_light_state" and claim.value == "red",
    ),
    _Matter(
        f"a vehicle within {NEAR_VEHICLE_M} m",
        _vehicle_is_near,
        lambda claim: claim.topic == "closest_vehicle_distance" and claim.value is not None,
    ),
)
"""What is counted as mentioned or left out; for the vehicle any distance counts as a mention."""


def _mentions(
    reports: Sequence[ReportProse], truths: Sequence[Values], draws: DriveResamples
) -> list[Mention]:
    found = []
    for matter in MATTERS:
        there = np.array([float(matter.there(truth)) for truth in truths])
        said = np.array([float(any(map(matter.mentioned, prose.claims))) for prose in reports])
        if there.any():
            share = ratio_interval(there * said, there, draws)
            found.append(Mention(what=matter.what, cases=int(there.sum()), mentioned=share))
    return found

"""Rules that compare the parameters with each other: lanes, and risk against its stated rule.

Signature: ``(report: DrivingParameters, now: Now, prose: str = "") -> Finding | None``; ``prose`` is the text of both
prose sections, for what no parameter holds (a wet road).
"""

from __future__ import annotations

import re
from typing import Protocol

from roadscribe.curate.box_distance import vehicles_ahead
from roadscribe.curate.now import Now
from roadscribe.curate.rules.evidence import supported_by
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.report import DrivingParameters, Finding, Grade, RiskFactor
from roadscribe.simulator.rules import risk


class ConsistencyCheck(Protocol):
    """How the rules of this theme are called."""

    def __call__(self, report: DrivingParameters, now: Now, prose: str = "") -> Finding | None: ...


MIN_LANES = {"left": 2, "right": 2, "middle": 3, "turn_left": 1, "turn_right": 1}
"""Lanes a carriageway must have for a position in it to exist."""


@rule(
    reason="A position that the carriageway does not have teaches the model that the words mean nothing.",
    source="definition of the two parameters",
    severity="error",
    action="null",
    parameters=("ego_lane_position", "lane_count"),
)
def lane_position_exists(report: DrivingParameters, now: Now, prose: str = "") -> Finding | None:
    """Left and right need two lanes, middle three; a single lane is the only one."""
    lanes, position = report.lane_count, report.ego_lane_position
    if lanes is None:
        return None
    if position == "single" and lanes > 1:
        problem = f"the only lane of {lanes}"
    elif lanes < MIN_LANES.get(position, 1):
        problem = f"the {position} of {lanes} lane{'s' if lanes > 1 else ''}"
    else:
        return None
    after = "single" if lanes == 1 else "unknown"
    return Finding(
        rule="lane_position_exists",
        parameter="ego_lane_position",
        before=position,
        after=after,
        message=f"claims {problem}",
        evidence=f"lane_count {lanes}",
    )


_LEVELS: tuple[RiskFactor, ...] = ("low", "medium", "high")

SLIPPERY_WEATHER = ("rainy", "snowy")
SPEED_ROOM_KMH = 3.0
"""A speed this near to a bound of the rule leaves both sides open."""
WET_BRAKING = 2.0
"""How much longer a car needs to stop on a wet road: friction of about 0.4 instead of 0.8."""
_SLIPPERY_ROAD = re.compile(
    r"\b(?:wet|slippery|slick|icy|iced|ice|flooded|puddles?|snow[ -]covered|snowy|slush|rain-soaked)\b",
    re.IGNORECASE,
)


def risk_bounds(
    report: DrivingParameters, free_ahead: bool, slippery: bool | None = None
) -> tuple[RiskFactor, RiskFactor]:
    """The lowest and the highest risk that the stated rule allows for these parameters.

    The rule (`simulator/rules.py`) asks for the time to collision, which the report does not hold. It is
    never shorter than distance / own speed while the vehicle ahead does not come nearer by itself; that bound
    gives the highest risk, no collision course at all the lowest. What is null is taken at its mildest for
    the lower bound and at its worst for the upper; so a distance of null means nothing is ahead only where
    ``free_ahead`` says so.

    The rule is stated for a dry road and knows rain, snow and fog only by the visibility that they leave. On a
    slippery road (rain, snow, or ``slippery``) braking distances double, so the upper bound is that of half the time
    and of the speed that needs twice the distance to stop (1.41 times); there and in fog it is medium at least. The
    lower bound stays that of the dry road: who calls a wet road low risk is not contradicted by it.

    Args:
        report: the parameters; null where they are not to be counted on.
        free_ahead: whether it is known that no vehicle is ahead.
        slippery: whether the road is; None takes the weather's word.
    """
    speed, distance = report.ego_vehicle_speed, report.closest_vehicle_distance
    person, light = report.pedestrian_on_road, report.traffic_light_state
    mild = risk(max(float(speed or 0) - SPEED_ROOM_KMH, 0.0), bool(person), light, report.visibility, None)
    if distance is None:
        soonest = None if free_ahead else 0.0
    elif speed is None:
        soonest = 0.0
    else:
        soonest = max(distance - 2.0, 0.0) / (speed / 3.6) if speed > 2 else None
    fastest = float(200 if speed is None else speed + SPEED_ROOM_KMH)
    is_slippery = bool(slippery) or report.weather in SLIPPERY_WEATHER or report.weather == "unknown"
    if is_slippery:
        fastest *= WET_BRAKING**0.5
        soonest = None if soonest is None else soonest / WET_BRAKING
    worst = risk(
        fastest,
        person is not False,
        "red" if light == "unknown" else light,
        "poor" if report.visibility == "unknown" else report.visibility,
        soonest,
    )
    if worst == "low" and (is_slippery or report.weather == "foggy"):
        worst = "medium"
    return mild, worst


CLEAR_AIR = ("clear", "partly cloudy", "partly_cloudy", "overcast")
"""Labelled weather in which visibility is not poor by the parameter's definition (`simulator/rules.py`): poor takes
rain, snow or fog."""


def only_supported(report: DrivingParameters, now: Now) -> DrivingParameters:
    """The parameters of the risk rule that measured or labelled evidence supports; the others null."""
    known = {name for name, grade in supported_by(report, now).items() if grade.may_fix}
    open_values = {
        "ego_vehicle_speed": None,
        "closest_vehicle_distance": None,
        "pedestrian_on_road": None,
        "traffic_light_state": "unknown",
        "weather": "unknown",
    }
    update = {name: value for name, value in open_values.items() if name not in known}
    if report.visibility != "poor":
        labels = now.labels if now.labels_grade.may_fix else None
        is_clear = labels is not None and labels.weather in CLEAR_AIR
        update["visibility"] = "moderate" if is_clear else "unknown"
    else:
        update["visibility"] = "unknown"
    return report.model_copy(update=update)


@rule(
    reason="A risk that does not follow from what is reported cannot be learnt from what is seen; but a teacher's own "
    "light and speed, which nobody checked, are no ground to rewrite a risk.",
    source="the stated risk rule: person on the road, light, visibility, speed and time to collision, with room for a "
    "slippery road; values count that labels or telemetry support",
    severity="warning",
    action="fix",
    parameters=("risk_factor",),
)
def risk_against_rule(report: DrivingParameters, now: Now, prose: str = "") -> Finding | None:
    """The risk lies between the lowest and the highest that the stated rule allows. It is rewritten only where the
    parameters that measured or labelled evidence supports leave no room for it, and only as far as they say; where the
    disagreement rests on the teacher's own values it is noted and the risk stays."""
    slippery = bool(_SLIPPERY_ROAD.search(prose))
    claimed = _LEVELS.index(report.risk_factor)
    found = vehicles_ahead(report, now) if now.boxes_known else None
    free_ahead = found is not None and not found.possible and not found.unplaced
    lowest, highest = _indices(risk_bounds(report, free_ahead, slippery))
    if lowest <= claimed <= highest:
        return None
    id_, parameter = "risk_against_rule", "risk_factor"
    said = _allowed(lowest, highest)
    surely_free = free_ahead and found is not None and found.grade.may_fix
    supported = only_supported(report, now)
    lowest, highest = _indices(risk_bounds(supported, surely_free, slippery))
    if lowest <= claimed <= highest:
        message = f"{report.risk_factor} claimed, the other parameters allow {said}; no evidence decides, so it stays"
        kept = report.risk_factor
        return Finding(rule=id_, parameter=parameter, before=kept, after=kept, message=message)
    allowed = _allowed(lowest, highest)
    return Finding(
        rule=id_,
        parameter=parameter,
        before=report.risk_factor,
        after=_LEVELS[lowest if claimed < lowest else highest],
        message=f"{report.risk_factor} claimed, what labels and telemetry support allows {allowed}",
        evidence=f"allowed: {allowed}",
        grade=Grade.LABELLED,
    )


def _indices(bounds: tuple[RiskFactor, RiskFactor]) -> tuple[int, int]:
    return _LEVELS.index(bounds[0]), _LEVELS.index(bounds[1])


def _allowed(lowest: int, highest: int) -> str:
    return _LEVELS[lowest] if lowest == highest else f"{_LEVELS[lowest]} to {_LEVELS[highest]}"


CONSISTENCY_RULES: tuple[Rule[ConsistencyCheck], ...] = (lane_position_exists, risk_against_rule)

"""Rules that hold the parameters against each other: lanes, and risk against its stated rule.

Signature: ``(report: DrivingParameters, now: Now) -> Finding | None``, as for the rules of evidence.
"""

from __future__ import annotations

from roadscribe.curate.now import Now
from roadscribe.curate.rules.evidence import ParameterCheck, corrected, vehicles_ahead
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.report import DrivingParameters, Finding, RiskFactor
from roadscribe.simulator.rules import risk

MIN_LANES = {"left": 2, "right": 2, "middle": 3, "turn_left": 1, "turn_right": 1}
"""Lanes a carriageway must have for a position in it to exist."""


@rule(
    reason="A position that the carriageway does not have teaches the model that the words mean nothing.",
    source="definition of the two parameters",
    severity="error",
    action="null",
    parameters=("ego_lane_position", "lane_count"),
)
def lane_position_exists(report: DrivingParameters, now: Now) -> Finding | None:
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
    return corrected(
        "lane_position_exists", report, "ego_lane_position", after, f"claims {problem}", f"lane_count {lanes}"
    )


_LEVELS: tuple[RiskFactor, ...] = ("low", "medium", "high")


def risk_bounds(report: DrivingParameters, free_ahead: bool) -> tuple[RiskFactor, RiskFactor]:
    """The lowest and the highest risk that the stated rule allows for these parameters.

    The rule (`simulator/rules.py`) asks for the time to collision, which the report does not hold. It is
    never shorter than distance / own speed while the vehicle ahead does not come nearer by itself; that bound
    gives the highest risk, no collision course at all the lowest. What is null is taken at its mildest for
    the lower bound and at its worst for the upper; so a distance of null means nothing is ahead only where
    ``free_ahead`` says so.
    """
    speed, distance = report.ego_vehicle_speed, report.closest_vehicle_distance
    person, light = report.pedestrian_on_road, report.traffic_light_state
    mild = risk(float(speed or 0), bool(person), light, report.visibility, None)
    if distance is None:
        soonest = None if free_ahead else 0.0
    elif speed is None:
        soonest = 0.0
    else:
        soonest = max(distance - 2.0, 0.0) / (speed / 3.6) if speed > 2 else None
    worst = risk(
        float(200 if speed is None else speed + 3),
        person is not False,
        "red" if light == "unknown" else light,
        "poor" if report.visibility == "unknown" else report.visibility,
        soonest,
    )
    return mild, worst


@rule(
    reason="A risk that does not follow from what is reported cannot be learnt from what is seen.",
    source="the stated risk rule: person on the road, light, visibility, speed and time to collision",
    severity="warning",
    action="fix",
    parameters=("risk_factor",),
)
def risk_against_rule(report: DrivingParameters, now: Now) -> Finding | None:
    """The risk lies between the lowest and the highest that the stated rule allows for the rest."""
    free_ahead = now.boxes_known and not vehicles_ahead(report, now).possible
    lowest, highest = (_LEVELS.index(level) for level in risk_bounds(report, free_ahead))
    claimed = _LEVELS.index(report.risk_factor)
    if lowest <= claimed <= highest:
        return None
    after = _LEVELS[lowest if claimed < lowest else highest]
    allowed = f"{_LEVELS[lowest]} to {_LEVELS[highest]}" if lowest != highest else _LEVELS[lowest]
    message = f"{report.risk_factor} claimed, the other parameters allow {allowed}"
    return corrected("risk_against_rule", report, "risk_factor", after, message, f"allowed: {allowed}")


CONSISTENCY_RULES: tuple[Rule[ParameterCheck], ...] = (lane_position_exists, risk_against_rule)

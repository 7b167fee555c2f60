"""Rules that hold parameters against labels, boxes and telemetry of the clip's last frame.

Signature: ``(report: DrivingParameters, now: Now) -> Finding | None``. Each corrects a claim that the
evidence contradicts; none fills in what the teacher left open, and none speaks without evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roadscribe.clip import Box
from roadscribe.curate.now import LIGHTS, PERSONS, VEHICLES, Now, ground_position
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.report import DrivingParameters, Finding

ParameterCheck = Callable[[DrivingParameters, Now], Finding | None]

LANE_WIDTH_M = 3.5
"""Middle of the usual 3.25 m (urban) to 3.75 m (motorway)."""
MIN_LIGHT_SHARE = 0.012
"""A traffic light lower than this share of the image cannot be read by a model; it proves nothing."""


def corrected(
    rule_id: str, report: DrivingParameters, parameter: str, after: Any, message: str, evidence: str | None
) -> Finding:
    """A finding that changes one parameter of the report."""
    return Finding(
        rule=rule_id,
        parameter=parameter,
        before=getattr(report, parameter),
        after=after,
        message=message,
        evidence=evidence,
    )


def _tall_enough(box: Box, now: Now) -> bool:
    return box.y2 - box.y1 >= MIN_LIGHT_SHARE * now.height


@rule(
    reason="A third of the light colours that a real teacher claimed had no light in the labelled frame.",
    source="labelled traffic lights (BDD100K, or the simulator's boxes)",
    severity="error",
    action="fix",
    parameters=("traffic_light_state",),
)
def light_without_light(report: DrivingParameters, now: Now) -> Finding | None:
    """A light's colour is claimed only where a light is labelled."""
    claimed = report.traffic_light_state
    if claimed in ("none", "unknown") or not now.boxes_known or now.boxes(LIGHTS):
        return None
    boxes = len(now.labels.boxes) if now.labels else 0
    return corrected(
        "light_without_light",
        report,
        "traffic_light_state",
        "none",
        f"{claimed} claimed, no light is labelled",
        f"{boxes} labelled objects, no traffic light",
    )


@rule(
    reason="A wrong colour is the one error that makes a driving report dangerous.",
    source="labelled traffic light colours",
    severity="error",
    action="fix",
    parameters=("traffic_light_state",),
)
def light_colour(report: DrivingParameters, now: Now) -> Finding | None:
    """The claimed colour is one that a labelled light shows; a light that is labelled is not denied."""
    claimed = report.traffic_light_state
    lights = [box for box in now.boxes(LIGHTS) if _tall_enough(box, now)]
    if claimed == "unknown" or not lights:
        return None
    colours = {box.light_color for box in lights} - {None}
    if claimed in colours or (claimed == "none" and not colours):
        return None
    if not colours:
        return corrected(
            "light_colour",
            report,
            "traffic_light_state",
            "unknown",
            f"{claimed} claimed, no labelled light shows its colour",
            f"{len(lights)} lights, colour not labelled",
        )
    nearest = max((box for box in lights if box.light_color), key=lambda box: box.y2 - box.y1)
    after = nearest.light_color if len(colours) == 1 or claimed == "none" else "unknown"
    seen = ", ".join(sorted(colour for colour in colours if colour))
    return corrected(
        "light_colour",
        report,
        "traffic_light_state",
        after,
        f"{claimed} claimed, labelled: {seen}",
        f"lights: {seen}",
    )


def _on_road(person: Box, now: Now) -> bool | None:
    """Whether a labelled person stands on the carriageway: the source's word, else the pinhole estimate."""
    if person.on_road is not None:
        return person.on_road
    position = ground_position(person, now)
    if position is None or position[0] > 60:
        return None
    if abs(position[1]) < LANE_WIDTH_M / 2:
        return True
    return False if abs(position[1]) > 4 * LANE_WIDTH_M else None


@rule(
    reason="Of 252 times that a real teacher saw nobody, 47 had a person in the labelled frame.",
    source="labelled persons; on the road by the source's word or within half a lane of the car's path",
    severity="error",
    action="fix",
    parameters=("pedestrian_on_road",),
)
def pedestrian_against_boxes(report: DrivingParameters, now: Now) -> Finding | None:
    """A person on the road is claimed exactly where one is labelled there."""
    if report.pedestrian_on_road is None or not now.boxes_known:
        return None
    places = [_on_road(person, now) for person in now.boxes(PERSONS)]
    if True in places:
        truth = True
    elif None in places:
        return None
    else:
        truth = False
    if truth == report.pedestrian_on_road:
        return None
    seen = f"{places.count(True)} of {len(places)} labelled persons are on the road"
    message = f"{'nobody' if truth else 'a person'} on the road claimed"
    return corrected("pedestrian_against_boxes", report, "pedestrian_on_road", truth, message, seen)


@dataclass(frozen=True)
class Candidates:
    """Distances in metres of the labelled vehicles that may be the nearest one ahead."""

    certain: float | None
    """The nearest vehicle that is in the own lane, or in the lane to the right, however the road bends."""
    possible: tuple[float, ...]
    """All that may be meant, nearest first: besides the certain one those nearer than it whose lane depends
    on the bend of the road, or that stand to the left, where traffic may be oncoming."""


BEND_PER_M: dict[str, tuple[float, float]] = {
    "straight": (-0.001, 0.001),
    "slight_left": (-0.006, -0.001),
    "slight_right": (0.001, 0.006),
    "sharp_left": (-0.02, -0.006),
    "sharp_right": (0.006, 0.02),
}
"""Curvature in 1/m (radius 1000 m to 50 m, right positive) behind the words of ``road_curvature``."""
ANY_BEND = (-0.02, 0.02)


def vehicles_ahead(report: DrivingParameters, now: Now) -> Candidates:
    """Which labelled vehicles may be the nearest one ahead in the own lane or one beside it.

    A road of curvature k lies ``k z^2 / 2`` to the side at z metres. The bend is taken from the report's own
    word, widened by a quarter, so a vehicle whose lane depends on the bend counts only as possible.
    """
    low, high = BEND_PER_M.get(report.road_curvature, ANY_BEND)
    low, high = (value + sign * 0.25 * abs(value) for value, sign in ((low, -1), (high, 1)))
    certain: list[float] = []
    possible: list[float] = []
    reach = 1.5 * LANE_WIDTH_M
    for box in now.boxes(VEHICLES):
        position = ground_position(box, now)
        if position is None:
            continue
        ahead, right = position
        half = (box.x2 - box.x1) / 2 * ahead / (now.camera.focal * now.width)
        left_most, right_most = right - half - high * ahead**2 / 2, right + half - low * ahead**2 / 2
        if right_most < -reach or left_most > reach:
            continue
        possible.append(ahead)
        if left_most > -LANE_WIDTH_M and right_most < reach:
            certain.append(ahead)
    nearest = min(certain, default=None)
    return Candidates(nearest, tuple(sorted(d for d in possible if nearest is None or d <= nearest)))


@rule(
    reason='"50 feet" stood in half of a real teacher\'s answers, whatever was ahead.',
    source="labelled boxes and a pinhole camera over a flat road (curate/now.py states its constants)",
    severity="error",
    action="fix",
    parameters=("closest_vehicle_distance",),
)
def distance_against_boxes(report: DrivingParameters, now: Now) -> Finding | None:
    """The distance fits a labelled vehicle: within 25 % and 5 m with a known camera, within a factor of two
    with an assumed one. Where several vehicles may be meant and none fits, the value is taken out."""
    claimed = report.closest_vehicle_distance
    if claimed is None or not now.boxes_known:
        return None
    if any(ground_position(box, now) is None for box in now.boxes(VEHICLES)):
        return None
    found = vehicles_ahead(report, now)
    if any(_fits(claimed, distance, now.camera_known) for distance in found.possible):
        return None
    id_ = "distance_against_boxes"
    if not found.possible:
        message = f"{claimed} m claimed, no vehicle is labelled in the own lane or one beside it"
        return corrected(id_, report, "closest_vehicle_distance", None, message, "no vehicle box ahead")
    told = ", ".join(f"{distance:.0f}" for distance in found.possible[:4])
    message = f"{claimed} m claimed, labelled vehicles ahead at about {told} m"
    estimate = found.possible[0]
    if len(found.possible) > 1 and not _fits(round(found.possible[-1]), estimate, now.camera_known):
        return corrected(id_, report, "closest_vehicle_distance", None, message, f"boxes at {told} m")
    after = min(200, round(estimate) if now.camera_known or estimate < 10 else 5 * round(estimate / 5))
    return corrected(id_, report, "closest_vehicle_distance", after, message, f"box at {estimate:.1f} m")


def _fits(claimed: float, distance: float, camera_known: bool) -> bool:
    if camera_known:
        return abs(claimed - distance) <= max(5.0, 0.25 * distance)
    return distance / 2 - 4 <= claimed <= distance * 2 + 4


@rule(
    reason="A number without its unit, or a guess: of 27 speeds with a logged speed 8 were within 5 km/h.",
    source="telemetry at the last frame (GPS, CAN or the simulator)",
    severity="error",
    action="fix",
    parameters=("ego_vehicle_speed",),
)
def speed_against_telemetry(report: DrivingParameters, now: Now) -> Finding | None:
    """The speed is within 5 km/h or 15 % of the logged speed; a stopped car is stopped."""
    claimed, logged = report.ego_vehicle_speed, now.speed_kmh
    if claimed is None or logged is None or abs(claimed - logged) <= max(5.0, 0.15 * logged):
        return None
    after = min(200, round(logged))
    mph = " (the number fits miles an hour)" if abs(claimed * 1.609344 - logged) <= 3 else ""
    message = f"{claimed} km/h claimed, {logged:.0f} km/h logged{mph}"
    evidence = f"{logged:.1f} km/h"
    return corrected("speed_against_telemetry", report, "ego_vehicle_speed", after, message, evidence)


_TURN = {"turn_left": -1, "turn_right": 1}
_BEND = {"slight_left": -1, "sharp_left": -1, "slight_right": 1, "sharp_right": 1}
TURN_DEG = 10.0
"""A change of course over two seconds that is a bend or a turn beyond doubt."""


@rule(
    reason="Left and right are easily swapped, and the course of the car tells them apart.",
    source="change of GPS course over the last two seconds",
    severity="error",
    action="null",
    parameters=("road_curvature", "ego_lane_position"),
)
def turning_against_course(report: DrivingParameters, now: Now) -> Finding | None:
    """A bend or a turn to one side is not claimed while the car turns to the other."""
    change = now.course_change_deg
    if change is None or abs(change) < TURN_DEG:
        return None
    turned = f"the course changed by {abs(change):.0f} degrees to the {'right' if change > 0 else 'left'}"
    for parameter, sides in (("road_curvature", _BEND), ("ego_lane_position", _TURN)):
        claimed = getattr(report, parameter)
        if sides.get(claimed, 0) * change < 0:
            return corrected(
                "turning_against_course", report, parameter, "unknown", f"{claimed} claimed, {turned}", turned
            )
    return None


WEATHER_OF_LABEL = {
    "clear": "clear",
    "partly cloudy": "partly_cloudy",
    "partly_cloudy": "partly_cloudy",
    "overcast": "overcast",
    "rainy": "rainy",
    "snowy": "snowy",
    "foggy": "foggy",
}
_SAME_SKY = ({"clear", "partly_cloudy"}, {"partly_cloudy", "overcast"})


@rule(
    reason="Weather is labelled by people; a neighbouring word for the same sky is not an error.",
    source="weather attribute of the labelled frame (BDD100K's words)",
    severity="error",
    action="fix",
    parameters=("weather",),
)
def weather_against_attributes(report: DrivingParameters, now: Now) -> Finding | None:
    """The weather is the labelled one, or a neighbour of it between clear and overcast."""
    labelled = WEATHER_OF_LABEL.get((now.labels.weather if now.labels else None) or "")
    claimed = report.weather
    if (
        labelled is None
        or claimed in ("unknown", labelled)
        or any({claimed, labelled} == pair for pair in _SAME_SKY)
    ):
        return None
    message = f"{claimed} claimed, labelled {labelled}"
    return corrected(
        "weather_against_attributes", report, "weather", labelled, message, f"weather: {labelled}"
    )


ROADS_OF_SCENE: dict[str, tuple[str, ...]] = {
    "city street": ("urban", "suburban", "residential"),
    "highway": ("highway", "rural", "tunnel"),
    "residential": ("residential", "suburban", "urban"),
    "tunnel": ("tunnel",),
    "parking lot": ("parking_lot",),
    "gas stations": ("gas_station",),
    "gas station": ("gas_station",),
    "suburban": ("suburban", "residential", "urban"),
    "urban": ("urban", "suburban", "residential"),
    "rural": ("rural", "highway", "suburban"),
}
"""Road types that a labelled scene allows; the first is written where another was claimed."""


@rule(
    reason="The scene is labelled by people; words for neighbouring kinds of street are not held against it.",
    source="scene attribute of the labelled frame (BDD100K's words)",
    severity="error",
    action="fix",
    parameters=("road_type",),
)
def road_against_scene(report: DrivingParameters, now: Now) -> Finding | None:
    """The road type is one that the labelled scene allows."""
    scene = (now.labels.scene if now.labels else None) or ""
    allowed = ROADS_OF_SCENE.get(scene)
    claimed = report.road_type
    if allowed is None or claimed == "unknown" or claimed in allowed:
        return None
    message = f"{claimed} claimed, the scene is labelled {scene}"
    return corrected("road_against_scene", report, "road_type", allowed[0], message, f"scene: {scene}")


@rule(
    reason="A density is a matter of taste; an empty road in dense traffic is not.",
    source="number of labelled vehicles",
    severity="warning",
    action="null",
    parameters=("traffic_density",),
)
def density_against_boxes(report: DrivingParameters, now: Now) -> Finding | None:
    """No high density without vehicles in sight, no empty road with five or more."""
    if not now.boxes_known:
        return None
    vehicles = len(now.boxes(VEHICLES))
    claimed = report.traffic_density
    if (claimed == "high" and vehicles < 2) or (claimed == "none" and vehicles >= 5):
        message = f"{claimed} claimed, {vehicles} vehicles are labelled"
        return corrected(
            "density_against_boxes", report, "traffic_density", "unknown", message, f"{vehicles} vehicles"
        )
    return None


EVIDENCE_RULES: tuple[Rule[ParameterCheck], ...] = (
    light_without_light,
    light_colour,
    pedestrian_against_boxes,
    distance_against_boxes,
    speed_against_telemetry,
    turning_against_course,
    weather_against_attributes,
    road_against_scene,
    density_against_boxes,
)

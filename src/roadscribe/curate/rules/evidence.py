"""Rules that compare parameters with labels, boxes and telemetry of the clip's last frame.

Signature: ``(report: DrivingParameters, now: Now) -> Finding | None``. Each corrects a claim that the
evidence contradicts; none fills in what the teacher left open, and none speaks without evidence. What a source does
not say (None) contradicts nothing. Evidence that was estimated or detected takes a value out and never writes one:
`corrected` raises where a rule tries.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from roadscribe.clip import Box
from roadscribe.curate.box_distance import LANE_WIDTH_M, fits, place_of, vehicles_ahead
from roadscribe.curate.now import LIGHTS, PERSONS, RIDERS, VEHICLES, Now
from roadscribe.curate.rules.rule import Rule, corrected, decided, noted, rule
from roadscribe.report import RANGES, DrivingParameters, Finding, Grade

ParameterCheck = Callable[[DrivingParameters, Now], Finding | None]

MIN_LIGHT_SHARE = 0.012
"""A traffic light lower than this share of the image cannot be read by a model; it proves nothing."""


@rule(
    reason="A third of the light colours that a real teacher claimed had no light in the labelled frame.",
    source="labelled traffic lights (BDD100K, or the simulator's boxes)",
    severity="error",
    action="fix",
    parameters=("traffic_light_state",),
)
def light_without_light(report: DrivingParameters, now: Now) -> Finding | None:
    """A light's colour is claimed only where a light is labelled, in a frame whose objects were all labelled."""
    claimed = report.traffic_light_state
    if claimed in ("none", "unknown") or not now.boxes_known or now.boxes(LIGHTS):
        return None
    boxes = len((now.labels and now.labels.boxes) or ())
    return corrected(
        "light_without_light",
        report,
        "traffic_light_state",
        decided(now.labels_grade, "traffic_light_state", "none"),
        f"{claimed} claimed, no light is labelled",
        f"{boxes} labelled objects, no traffic light",
        now.labels_grade,
    )


def labelled_lights(now: Now) -> tuple[set[str], bool]:
    """(colours that the labelled lights show, whether one that is tall enough to read has a colour not said).

    "none" (the label says that no colour can be seen) is neither.
    """
    lights = now.boxes(LIGHTS)
    colours = {box.light_color for box in lights if box.light_color not in (None, "none")}
    return {str(colour) for colour in colours}, any(
        box.light_color is None and _tall_enough(box, now) for box in lights
    )


def _tall_enough(box: Box, now: Now) -> bool:
    return box.y2 - box.y1 >= MIN_LIGHT_SHARE * now.height


@rule(
    reason="A wrong colour is the one error that makes a driving report dangerous.",
    source="labelled traffic light colours; a light whose colour is not labelled says nothing about its colour",
    severity="error",
    action="fix",
    parameters=("traffic_light_state",),
)
def light_colour(report: DrivingParameters, now: Now) -> Finding | None:
    """The claimed colour is one that a labelled light shows, or may show where the label does not say; a light
    whose colour is labelled is not denied."""
    claimed = report.traffic_light_state
    colours, some_not_said = labelled_lights(now)
    lights = [box for box in now.boxes(LIGHTS) if _tall_enough(box, now)]
    readable = {box.light_color for box in lights} - {None, "none"}
    if claimed == "unknown" or not lights or claimed in colours:
        return None
    if claimed == "none" and not readable:
        return None
    if claimed != "none" and some_not_said:
        return None
    id_, grade = "light_colour", now.labels_grade
    if not readable:
        if claimed == "off":  # an unlit light shows no colour either
            return None
        message = f"{claimed} claimed, the labels say of each light that no colour can be seen"
        evidence = f"{len(lights)} lights, labelled without a visible colour"
        return corrected(id_, report, "traffic_light_state", "unknown", message, evidence, grade)
    seen = ", ".join(sorted(str(colour) for colour in readable))
    # Which of several lights concerns the ego vehicle is not labelled.
    after = next(iter(readable)) if len(readable) == 1 and not some_not_said else "unknown"
    return corrected(
        id_,
        report,
        "traffic_light_state",
        decided(grade, "traffic_light_state", after),
        f"{claimed} claimed, labelled: {seen}",
        f"lights: {seen}",
        grade,
    )


@rule(
    reason="Who names several lights has seen one; where they all show one colour, nothing is left open.",
    source="labelled traffic light colours, each light's colour labelled, all of one colour that the answer names",
    severity="warning",
    action="fix",
    parameters=("traffic_light_state",),
)
def light_of_several(report: DrivingParameters, now: Now, written: str) -> Finding | None:
    """Of several lights named with different colours, the labels tell which colour is shown. It runs first, and only
    where the answer's value named several colours (``written`` is the value as it was written)."""
    colours, some_not_said = labelled_lights(now)
    if report.traffic_light_state != "unknown" or some_not_said or len(colours) != 1:
        return None
    (colour,) = colours
    if not now.labels_grade.may_fix or not re.search(rf"\b{colour}\b", written.lower()):
        return None
    message = f"several lights named, the labels show {colour} only"
    return corrected(
        "light_of_several",
        report,
        "traffic_light_state",
        colour,
        message,
        f"lights: {colour}",
        now.labels_grade,
    )


def person_places(now: Now) -> tuple[list[bool | None], Grade]:
    """(for each labelled person, whether they stand on the carriageway, the grade of that knowledge).

    The source's own word counts; where it says nothing, the place of the box is an estimate of the lane, whatever
    the camera, because the width of the road is not known.
    """
    people = now.boxes(PERSONS)
    places = [person.on_road if person.on_road is not None else _near_path(person, now) for person in people]
    said = all(person.on_road is not None for person in people)
    labelled = said or any(person.on_road for person in people)
    return places, now.labels_grade if labelled else Grade.ESTIMATED


def _near_path(person: Box, now: Now) -> bool | None:
    """Whether a person stands in the ego vehicle's path: within half a lane, or not within four lanes."""
    place = place_of(person, now)
    if place is None or place.ahead_m > 60:
        return None
    if abs(place.right_m) < LANE_WIDTH_M / 2:
        return True
    return False if abs(place.right_m) > 4 * LANE_WIDTH_M else None


@rule(
    reason="Of 252 times that a real teacher saw nobody, 47 had a person in the labelled frame.",
    source="labelled persons and the source's word on where they stand; where it has none, the value is only taken "
    "out, when the box lies within half a lane of the car's path, or four lanes away from it",
    severity="error",
    action="fix",
    parameters=("pedestrian_on_road",),
)
def pedestrian_against_boxes(report: DrivingParameters, now: Now) -> Finding | None:
    """A person on the road is claimed exactly where one is labelled there; who rides may be meant, too."""
    claimed = report.pedestrian_on_road
    if claimed is None or not now.boxes_known:
        return None
    places, grade = person_places(now)
    if True in places:
        truth = True
    elif None in places or (claimed and now.boxes(RIDERS)):
        return None
    else:
        truth = False
    if truth == claimed:
        return None
    seen = f"{places.count(True)} of {len(places)} labelled persons are on the road"
    message = f"{'nobody' if truth else 'a person'} on the road claimed"
    after = decided(grade, "pedestrian_on_road", truth)
    return corrected("pedestrian_against_boxes", report, "pedestrian_on_road", after, message, seen, grade)


@rule(
    reason='"50 feet" stood in half of a real teacher\'s answers, whatever was ahead.',
    source="labelled boxes and a pinhole camera over a flat road (curate/box_distance.py states its constants): exact "
    "with a known camera, else an estimate by the box's foot and by its height, which must agree",
    severity="error",
    action="fix",
    parameters=("closest_vehicle_distance",),
)
def distance_against_boxes(report: DrivingParameters, now: Now) -> Finding | None:
    """The distance fits a labelled vehicle. With a known camera it is within 25 % and 5 m, or corrected. With an
    assumed one it is within a factor of two, or taken out, and only where the place of every labelled vehicle can be
    estimated: foot and height within a factor of 1.5, not cut by the picture's edge, not hidden, up to 200 m. Where
    several vehicles may be meant and none fits, the value is taken out."""
    claimed = report.closest_vehicle_distance
    if claimed is None or not now.boxes_known:
        return None
    found = vehicles_ahead(report, now)
    if found.unplaced or any(fits(claimed, distance, now.camera_known) for distance in found.possible):
        return None
    id_, parameter, grade = "distance_against_boxes", "closest_vehicle_distance", found.grade
    if not found.possible:
        message = f"{claimed} m claimed, no vehicle is labelled in the own lane or one beside it"
        return corrected(id_, report, parameter, None, message, "no vehicle box ahead", grade)
    told = ", ".join(f"{distance:.0f}" for distance in found.possible[:4])
    message = f"{claimed} m claimed, labelled vehicles ahead at about {told} m"
    nearest, farthest = found.possible[0], found.possible[-1]
    is_clear = len(found.possible) == 1 or fits(round(farthest), nearest, now.camera_known)
    after = decided(grade, parameter, round(nearest)) if is_clear else None
    return corrected(id_, report, parameter, after, message, f"boxes at {told} m", grade)


@rule(
    reason="A number without its unit, or a guess: of 27 speeds with a logged speed 8 were within 5 km/h.",
    source="telemetry at the last frame (GPS, CAN or the simulator)",
    severity="error",
    action="fix",
    parameters=("ego_vehicle_speed",),
)
def speed_against_telemetry(report: DrivingParameters, now: Now) -> Finding | None:
    """The speed is within 5 km/h or 15 % of the logged speed; a stopped car is stopped. A logged speed that the
    report cannot hold takes the value out."""
    claimed, logged = report.ego_vehicle_speed, now.speed_kmh
    if claimed is None or logged is None or abs(claimed - logged) <= max(5.0, 0.15 * logged):
        return None
    low, high = RANGES["ego_vehicle_speed"]
    after = round(logged) if low <= round(logged) <= high else None
    mph = " (the number fits miles an hour)" if abs(claimed * 1.609344 - logged) <= 3 else ""
    message = f"{claimed} km/h claimed, {logged:.0f} km/h logged{mph}"
    return corrected(
        "speed_against_telemetry",
        report,
        "ego_vehicle_speed",
        after,
        message,
        f"{logged:.1f} km/h",
        Grade.MEASURED,
    )


@rule(
    reason="A glitch of the log, or a column in another unit, must not correct a teacher.",
    source="series cars are limited to 250 km/h or below, so readings above 300 km/h are no speeds; tyres hold about "
    "1 g, so 1.5 g (15 m/s2) between two readings is a fault",
    severity="warning",
    action="note",
)
def implausible_telemetry(report: DrivingParameters, now: Now) -> Finding | None:
    """Speed readings around the last frame are ones a car can have; others are not used."""
    if now.speed_problem is None:
        return None
    message = f"implausible telemetry is not used: {now.speed_problem}"
    return noted("implausible_telemetry", message, now.speed_problem, Grade.MEASURED)


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
            message = f"{claimed} claimed, {turned}"
            return corrected(
                "turning_against_course", report, parameter, "unknown", message, turned, Grade.MEASURED
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
    grade = now.labels_grade
    after = decided(grade, "weather", labelled)
    return corrected(
        "weather_against_attributes", report, "weather", after, message, f"weather: {labelled}", grade
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
    reason="The scene is labelled by people; words for neighbouring kinds of street agree with it.",
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
    grade = now.labels_grade
    after = decided(grade, "road_type", allowed[0])
    return corrected("road_against_scene", report, "road_type", after, message, f"scene: {scene}", grade)


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
        evidence, grade = f"{vehicles} vehicles", now.labels_grade
        return corrected(
            "density_against_boxes", report, "traffic_density", "unknown", message, evidence, grade
        )
    return None


EVIDENCE_RULES: tuple[Rule[ParameterCheck], ...] = (
    light_without_light,
    light_colour,
    pedestrian_against_boxes,
    distance_against_boxes,
    speed_against_telemetry,
    implausible_telemetry,
    turning_against_course,
    weather_against_attributes,
    road_against_scene,
    density_against_boxes,
)


def supported_by(report: DrivingParameters, now: Now) -> dict[str, Grade]:
    """The parameters whose value evidence supports, after the rules above have run, and its grade.

    A parameter that is missing here rests on the teacher alone.
    """
    grades: dict[str, Grade] = {}
    if report.ego_vehicle_speed is not None and now.speed_kmh is not None:
        grades["ego_vehicle_speed"] = Grade.MEASURED
    if WEATHER_OF_LABEL.get((now.labels and now.labels.weather) or "") is not None:
        grades["weather"] = now.labels_grade
    if not now.boxes_known:
        return grades
    light = report.traffic_light_state
    colours, some_not_said = labelled_lights(now)
    if (light == "none" and not now.boxes(LIGHTS)) or (colours == {light} and not some_not_said):
        grades["traffic_light_state"] = now.labels_grade
    places, grade = person_places(now)
    person = report.pedestrian_on_road
    if (person is False and not any(place is not False for place in places)) or (person and True in places):
        grades["pedestrian_on_road"] = grade
    found = vehicles_ahead(report, now)
    distance = report.closest_vehicle_distance
    # An estimate supports a claim only near it: half and twice the distance would support any habit.
    if distance is not None and any(fits(distance, metres, camera_known=True) for metres in found.possible):
        grades["closest_vehicle_distance"] = found.grade
    return grades

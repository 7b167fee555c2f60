"""Each rule of evidence corrects what labels or telemetry contradict, and is silent without evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from curate_cases import car_at, light, parameters, person, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.clip import Box, FrameLabels
from roadscribe.curate.box_distance import place_of
from roadscribe.curate.now import Now
from roadscribe.curate.rules import evidence as rules
from roadscribe.curate.rules.evidence import EVIDENCE_RULES
from roadscribe.curate.rules.rule import corrected as correction
from roadscribe.curate.rules.rule import require_allowed
from roadscribe.report import Finding, Grade

NOTHING = Now()
RIDER = Box(category="rider", x1=480, y1=300, x2=520, y2=420)


def corrected(rule: Any, now: Now, **claims: Any) -> Any:
    """What the rule makes of the claim: its ``after``, or "untouched"."""
    finding = rule.check(parameters(**claims), now)
    if finding is None:
        return "untouched"
    assert finding.rule == rule.id and finding.evidence
    return finding.after


@pytest.mark.parametrize("rule", EVIDENCE_RULES, ids=lambda rule: rule.id)
def test_no_rule_speaks_without_evidence(rule: Any) -> None:
    for claims in ({}, {"traffic_light_state": "red"}, {"pedestrian_on_road": True}, {"weather": "snowy"}):
        assert rule.check(parameters(**claims), NOTHING) is None


@pytest.mark.parametrize("rule", EVIDENCE_RULES, ids=lambda rule: rule.id)
def test_no_rule_fills_in_what_the_teacher_left_open(rule: Any) -> None:
    now = replace(
        seen(car_at(12), light("red"), person(True), weather="rainy", scene="highway"),
        speed_kmh=70.0,
        course_change_deg=30.0,
    )
    words = (
        "road_type",
        "traffic_light_state",
        "road_curvature",
        "weather",
        "traffic_density",
        "ego_lane_position",
    )
    numbers = ("pedestrian_on_road", "closest_vehicle_distance", "ego_vehicle_speed")
    open_report = parameters(**dict.fromkeys(words, "unknown"), **dict.fromkeys(numbers))
    assert rule.check(open_report, now) is None


def test_a_colour_without_a_light_becomes_none() -> None:
    assert corrected(rules.light_without_light, seen(car_at(20)), traffic_light_state="red") == "none"
    assert corrected(rules.light_without_light, seen(light("red")), traffic_light_state="red") == "untouched"


def test_labels_without_boxes_do_not_prove_that_no_light_is_there() -> None:
    attributes_only = Now(labels=FrameLabels(time_s=10, weather="clear"))
    assert corrected(rules.light_without_light, attributes_only, traffic_light_state="red") == "untouched"


@pytest.mark.parametrize(
    ("claimed", "lights", "after"),
    [
        ("green", ["red"], "red"),
        ("red", ["red", "green"], "untouched"),
        ("yellow", ["red", "green"], "unknown"),
        ("none", ["green"], "green"),
        ("none", ["green", "red"], "unknown"),
        ("none", ["green", None], "unknown"),
        ("red", [None], "untouched"),
        ("red", [None, "green"], "untouched"),
        ("none", [None], "untouched"),
        ("red", ["none"], "unknown"),
        ("red", ["none", "none", None], "untouched"),
        ("red", ["none", "green"], "green"),
        ("off", ["none"], "untouched"),
        ("none", ["none"], "untouched"),
    ],
)
def test_the_colour_is_one_that_a_labelled_light_shows(claimed: str, lights: list[Any], after: str) -> None:
    assert corrected(rules.light_colour, seen(*map(light, lights)), traffic_light_state=claimed) == after


@given(
    st.lists(st.sampled_from(["red", "green", "yellow", "off", "none", None]), max_size=4),
    st.sampled_from(["red", "green", "yellow", "off"]),
)
@settings(max_examples=80, deadline=None)
def test_a_claimed_colour_stands_wherever_the_labels_leave_it_open(colours: list[Any], claimed: str) -> None:
    """Absent is not no: only labels that all say something else, or no light at all, speak against a claim."""
    after = corrected(rules.light_colour, seen(*map(light, colours)), traffic_light_state=claimed)
    if None in colours or claimed in colours or not colours:
        assert after == "untouched"


@pytest.mark.parametrize(
    ("written", "colours", "after"),
    [
        ('{"left": "red", "middle": "green"}', ["green", "green"], "green"),
        ('{"left": "red", "middle": "green"}', ["red", "green"], "untouched"),
        ('{"left": "red", "middle": "green"}', [None, "green"], "untouched"),
        ('{"left": "red", "middle": "green"}', ["yellow"], "untouched"),
        ('{"left": "red", "middle": "green"}', [], "untouched"),
    ],
)
def test_of_several_lights_the_labels_tell_which_colour_is_shown(
    written: str, colours: list[Any], after: str
) -> None:
    claims = parameters(traffic_light_state="unknown")
    finding = rules.light_of_several.check(claims, seen(*map(light, colours)), written)
    assert (finding.after if finding else "untouched") == after


def test_detected_boxes_take_a_value_out_and_never_write_one() -> None:
    found = seen(light("green"), person(True), grade=Grade.DETECTED, weather="rainy")
    claims = {"traffic_light_state": "red", "pedestrian_on_road": False, "weather": "clear"}
    afters = [rule.check(parameters(**claims), found) for rule in EVIDENCE_RULES]
    assert {finding.after for finding in afters if finding} == {"unknown", None}
    assert {finding.grade for finding in afters if finding} == {Grade.DETECTED}


@pytest.mark.parametrize("grade", [Grade.ESTIMATED, Grade.DETECTED])
def test_a_rule_cannot_write_a_value_from_an_estimate(grade: Grade) -> None:
    wrong = ("some_rule", parameters(), "closest_vehicle_distance", 55, "message", "box", grade)
    with pytest.raises(ValueError, match="must not write 55"):
        correction(*wrong)
    by_hand = Finding(
        rule="some_rule", parameter="weather", before="clear", after="rainy", message="m", grade=grade
    )
    with pytest.raises(ValueError, match="must not write 'rainy'"):
        require_allowed(by_hand)
    taken_out = correction(
        "some_rule", parameters(), "closest_vehicle_distance", None, "message", "box", grade
    )
    assert taken_out.after is None


@given(
    st.lists(
        st.tuples(st.floats(-20, 1020), st.floats(-20, 620), st.floats(1, 600), st.floats(1, 400)), max_size=4
    ),
    st.sampled_from(["car", "truck", "train", "bike"]),
    st.integers(0, 200),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_no_distance_is_written_from_an_assumed_camera_nor_clamped(
    corners: list[tuple[float, float, float, float]], category: str, claimed: int, camera_known: bool
) -> None:
    boxes = [Box(category=category, x1=x, y1=y, x2=x + w, y2=y + h) for x, y, w, h in corners]
    now = seen(*boxes, camera_known=camera_known)
    finding = rules.distance_against_boxes.check(parameters(closest_vehicle_distance=claimed), now)
    if finding is not None and not camera_known:
        assert finding.after is None
    if finding is not None and finding.after is not None:
        assert any(
            abs(place.ahead_m - finding.after) <= 0.5 for box in boxes if (place := place_of(box, now))
        )


def dashcam(*boxes: Box) -> Now:
    """A real dashcam's frame of 1280x720 with these boxes; its camera is not known."""
    return Now(
        labels=FrameLabels(time_s=10, boxes=boxes, image_width=1280, image_height=720),
        boxes_known=True,
        width=1280,
        height=720,
    )


@pytest.mark.parametrize(
    "box",
    [
        Box(category="car", x1=620, y1=341, x2=661, y2=364),  # 67 m by its height, 333 m by its foot
        Box(category="car", x1=0, y1=380, x2=300, y2=700),  # cut by the left side
        Box(category="car", x1=1000, y1=380, x2=1280, y2=640),  # cut by the right side
        Box(category="truck", x1=500, y1=0, x2=800, y2=600),  # cut by the upper side
        Box(category="car", x1=600, y1=360, x2=680, y2=400, occluded=True),
        Box(category="car", x1=600, y1=360, x2=680, y2=400, truncated=True),
        Box(category="trailer", x1=600, y1=360, x2=680, y2=400),  # of no typical height
        Box(category="car", x1=600, y1=300, x2=680, y2=350),  # its foot above the horizon
    ],
)
@pytest.mark.parametrize("claimed", [1, 60, 150, 200])
def test_a_box_whose_distance_is_in_doubt_changes_no_claim(box: Box, claimed: int) -> None:
    assert place_of(box, dashcam(box)) is None
    assert (
        corrected(rules.distance_against_boxes, dashcam(box), closest_vehicle_distance=claimed) == "untouched"
    )


def test_an_estimate_that_both_foot_and_height_give_takes_a_wrong_claim_out() -> None:
    car = Box(category="car", x1=600, y1=355, x2=700, y2=425)  # 20 m by its foot, 22 m by its height
    assert corrected(rules.distance_against_boxes, dashcam(car), closest_vehicle_distance=120) is None
    assert corrected(rules.distance_against_boxes, dashcam(car), closest_vehicle_distance=15) == "untouched"


def test_implausible_telemetry_is_a_note_that_changes_nothing() -> None:
    now = Now(speed_problem="999 km/h logged, which no car drives")
    finding = rules.implausible_telemetry.check(parameters(), now)
    assert finding is not None and finding.parameter is None and "implausible" in finding.message
    assert corrected(rules.speed_against_telemetry, now, ego_vehicle_speed=30) == "untouched"


def test_a_logged_speed_that_a_report_cannot_hold_is_not_clamped() -> None:
    assert corrected(rules.speed_against_telemetry, Now(speed_kmh=260.0), ego_vehicle_speed=30) is None


def test_a_light_too_small_to_read_proves_nothing() -> None:
    assert (
        corrected(rules.light_colour, seen(light("red", height=4)), traffic_light_state="none") == "untouched"
    )


@pytest.mark.parametrize(
    ("claimed", "people", "after"),
    [
        (False, [person(True)], True),
        (True, [person(False)], False),
        (True, [], False),
        (True, [person(False), person(True)], "untouched"),
        (False, [person(None, metres=15, right=0.5)], None),
        (True, [person(None, metres=30, right=16)], None),
        (True, [RIDER], "untouched"),
        (False, [RIDER], "untouched"),
        (True, [person(None, metres=15, right=4)], "untouched"),
        (False, [person(None, metres=15, right=4)], "untouched"),
    ],
)
def test_people_on_the_road_are_those_that_are_labelled_there(
    claimed: bool, people: list[Any], after: Any
) -> None:
    assert corrected(rules.pedestrian_against_boxes, seen(*people), pedestrian_on_road=claimed) == after


@pytest.mark.parametrize(
    ("claimed", "boxes", "after"),
    [
        (15, [car_at(40)], 40),
        (38, [car_at(40)], "untouched"),
        (40, [car_at(12), car_at(40)], 12),
        (15, [], None),
        (15, [car_at(14, right=20)], None),
        (14, [car_at(14, right=3.5)], "untouched"),
        (5, [car_at(8)], "untouched"),
    ],
)
def test_the_distance_fits_a_labelled_vehicle(claimed: int, boxes: list[Any], after: Any) -> None:
    assert corrected(rules.distance_against_boxes, seen(*boxes), closest_vehicle_distance=claimed) == after


def test_an_assumed_camera_is_given_twice_the_benefit_of_the_doubt() -> None:
    guess = seen(car_at(30), camera_known=False)
    assert corrected(rules.distance_against_boxes, guess, closest_vehicle_distance=50) == "untouched"
    assert corrected(rules.distance_against_boxes, guess, closest_vehicle_distance=90) is None


def test_in_a_bend_a_vehicle_far_to_the_side_may_be_in_the_own_lane() -> None:
    """At 50 m a road of 100 m radius lies 12 m to the side."""
    boxes = seen(car_at(50, right=12))
    claims = {"closest_vehicle_distance": 48}
    assert (
        corrected(rules.distance_against_boxes, boxes, road_curvature="sharp_right", **claims) == "untouched"
    )
    assert corrected(rules.distance_against_boxes, boxes, road_curvature="straight", **claims) is None


def test_where_two_vehicles_may_be_meant_and_neither_fits_the_distance_is_taken_out() -> None:
    oncoming_or_not = seen(car_at(15, right=-3.5), car_at(45))
    assert corrected(rules.distance_against_boxes, oncoming_or_not, closest_vehicle_distance=120) is None


@pytest.mark.parametrize(
    ("claimed", "logged", "after"),
    [(30, 48.3, 48), (50, 48.3, "untouched"), (20, 0.0, 0), (4, 0.0, "untouched"), (110, 98.0, "untouched")],
)
def test_the_speed_is_the_logged_one(claimed: int, logged: float, after: Any) -> None:
    now = Now(speed_kmh=logged)
    assert corrected(rules.speed_against_telemetry, now, ego_vehicle_speed=claimed) == after


def test_a_bare_number_in_miles_is_recognised() -> None:
    finding = rules.speed_against_telemetry.check(parameters(ego_vehicle_speed=30), Now(speed_kmh=48.3))
    assert finding is not None and "miles an hour" in finding.message


def test_a_bend_to_the_other_side_is_taken_out() -> None:
    right_turn = Now(course_change_deg=25.0)
    assert corrected(rules.turning_against_course, right_turn, road_curvature="slight_left") == "unknown"
    assert corrected(rules.turning_against_course, right_turn, road_curvature="sharp_right") == "untouched"
    assert (
        corrected(rules.turning_against_course, Now(course_change_deg=4.0), road_curvature="sharp_left")
        == "untouched"
    )


@pytest.mark.parametrize(
    ("claimed", "labelled", "after"),
    [
        ("clear", "rainy", "rainy"),
        ("clear", "overcast", "overcast"),
        ("clear", "partly cloudy", "untouched"),
        ("overcast", "partly cloudy", "untouched"),
        ("snowy", "undefined", "untouched"),
        ("foggy", "foggy", "untouched"),
    ],
)
def test_the_weather_is_the_labelled_one(claimed: str, labelled: str, after: str) -> None:
    assert corrected(rules.weather_against_attributes, seen(weather=labelled), weather=claimed) == after


@pytest.mark.parametrize(
    ("claimed", "scene", "after"),
    [
        ("highway", "city street", "urban"),
        ("residential", "city street", "untouched"),
        ("urban", "tunnel", "tunnel"),
        ("urban", "undefined", "untouched"),
        ("urban", "gas stations", "gas_station"),
    ],
)
def test_the_road_is_one_the_scene_allows(claimed: str, scene: str, after: str) -> None:
    assert corrected(rules.road_against_scene, seen(scene=scene), road_type=claimed) == after


def test_dense_traffic_needs_vehicles() -> None:
    assert corrected(rules.density_against_boxes, seen(car_at(30)), traffic_density="high") == "unknown"
    many = seen(*(car_at(10 + n) for n in range(6)))
    assert corrected(rules.density_against_boxes, many, traffic_density="high") == "untouched"
    assert corrected(rules.density_against_boxes, many, traffic_density="none") == "unknown"

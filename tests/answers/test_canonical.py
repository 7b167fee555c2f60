"""What a value means: a canonical word, a converted unit, or unknown with a reason. Nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.answers.canonical import canonical, unknown_value
from roadscribe.answers.vocabulary import parameter_of_key, vocabulary
from roadscribe.report import PARAMETERS, RANGES, VOCABULARY

_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
_KNOWN_WORDS = sorted(
    {
        *(word for words in VOCABULARY.values() for word in words),
        *[
            "no",
            "not",
            "20",
            "1/2",
            "-5",
            "50+",
            "mph",
            "km/h",
            "feet",
            "m",
            "about",
            "between",
            "and",
            "or",
            "to",
            "(",
            ")",
            ",",
            "/",
            "<",
            ">",
            "unknown",
            "none",
            "yes",
            "likely",
            "maybe",
        ],
        *[
            "curve",
            "slight",
            "left",
            "lane",
            "turn",
            "red",
            "rain",
            "clouds",
            "crossing",
            "sidewalk",
            "stopped",
            "people",
            "1e9",
            "½",
            "٣",
            "20-30",
            "behind",
        ],
    }
)


def is_canonical(parameter: str, value: Any) -> bool:
    if parameter in VOCABULARY:
        return value in VOCABULARY[parameter] or (parameter == "risk_factor" and value is None)
    if parameter in RANGES:
        low, high = RANGES[parameter]
        return value is None or (type(value) is int and low <= value <= high)
    return value in (True, False, None)


@given(
    st.sampled_from(PARAMETERS),
    _json_values | st.lists(st.sampled_from(_KNOWN_WORDS), max_size=8).map(" ".join),
    st.none() | st.sampled_from(["mph", "ft", "s", "parsec"]),
)
def test_any_value_becomes_canonical_and_an_unknown_one_says_why(
    parameter: str, raw: Any, unit: str | None
) -> None:
    value, finding = canonical(parameter, raw, unit)
    assert is_canonical(parameter, value), value
    if value in (None, "unknown"):
        assert finding is not None
    if finding is not None:
        assert finding.parameter == parameter and finding.after == value and finding.message
        json.dumps(finding.model_dump(mode="json"), allow_nan=False).encode()


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_canonical_value_stays_what_it_is_without_a_finding(parameter: str) -> None:
    values: list[Any] = [word for word in VOCABULARY.get(parameter, ()) if word != "unknown"]
    if parameter in RANGES:
        values = list(range(RANGES[parameter][0], RANGES[parameter][1] + 1))
    for value in values or [True, False]:
        assert canonical(parameter, value) == (value, None)
        if isinstance(value, str):
            spelled = value.replace("_", " ").title()
            assert canonical(parameter, spelled) == (value, None)
            assert canonical(parameter, f" {value.upper()}. ") == (value, None)


@pytest.mark.parametrize("raw", [None, "unknown", "Unknown", "not visible", "cannot be determined", ""])
@pytest.mark.parametrize("parameter", PARAMETERS)
def test_saying_that_it_cannot_be_told_is_unknown_and_noted(parameter: str, raw: Any) -> None:
    value, finding = canonical(parameter, raw)
    assert value == unknown_value(parameter)
    assert finding is not None and finding.rule == f"absent.{parameter}"


SPEEDS: list[tuple[Any, int | None, str | None]] = [
    (35, 35, None),
    (35.0, 35, None),
    (35.5, 36, "units.speed"),
    ("35", 35, "assumed.speed"),
    ("0", 0, None),
    ("20 mph", 32, "units.speed"),
    ("30mph", 48, "units.speed"),
    ("30 MPH", 48, "units.speed"),
    ("30 miles per hour", 48, "units.speed"),
    ("20 m.p.h.", 32, "units.speed"),
    ("60 km/h", 60, None),
    ("60 kph", 60, None),
    ("45km/hr", 45, None),
    ("20 km per hour", 20, None),
    ("10 m/s", 36, "units.speed"),
    ("10 knots", 19, "units.speed"),
    ("twenty-five mph", 40, "units.speed"),
    ("approximately 60 km/h", 60, "approximate.speed"),
    ("about 60 mph", 97, "units.speed"),
    ("Slow, Approximately 15 mph", 24, "units.speed"),
    ("60-70 mph", 105, "range.speed"),
    ("20 to 30 mph", 40, "range.speed"),
    ("between 20 and 30 km/h", 25, "range.speed"),
    ("20–25 mph (32–40 km/h)", 36, "range.speed"),
    ("30-40", 35, "range.speed"),
    ("under 10 mph", 16, "bound.speed"),
    ("60mph+", 97, "bound.speed"),
    ("20 mph (32 km/h)", 32, "vocabulary.ego_vehicle_speed"),
    ("stopped", 0, "vocabulary.ego_vehicle_speed"),
    ("Stationary at red light", 0, "vocabulary.ego_vehicle_speed"),
    ("not moving", 0, "vocabulary.ego_vehicle_speed"),
    ("slow", None, "vocabulary.ego_vehicle_speed"),
    ("Moderate", None, "vocabulary.ego_vehicle_speed"),
    ("nearly stopped", None, "vocabulary.ego_vehicle_speed"),
    ("approaching a stopped vehicle", None, "vocabulary.ego_vehicle_speed"),
    ("Slow, approaching a stop light", None, "vocabulary.ego_vehicle_speed"),
    ("maybe 20 mph", None, "vocabulary.ego_vehicle_speed"),
    ("speed limit 35 mph", None, "vocabulary.ego_vehicle_speed"),
    ("slowing from 40 to 20 mph", None, "vocabulary.ego_vehicle_speed"),
    ("40 to 20 mph", None, "conflict.ego_vehicle_speed"),
    ("20/30 mph", None, "conflict.ego_vehicle_speed"),
    ("2 0 mph", None, "conflict.ego_vehicle_speed"),
    ("20,30 mph", None, "conflict.ego_vehicle_speed"),
    ("20 mph, then 40 mph", None, "vocabulary.ego_vehicle_speed"),
    ("30 miles", None, "units.speed"),
    ("300 km/h", None, "limits.ego_vehicle_speed"),
    ("-5 km/h", None, "limits.ego_vehicle_speed"),
    (-5, None, "limits.ego_vehicle_speed"),
    (201, None, "limits.ego_vehicle_speed"),
    (10**4000, None, "limits.ego_vehicle_speed"),
    (float("nan"), None, "limits.ego_vehicle_speed"),
    (float("inf"), None, "limits.ego_vehicle_speed"),
    (True, None, "vocabulary.ego_vehicle_speed"),
    ("Infinity", None, "vocabulary.ego_vehicle_speed"),
    ("9" * 60, None, "limits.ego_vehicle_speed"),
    ("x" * 10_000, None, "vocabulary.ego_vehicle_speed"),
    ({"value": 20, "unit": "mph"}, 32, "collapsed.ego_vehicle_speed"),
    ({"mph": 20}, 32, "collapsed.ego_vehicle_speed"),
    ([20, 30], None, "conflict.ego_vehicle_speed"),
]

DISTANCES: list[tuple[Any, int | None, str | None]] = [
    (50, 50, None),
    ("50 feet", 15, "units.distance"),
    ("approximately 50 feet", 15, "units.distance"),
    ("Moderate distance, approximately 50 feet", 15, "units.distance"),
    ("50 meters", 50, None),
    ("50m", 50, None),
    ("≈ 50 m", 50, "approximate.distance"),
    ("٥٠ m", 50, None),
    ("５０ m", 50, None),
    ("fifty feet", 15, "units.distance"),
    ("100 yards", 91, "units.distance"),
    ("5'", 2, "units.distance"),
    ("10-foot", 3, "units.distance"),
    ("1½ m", 2, "units.distance"),
    ("2 car lengths", 9, "units.distance"),
    ("50-100 feet", 23, "range.distance"),
    ("50–60 m", 55, "range.distance"),
    ("10~15 m", 13, "range.distance"),
    ("approximately 5-10 feet behind the black car", 2, "range.distance"),
    ("up to 50", 50, "bound.distance"),
    ("<10 m", 10, "bound.distance"),
    (">100 meters", 100, "bound.distance"),
    ("50+ feet", 15, "bound.distance"),
    ("no more than 20 m", 20, "bound.distance"),
    ("30 feet (approx 10 m)", 10, "vocabulary.closest_vehicle_distance"),
    ("3 vehicles, 50 feet", 15, "units.distance"),
    ("50 feet behind us", None, "vocabulary.closest_vehicle_distance"),
    ("no vehicle within 50 m", None, "absent.closest_vehicle_distance"),
    ("none", None, "absent.closest_vehicle_distance"),
    ("No vehicles ahead", None, "absent.closest_vehicle_distance"),
    ("varies", None, "absent.closest_vehicle_distance"),
    ("close", None, "vocabulary.closest_vehicle_distance"),
    ("safe", None, "vocabulary.closest_vehicle_distance"),
    ("a few feet", None, "vocabulary.closest_vehicle_distance"),
    ("2 vehicles ahead", None, "vocabulary.closest_vehicle_distance"),
    ("3 seconds", None, "units.distance"),
    ("20 mph", None, "units.distance"),
    ("0.5 km", None, "limits.closest_vehicle_distance"),
    ("1/2 mile", None, "limits.closest_vehicle_distance"),
    ("half a mile", None, "limits.closest_vehicle_distance"),
    ("1,000 feet", None, "limits.closest_vehicle_distance"),
    ("0,5 km", None, "conflict.closest_vehicle_distance"),
    ("50 feet ahead, 20 feet to the left", None, "conflict.closest_vehicle_distance"),
    ("not 20 m", None, "vocabulary.closest_vehicle_distance"),
    ({"distance": "50 feet", "vehicle_type": "black sedan"}, 15, "collapsed.closest_vehicle_distance"),
    ({"distance_ft": 50}, 15, "collapsed.closest_vehicle_distance"),
    ({"min": 50, "max": 100, "unit": "feet"}, 23, "collapsed.closest_vehicle_distance"),
    ({"left": "10 m", "right": "20 m"}, None, "conflict.closest_vehicle_distance"),
    ({"value": 20, "unit": "bananas"}, None, "collapsed.closest_vehicle_distance"),
]

LANES: list[tuple[Any, int | None, str | None]] = [
    (4, 4, None),
    ("4", 4, None),
    ("two lanes", 2, None),
    ("3-lane road", 3, None),
    ("single lane", 1, "vocabulary.lane_count"),
    ("four-lane divided highway", 4, "vocabulary.lane_count"),
    ("approximately 3", 3, "approximate.lane_count"),
    ("4 (2 in each direction)", 4, "vocabulary.lane_count"),
    ("6 lanes total, 3 in each direction", 6, "vocabulary.lane_count"),
    ("2 in each direction", None, "conflict.lane_count"),
    ("2 lanes in ego direction", None, "conflict.lane_count"),
    ("2-3", None, "conflict.lane_count"),
    ("3 or 4", None, "conflict.lane_count"),
    ("2 lanes and 1 turn lane", None, "conflict.lane_count"),
    ("Multiple lanes", None, "vocabulary.lane_count"),
    ("several", None, "vocabulary.lane_count"),
    ("two-way", None, "vocabulary.lane_count"),
    ("3 cars", None, "vocabulary.lane_count"),
    ("at least 3", None, "bound.lane_count"),
    ("4+", None, "bound.lane_count"),
    (0, None, "limits.lane_count"),
    (13, None, "limits.lane_count"),
    ("13", None, "limits.lane_count"),
    (2.5, None, "limits.lane_count"),
    (True, None, "vocabulary.lane_count"),
    ({"total": 4}, 4, "collapsed.lane_count"),
    ({"ego_direction": 2, "opposite": 2}, None, "conflict.lane_count"),
]

PEDESTRIANS: list[tuple[Any, bool | None, str | None]] = [
    (False, False, None),
    ("yes", True, None),
    ("No", False, None),
    ("false", False, None),
    (0, False, None),
    ("0", False, None),
    (2, True, "vocabulary.pedestrian_on_road"),
    ("none", False, "vocabulary.pedestrian_on_road"),
    ("No visible pedestrians", False, "vocabulary.pedestrian_on_road"),
    ("no pedestrians crossing", False, "vocabulary.pedestrian_on_road"),
    ("nobody is crossing", False, "vocabulary.pedestrian_on_road"),
    ("pedestrians present but not crossing", False, "vocabulary.pedestrian_on_road"),
    ("some pedestrians on sidewalks", False, "vocabulary.pedestrian_on_road"),
    ("yes, on the sidewalk", False, "vocabulary.pedestrian_on_road"),
    ("waiting to cross", False, "vocabulary.pedestrian_on_road"),
    ("No, pedestrians on the sidewalk", False, "vocabulary.pedestrian_on_road"),
    ("Yes, multiple pedestrians visible", True, "vocabulary.pedestrian_on_road"),
    ("Crossing at crosswalk", True, "vocabulary.pedestrian_on_road"),
    ("one person in the road", True, "vocabulary.pedestrian_on_road"),
    ("people on the sidewalk and one crossing", True, "vocabulary.pedestrian_on_road"),
    ("some pedestrians near the entrance", None, "vocabulary.pedestrian_on_road"),
    ("pedestrians are present", None, "vocabulary.pedestrian_on_road"),
    ("Yes, on sidewalks and crosswalk", None, "vocabulary.pedestrian_on_road"),
    ("no pedestrians on sidewalks", None, "vocabulary.pedestrian_on_road"),
    ("possibly", None, "vocabulary.pedestrian_on_road"),
    ("pedestrian crossing", None, "vocabulary.pedestrian_on_road"),
    ("yes/no", None, "conflict.pedestrian_on_road"),
    (-1, None, "vocabulary.pedestrian_on_road"),
    ({"present": True, "location": "sidewalk"}, False, "collapsed.pedestrian_on_road"),
    ({"count": 2, "location": "crosswalk"}, True, "collapsed.pedestrian_on_road"),
    ({"present": False}, False, "collapsed.pedestrian_on_road"),
    ({"value": False, "confidence": 0.9, "reason": "seen"}, False, "collapsed.pedestrian_on_road"),
    ({"value": True, "confidence": 0.9}, True, "collapsed.pedestrian_on_road"),
    ({"pedestrian_count": 0, "confidence": 0.9}, False, "collapsed.pedestrian_on_road"),
    ({"confidence": 0.9}, None, "collapsed.pedestrian_on_road"),
    ({"on_road": False, "on_sidewalk": True}, False, "collapsed.pedestrian_on_road"),
]


@pytest.mark.parametrize(
    ("parameter", "raw", "value", "rule"),
    [
        *(("ego_vehicle_speed", *case) for case in SPEEDS),
        *(("closest_vehicle_distance", *case) for case in DISTANCES),
        *(("lane_count", *case) for case in LANES),
        *(("pedestrian_on_road", *case) for case in PEDESTRIANS),
    ],
)
def test_numbers_and_people(parameter: str, raw: Any, value: Any, rule: str | None) -> None:
    read, finding = canonical(parameter, raw)
    assert (read, finding and finding.rule) == (value, rule), finding
    assert type(read) is type(value)


WORDS: dict[str, list[tuple[Any, str | None, str | None]]] = {
    "road_type": [
        ("Urban Street", "urban", None),
        ("city street", "urban", "vocabulary"),
        ("multi-lane divided highway", "highway", "vocabulary"),
        ("urban highway", "highway", "vocabulary"),
        ("urban residential", "residential", "vocabulary"),
        ("airport parking lot", "parking_lot", "vocabulary"),
        ("city street near a highway", "urban", "vocabulary"),
        ("urban/suburban", "unknown", "conflict"),
        ("highway or urban", "unknown", "conflict"),
        ("multi-lane", "unknown", "vocabulary"),
        ("tunnel ahead", "unknown", "vocabulary"),
        ("not a highway", "unknown", "vocabulary"),
        (True, "unknown", "vocabulary"),
        (["urban", "Urban"], "urban", "collapsed"),
    ],
    "ego_lane_position": [
        ("left of center", "unknown", "vocabulary"),
        ("Right Lane", "right", None),
        ("rightmost lane", "right", "vocabulary"),
        ("center", "middle", "vocabulary"),
        ("left-turn lane", "turn_left", "vocabulary"),
        ("right lane, behind a white car", "right", "vocabulary"),
        ("right behind a car", "unknown", "vocabulary"),
        ("turning left", "unknown", "vocabulary"),
        ("straight ahead", "unknown", "vocabulary"),
        ("behind BMW", "unknown", "vocabulary"),
        ("second lane from left", "unknown", "vocabulary"),
        ("left or middle", "unknown", "conflict"),
        (2, "unknown", "vocabulary"),
    ],
    "traffic_light_state": [
        ("Red Light Ahead", "red", None),
        ("Red at intersection", "red", None),
        ("amber", "yellow", "vocabulary"),
        ("flashing yellow", "yellow", "vocabulary"),
        ("Green (for ego lane)", "green", "vocabulary"),
        ("No traffic lights visible", "none", "vocabulary"),
        ("not applicable", "none", "vocabulary"),
        ("Red Ahead, Green Ahead", "unknown", "conflict"),
        ("Green light for right turn", "unknown", "vocabulary"),
        ("red (for cross traffic)", "unknown", "vocabulary"),
        ("green, turning yellow", "unknown", "vocabulary"),
        ("red brake lights of car ahead", "unknown", "vocabulary"),
        ("not red", "unknown", "vocabulary"),
        ("possibly red", "unknown", "vocabulary"),
        ({"current_light": "red", "next_light": "green"}, "red", "collapsed"),
        ({"red": True, "green": False}, "red", "collapsed"),
        ({"red": True, "green": True}, "unknown", "conflict"),
        ({"left": "red", "right": "Red"}, "red", "collapsed"),
        ({"left": "red", "middle": "green", "right": "red"}, "unknown", "conflict"),
        ({"state": {"color": "red"}}, "red", "collapsed"),
        ({}, "unknown", "collapsed"),
    ],
    "road_curvature": [
        ("straight ahead", "straight", None),
        ("Slight curve to the right", "slight_right", None),
        ("gentle left bend", "slight_left", "vocabulary"),
        ("sharp right turn", "sharp_right", "vocabulary"),
        ("slight curve ahead", "curved", "vocabulary"),
        ("moderate left curve", "curved", "vocabulary"),
        ("left curve", "curved", "vocabulary"),
        ("curves to the left, then right", "curved", "vocabulary"),
        ("no curve", "straight", "vocabulary"),
        ("no curvature", "straight", "vocabulary"),
        ("no sharp curves", "unknown", "vocabulary"),
        ("left turn", "unknown", "vocabulary"),
        ("straight with a slight curve ahead", "unknown", "conflict"),
        ("not straight", "unknown", "vocabulary"),
        (0, "unknown", "vocabulary"),
    ],
    "weather": [
        ("clear skies", "clear", None),
        ("partlyCloudy", "partly_cloudy", None),
        ("sunny", "clear", "vocabulary"),
        ("clear with some clouds", "partly_cloudy", "vocabulary"),
        ("Rainy, Overcast Sky", "rainy", "vocabulary"),
        ("Clear Night Sky, No Rain", "clear", "vocabulary"),
        ("clear after rain", "clear", "vocabulary"),
        ("Cold and snowy", "snowy", "vocabulary"),
        ("rainy/misty", "rainy", "vocabulary"),
        ("clear/overcast", "unknown", "conflict"),
        ("not clear", "unknown", "vocabulary"),
        ("not raining", "unknown", "vocabulary"),
        ("isn't raining", "unknown", "vocabulary"),
        ("no rain or snow", "unknown", "vocabulary"),
        ("rain has stopped", "unknown", "vocabulary"),
        ("possibly rainy", "unknown", "vocabulary"),
        ("cold", "unknown", "vocabulary"),
        ("dusk", "unknown", "vocabulary"),
        ("wet", "unknown", "vocabulary"),
        ("fair", "clear", "vocabulary"),
        ("mostly clear", "clear", "vocabulary"),
        ("partly sunny", "partly_cloudy", "vocabulary"),
        ("overcast with possible rain", "overcast", "vocabulary"),
        ("Possible rain, overcast", "overcast", "vocabulary"),
        ("partly cloudy with a possibility of showers", "partly_cloudy", "vocabulary"),
        ("clear, possibly rain", "unknown", "vocabulary"),
        ("either clear or overcast", "unknown", "vocabulary"),
        ("overcast, or possibly snow", "unknown", "vocabulary"),
        ("rain and snow", "unknown", "vocabulary"),
        ("light snow with fog", "snowy", "vocabulary"),
        ("partly to mostly cloudy", "unknown", "vocabulary"),
        ("overcast, not sure", "unknown", "absent"),
    ],
    "visibility": [
        ("Good visibility", "good", None),
        ("clear", "good", "vocabulary"),
        ("low", "poor", "vocabulary"),
        ("slightly reduced", "moderate", "vocabulary"),
        ("Moderate, Visibility Limited by Rain", "moderate", "vocabulary"),
        ("Reduced due to rain", "moderate", "vocabulary"),
        ("moderate to good", "moderate", "range"),
        ("poor to good", "unknown", "conflict"),
        ("good, but slightly reduced", "moderate", "vocabulary"),
        ("good or moderate", "unknown", "conflict"),
        ("fair to good", "moderate", "range"),
        ("reduced", "moderate", "vocabulary"),
        ("Limited visibility", "moderate", "vocabulary"),
        ("severely reduced by fog", "poor", "vocabulary"),
        ("fair", "moderate", "vocabulary"),
        ("good, daytime", "good", "vocabulary"),
        ("low light", "unknown", "vocabulary"),
    ],
    "traffic_density": [
        ("moderately dense", "moderate", "vocabulary"),
        ("Low traffic density", "low", None),
        ("heavy", "high", "vocabulary"),
        ("No traffic", "none", "vocabulary"),
        ("Moderate, Several Vehicles Ahead", "moderate", "vocabulary"),
        ("Light to moderate", "moderate", "range"),
        ("light to moderate traffic", "moderate", "range"),
        ("moderate traffic to heavy traffic", "moderate", "range"),
        ("low-moderate", "moderate", "range"),
        ("light to heavy", "unknown", "conflict"),
        ("heavy traffic jam", "high", "vocabulary"),
        ("moderate, possibly heavy ahead", "unknown", "vocabulary"),
        ("steady", "unknown", "vocabulary"),
        ("little to no traffic", "low", "vocabulary"),
        ("moderate; light pedestrian traffic", "moderate", "vocabulary"),
        ("not heavy", "unknown", "vocabulary"),
    ],
    "risk_factor": [
        ("Low risk", "low", None),
        ("moderate", "medium", "vocabulary"),
        ("Medium due to high traffic density", "medium", "vocabulary"),
        ("low to medium", "medium", "range"),
        ("Medium-High", "high", "range"),
        ("low/moderate", "medium", "range"),
        ("low to high", None, "conflict"),
        ("low or medium", None, "conflict"),
        ("Medium, potential for sudden stops", "medium", "vocabulary"),
        ("potentially high", None, "vocabulary"),
        ("3/10", None, "vocabulary"),
        (0.3, None, "vocabulary"),
    ],
}


@pytest.mark.parametrize(
    ("parameter", "raw", "value", "kind"), [(name, *case) for name, cases in WORDS.items() for case in cases]
)
def test_words(parameter: str, raw: Any, value: str | None, kind: str | None) -> None:
    read, finding = canonical(parameter, raw)
    assert (read, finding and finding.rule) == (value, kind and f"{kind}.{parameter}"), finding


@pytest.mark.parametrize(
    ("raw", "state", "kind"),
    [
        ({"left": "red", "middle": "green"}, "unknown", "conflict"),
        (["red", "green"], "unknown", "conflict"),
        ({"left": "red", "right": "Red light"}, "red", "collapsed"),
        ({"left": "none", "middle": "green", "right": "none"}, "green", "collapsed"),
        ({"left": "red", "middle": "cannot tell"}, "unknown", "conflict"),
        ({"left": "none", "right": "none"}, "none", "collapsed"),
        ({"current": "green", "next": "red"}, "green", "collapsed"),
    ],
)
def test_several_lights_are_one_state_only_where_they_agree(raw: Any, state: str, kind: str) -> None:
    read, finding = canonical("traffic_light_state", raw)
    assert finding is not None and (read, finding.rule) == (state, f"{kind}.traffic_light_state")


def test_several_lights_that_differ_are_named_in_the_finding() -> None:
    _, finding = canonical("traffic_light_state", {"left": "red", "middle": "green"})
    assert finding is not None and "several lights (left: red, middle: green)" in finding.message


LEVELS = {
    "visibility": ("poor", "moderate", "good"),
    "traffic_density": ("low", "moderate", "high"),
    "risk_factor": ("low", "medium", "high"),
}


@given(st.sampled_from(sorted(LEVELS)), st.data(), st.sampled_from([" to ", "-", "/", " - "]))
@settings(max_examples=60, deadline=None)
def test_a_range_of_neighbours_is_its_middle_or_for_risk_its_upper_level(
    parameter: str, data: st.DataObject, joint: str
) -> None:
    levels = LEVELS[parameter]
    first, second = data.draw(st.permutations(levels))[:2]
    read, finding = canonical(parameter, f"{first}{joint}{second}")
    assert finding is not None
    if abs(levels.index(first) - levels.index(second)) == 1:
        assert read == (max(first, second, key=levels.index) if parameter == "risk_factor" else levels[1])
    else:
        assert read in (None, "unknown")


def test_a_number_takes_the_unit_of_its_key() -> None:
    assert canonical("ego_vehicle_speed", 20, "mph")[0] == 32
    assert canonical("ego_vehicle_speed", "20", "mph")[0] == 32
    assert canonical("ego_vehicle_speed", "20 km/h", "mph")[0] == 20


def test_an_integer_too_long_to_print_is_only_out_of_range() -> None:
    value, finding = canonical("ego_vehicle_speed", 10**5000)
    assert value is None and finding is not None and finding.rule == "limits.ego_vehicle_speed"
    json.dumps(finding.model_dump(mode="json"))


def test_the_finding_names_the_range_and_the_assumption() -> None:
    _, finding = canonical("closest_vehicle_distance", "50-100 feet")
    assert finding is not None and finding.before == "50-100 feet" and finding.after == 23
    assert "middle of 50-100 ft" in finding.message
    _, finding = canonical("closest_vehicle_distance", "2 car lengths")
    assert finding is not None and "4.5 m" in finding.message


@pytest.mark.parametrize("parameter", sorted(vocabulary()["words"]))
def test_every_synonym_means_what_the_vocabulary_says(parameter: str) -> None:
    own = vocabulary()["words"][parameter]
    for word, phrases in own["phrases"].items():
        if parameter == "road_curvature":  # there the words are features of a bend
            continue
        assert word in VOCABULARY[parameter]
        for phrase in phrases:
            assert canonical(parameter, phrase)[0] == word, phrase
    for phrase in own.get("nothing", []):
        assert canonical(parameter, phrase)[0] == unknown_value(parameter), phrase


def test_every_place_of_a_pedestrian_means_what_the_vocabulary_says() -> None:
    phrases = vocabulary()["pedestrians"]["phrases"]
    for feature, value in {
        "on_road": True,
        "off_road": False,
        "none": False,
        "yes": True,
        "people": None,
    }.items():
        for phrase in phrases[feature]:
            assert canonical("pedestrian_on_road", phrase)[0] is value, phrase


@pytest.mark.parametrize(
    ("kind", "parameter"), [("speed", "ego_vehicle_speed"), ("distance", "closest_vehicle_distance")]
)
def test_every_name_of_a_unit_is_understood(kind: str, parameter: str) -> None:
    for entry in vocabulary()["units"][kind].values():
        expected = int(2 * entry["factor"] + 0.5)
        for name in entry["names"]:
            assert canonical(parameter, f"2 {name}")[0] == (expected if expected <= 200 else None), name


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_spelling_of_a_key_names_its_parameter(parameter: str) -> None:
    for spelling in [parameter, *vocabulary()["keys"][parameter]]:
        words = spelling.replace("_", " ").split()
        camel = words[0] + "".join(word.title() for word in words[1:])
        for key in (spelling, spelling.replace(" ", "_").upper(), spelling.title(), camel):
            assert parameter_of_key(key) == (parameter, None), key


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("ego_vehicle_speed_mph", ("ego_vehicle_speed", "mph")),
        ("Ego Speed (km/h)", ("ego_vehicle_speed", "km/h")),
        ("Closest Vehicle Distance (in meters)", ("closest_vehicle_distance", "m")),
        ("Estimated speed", ("ego_vehicle_speed", None)),
        ("speed limit", None),
        ("confidence", None),
        ("", None),
        ("road " * 100, None),
    ],
)
def test_keys_with_units_and_keys_that_name_nothing(key: str, named: tuple[str, str | None] | None) -> None:
    assert parameter_of_key(key) == named

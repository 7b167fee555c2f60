"""Claims about BDD100K's records: both label generations and the info file, read as evidence in SI units."""

from __future__ import annotations

from typing import Any

import pytest
from bdd100k_standin import LANE, START_MS, STREET, box, image_record, info_record, list_record
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.clip import Box, FrameLabels
from roadscribe.footage.bdd100k import has_boxes, merge_labels, read_info, read_labels, record_names

STEM = "0000f77c-6257be58"


def only(record: dict[str, Any], **options: Any) -> FrameLabels:
    read = read_labels(record, **{"start_ms": None, **options})
    (labels,) = read.labels
    assert read.notes == ()
    return labels


def test_both_formats_say_the_same() -> None:
    things = [box("car", occluded=True), LANE]
    assert only(list_record(STEM, things)) == only(image_record(STEM, things))
    labels = only(list_record(STEM, things))
    assert (labels.time_s, labels.weather, labels.scene, labels.time_of_day) == (
        10,
        "rainy",
        "city street",
        "night",
    )
    assert (labels.image_width, labels.image_height) == (1280, 720)
    assert labels.boxes == (
        Box(category="car", x1=600, y1=300, x2=680, y2=400, occluded=True, truncated=False),
    )


@pytest.mark.parametrize(
    ("written", "category"),
    [
        ("person", "person"), ("pedestrian", "person"), ("bike", "bike"), ("bicycle", "bike"), ("motor", "motor"),
        ("motorcycle", "motor"), ("rider", "rider"), ("Car", "car"), ("traffic_sign", "traffic sign"),
        ("train", "train"), ("bus", "bus"), ("truck", "truck"), ("other vehicle", "vehicle"),
    ],
)  # fmt: skip
def test_the_words_of_both_generations_become_one(written: str, category: str) -> None:
    assert only(list_record(STEM, [box(written)])).boxes[0].category == category


@pytest.mark.parametrize(
    ("written", "color"),
    [
        ("green", "green"), ("G", "green"), ("Y", "yellow"), ("R", "red"), ("red", "red"), ("none", "none"),
        ("NA", "none"), (None, None), (["green"], "green"), ([1, "G"], "green"), ([0, "NA"], "none"),
        (["red", "green"], None), ("purple", None), (3, None), ("", None), ("undefined", None), ("unknown", None),
    ],
)  # fmt: skip
def test_light_colours_in_every_way_they_are_written(written: Any, color: str | None) -> None:
    labels = only(list_record(STEM, [box("traffic light", trafficLightColor=written)]))
    assert labels.boxes[0].light_color == color


def test_a_colour_that_is_not_written_is_not_known_rather_than_none() -> None:
    thing = box("traffic light")
    thing["attributes"].pop("trafficLightColor", None)
    assert only(list_record(STEM, [thing])).boxes[0].light_color is None
    thing["attributes"] = None
    (read,) = only(list_record(STEM, [thing])).boxes
    assert (read.light_color, read.occluded, read.truncated, read.on_road) == (None, None, None, None)


def test_only_a_light_has_a_colour() -> None:
    assert only(list_record(STEM, [box("car", trafficLightColor="red")])).boxes[0].light_color is None


def test_undefined_means_not_known() -> None:
    labels = only(list_record(STEM, (), {"weather": "undefined", "scene": "", "timeofday": None}))
    assert (labels.weather, labels.scene, labels.time_of_day) == (None, None, None)
    assert only(list_record(STEM, (), None)).weather is None
    assert (
        only(list_record(STEM, (), {"Weather": "Foggy", "Time of Day": "Dawn/Dusk"})).time_of_day
        == "dawn/dusk"
    )


def test_an_empty_list_says_there_is_nothing_and_a_missing_one_says_nothing() -> None:
    assert only(list_record(STEM, [])).image_width == 1280
    assert only(image_record(STEM, [])).image_width == 1280
    for nothing in ({"name": STEM, "attributes": STREET}, list_record(STEM, None)):
        assert (only(nothing).image_width, only(nothing).boxes) == (None, None)
        assert only(nothing).weather == "rainy"
    assert only(list_record(STEM, [])).boxes == ()


def test_lanes_and_areas_do_not_speak_of_objects() -> None:
    assert only(image_record(STEM, [LANE]), alone=True).image_width is None
    assert only(list_record(STEM, [LANE]), alone=True).image_width is None
    assert only(list_record(STEM, []), alone=True).image_width == 1280
    assert only(list_record(STEM, [LANE]), with_boxes=False).image_width is None
    # In a list that has boxes elsewhere, an image with lanes alone is one without objects.
    assert only(list_record(STEM, [LANE])).image_width == 1280
    assert not has_boxes(list_record(STEM, [LANE]))
    assert has_boxes(image_record(STEM, [LANE, box("car")]))


def test_a_box_that_cannot_be_read_takes_the_others_with_it() -> None:
    """A light that is left out would prove that there is none."""
    for broken in (
        {"category": "traffic light", "box2d": {"x1": 1, "y1": "?", "x2": 3, "y2": 4}},
        {"box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}},
        {"category": "car", "box2d": [1, 2, 3, 4]},
        {"category": "car", "box2d": {"x1": 1, "y1": 2, "x2": float("nan"), "y2": 4}},
        "car",
    ):
        read = read_labels(list_record(STEM, [box("car"), broken]), start_ms=None)
        assert (read.labels[0].boxes, read.labels[0].image_width) == (None, None)
        assert read.labels[0].weather == "rainy"
        assert "none of the frame's 2 objects is used" in read.notes[0]


def test_boxes_of_an_image_of_another_size_are_not_used_unless_the_size_stands_there() -> None:
    large = box("car", 1500, 900, 1700, 1000)
    read = read_labels(list_record(STEM, [large]), start_ms=None)
    assert read.labels[0].boxes is None
    assert "420 pixels out of an image of 1280x720" in read.notes[0]
    for size in ({"width": 1920, "height": 1080}, [1920, 1080]):
        labels = only(list_record(STEM, [large], size=size))
        assert (labels.image_width, labels.image_height, len(labels.boxes)) == (1920, 1080, 1)


def test_corners_in_the_wrong_order_are_put_right() -> None:
    found = only(list_record(STEM, [box("car", 680, 400, 600, 300)])).boxes[0]
    assert (found.x1, found.y1, found.x2, found.y2) == (600, 300, 680, 400)


@pytest.mark.parametrize(
    ("stamp", "start_ms", "time_s"),
    [(10000, None, 10), (None, None, 10), (0, None, 0), ("2500", None, 2.5), (START_MS + 4000, START_MS, 4)],
)
def test_labels_have_the_time_that_stands_there_else_the_tenth_second(
    stamp: Any, start_ms: float | None, time_s: float
) -> None:
    assert only({**list_record(STEM), "timestamp": stamp}, start_ms=start_ms).time_s == pytest.approx(time_s)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"timestamp": "soon"}, "no time in milliseconds ('soon')"),
        ({"timestamp": -5}, "no time in milliseconds"),
        ({"timestamp": START_MS}, "counts from 1970, and no info file"),
        ({"timestamp": None, "videoName": STEM, "frameIndex": 7}, "a frame's index but no timestamp"),
    ],
)
def test_labels_whose_time_is_not_known_are_not_placed(more: dict[str, Any], said: str) -> None:
    read = read_labels({**list_record(STEM), **more}, start_ms=None)
    assert read.labels == ()
    assert said in read.notes[0]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"name": f"{STEM}.jpg"}, STEM),
        ({"name": STEM}, STEM),
        ({"name": f"train\\{STEM}.JPG"}, STEM),
        ({"name": "frame 7.jpg", "videoName": f"{STEM}.mov"}, STEM),
        ({"name": f"{STEM}-0000007.jpg", "videoName": STEM}, STEM),
        ({"name": "my.drive.jpg"}, "my.drive"),
    ],
)
def test_a_record_names_its_video(record: dict[str, Any], name: str) -> None:
    assert name in record_names(record)
    assert record_names(3) == record_names({}) == record_names({"name": 7}) == []


def test_labels_of_one_moment_become_one_and_the_first_source_counts() -> None:
    new = only(list_record(STEM, [box("car")], {"weather": "clear", "scene": "highway"}))
    old = only(list_record(STEM, [box("bus"), box("person")]))
    attributes = only(list_record(STEM, None, {"weather": "clear"}))
    (both,) = merge_labels([new, old])
    assert [item.category for item in both.boxes] == ["car"]
    assert (both.weather, both.scene, both.time_of_day) == ("clear", "highway", "night")
    (filled,) = merge_labels([attributes, old])
    assert [item.category for item in filled.boxes] == ["bus", "person"]
    assert (filled.weather, filled.image_width) == ("clear", 1280)
    later = old.model_copy(update={"time_s": 3.0})
    assert [item.time_s for item in merge_labels([new, later])] == [3.0, 10.0]


def test_an_info_file_gives_speed_and_course_on_the_videos_clock() -> None:
    info = read_info(info_record("ride-9", speed=12.5, course=270.0))
    assert (info.ride_id, info.start_ms, info.notes) == ("ride-9", START_MS, ())
    first, *_, last = info.telemetry
    assert (first.time_s, first.speed_mps, first.course_deg, first.longitude) == (0, 12.5, 270, -74)
    assert (last.time_s, last.speed_mps) == (11, pytest.approx(13.6))


def test_minus_one_is_the_phones_way_to_say_unknown() -> None:
    locations = [{"timestamp": START_MS, "speed": -1, "course": -1, "latitude": 40.0, "longitude": -74.0}]
    info = read_info(info_record(locations=locations))
    assert info.telemetry[0].speed_mps is None
    assert info.telemetry[0].course_deg is None
    assert info.telemetry[0].latitude == 40
    assert info.notes == ("1 of 1 locations have no speed (-1 or missing)",)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], "no JSON object"),
        (info_record(startTime=None), "no startTime"),
        (info_record(locations=[]), "no locations"),
        (info_record(locations=None), "no locations"),
        (info_record(timelapse=True), "a timelapse"),
        (info_record(locations=[{"speed": 3}]), "1 of 1 locations have no timestamp"),
        (info_record(locations=[{"speed": 3, "timestamp": 5}]), "more than 3600 s from startTime"),
        (info_record(locations=["x"]), "1 of 1 locations have no timestamp"),
    ],
)
def test_an_info_file_that_says_little_is_told(record: Any, said: str) -> None:
    info = read_info(record)
    assert info.telemetry == ()
    assert any(said in note for note in info.notes)


def test_readings_from_the_gps_list_do_where_there_are_no_locations() -> None:
    record = info_record()
    record["gps"] = record.pop("locations")
    assert len(read_info(record).telemetry) == 12


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "attributes",
                    "labels",
                    "objects",
                    "frames",
                    "timestamp",
                    "box2d",
                    "category",
                    "x1",
                    "size",
                    "locations",
                    "startTime",
                    "speed",
                    "weather",
                    "trafficLightColor",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(record=JSON)
def test_no_record_whatever_it_holds_stops_the_run(record: Any) -> None:
    read_info(record)
    record_names(record)
    has_boxes(record)
    if isinstance(record, dict):
        read_labels(record, start_ms=None)

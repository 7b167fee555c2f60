"""A simulated drive shows what its truth says, at the place and the time it says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from roadscribe.report import VOCABULARY
from roadscribe.simulator import Drive, make_drive
from roadscribe.simulator.world import (
    CAMERA_HEIGHT_M,
    FOCAL_PX,
    HORIZON_Y,
    Landmark,
    Person,
    TrafficLight,
    Vehicle,
    make_world,
    project,
)

SECONDS = 4.0
BODY, SHIRT, BOARD = (200, 40, 200), (250, 20, 240), (10, 240, 250)


def staged(**changes: Any) -> Drive:
    """An empty straight country road with three lanes on a clear day at 20 m/s, with ``changes`` to it."""
    stage: dict[str, Any] = {
        "road_type": "rural", "weather": "clear", "strength": 1, "time_of_day": "day", "dim": False,
        "lane_count": 3, "ego_lane": 1, "oncoming_lanes": 0, "curvature_class": "straight", "curvature": 0.0,
        "walls_m": (-14.0, 14.0), "speeds": np.full(81, 20.0), "vehicles": (), "persons": (), "light": None,
        "crossing": False, "landmarks": (),
    }  # fmt: skip
    return Drive(replace(make_world(1, SECONDS), **{**stage, **changes}))


def car(gap: float, lane: int = 1, category: str = "car", share: float = 1.0) -> Vehicle:
    return Vehicle(category, lane, (lane - 1) * 3.5, gap, share, None, BODY)


def where(
    frame: npt.NDArray[np.uint8], color: tuple[int, int, int], tolerance: int = 25
) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(frame.astype(int) - color).max(axis=2) <= tolerance)


@pytest.fixture(scope="module")
def drives() -> list[Drive]:
    return [make_drive(seed) for seed in range(300)]


def test_a_seed_always_gives_the_same_drive_and_the_next_seed_another() -> None:
    for seed in range(6):
        first, again, other = make_drive(seed), make_drive(seed), make_drive(seed + 1)
        assert first.truth(SECONDS) == again.truth(SECONDS)
        assert first.boxes(3.0) == again.boxes(3.0)
        frame = first.frame(SECONDS)
        assert frame.shape == (192, 320, 3)
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, again.frame(SECONDS))
        assert np.abs(frame.astype(int) - other.frame(SECONDS)).mean() > 10


def test_every_kind_of_road_weather_light_and_bend_occurs_and_none_rules(drives: list[Drive]) -> None:
    truths = [drive.truth(SECONDS) for drive in drives]
    expected = {
        "road_type": {"highway", "urban", "suburban", "rural", "tunnel"},
        "lane_count": {1, 2, 3, 4, 5},
        "ego_lane_position": {"single", "left", "middle", "right"},
        "pedestrian_on_road": {True, False},
        "traffic_light_state": {"red", "yellow", "green", "off", "none"},
        "road_curvature": set(VOCABULARY["road_curvature"]) - {"curved", "unknown"},
        "weather": set(VOCABULARY["weather"]),
        "visibility": {"good", "moderate", "poor"},
        "traffic_density": {"none", "low", "moderate", "high"},
        "risk_factor": {"low", "medium", "high"},
    }
    for key, values in expected.items():
        counts = Counter(getattr(truth, key) for truth in truths)
        assert set(counts) == values, key
        assert max(counts.values()) <= (0.72 if key == "pedestrian_on_road" else 0.5) * len(truths), key
    speeds = [truth.ego_vehicle_speed or 0 for truth in truths]
    assert min(speeds) == 0
    assert max(speeds) > 115


def test_speeds_of_different_road_types_overlap(drives: list[Drive]) -> None:
    for road in ("highway", "urban", "suburban", "rural", "tunnel"):
        speeds = [drive.speed_mps(SECONDS) * 3.6 for drive in drives if drive.world.road_type == road]
        assert sum(20 < speed < 65 for speed in speeds) > 0.15 * len(speeds), road


def test_a_landmark_comes_nearer_by_speed_times_time() -> None:
    board = Landmark("board", 15.0, 5.0, 6.0, 3.0, BOARD)
    drive = staged(landmarks=(board,))
    for t in (2.5, 3.1, 3.7, 4.0):
        z = 15.0 + 20.0 * (SECONDS - t)
        rows, columns = np.nonzero(where(drive.frame(t), BOARD, 40))
        (left, top), (right, bottom) = project(5.0 - 1.5, 6.0, z), project(5.0 + 1.5, 3.0, z)
        assert (columns.min(), columns.max()) == pytest.approx((left, min(right, 319)), abs=1.5)
        assert (rows.min(), rows.max()) == pytest.approx((max(top, 0), bottom), abs=1.5)


def test_what_is_painted_on_the_road_moves_with_the_ego() -> None:
    light = TrafficLight(20.0, 0.0, "green", "green", 0.0)
    drive = staged(light=light)
    for t in (3.0, 3.4, 3.8):
        stop_line_z = 20.0 - 11.0 + 20.0 * (SECONDS - t)
        row = int(project(0.0, 0.0, stop_line_z)[1])
        column = drive.frame(t)[85:, 150:170].astype(int).min(axis=(1, 2))
        assert abs(85 + int(column.argmax()) - row) <= 2


def test_a_standing_ego_sees_a_standing_world() -> None:
    drive = staged(speeds=np.zeros(81), landmarks=(Landmark("tree", 20.0, 6.0, 6.0, 3.0, BOARD),))
    assert np.array_equal(drive.frame(0.0), drive.frame(SECONDS))
    assert drive.truth(SECONDS).ego_vehicle_speed == 0


def test_a_box_lies_where_its_thing_is_painted_and_tells_its_distance() -> None:
    for gap in (6.0, 12.0, 25.0, 50.0):
        for lane in (0, 1, 2):
            drive = staged(vehicles=(car(gap, lane),))
            (box,) = drive.boxes(SECONDS)
            inside = where(drive.frame(SECONDS), BODY, 30)
            rows, columns = np.nonzero(inside)
            assert box.x1 - 1.5 <= columns.min() and columns.max() <= box.x2 + 1.5
            assert box.y1 - 1.5 <= rows.min() and rows.max() <= box.y2 + 1.5
            assert inside.sum() > 0.15 * (box.x2 - box.x1) * (box.y2 - box.y1)
            distance = FOCAL_PX * CAMERA_HEIGHT_M / (box.y2 - HORIZON_Y)
            assert distance == pytest.approx(gap, rel=0.02)
            assert drive.truth(SECONDS).closest_vehicle_distance == round(gap)


def test_pinhole_distances_of_boxes_agree_with_the_truth_of_any_drive(drives: list[Drive]) -> None:
    compared = 0
    for drive in drives[:150]:
        for one in drive.sightings(SECONDS):
            if isinstance(one.thing, Vehicle | Person) and not one.truncated:
                assert FOCAL_PX * CAMERA_HEIGHT_M / (one.box[3] - HORIZON_Y) == pytest.approx(one.z, rel=0.02)
                compared += 1
    assert compared > 200


@pytest.mark.parametrize("state", ["red", "yellow", "green"])
def test_a_light_glows_in_its_own_color_inside_its_box(state: str) -> None:
    glow = {"red": (255, 30, 25), "yellow": (255, 210, 20), "green": (30, 255, 110)}[state]
    drive = staged(light=TrafficLight(35.0, 0.0, state, state, 0.0))
    (box,) = drive.boxes(SECONDS)
    assert (box.category, box.light_color) == ("traffic light", state)
    assert drive.truth(SECONDS).traffic_light_state == state
    rows, columns = np.nonzero(where(drive.frame(SECONDS)[:80], glow, 30))
    assert len(rows) >= 12
    assert box.x1 <= columns.min() <= columns.max() <= box.x2
    assert box.y1 <= rows.min() <= rows.max() <= box.y2
    third = (box.y2 - box.y1) / 3
    slot = ("red", "yellow", "green").index(state)
    assert box.y1 + slot * third - 1 <= rows.mean() <= box.y1 + (slot + 1) * third + 1


def test_a_light_that_hangs_outside_the_picture_is_none() -> None:
    for ahead in (9.0, 60.0):
        drive = staged(light=TrafficLight(ahead, 0.0, "red", "red", 0.0))
        assert drive.truth(SECONDS).traffic_light_state == "none"
        assert not where(drive.frame(SECONDS), (255, 30, 25), 40).any()


def test_a_switching_light_is_true_to_the_frame() -> None:
    drive = staged(speeds=np.zeros(81), light=TrafficLight(25.0, 0.0, "red", "green", 3.0))
    assert drive.truth(2.9).traffic_light_state == "red"
    assert drive.truth(3.0).traffic_light_state == "green"


def test_a_person_on_the_road_counts_beside_the_road_does_not() -> None:
    def person(lateral: float) -> Person:
        return Person(14.0, lateral, 0.0, SHIRT, (30, 34, 60))

    on, beside = staged(persons=(person(-2.0),)), staged(persons=(person(7.0),))
    assert on.truth(SECONDS).pedestrian_on_road is True
    assert beside.truth(SECONDS).pedestrian_on_road is False
    assert [box.on_road for box in on.boxes(SECONDS) + beside.boxes(SECONDS)] == [True, False]
    for drive in (on, beside):
        (box,) = drive.boxes(SECONDS)
        rows, columns = np.nonzero(where(drive.frame(SECONDS), SHIRT))
        assert box.x1 <= columns.mean() <= box.x2
        assert box.y1 <= rows.mean() <= box.y2


def test_a_walker_crosses_at_walking_speed() -> None:
    drive = staged(speeds=np.zeros(81), persons=(Person(14.0, 1.0, 1.2, SHIRT, (30, 34, 60)),))
    early, late = (np.nonzero(where(drive.frame(t), SHIRT))[1].mean() for t in (2.0, 4.0))
    assert (late - early) * 14.0 / FOCAL_PX == pytest.approx(2.4, abs=0.15)


def test_what_a_truck_hides_is_not_in_the_truth() -> None:
    person = Person(25.0, 0.0, 0.0, SHIRT, (30, 34, 60))
    seen = staged(persons=(person,)).truth(SECONDS)
    drive = staged(persons=(person,), vehicles=(car(9.0, category="truck"),))
    hidden = drive.truth(SECONDS)
    assert (seen.pedestrian_on_road, hidden.pedestrian_on_road) == (True, False)
    assert not where(drive.frame(SECONDS), SHIRT).any()


def test_an_empty_road_has_no_distance_and_no_traffic() -> None:
    truth = staged().truth(SECONDS)
    assert (truth.closest_vehicle_distance, truth.traffic_density, truth.risk_factor) == (None, "none", "low")


def test_the_distance_is_to_the_ego_lane_or_a_neighbour_never_two_lanes_off_or_oncoming() -> None:
    far_lane = staged(ego_lane=0, vehicles=(Vehicle("car", 2, 7.0, 20.0, 1.0, None, BODY),)).truth(SECONDS)
    oncoming = replace(car(20.0, 0), oncoming_mps=10.0)
    toward = staged(oncoming_lanes=1, vehicles=(oncoming,)).truth(SECONDS)
    for truth in (far_lane, toward):
        assert (truth.closest_vehicle_distance, truth.traffic_density) == (None, "low")


def test_a_slow_leader_is_a_collision_course() -> None:
    drive = staged(vehicles=(car(20.0, share=0.5),))
    assert drive.time_to_collision(SECONDS) == pytest.approx(2.0)
    assert drive.truth(SECONDS).risk_factor == "high"
    assert staged(vehicles=(car(20.0, lane=2, share=0.5),)).time_to_collision(SECONDS) is None
    assert staged(vehicles=(car(20.0, share=1.2),)).time_to_collision(SECONDS) is None


def test_a_tunnel_does_not_tell_the_weather(drives: list[Drive]) -> None:
    for drive in drives:
        labels, truth = drive.labels(SECONDS), drive.truth(SECONDS)
        assert (truth.weather == "unknown") == (truth.road_type == "tunnel")
        assert labels.weather == (
            "undefined" if truth.road_type == "tunnel" else truth.weather.replace("_", " ")
        )


def test_haze_takes_far_things_away_from_picture_and_truth_alike() -> None:
    clear = staged(vehicles=(car(55.0),))
    foggy = staged(vehicles=(car(55.0),), weather="foggy", strength=2)
    assert clear.truth(SECONDS).closest_vehicle_distance == 55
    assert foggy.truth(SECONDS).closest_vehicle_distance is None
    assert np.array_equal(foggy.frame(SECONDS), staged(weather="foggy", strength=2).frame(SECONDS))


def test_the_road_bends_the_way_its_name_says(drives: list[Drive]) -> None:
    for drive in drives:
        name, k = drive.truth(SECONDS).road_curvature, drive.world.curvature
        assert (k < -0.002, abs(k) < 0.001, k > 0.002) == (
            "left" in name,
            name == "straight",
            "right" in name,
        )
        assert ("sharp" in name) == (abs(k) > 0.006)


def test_speed_is_the_slope_of_the_way(drives: list[Drive]) -> None:
    for drive in drives[:40]:
        for t in (1.0, 2.5, 3.9):
            slope = (drive.world.travelled_m(t + 0.05) - drive.world.travelled_m(t - 0.05)) / 0.1
            assert slope == pytest.approx(drive.speed_mps(t), abs=0.25)
            assert 0 <= drive.speed_mps(t) <= 130 / 3.6

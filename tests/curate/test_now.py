"""Evidence belongs to a moment: what was labelled or logged at another one proves nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.clip import Clip, Evidence, FrameLabels, Provenance, Telemetry
from roadscribe.curate.now import course_change, evidence_now, speed_at, speed_reading


def clip(now_s: float, evidence: Evidence) -> Clip:
    return Clip(
        clip_id="a", drive_id="d", source="video", frames=(b"x",), timestamps_s=(now_s,), width=640,
        height=352, evidence=evidence, provenance=Provenance(path="a.mov", size_bytes=1, sha256="0"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("now_s", "shown"), [(10.0, True), (10.4, True), (9.6, True), (10.6, False), (40.0, False)]
)
def test_a_label_counts_within_half_a_second(now_s: float, shown: bool) -> None:
    labels = FrameLabels(time_s=10.0, weather="rainy")
    assert (evidence_now(clip(now_s, Evidence(labels=(labels,)))).labels is not None) is shown


def test_the_nearest_label_is_the_one_that_counts() -> None:
    labels = (FrameLabels(time_s=9.7, weather="clear"), FrameLabels(time_s=10.1, weather="rainy"))
    now = evidence_now(clip(10.0, Evidence(labels=labels)))
    assert now.labels is not None and now.labels.weather == "rainy"


def test_boxes_are_measured_in_the_pixels_they_were_labelled_in() -> None:
    labels = FrameLabels(time_s=10, boxes=(), image_width=1280, image_height=720)
    now = evidence_now(clip(10.0, Evidence(labels=(labels,))))
    assert (now.width, now.height, now.boxes_known) == (1280, 720, True)


def test_a_list_of_boxes_that_is_missing_is_not_an_empty_one() -> None:
    for labels, known in (
        (FrameLabels(time_s=10, image_width=1280), False),
        (FrameLabels(time_s=10, boxes=()), True),
    ):
        stored = Evidence.model_validate_json(
            Evidence(labels=(labels,)).model_dump_json(exclude_defaults=True)
        )
        assert evidence_now(clip(10.0, stored)).boxes_known is known


@pytest.mark.parametrize("kmh", [301, 999, 1e9])
def test_a_speed_that_no_car_has_is_noted_and_not_used(kmh: float) -> None:
    glitch = Telemetry(time_s=10, speed_mps=kmh / 3.6)
    alone = evidence_now(clip(10.0, Evidence(telemetry=(glitch,))))
    assert alone.speed_kmh is None and "no car drives" in str(alone.speed_problem)
    steady = [Telemetry(time_s=t / 10, speed_mps=10) for t in range(80, 120) if t != 100]
    among = evidence_now(clip(10.0, Evidence(telemetry=(*steady, glitch))))
    assert among.speed_kmh == pytest.approx(36) and among.speed_problem is not None
    long_ago = evidence_now(clip(50.0, Evidence(telemetry=(glitch,))))
    assert (long_ago.speed_kmh, long_ago.speed_problem) == (None, None)


def test_a_jump_between_two_readings_leaves_the_speed_open() -> None:
    spike = [
        Telemetry(time_s=9.9, speed_mps=8),
        Telemetry(time_s=10, speed_mps=55),
        Telemetry(time_s=10.1, speed_mps=8),
    ]
    speed, problem = speed_reading(spike, 10.0)
    assert speed is None and "no car can do" in str(problem)
    braking = [Telemetry(time_s=9.5, speed_mps=20), Telemetry(time_s=10, speed_mps=15)]
    assert speed_reading(braking, 10.0) == (pytest.approx(54), None)


@given(st.lists(st.floats(0, 1e9), max_size=6), st.floats(0, 3))
@settings(max_examples=80, deadline=None)
def test_whatever_was_logged_the_speed_is_one_a_car_has(speeds: list[float], now_s: float) -> None:
    telemetry = [Telemetry(time_s=number / 2, speed_mps=speed) for number, speed in enumerate(speeds)]
    speed, _ = speed_reading(telemetry, now_s)
    assert speed is None or 0 <= speed <= 300.1


def test_no_simulated_drive_is_taken_for_a_faulty_log(simulated_clips: list[Clip]) -> None:
    for found in map(evidence_now, simulated_clips):
        assert found.speed_problem is None and found.speed_kmh is not None


def test_the_truth_of_a_simulated_drive_is_not_shown_to_rules(simulated_clips: list[Clip]) -> None:
    with_truth = simulated_clips[0]
    without = with_truth.model_copy(
        update={"evidence": with_truth.evidence.model_copy(update={"truth": None})}
    )
    assert evidence_now(with_truth) == evidence_now(without)


def test_speed_is_interpolated_between_readings_a_second_apart() -> None:
    telemetry = [Telemetry(time_s=9.5, speed_mps=10), Telemetry(time_s=10.5, speed_mps=12)]
    assert speed_at(telemetry, 10.0) == pytest.approx(11 * 3.6)


def test_speed_from_another_time_is_no_evidence() -> None:
    telemetry = [Telemetry(time_s=1, speed_mps=10), Telemetry(time_s=2, speed_mps=10)]
    assert speed_at(telemetry, 10.0) is None
    assert speed_at([], 10.0) is None
    far_apart = [Telemetry(time_s=2, speed_mps=10), Telemetry(time_s=30, speed_mps=10)]
    assert speed_at(far_apart, 10.0) is None


@pytest.mark.parametrize(("start", "end", "change"), [(350, 20, 30), (20, 350, -30), (90, 90, 0)])
def test_course_changes_across_north(start: float, end: float, change: float) -> None:
    telemetry = [
        Telemetry(time_s=8, speed_mps=8, course_deg=start),
        Telemetry(time_s=10, speed_mps=8, course_deg=end),
    ]
    assert course_change(telemetry, 10.0) == pytest.approx(change)


def test_the_course_of_a_standing_car_is_noise() -> None:
    telemetry = [
        Telemetry(time_s=8, speed_mps=0.3, course_deg=0),
        Telemetry(time_s=10, speed_mps=0, course_deg=90),
    ]
    assert course_change(telemetry, 10.0) is None

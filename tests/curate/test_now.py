"""Evidence belongs to a moment: what was labelled or logged at another one proves nothing."""

from __future__ import annotations

import pytest

from roadscribe.clip import Clip, Evidence, FrameLabels, Provenance, Telemetry
from roadscribe.curate.now import course_change, evidence_now, speed_at


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
    labels = FrameLabels(time_s=10, image_width=1280, image_height=720)
    now = evidence_now(clip(10.0, Evidence(labels=(labels,))))
    assert (now.width, now.height, now.boxes_known) == (1280, 720, True)


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

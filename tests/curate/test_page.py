"""The quality page shows what matters first, with the frames it is about."""

from __future__ import annotations

import re
from pathlib import Path

from roadscribe.clip import Clip
from roadscribe.curate.mend import Row
from roadscribe.curate.page import write_page
from roadscribe.curate.quality import Quality
from roadscribe.report import DrivingReport, Finding

REPORT = DrivingReport.model_validate(
    {
        "scene_description": "A wide street lies ahead.",
        "driving_parameters": {
            "road_type": "urban", "lane_count": 2, "ego_lane_position": "left", "traffic_light_state": "red",
            "pedestrian_on_road": False, "closest_vehicle_distance": 9, "ego_vehicle_speed": 20,
            "road_curvature": "straight", "weather": "clear", "visibility": "good", "traffic_density": "low",
            "risk_factor": "low",
        },
        "risk_assessment": ["Little."],
    }
)  # fmt: skip


def page_of(tmp_path: Path, clip: Clip, findings: list[Finding]) -> str:
    quality = Quality()
    values = REPORT.driving_parameters.model_dump()
    row = Row(0, clip.clip_id, report=REPORT, findings=findings, read_values=values)
    quality.add(row, "train", "drive", clip)
    write_page(tmp_path, quality)
    page = (tmp_path / "quality.html").read_text()
    return page[page.index("The ten most suspicious rows") : page.index("Examples by rule")]


def test_an_error_is_shown_before_a_dozen_conversions(tmp_path: Path, simulated_clips: list[Clip]) -> None:
    findings = [Finding(rule="units.speed", message=f"conversion {number}") for number in range(12)]
    findings.append(Finding(rule="light_colour", message="red claimed, labelled: green"))
    shown = page_of(tmp_path, simulated_clips[0], findings)
    assert "red claimed, labelled: green" in shown and "and 5 more findings" in shown
    assert shown.index("light_colour") < shown.index("conversion 0")


def test_frames_say_which_one_is_now_and_a_single_frame_is_shown_once(
    tmp_path: Path, simulated_clips: list[Clip]
) -> None:
    clip = simulated_clips[0]
    error = [Finding(rule="light_colour", message="red claimed")]
    assert re.findall(r"<figcaption>(.*?)<", page_of(tmp_path, clip, error)) == [
        "first frame",
        "last frame: now",
    ]
    single = clip.model_copy(update={"frames": clip.frames[-1:], "timestamps_s": clip.timestamps_s[-1:]})
    assert re.findall(r"<figcaption>(.*?)<", page_of(tmp_path, single, error)) == ["last frame: now"]

"""Small reports and evidence that the rule tests start from."""

from __future__ import annotations

from typing import Any

from roadscribe.clip import Box, FrameLabels
from roadscribe.curate.now import Camera, Now
from roadscribe.report import DrivingParameters

PLAIN: dict[str, Any] = {
    "road_type": "urban",
    "lane_count": 3,
    "ego_lane_position": "middle",
    "traffic_light_state": "none",
    "pedestrian_on_road": False,
    "closest_vehicle_distance": 20,
    "ego_vehicle_speed": 40,
    "road_curvature": "straight",
    "weather": "clear",
    "visibility": "good",
    "traffic_density": "low",
    "risk_factor": "low",
}


def parameters(**changes: Any) -> DrivingParameters:
    return DrivingParameters.model_validate({**PLAIN, **changes})


CAMERA = Camera(focal=1.0, height_m=1.5, horizon=0.5)
"""On a 1000 x 600 image: 1000 px focal length, horizon at row 300."""


def car_at(metres: float, right: float = 0.0, category: str = "car") -> Box:
    """The box of a vehicle that stands ``metres`` ahead and ``right`` metres to the side."""
    scale = 1000 / metres
    x, foot = 500 + right * scale, 300 + 1.5 * scale
    return Box(category=category, x1=x - 0.9 * scale, x2=x + 0.9 * scale, y1=foot - 1.5 * scale, y2=foot)


def light(colour: Any, height: float = 30) -> Box:
    return Box(category="traffic light", x1=480, x2=495, y1=100, y2=100 + height, light_color=colour)


def person(on_road: bool | None, metres: float = 15, right: float = 0) -> Box:
    scale = 1000 / metres
    x, foot = 500 + right * scale, 300 + 1.5 * scale
    return Box(
        category="person",
        x1=x - 0.3 * scale,
        x2=x + 0.3 * scale,
        y1=foot - 1.7 * scale,
        y2=foot,
        on_road=on_road,
    )


def seen(*boxes: Box, camera_known: bool = True, **labels: Any) -> Now:
    """Evidence of a frame in which exactly these boxes were labelled."""
    frame = FrameLabels(time_s=10, boxes=boxes, image_width=1000, image_height=600, **labels)
    return Now(
        labels=frame, boxes_known=True, width=1000, height=600, camera=CAMERA, camera_known=camera_known
    )

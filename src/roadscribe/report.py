"""The DrivingReport (`adas/1`): twelve parameters, a scene description and a risk assessment, parse <-> render.

Everything on the street speaks of a clip in these terms: the teacher's answers become reports, the model is
trained to write them, the grammar admits nothing else and the scorecard compares them. All parameters
describe the clip's last frame. None (null) means "cannot be told from the frames".
"""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION = "adas/1"

RoadType = Literal[
    "highway", "urban", "suburban", "residential", "rural", "tunnel", "parking_lot", "gas_station", "unknown"
]
EgoLanePosition = Literal["left", "middle", "right", "single", "turn_left", "turn_right", "unknown"]
TrafficLightState = Literal["red", "yellow", "green", "off", "none", "unknown"]
RoadCurvature = Literal["straight", "slight_left", "slight_right", "sharp_left", "sharp_right", "curved", "unknown"]
Weather = Literal["clear", "partly_cloudy", "overcast", "rainy", "snowy", "foggy", "unknown"]
Visibility = Literal["good", "moderate", "poor", "unknown"]
TrafficDensity = Literal["none", "low", "moderate", "high", "unknown"]
RiskFactor = Literal["low", "medium", "high"]

MAX_SCENE_CHARS = 600
MAX_RISK_POINTS = 6
MAX_RISK_CHARS = 200


class DrivingParameters(BaseModel):
    """The 12 parameters in their canonical order. Distances in metres, speed in km/h."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    road_type: RoadType
    lane_count: int | None = Field(ge=1, le=12)
    """Lanes of the ego carriageway (both directions where nothing divides them)."""
    ego_lane_position: EgoLanePosition
    traffic_light_state: TrafficLightState
    """`none` means that no light is in view."""
    pedestrian_on_road: bool | None
    """True only for a person on the carriageway or a crossing."""
    closest_vehicle_distance: int | None = Field(ge=0, le=200)
    """Metres to the nearest vehicle ahead in the ego lane or one beside it."""
    ego_vehicle_speed: int | None = Field(ge=0, le=200)
    """km/h."""
    road_curvature: RoadCurvature
    weather: Weather
    visibility: Visibility
    traffic_density: TrafficDensity
    risk_factor: RiskFactor


PARAMETERS: tuple[str, ...] = tuple(DrivingParameters.model_fields)
"""The 12 keys, in the order in which they are written."""

VOCABULARY: dict[str, tuple[str, ...]] = {
    "road_type": get_args(RoadType),
    "ego_lane_position": get_args(EgoLanePosition),
    "traffic_light_state": get_args(TrafficLightState),
    "road_curvature": get_args(RoadCurvature),
    "weather": get_args(Weather),
    "visibility": get_args(Visibility),
    "traffic_density": get_args(TrafficDensity),
    "risk_factor": get_args(RiskFactor),
}
"""The canonical words of each parameter that is a word."""

RANGES: dict[str, tuple[int, int]] = {
    "lane_count": (1, 12),
    "closest_vehicle_distance": (0, 200),
    "ego_vehicle_speed": (0, 200),
}
"""Inclusive bounds of each parameter that is a number."""

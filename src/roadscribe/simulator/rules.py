"""How the simulator decides the parameters: small pure rules over what is visible at one moment."""

from __future__ import annotations

from collections.abc import Sequence

from roadscribe.report import EgoLanePosition, RiskFactor, TrafficDensity, Visibility


def lane_position(lane: int, lane_count: int) -> EgoLanePosition:
    """Where lane number ``lane`` (0 is leftmost) lies in a carriageway of ``lane_count`` lanes.

    On an undivided road the oncoming lanes belong to the carriageway, as they do in ``lane_count``.
    """
    if lane_count == 1:
        return "single"
    return "left" if lane == 0 else "right" if lane == lane_count - 1 else "middle"


def closest_distance(same_direction: Sequence[tuple[float, int]]) -> int | None:
    """Metres to the nearest visible vehicle of the ego's direction in its lane or one beside it, or None.

    Args:
        same_direction: (metres to the near face, lanes to the right of the ego) of each visible vehicle.
    """
    near = [max(gap, 0.0) for gap, lanes_off in same_direction if abs(lanes_off) <= 1]
    return round(min(near)) if near else None


def on_road(lateral_m: float, edges_m: tuple[float, float]) -> bool:
    """Whether a person's feet are on the carriageway, between its left and right edge."""
    return edges_m[0] + 0.2 < lateral_m < edges_m[1] - 0.2


def density(visible_vehicles: int) -> TrafficDensity:
    """none: 0, low: 1 or 2, moderate: 3 or 4, high: 5 and more vehicles in view, in either direction."""
    if visible_vehicles == 0:
        return "none"
    return "low" if visible_vehicles <= 2 else "moderate" if visible_vehicles <= 4 else "high"


def visibility(weather: str, strength: int, night: bool, dim_tunnel: bool) -> Visibility:
    """Rain, snow and fog take one step, two when heavy; night or a dim tunnel takes one.

    No step is good, one is moderate, two and more are poor.
    """
    steps = (strength if weather in ("rainy", "snowy", "foggy") else 0) + (night or dim_tunnel)
    return "good" if steps == 0 else "moderate" if steps == 1 else "poor"


def time_to_collision(gap_m: float, closing_mps: float) -> float | None:
    """Seconds until the gap to the leader in the ego lane closes at the present speeds, or None."""
    return max(gap_m, 0.0) / closing_mps if closing_mps > 0.3 else None


def risk(
    speed_kmh: float, person_on_road: bool, light: str, view: Visibility, collision_s: float | None
) -> RiskFactor:
    """The risk of one moment.

    high: a person on the road at over 30 km/h, a red light at over 40 km/h, a collision due within 2.5 s, or
    poor visibility at over 80 km/h. medium: a person on the road or poor visibility at any speed, a red or
    yellow light at over 5 km/h, a collision due within 6 s, or more than 100 km/h. low: everything else.
    """
    soon = float("inf") if collision_s is None else collision_s
    crossing, ignoring_red = person_on_road and speed_kmh > 30, light == "red" and speed_kmh > 40
    if crossing or ignoring_red or soon < 2.5 or (view == "poor" and speed_kmh > 80):
        return "high"
    passing = light in ("red", "yellow") and speed_kmh > 5
    return "medium" if person_on_road or view == "poor" or passing or soon < 6 or speed_kmh > 100 else "low"

"""Where labelled objects stand on the road: distances of boxes by a pinhole camera over a flat road.

With a known camera (the simulator's) the row of a box's foot gives the distance exactly, so it has the grade of
the box. With an assumed camera a distance is an estimate, and it is used only where two independent estimates
agree: the row of the foot, and the height of the box against the typical height of its category.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from roadscribe.clip import Box
from roadscribe.curate.now import VEHICLES, Now
from roadscribe.report import RANGES, DrivingParameters, Grade

LANE_WIDTH_M = 3.5
"""Middle of the usual 3.25 m (urban) to 3.75 m (motorway)."""

EDGE_PX = 2.0
"""A box that comes this near to the picture's edge is cut by it."""

MAX_DISAGREEMENT = 1.5
"""Estimates by foot and by height that differ by more than this factor are not used: one of them is wrong."""

TYPICAL_HEIGHT_M = {
    "car": 1.5,
    "van": 2.0,
    "truck": 3.0,
    "bus": 3.1,
    "motor": 1.5,
    "motorcycle": 1.5,
    "train": 3.8,
    "person": 1.7,
    "pedestrian": 1.7,
}
"""Typical heights by category, for the second estimate."""


@dataclass(frozen=True)
class Place:
    """Where an object stands."""

    ahead_m: float
    right_m: float
    grade: Grade


def place_of(box: Box, now: Now) -> Place | None:
    """The place of an object, or None where the box does not tell.

    Foot: ``Z = focal * camera height / (foot - horizon)``; height: ``Z = focal * object height / box height``.

    With an assumed camera None for boxes that the picture's edge cuts or another object hides, for categories
    without a typical height, where the two estimates differ by more than `MAX_DISAGREEMENT`, and for distances
    outside the report's range.
    """
    focal = now.camera.focal * now.width
    below = box.y2 - now.camera.horizon * now.height
    if now.camera_known:
        # A foot beyond the lower edge is nearer than the nearest road that the picture shows.
        ahead = focal * now.camera.height_m / below if below > 0 else math.inf
        grade = now.labels_grade
    else:
        tall = TYPICAL_HEIGHT_M.get(box.category)
        height = box.y2 - box.y1
        if tall is None or box.occluded or is_cut(box, now) or height < 1 or below < 1:
            return None
        by_foot, by_height = focal * now.camera.height_m / below, focal * tall / height
        if max(by_foot, by_height) > MAX_DISAGREEMENT * min(by_foot, by_height):
            return None
        ahead = math.sqrt(by_foot * by_height)
        grade = Grade.ESTIMATED
    low, high = RANGES["closest_vehicle_distance"]
    if not low <= ahead <= high:
        return None
    return Place(ahead, ((box.x1 + box.x2) / 2 - now.width / 2) * ahead / focal, grade)


def is_cut(box: Box, now: Now) -> bool:
    """Whether the picture's edge cuts the object, by the label's word or by where the box lies."""
    return bool(box.truncated) or (
        min(box.x1, box.y1) <= EDGE_PX or box.x2 >= now.width - EDGE_PX or box.y2 >= now.height - EDGE_PX
    )


@dataclass(frozen=True)
class Candidates:
    """Distances in metres of the labelled vehicles that may be the nearest one ahead."""

    certain: float | None
    """The nearest vehicle that is in the own lane, or in the lane to the right, however the road bends."""
    possible: tuple[float, ...]
    """All that may be meant, nearest first: besides the certain one those nearer than it whose lane depends
    on the bend of the road, or that stand to the left, where traffic may be oncoming."""
    unplaced: int
    """Labelled vehicles whose place is not known; any of them may be the nearest."""
    grade: Grade
    """Grade of the distances; that of the labels where no vehicle had to be placed."""


BEND_PER_M: dict[str, tuple[float, float]] = {
    "straight": (-0.001, 0.001),
    "slight_left": (-0.006, -0.001),
    "slight_right": (0.001, 0.006),
    "sharp_left": (-0.02, -0.006),
    "sharp_right": (0.006, 0.02),
}
"""Curvature in 1/m (radius 1000 m to 50 m, right positive) behind the words of ``road_curvature``."""
ANY_BEND = (-0.02, 0.02)


def vehicles_ahead(report: DrivingParameters, now: Now) -> Candidates:
    """Which labelled vehicles may be the nearest one ahead in the own lane or one beside it.

    A road of curvature k lies ``k z^2 / 2`` to the side at z metres. The bend is taken from the report's own
    word, widened by a quarter, so a vehicle whose lane depends on the bend counts only as possible.
    """
    low, high = BEND_PER_M.get(report.road_curvature, ANY_BEND)
    low, high = (value + sign * 0.25 * abs(value) for value, sign in ((low, -1), (high, 1)))
    certain: list[float] = []
    possible: list[float] = []
    reach = 1.5 * LANE_WIDTH_M
    unplaced = 0
    grade = now.labels_grade
    for box in now.boxes(VEHICLES):
        place = place_of(box, now)
        if place is None:
            unplaced += 1
            continue
        grade = place.grade
        ahead, right = place.ahead_m, place.right_m
        half = (box.x2 - box.x1) / 2 * ahead / (now.camera.focal * now.width)
        left_most, right_most = right - half - high * ahead**2 / 2, right + half - low * ahead**2 / 2
        if right_most < -reach or left_most > reach:
            continue
        possible.append(ahead)
        if left_most > -LANE_WIDTH_M and right_most < reach:
            certain.append(ahead)
    nearest = min(certain, default=None)
    ahead_of_it = tuple(sorted(d for d in possible if nearest is None or d <= nearest))
    return Candidates(nearest, ahead_of_it, unplaced, grade)


def fits(claimed: float, distance: float, camera_known: bool) -> bool:
    """Whether a claimed distance agrees with one of a box: within max(5 m, 25 %), or, with an assumed camera,
    within a factor of two and 4 m."""
    if camera_known:
        return abs(claimed - distance) <= max(5.0, 0.25 * distance)
    return distance / 2 - 4 <= claimed <= distance * 2 + 4

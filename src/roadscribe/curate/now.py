"""What the evidence says about the moment a report speaks of, and nothing about any other moment.

Rules see a clip's evidence only through `Now`: labels and telemetry that lie further from the last frame
than half a second prove nothing about it, so they are not shown, and a rule without evidence stays silent.
The simulator's ground truth is not shown either: rules must work with what real drives have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roadscribe.clip import Box, Clip, FrameLabels, Telemetry
from roadscribe.simulator.world import CAMERA_HEIGHT_M, FOCAL_PX, HEIGHT, HORIZON_Y, WIDTH

MAX_AGE_S = 0.5
"""Labels and speed readings further than this from the last frame prove nothing about it."""

TURN_WINDOW_S = 2.0
"""A change of course is measured over this long before the last frame."""

VEHICLES = frozenset({"car", "truck", "bus", "motor", "train", "trailer", "van", "vehicle", "motorcycle"})
PERSONS = frozenset({"person", "pedestrian"})
LIGHTS = frozenset({"traffic light"})


@dataclass(frozen=True)
class Camera:
    """A forward pinhole camera over a flat road; in metres and in shares of the image."""

    focal: float
    """Focal length divided by the image width."""
    height_m: float
    horizon: float
    """Row of the horizon divided by the image height."""


DASHCAM = Camera(focal=0.8, height_m=1.3, horizon=0.5)
"""Stated assumption for footage whose camera is unknown: about 64 degrees across, behind the windscreen of a
car, level. Distances from it are good to about a third, and the rules that use it allow for that."""

SIMULATOR_CAMERA = Camera(focal=FOCAL_PX / WIDTH, height_m=CAMERA_HEIGHT_M, horizon=HORIZON_Y / HEIGHT)

CAMERAS: dict[str, Camera] = {"simulator": SIMULATOR_CAMERA}
"""Known cameras by the clip's source."""

VEHICLE_HEIGHT_M = {
    "car": 1.5,
    "van": 2.0,
    "truck": 3.0,
    "bus": 3.1,
    "motor": 1.5,
    "motorcycle": 1.5,
    "train": 3.8,
}
"""Typical heights, for vehicles whose contact with the road cannot be seen."""


@dataclass(frozen=True)
class Now:
    """Evidence about a clip's last frame; None and empty mean "nothing is known"."""

    labels: FrameLabels | None = None
    boxes_known: bool = False
    """Whether all objects of the frame were labelled, so that a missing box means a missing object."""
    width: int = 1
    height: int = 1
    """Size in pixels of the image the boxes are measured in."""
    camera: Camera = DASHCAM
    camera_known: bool = False
    speed_kmh: float | None = None
    course_change_deg: float | None = None
    """Change of course over the last two seconds, clockwise positive; None when standing or unknown."""

    def boxes(self, categories: frozenset[str]) -> list[Box]:
        """The labelled objects of these categories."""
        return [box for box in self.labels.boxes if box.category in categories] if self.labels else []


def evidence_now(clip: Clip) -> Now:
    """The part of a clip's evidence that belongs to its last frame; the frames are not looked at."""
    camera = CAMERAS.get(clip.source)
    now_s = clip.now_s
    labels = min(clip.evidence.labels, key=lambda item: abs(item.time_s - now_s), default=None)
    if labels is not None and abs(labels.time_s - now_s) > MAX_AGE_S:
        labels = None
    return Now(
        labels=labels,
        boxes_known=labels is not None and (bool(labels.boxes) or labels.image_width is not None),
        width=(labels.image_width if labels else None) or clip.width,
        height=(labels.image_height if labels else None) or clip.height,
        camera=camera or DASHCAM,
        camera_known=camera is not None,
        speed_kmh=speed_at(clip.evidence.telemetry, now_s),
        course_change_deg=course_change(clip.evidence.telemetry, now_s),
    )


def speed_at(telemetry: Sequence[Telemetry], time_s: float) -> float | None:
    """Speed in km/h at a moment: linear between the readings around it, else the nearest one."""
    readings = sorted((item.time_s, item.speed_mps) for item in telemetry if item.speed_mps is not None)
    before = [reading for reading in readings if reading[0] <= time_s]
    after = [reading for reading in readings if reading[0] > time_s]
    if before and after and after[0][0] - before[-1][0] <= 2 * MAX_AGE_S + 0.5:
        (t0, v0), (t1, v1) = before[-1], after[0]
        return 3.6 * (v0 + (v1 - v0) * (time_s - t0) / (t1 - t0))
    near = [reading for reading in (before[-1:] + after[:1]) if abs(reading[0] - time_s) <= MAX_AGE_S]
    return 3.6 * min(near, key=lambda reading: abs(reading[0] - time_s))[1] if near else None


def course_change(telemetry: Sequence[Telemetry], time_s: float) -> float | None:
    """Degrees by which the course changed over the last two seconds, clockwise positive, in (-180, 180].

    None without readings at both ends, or where the vehicle hardly moved: a GPS course is noise at rest.
    """
    readings = sorted(
        (item for item in telemetry if item.course_deg is not None and item.time_s <= time_s + MAX_AGE_S),
        key=lambda item: item.time_s,
    )
    start = [item for item in readings if abs(item.time_s - (time_s - TURN_WINDOW_S)) <= MAX_AGE_S]
    end = [item for item in readings if abs(item.time_s - time_s) <= MAX_AGE_S]
    if not start or not end:
        return None
    moving = [item.speed_mps for item in readings if item.time_s >= time_s - TURN_WINDOW_S - MAX_AGE_S]
    if any(speed is None or speed < 2 for speed in moving):
        return None
    first = min(start, key=lambda item: abs(item.time_s - (time_s - TURN_WINDOW_S)))
    last = min(end, key=lambda item: abs(item.time_s - time_s))
    if first.course_deg is None or last.course_deg is None:
        return None
    return -((first.course_deg - last.course_deg + 180) % 360 - 180)


def ground_position(box: Box, now: Now) -> tuple[float, float] | None:
    """(metres ahead, metres to the right) of an object by the pinhole model, or None above the horizon.

    From the row of its foot: ``Z = focal * camera height / (foot - horizon)``; where the image edge cuts the
    foot off, from the typical height of its category: ``Z = focal * object height / box height``.
    """
    focal = now.camera.focal * now.width
    below = box.y2 - now.camera.horizon * now.height
    cut = box.y2 >= now.height - 2
    if cut or below <= 0:
        tall = VEHICLE_HEIGHT_M.get(box.category)
        if tall is None or box.y2 - box.y1 <= 1 or box.y1 <= 1:
            return (0.0, 0.0) if cut and below > 0 else None
        ahead = focal * tall / (box.y2 - box.y1)
    else:
        ahead = focal * now.camera.height_m / below
    right = ((box.x1 + box.x2) / 2 - now.width / 2) * ahead / focal
    return (ahead, right) if math.isfinite(ahead) else None

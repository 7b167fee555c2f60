"""What the evidence says about the moment a report speaks of, and nothing about any other moment.

Rules see a clip's evidence only through `Now`: labels and telemetry that lie further from the last frame
than half a second prove nothing about it, so they are not shown, and a rule without evidence stays silent.
The simulator's ground truth is not shown either: rules must work with what real drives have.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from roadscribe.clip import MAX_SPEED_MPS, Box, Clip, FrameLabels, Telemetry
from roadscribe.report import Grade
from roadscribe.simulator.world import CAMERA_HEIGHT_M, FOCAL_PX, HEIGHT, HORIZON_Y, WIDTH

MAX_AGE_S = 0.5
"""Labels and speed readings further than this from the last frame prove nothing about it."""

MAX_ACCELERATION_MPS2 = 15.0
"""A change of speed beyond 1.5 g between two readings is a fault of the log: tyres hold about 1 g."""

MIN_STEP_S = 0.1
"""Readings nearer to each other than this count as this far apart, so that rounding is no acceleration."""

TURN_WINDOW_S = 2.0
"""A change of course is measured over this long before the last frame."""

VEHICLES = frozenset({"car", "truck", "bus", "motor", "train", "trailer", "van", "vehicle", "motorcycle"})
PERSONS = frozenset({"person", "pedestrian"})
RIDERS = frozenset({"rider", "cyclist"})
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
car, level. What follows from it is estimated evidence: it takes values out and never writes one."""

SIMULATOR_CAMERA = Camera(focal=FOCAL_PX / WIDTH, height_m=CAMERA_HEIGHT_M, horizon=HORIZON_Y / HEIGHT)

CAMERAS: dict[str, Camera] = {"simulator": SIMULATOR_CAMERA}
"""Known cameras by the clip's source."""


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
    speed_problem: str | None = None
    """Why the readings around the last frame are not used, where they are implausible."""
    course_change_deg: float | None = None
    """Change of course over the last two seconds, clockwise positive; None when standing or unknown."""

    def boxes(self, categories: frozenset[str]) -> list[Box]:
        """The labelled objects of these categories."""
        return [box for box in (self.labels and self.labels.boxes) or () if box.category in categories]

    @property
    def labels_grade(self) -> Grade:
        """Grade of what the labels say of this frame."""
        return self.labels.grade if self.labels else Grade.LABELLED


def evidence_now(clip: Clip) -> Now:
    """The part of a clip's evidence that belongs to its last frame; the frames are not looked at."""
    camera = CAMERAS.get(clip.source)
    now_s = clip.now_s
    labels = min(clip.evidence.labels, key=lambda item: abs(item.time_s - now_s), default=None)
    if labels is not None and abs(labels.time_s - now_s) > MAX_AGE_S:
        labels = None
    speed, problem = speed_reading(clip.evidence.telemetry, now_s)
    return Now(
        labels=labels,
        boxes_known=labels is not None and labels.boxes is not None,
        width=(labels.image_width if labels else None) or clip.width,
        height=(labels.image_height if labels else None) or clip.height,
        camera=camera or DASHCAM,
        camera_known=camera is not None,
        speed_kmh=speed,
        speed_problem=problem,
        course_change_deg=course_change(clip.evidence.telemetry, now_s),
    )


def speed_at(telemetry: Sequence[Telemetry], time_s: float) -> float | None:
    """Speed in km/h at a moment: linear between the readings around it, else the nearest one."""
    return speed_reading(telemetry, time_s)[0]


def speed_reading(telemetry: Sequence[Telemetry], time_s: float) -> tuple[float | None, str | None]:
    """(speed in km/h at a moment, what is implausible about the readings around it); None: nothing.

    Readings above `MAX_SPEED_MPS` are left out. Where the speed jumps between two neighbouring readings by more
    than `MAX_ACCELERATION_MPS2`, one of them is wrong, and the speed is not known.
    """
    logged = sorted((item.time_s, item.speed_mps) for item in telemetry if item.speed_mps is not None)
    reach = 2 * MAX_AGE_S + 0.5
    too_fast = [v for t, v in logged if v > MAX_SPEED_MPS and abs(t - time_s) <= reach]
    problem = None
    if too_fast:
        fastest = 3.6 * max(too_fast)
        problem = f"{fastest:.4g} km/h logged, which no car drives (bound: {3.6 * MAX_SPEED_MPS:.0f} km/h)"
    readings = [(t, v) for t, v in logged if v <= MAX_SPEED_MPS]
    before = [reading for reading in readings if reading[0] <= time_s]
    after = [reading for reading in readings if reading[0] > time_s]
    around = [reading for reading in (*before[-2:], *after[:2]) if abs(reading[0] - time_s) <= reach]
    for (t0, v0), (t1, v1) in itertools.pairwise(around):
        if abs(v1 - v0) > MAX_ACCELERATION_MPS2 * max(t1 - t0, MIN_STEP_S):
            jump = f"{3.6 * v0:.0f} and {3.6 * v1:.0f} km/h logged {t1 - t0:.2g} s apart, which no car can do"
            return None, problem or jump
    if before and after and after[0][0] - before[-1][0] <= reach:
        (t0, v0), (t1, v1) = before[-1], after[0]
        return 3.6 * (v0 + (v1 - v0) * (time_s - t0) / (t1 - t0)), problem
    near = [reading for reading in (before[-1:] + after[:1]) if abs(reading[0] - time_s) <= MAX_AGE_S]
    if not near:
        return None, problem
    return 3.6 * min(near, key=lambda reading: abs(reading[0] - time_s))[1], problem


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
    if any(speed is None or not 2 <= speed <= MAX_SPEED_MPS for speed in moving):
        return None
    first = min(start, key=lambda item: abs(item.time_s - (time_s - TURN_WINDOW_S)))
    last = min(end, key=lambda item: abs(item.time_s - time_s))
    if first.course_deg is None or last.course_deg is None:
        return None
    return -((first.course_deg - last.course_deg + 180) % 360 - 180)

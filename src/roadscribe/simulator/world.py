"""The drive behind the picture: road, ego motion and everything on or beside the road, drawn from one seed.

Road coordinates: ``z`` metres ahead of the camera along the road, ``lateral`` metres right of the ego lane's
centre line. The road keeps one curvature k (1/m, right positive) during a drive, so that a point of the road
lies at x = lateral + k z^2 / 2. A drive is built around its last moment: positions are drawn for it and
followed back in time.
"""

from __future__ import annotations

import colorsys
import math
import random
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 320, 192
FOCAL_PX = 220.0
"""Focal length of the pinhole camera in pixels; the camera is level, so the horizon is one image row."""
CENTER_X, HORIZON_Y = 160.0, 80.0
CAMERA_HEIGHT_M = 1.4
LANE_WIDTH_M = 3.5
VEHICLE_RANGE_M, PERSON_RANGE_M, LANDMARK_RANGE_M = 65.0, 40.0, 95.0
"""What is farther away is not drawn, so it does not exist for the truth either."""
LIGHT_RANGE_M = (13.5, 48.0)
"""A traffic light's head is drawn (and true) only while it hangs between these distances."""
STOP_LINE_M = 11.0
"""The stop line lies this far before the traffic light."""
SPEED_STEP_S = 0.05
SALT = 233_893 * 1_000_003

RGB = tuple[int, int, int]

ROAD_TYPES = {"highway": 0.21, "urban": 0.24, "suburban": 0.21, "rural": 0.19, "tunnel": 0.15}
LANES = {  # shares of 1 to 5 lanes
    "highway": (0.08, 0.18, 0.26, 0.26, 0.22), "urban": (0.18, 0.2, 0.22, 0.2, 0.2),
    "suburban": (0.22, 0.26, 0.2, 0.18, 0.14), "rural": (0.36, 0.32, 0.18, 0.14, 0.0),
    "tunnel": (0.18, 0.26, 0.26, 0.18, 0.12),
}  # fmt: skip
SPEED_KMH = {  # (share, from, to)
    "highway": ((0.3, 15, 60), (0.7, 60, 130)), "urban": ((0.15, 0, 0), (0.85, 6, 68)),
    "suburban": ((0.1, 0, 0), (0.9, 8, 78)), "rural": ((0.06, 0, 0), (0.94, 20, 108)),
    "tunnel": ((0.25, 10, 45), (0.75, 45, 118)),
}  # fmt: skip
LIGHT_SHARE = {"highway": 0.5, "urban": 0.82, "suburban": 0.78, "rural": 0.66, "tunnel": 0.5}
PERSON_ON_ROAD_SHARE = {"highway": 0.17, "urban": 0.62, "suburban": 0.6, "rural": 0.54, "tunnel": 0.2}
PERSON_BESIDE_SHARE = {"highway": 0.06, "urban": 0.75, "suburban": 0.6, "rural": 0.35, "tunnel": 0.06}
CURVATURES = {
    "straight": (0.34, -0.0003, 0.0003), "slight_left": (0.165, -0.0042, -0.0022),
    "slight_right": (0.165, 0.0022, 0.0042), "sharp_left": (0.165, -0.0125, -0.0082),
    "sharp_right": (0.165, 0.0082, 0.0125),
}  # fmt: skip
"""Share and range of k in 1/m of each class; gaps between the ranges keep the classes apart to the eye."""
HAZE_M = {
    ("clear", 1): 700.0, ("partly_cloudy", 1): 700.0, ("overcast", 1): 450.0, ("rainy", 1): 160.0,
    ("rainy", 2): 70.0, ("snowy", 1): 150.0, ("snowy", 2): 62.0, ("foggy", 1): 48.0, ("foggy", 2): 24.0,
}  # fmt: skip
"""Distance in metres over which contrast falls to 1/e, by weather and its strength (2 is heavy)."""
SIZES = {"car": (4.4, 1.8, 1.5), "truck": (8.5, 2.5, 3.3), "bus": (10.5, 2.5, 3.0)}
"""Length, width and height in metres."""
LANDMARKS = {  # weights of what stands beside the road
    "highway": {"board": 3, "sign": 3, "tree": 3, "lamp": 2},
    "urban": {"lamp": 4, "sign": 3, "tree": 3, "board": 1},
    "suburban": {"tree": 5, "lamp": 2, "sign": 2}, "rural": {"tree": 6, "sign": 2, "lamp": 1},
    "tunnel": {"sign": 1},
}  # fmt: skip
LANDMARK_SIZES = {  # ranges of height and width in metres
    "tree": ((4, 8), (2, 4.5)), "lamp": ((6, 9), (0.25, 0.25)), "sign": ((2.4, 3.4), (0.7, 1.3)),
    "board": ((4, 7), (2.5, 5)), "gantry": ((6.4, 7.4), (3, 6)),
}  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """``gap_m`` is the distance of its near face at the drive's last moment. A vehicle of the ego's direction
    moves at ``share`` times the ego's speed, an oncoming one at ``oncoming_mps``."""

    category: str
    lane: int
    lateral_m: float
    gap_m: float
    share: float
    oncoming_mps: float | None
    color: RGB


@dataclass(frozen=True)
class Person:
    """Walks across the road at ``walk_mps`` (0: stands); distances belong to the drive's last moment."""

    ahead_m: float
    lateral_m: float
    walk_mps: float
    shirt: RGB
    trousers: RGB


@dataclass(frozen=True)
class TrafficLight:
    """Hangs over the road; shows ``before`` until ``switch_s`` and ``after`` from then on."""

    ahead_m: float
    lateral_m: float
    before: str
    after: str
    switch_s: float

    def state(self, time_s: float) -> str:
        """red, yellow, green or off."""
        return self.after if time_s >= self.switch_s else self.before


@dataclass(frozen=True)
class Landmark:
    """Something fixed beside or over the road, ``ahead_m`` from where the ego will be at the last moment."""

    kind: str
    ahead_m: float
    lateral_m: float
    height_m: float
    width_m: float
    color: RGB


class Placed(NamedTuple):
    """A thing at one moment; the picture and the truth are both made from these."""

    z: float
    lateral: float
    thing: Vehicle | Person | TrafficLight | Landmark


@dataclass(frozen=True)
class World:
    """All that is fixed about one drive; see the module's docstring for the coordinates."""

    seed: int
    seconds: float
    road_type: str
    weather: str
    strength: int
    time_of_day: str
    dim: bool
    """A badly lit tunnel."""
    lane_count: int
    ego_lane: int
    oncoming_lanes: int
    curvature_class: str
    curvature: float
    walls_m: tuple[float, float]
    """Lateral positions of the left and the right wall (facades, rails, hedges, tunnel walls)."""
    speeds: npt.NDArray[np.float64]
    """Ego speed in m/s every ``SPEED_STEP_S``, ending at the last moment."""
    vehicles: tuple[Vehicle, ...] = ()
    persons: tuple[Person, ...] = ()
    light: TrafficLight | None = None
    crossing: bool = False
    landmarks: tuple[Landmark, ...] = ()

    @property
    def tunnel(self) -> bool:
        return self.road_type == "tunnel"

    @property
    def edges_m(self) -> tuple[float, float]:
        """Lateral positions of the carriageway's left and right edge."""
        left = -(self.ego_lane + 0.5) * LANE_WIDTH_M
        return left, left + self.lane_count * LANE_WIDTH_M

    @property
    def haze_m(self) -> float:
        return 450.0 if self.tunnel else HAZE_M[self.weather, self.strength]

    @cached_property
    def sight_m(self) -> float:
        """How far vehicles and persons are shown: haze, and the inner wall of a bend, take the rest away."""
        inner = self.walls_m[1] if self.curvature > 0 else -self.walls_m[0]
        bend = math.sqrt(8 * max(inner - 1.5, 0.8) / max(abs(self.curvature), 0.001))
        return min(VEHICLE_RANGE_M, 1.5 * self.haze_m, bend)

    def behind_wall(self, lateral: float, z: float) -> bool:
        """Whether the line of sight to a place leaves the road through the inner wall of the bend."""
        k, x = self.curvature, lateral + self.curvature * z * z / 2
        if not k or not 0 < x / (k * z) < z:
            return False
        inner = self.walls_m[1] if k > 0 else -self.walls_m[0]
        return x * x / (2 * abs(k) * z * z) > inner

    @cached_property
    def _times(self) -> npt.NDArray[np.float64]:
        return self.seconds - SPEED_STEP_S * np.arange(len(self.speeds) - 1, -1, -1, dtype=np.float64)

    @cached_property
    def _way(self) -> npt.NDArray[np.float64]:
        way = np.concatenate([[0.0], np.cumsum((self.speeds[1:] + self.speeds[:-1]) / 2 * SPEED_STEP_S)])
        return np.asarray(way - way[-1], np.float64)

    def speed_mps(self, time_s: float) -> float:
        """Ego speed in m/s."""
        return float(np.interp(time_s, self._times, self.speeds))

    def travelled_m(self, time_s: float) -> float:
        """Ego position along the road, 0 at the drive's last moment and negative before it."""
        return float(np.interp(time_s, self._times, self._way))

    def things(self, time_s: float) -> list[Placed]:
        """Everything upright that is in front of the camera and in range at ``time_s``, nearest first."""
        here, found = self.travelled_m(time_s), []
        for vehicle in self.vehicles:
            if vehicle.oncoming_mps is not None:
                gap = vehicle.gap_m - here + vehicle.oncoming_mps * (self.seconds - time_s)
            else:
                gap = vehicle.gap_m - (1 - vehicle.share) * here
            if gap <= self.sight_m and gap + SIZES[vehicle.category][0] > 3.5:
                found.append(Placed(gap, vehicle.lateral_m, vehicle))
        for person in self.persons:
            z = person.ahead_m - here
            if 3.0 < z <= min(PERSON_RANGE_M, self.sight_m):
                found.append(Placed(z, person.lateral_m + person.walk_mps * (time_s - self.seconds), person))
        for fixed, near, far in [(mark, 2.0, LANDMARK_RANGE_M) for mark in self.landmarks] + (
            [(self.light, *LIGHT_RANGE_M)] if self.light else []
        ):
            z = fixed.ahead_m - here
            if near < z < far and not self.behind_wall(fixed.lateral_m, z):
                found.append(Placed(z, fixed.lateral_m, fixed))
        return sorted(found, key=lambda placed: placed.z)


def project(x: float, height: float, z: float) -> tuple[float, float]:
    """Image position in pixels of a point ``x`` m right, ``height`` m above the ground, ``z`` m ahead."""
    scale = FOCAL_PX / z
    return CENTER_X + x * scale, HORIZON_Y + (CAMERA_HEIGHT_M - height) * scale


def make_world(seed: int, seconds: float) -> World:
    """Draw a world; the same seed and length give the same world."""
    rng = random.Random(SALT + seed)
    road = _pick(rng, ROAD_TYPES)
    lane_count, ego_lane, oncoming = _draw_lanes(rng, road)
    curvature_class = _pick(rng, {name: share for name, (share, _, _) in CURVATURES.items()})
    _, low, high = CURVATURES[curvature_class]
    setback = {
        "highway": 3.0,
        "urban": rng.uniform(4, 6),
        "suburban": rng.uniform(6, 9),
        "rural": 9.0,
        "tunnel": 1.3,
    }
    left, right = -(ego_lane + 0.5) * LANE_WIDTH_M, (lane_count - ego_lane - 0.5) * LANE_WIDTH_M
    weather = rng.choice(("clear", "partly_cloudy", "overcast", "rainy", "snowy", "foggy"))
    heavy = rng.random() < {"rainy": 0.5, "snowy": 0.5, "foggy": 0.6}.get(weather, 0.0)
    time_of_day = _pick(rng, {"day": 0.52, "dusk": 0.18, "night": 0.3})
    if road == "tunnel":  # never shown: a tunnel hides the sky
        weather, heavy, time_of_day = "clear", False, "day"
    world = World(
        seed=seed, seconds=seconds, road_type=road, weather=weather, strength=1 + heavy,
        time_of_day=time_of_day, dim=road == "tunnel" and rng.random() < 0.5, lane_count=lane_count,
        ego_lane=ego_lane, oncoming_lanes=oncoming, curvature_class=curvature_class,
        curvature=rng.uniform(low, high), speeds=np.zeros(2),
        walls_m=(left - (1.4 if road == "highway" else setback[road]), right + setback[road]),
    )  # fmt: skip
    world = replace(world, light=_draw_light(rng, world), persons=_draw_persons(rng, world))
    world = replace(world, speeds=_draw_speeds(rng, world))
    return replace(
        world,
        vehicles=_draw_vehicles(rng, world),
        crossing=road in ("urban", "suburban") and world.light is not None and rng.random() < 0.6,
        landmarks=_draw_landmarks(rng, world),
    )


def _pick(rng: random.Random, shares: dict[str, Any]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _vivid(rng: random.Random) -> RGB:
    """A strong colour that differs from road and sky."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.6, 1), rng.uniform(0.55, 1))
    return int(r * 255), int(g * 255), int(b * 255)


def _draw_lanes(rng: random.Random, road: str) -> tuple[int, int, int]:
    """(lanes, ego lane counted from the left, oncoming lanes at the left of an undivided road)."""
    lanes = rng.choices(range(1, 6), LANES[road])[0]
    undivided = road != "highway" and rng.random() < {2: 0.4, 4: 0.35}.get(lanes, 0.0)
    oncoming = lanes // 2 if undivided else 0
    if lanes >= 3 and not undivided:
        return lanes, rng.choices((0, rng.randrange(1, lanes - 1), lanes - 1), (0.34, 0.46, 0.2))[0], 0
    return lanes, rng.randrange(oncoming, lanes), oncoming


def _draw_light(rng: random.Random, world: World) -> TrafficLight | None:
    if rng.random() >= LIGHT_SHARE[world.road_type]:
        return None
    far, lateral = min(LIGHT_RANGE_M[1] - 2, 1.7 * 1.5 * world.haze_m), rng.uniform(-0.6, 0.6)
    while far > 16 and world.behind_wall(lateral, far + 1):
        far -= 1.0
    before = after = rng.choice(("red", "yellow", "green", "off"))
    switch = 0.0
    if after != "off" and rng.random() < 0.3:
        before = {"red": "yellow", "yellow": "green", "green": "red"}[after]
        switch = world.seconds - rng.uniform(0.4, 2.0)
    return TrafficLight(_log_uniform(rng, 15, far), lateral, before, after, switch)


def _draw_speeds(rng: random.Random, world: World) -> npt.NDArray[np.float64]:
    """Cruise, brake, accelerate or stand; before a red light mostly brake or stand."""
    ranges = SPEED_KMH[world.road_type]
    _, low, high = rng.choices(ranges, [row[0] for row in ranges])[0]
    now = min(rng.uniform(low, high) / 3.6, math.sqrt(6.0 / max(abs(world.curvature), 1e-4)))
    gain = rng.choices((rng.gauss(0, 0.2), rng.uniform(-3.5, -0.8), rng.uniform(0.6, 2.2)), (0.5, 0.3, 0.2))[
        0
    ]
    if world.light is not None and world.light.after == "red":
        way, what = max(world.light.ahead_m - STOP_LINE_M, 1.0), rng.random()
        if what < 0.3:
            now, gain = 0.0, -rng.uniform(1, 3)
        elif what < 0.75:
            now = min(now, math.sqrt(2 * 3.5 * way))
            gain = -(now**2) / (2 * way)
    if now == 0 and rng.random() < 0.5:
        gain = 0.0
    back = SPEED_STEP_S * np.arange(math.ceil(world.seconds / SPEED_STEP_S), -1, -1)
    ripple = 0.25 * np.sin(0.9 * back + rng.uniform(0, 6)) * (now > 2)
    return np.asarray(
        np.clip(now - gain * np.minimum(back, rng.uniform(2, 5)) + ripple, 0, 130 / 3.6), np.float64
    )


def _draw_persons(rng: random.Random, world: World) -> tuple[Person, ...]:
    left, right = world.edges_m
    far, places = min(world.sight_m * 0.9, 24.0), []
    if rng.random() < PERSON_ON_ROAD_SHARE[world.road_type]:
        for _ in range(rng.choices((1, 2, 3), (0.6, 0.3, 0.1))[0]):
            ahead = _log_uniform(rng, 7, far)
            reach = min(0.6 * ahead, 9.0)  # inside the picture
            lateral = rng.uniform(max(left + 0.8, -reach), min(right - 0.8, reach))
            places.append(
                (ahead, lateral, rng.choice((-1, 1)) * rng.uniform(0.6, 1.5) * (rng.random() < 0.7))
            )
    if rng.random() < PERSON_BESIDE_SHARE[world.road_type]:
        for _ in range(rng.randint(1, 3)):
            side = rng.choice((0, 1))
            edge, wall = world.edges_m[side], world.walls_m[side]
            lateral = edge + math.copysign(min(rng.uniform(1.2, 3.2), abs(wall - edge) - 0.4), wall - edge)
            ahead = max(rng.uniform(8, max(far, 10)), abs(lateral) / 0.62)
            if ahead < world.sight_m:
                places.append((ahead, lateral, 0.0))
    trousers: tuple[RGB, ...] = ((30, 34, 60), (60, 50, 40), (25, 25, 28))
    return tuple(Person(*place, _vivid(rng), rng.choice(trousers)) for place in places)


def _draw_vehicles(rng: random.Random, world: World) -> tuple[Vehicle, ...]:
    """A crowd of drawn size and nearest distance; one speed a lane, so nobody drives into anybody."""
    crowd = _pick(rng, {"none": 0.17, "low": 0.25, "moderate": 0.28, "high": 0.3})
    if crowd == "none":
        return ()
    count = {"low": rng.choice((1, 1, 2)), "moderate": rng.choice((4, 5, 6)), "high": rng.randint(10, 16)}[
        crowd
    ]
    sight = world.sight_m * 0.97
    farthest = min(sight, {"low": 65.0, "moderate": 50.0, "high": 32.0}[crowd])
    nearest = rng.uniform(6, farthest) if rng.random() < 0.6 else _log_uniform(rng, 5, farthest)
    ego, lanes = world.ego_lane, range(world.lane_count)
    beside = [lane for lane in lanes if abs(lane - ego) <= 1 and lane >= world.oncoming_lanes]
    placed: list[tuple[int, float, str]] = []
    for attempt in range(10 * count):
        first = attempt == 0
        lane = (
            rng.choices(beside, [2 if lane == ego else 1 for lane in beside])[0]
            if first
            else rng.choice(lanes)
        )
        gap = max(nearest if first else rng.uniform(nearest, sight), 1.6 * abs(lane - ego) * LANE_WIDTH_M)
        tall = rng.random() < 0.28 and not (world.light is not None and lane == ego)  # would hide the light
        category = rng.choice(("truck", "bus")) if tall else "car"
        lateral = (lane - ego) * LANE_WIDTH_M
        hides = any(abs(p.lateral_m - lateral) < 2.6 and p.ahead_m > gap - 2 for p in world.persons)
        taken = any(
            other == lane and -SIZES[category][0] - 3 < gap - at < SIZES[what][0] + 3
            for other, at, what in placed
        )
        if not hides and not taken:
            placed.append((lane, gap, category))
        if len(placed) == count:
            break
    shares = {lane: rng.uniform(0.78, 1.25) for lane in lanes}
    leader = min((gap for lane, gap, _ in placed if lane == ego), default=None)
    if leader is not None:
        now, way = float(world.speeds[-1]), -world.travelled_m(0.0)
        shares[ego] = rng.uniform(0.97, 1.06)
        if now > 2 and rng.random() < 0.3:  # on collision course
            shares[ego] = max(1 - leader / (rng.uniform(1.2, 2.3) * now), 0.0)
        shares[ego] = min(shares[ego], 1 + max(leader - 4.5, 0) / max(way, 1.0))
    vehicles = []
    for lane, gap, category in placed:
        oncoming = rng.uniform(6, 18) if lane < world.oncoming_lanes else None
        color = rng.choice(((225, 225, 228), (40, 42, 46), (150, 155, 160), _vivid(rng), _vivid(rng)))
        lateral = (lane - ego) * LANE_WIDTH_M + rng.uniform(-0.25, 0.25)
        vehicles.append(Vehicle(category, lane, lateral, gap, shares[lane], oncoming, color))
    return tuple(vehicles)


def _draw_landmarks(rng: random.Random, world: World) -> tuple[Landmark, ...]:
    """Posts, trees, signs, boards and gantries at random spacings: without a period, speed cannot alias."""
    start, marks = world.travelled_m(0.0), []

    def add(kind: str, ahead: float, lateral: float | None, side: int) -> None:
        height, width = (rng.uniform(*bounds) for bounds in LANDMARK_SIZES[kind])
        color = _vivid(rng)
        if kind == "tree":
            color = (rng.randint(25, 130), rng.randint(80, 150), rng.randint(20, 60))
        elif kind == "lamp":
            color = (rng.randint(60, 170),) * 3
        if lateral is None:
            edge, wall = abs(world.edges_m[side]), abs(world.walls_m[side])
            inside = edge + 0.6 + (0.4 * width if kind in ("tree", "board") else 0.0)
            behind_rail = world.road_type == "highway"
            distance = (
                wall + rng.uniform(0.5, 7) if behind_rail else rng.uniform(inside, max(wall - 0.6, inside))
            )
            lateral = distance if side else -distance
        marks.append(Landmark(kind, ahead, lateral, height, width, color))

    for side in (0, 1):
        ahead = start - 5
        while (ahead := ahead + 3 + rng.expovariate(1 / (25 if world.tunnel else 9))) < 110:
            add(_pick(rng, LANDMARKS[world.road_type]), ahead, None, side)
    ahead = start + rng.uniform(0, 60)
    while world.road_type == "highway" and ahead < 110:
        add("gantry", ahead, 0.0, 0)
        ahead += rng.uniform(35, 110)
    return tuple(marks)

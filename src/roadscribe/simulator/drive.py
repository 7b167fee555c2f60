"""A Drive: the picture, the speed, the boxes and the exact twelve parameters at any moment of it."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from roadscribe.clip import Box, FrameLabels
from roadscribe.report import DrivingParameters, RoadCurvature, RoadType, TrafficLightState, Weather
from roadscribe.simulator import rules
from roadscribe.simulator.render import Painter
from roadscribe.simulator.world import (
    HEIGHT,
    SIZES,
    WIDTH,
    Landmark,
    Person,
    Placed,
    TrafficLight,
    Vehicle,
    World,
    make_world,
    project,
)

BDD_SCENE = {"highway": "highway", "urban": "city street", "suburban": "residential", "tunnel": "tunnel"}
"""Simulated road types in BDD100K's words; it has none for a rural road."""
BDD_TIME = {"day": "daytime", "dusk": "dawn/dusk", "night": "night"}
MIN_VISIBLE_SHARE = 0.3
"""An object counts while this share of its box is in the picture and not hidden behind nearer things."""
PixelBox = tuple[float, float, float, float]


class Sighting(NamedTuple):
    """One visible object with its unclipped box in pixels."""

    z: float
    lateral: float
    thing: Vehicle | Person | TrafficLight
    box: PixelBox
    occluded: bool
    truncated: bool


def make_drive(seed: int, seconds: float = 4.0) -> Drive:
    """The drive of this seed, ``seconds`` long; its last moment is the one it is built around."""
    return Drive(make_world(seed, seconds))


class Drive:
    """One simulated drive; times are seconds from its start, valid from 0 to ``seconds``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seed = world.seed
        self.seconds = world.seconds
        self.drive_id = f"sim-{world.seed:08d}"

    @cached_property
    def _painter(self) -> Painter:
        return Painter(self.world)

    def frame(self, t: float) -> npt.NDArray[np.uint8]:
        """The picture at ``t``: RGB, uint8, shape (192, 320, 3)."""
        return self._painter.frame(t)

    def speed_mps(self, t: float) -> float:
        """Ego speed in m/s."""
        return self.world.speed_mps(t)

    def sightings(self, t: float) -> list[Sighting]:
        """What can be seen at ``t``, nearest first: boxes painted far to near must keep enough pixels."""
        placed = [(one, thing_box(self.world, one)) for one in self.world.things(t)]
        buffer = Image.new("L", (WIDTH, HEIGHT), 0)
        draw = ImageDraw.Draw(buffer)
        for number in range(len(placed), 0, -1):
            one, (x1, y1, x2, y2) = placed[number - 1]
            if x2 > 0 and x1 < WIDTH and y2 > 0 and y1 < HEIGHT:
                fill = 0 if isinstance(one.thing, Landmark) else number
                draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), fill=fill)
        counts = np.bincount(np.asarray(buffer).ravel(), minlength=len(placed) + 1)
        seen = []
        for number, (one, box) in enumerate(placed, 1):
            if isinstance(one.thing, Landmark):
                continue
            x1, y1, x2, y2 = box
            area = max((x2 - x1) * (y2 - y1), 1.0)
            inside = max(min(x2, WIDTH) - max(x1, 0), 0) * max(min(y2, HEIGHT) - max(y1, 0), 0) / area
            share = float(counts[number]) / area
            # A car beside the ego is mostly outside the picture; what is inside must still be seen.
            if counts[number] >= 6 and share >= MIN_VISIBLE_SHARE * min(1.0, max(inside, 0.4)):
                seen.append(
                    Sighting(one.z, one.lateral, one.thing, box, share < 0.85 * inside, inside < 0.98)
                )
        return seen

    def boxes(self, t: float) -> tuple[Box, ...]:
        """Boxes of what is visible, clipped to the picture, nearest first."""
        result = []
        for one in self.sightings(t):
            thing, (x1, y1, x2, y2) = one.thing, one.box
            word = "person" if isinstance(thing, Person) else "traffic light"
            result.append(
                Box(
                    category=thing.category if isinstance(thing, Vehicle) else word,
                    x1=max(x1, 0.0),
                    y1=max(y1, 0.0),
                    x2=min(x2, float(WIDTH)),
                    y2=min(y2, float(HEIGHT)),
                    light_color=thing.state(t) if isinstance(thing, TrafficLight) else None,  # type: ignore[arg-type]
                    occluded=one.occluded,
                    truncated=one.truncated,
                    on_road=rules.on_road(one.lateral, self.world.edges_m)
                    if isinstance(thing, Person)
                    else None,
                )
            )
        return tuple(result)

    def labels(self, t: float) -> FrameLabels:
        """What a BDD100K annotator would note; "undefined" where the picture does not show it."""
        world = self.world
        return FrameLabels(
            time_s=t,
            weather="undefined" if world.tunnel else world.weather.replace("_", " "),
            scene=BDD_SCENE.get(world.road_type, "undefined"),
            time_of_day="undefined" if world.tunnel else BDD_TIME[world.time_of_day],
            boxes=self.boxes(t),
            image_width=WIDTH,
            image_height=HEIGHT,
        )

    def time_to_collision(self, t: float) -> float | None:
        """Seconds until the ego would reach the visible vehicle ahead in its lane, or None."""
        for one in self.sightings(t):
            if isinstance(one.thing, Vehicle) and one.thing.lane == self.world.ego_lane:
                return rules.time_to_collision(one.z, (1 - one.thing.share) * self.speed_mps(t))
        return None

    def truth(self, t: float) -> DrivingParameters:
        """The twelve parameters at ``t``; every value follows from what the picture shows (see `rules`)."""
        world, seen = self.world, self.sightings(t)
        vehicles = [(one.z, one.thing) for one in seen if isinstance(one.thing, Vehicle)]
        person = any(
            isinstance(one.thing, Person) and rules.on_road(one.lateral, world.edges_m) for one in seen
        )
        light = next((one.thing.state(t) for one in seen if isinstance(one.thing, TrafficLight)), "none")
        view = rules.visibility(world.weather, world.strength, world.time_of_day == "night", world.dim)
        return DrivingParameters(
            road_type=cast(RoadType, world.road_type),
            lane_count=world.lane_count,
            ego_lane_position=rules.lane_position(world.ego_lane, world.lane_count),
            traffic_light_state=cast(TrafficLightState, light),
            pedestrian_on_road=person,
            closest_vehicle_distance=rules.closest_distance(
                [(z, v.lane - world.ego_lane) for z, v in vehicles if v.oncoming_mps is None]
            ),
            ego_vehicle_speed=round(self.speed_mps(t) * 3.6),
            road_curvature=cast(RoadCurvature, world.curvature_class),
            weather="unknown" if world.tunnel else cast(Weather, world.weather),
            visibility=view,
            traffic_density=rules.density(len(vehicles)),
            risk_factor=rules.risk(self.speed_mps(t) * 3.6, person, light, view, self.time_to_collision(t)),
        )


def thing_box(world: World, placed: Placed) -> PixelBox:
    """The box around what is solid of a thing, in pixels, not clipped to the picture."""
    z, thing = placed.z, placed.thing
    x = placed.lateral + world.curvature * z * z / 2
    if isinstance(thing, Vehicle):
        length, width, height = SIZES[thing.category]
        corners = []
        for face in (max(z, 1.5), z + length):
            x = placed.lateral + world.curvature * face * face / 2
            corners += [project(x - width / 2, 0.0, face), project(x + width / 2, height, face)]
        return (
            min(c[0] for c in corners), min(c[1] for c in corners),
            max(c[0] for c in corners), max(c[1] for c in corners),
        )  # fmt: skip
    if isinstance(thing, Person):
        half, low, high = 0.35, 0.0, 1.75
    elif isinstance(thing, TrafficLight):
        half, low, high = 0.6, 3.4, 6.2
    elif thing.kind == "lamp":
        half, low, high = 0.14, 0.0, thing.height_m
    else:  # a crown or a panel
        size = {
            "tree": (0.4, 0.35, 0.95),
            "sign": (0.5, 0.65, 1.0),
            "board": (0.5, 0.5, 1.0),
            "gantry": (0.5, 0.9, 1.2),
        }
        share, below, above = size[thing.kind]
        half, low, high = thing.width_m * share, thing.height_m * below, thing.height_m * above
    return (*project(x - half, high, z), *project(x + half, low, z))

"""Paints a World as the dashcam sees it.

As camera and curvature are fixed, each pixel's place in the map of the scenery, relative to the car, is
computed once; a frame is one gather through the map and one through a table of shaded colours. Upright
things are rectangles, discs and polygons, painted far to near.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from roadscribe.simulator import scenery as sc
from roadscribe.simulator import world as w
from roadscribe.simulator.world import HEIGHT, RGB, WIDTH, Landmark, Person, Vehicle, project

Z_BINS, CONE_LEVELS = 28, 3
Floats = npt.NDArray[np.floating[Any]]

SKIES: dict[str, tuple[RGB, RGB, RGB, RGB]] = {  # top and horizon by day, top and horizon at night
    "clear": ((62, 124, 214), (176, 206, 236), (6, 8, 26), (20, 22, 44)),
    "partly_cloudy": ((74, 134, 214), (182, 206, 232), (8, 10, 28), (24, 26, 46)),
    "overcast": ((146, 150, 157), (186, 189, 193), (44, 40, 40), (64, 58, 54)),
    "rainy": ((92, 99, 109), (136, 142, 149), (20, 22, 28), (34, 36, 42)),
    "snowy": ((184, 189, 197), (212, 216, 221), (54, 56, 64), (84, 86, 94)),
    "foggy": ((196, 198, 201), (200, 202, 204), (66, 68, 72), (74, 76, 80)),
}
LAMPS: dict[str, RGB] = {"red": (255, 30, 25), "yellow": (255, 210, 20), "green": (30, 255, 110)}


class Painter:
    """Holds what is fixed about a drive's picture; `frame` paints one moment."""

    def __init__(self, world: w.World) -> None:
        self.world = world
        self.night = world.time_of_day == "night"
        rng, noise = random.Random(world.seed * 7919 + 11), np.random.default_rng([world.seed, 0x70AD])
        self._light_levels()
        self._shade_table(sc.palette(world, noise))
        self._background(rng)
        self.scenery = sc.Scenery(world, rng, noise)
        self._pixel_index()

    def _light_levels(self) -> None:
        """``ambient`` light from 0 to 1, the ``sky``'s top and horizon, ``haze`` and its share by metre."""
        world = self.world
        warm = world.time_of_day == "dusk" and world.weather in ("clear", "partly_cloudy")
        if world.tunnel:
            self.ambient = 0.42 if world.dim else 0.9
            self.sky: tuple[RGB, RGB] = ((34, 30, 26), (40, 36, 30))
        else:
            lit_street = world.road_type in ("urban", "suburban")
            self.ambient = {"day": 1.0, "dusk": 0.68, "night": 0.42 if lit_street else 0.3}[world.time_of_day]
            if world.weather in ("overcast", "rainy"):
                self.ambient *= 0.88
            self.sky = SKIES[world.weather][2:] if self.night else SKIES[world.weather][:2]
            if world.time_of_day == "dusk":
                self.sky = _scale(self.sky[0], 0.5), ((236, 150, 92) if warm else _scale(self.sky[1], 0.6))
        self.haze = _mix(self.sky[1], (120, 110, 120), 0.5) if warm else self.sky[1]
        self.fog = [1 - math.exp(-z / world.haze_m) for z in range(int(sc.FAR_M) + 60)]

    def shade(self, color: RGB, z: float, x: float, glow: float = 0.0) -> tuple[int, int, int, int]:
        """A colour as it reaches the camera from ``z`` ahead and ``x`` beside: lit, then faded by haze."""
        light = self.ambient
        if self.night:
            beam = min(1.0, max(0.0, 1.4 - abs(x) / (2.2 + 0.16 * z)))
            light = min(1.0, light + beam * 0.8 * math.exp(-z / 32))
        fog = self.fog[min(max(int(z), 0), 190)] * (1 - 0.5 * glow)  # lamps shine through haze
        keep = (1 - fog) * (light + (1 - light) * glow)
        (r, g, b), (hr, hg, hb) = color, self.haze
        return int(r * keep + hr * fog), int(g * keep + hg * fog), int(b * keep + hb * fog), 255

    def _shade_table(self, colors: Floats) -> None:
        """Every palette entry as seen at each distance, outside, half inside and inside the headlights."""
        z = (2.0 * (sc.FAR_M / 2.0) ** ((np.arange(Z_BINS) + 0.5) / Z_BINS))[:, None, None]
        keep = np.exp(-z / self.world.haze_m)[..., None]
        cone = np.arange(CONE_LEVELS)[:, None] / (CONE_LEVELS - 1) * 0.8 * np.exp(-z / 32) * self.night
        light = np.repeat(np.minimum(1.0, self.ambient + cone), sc.PALETTE, axis=2)
        if self.night:
            light[..., sc.REFLECTING] = np.minimum(1.0, self.ambient + 0.3 + 1.6 * cone)
        light[..., sc.GLOWING] = 1.0
        table = np.full((Z_BINS, CONE_LEVELS, sc.PALETTE, 4), 255, np.uint8)
        table[..., :3] = colors * light[..., None] * keep + np.array(self.haze) * (1 - keep)
        self.table = table.reshape(-1, 4).view(np.uint32).ravel()

    def _background(self, rng: random.Random) -> None:
        """Sky, what hangs in it, a far skyline and far ground; none of it moves."""
        world, snow = self.world, self.world.weather == "snowy"
        top, low = (np.array(color, float) for color in self.sky)
        weight = np.clip(np.arange(HEIGHT) / w.HORIZON_Y, 0, 1)[:, None]
        rows = (top * (1 - weight) + low * weight)[:, None, :].repeat(WIDTH, axis=1)
        image = Image.fromarray(rows.astype(np.uint8)).convert("RGBA")
        draw = ImageDraw.Draw(image)
        if not world.tunnel:
            if self.night and world.weather in ("clear", "partly_cloudy"):
                for _ in range(150 if world.weather == "clear" else 40):
                    x, y = rng.uniform(0, WIDTH), rng.uniform(0, w.HORIZON_Y - 6)
                    draw.point((x, y), fill=(235, 235, 245, 255))
                    if rng.random() < 0.4:
                        draw.point((x + 1, y), fill=(180, 180, 200, 255))
                x, y = rng.uniform(30, 290), rng.uniform(8, 30)
                draw.ellipse((x, y, x + 11, y + 11), fill=(240, 238, 220, 255))
            elif world.weather == "clear":
                x, y = rng.uniform(20, 290), rng.uniform(4, 40)
                draw.ellipse((x - 4, y - 4, x + 16, y + 16), fill=(255, 240, 170, 255))
                draw.ellipse((x, y, x + 12, y + 12), fill=(255, 252, 225, 255))
            if world.weather == "partly_cloudy":
                clouds = {"day": (248, 249, 251), "dusk": (240, 196, 180), "night": (84, 86, 102)}
                for _ in range(rng.randint(5, 8)):
                    x, y, size = rng.uniform(0, WIDTH), rng.uniform(4, 58), rng.uniform(8, 18)
                    for _ in range(6):
                        cx, cy = x + rng.uniform(-2.2, 2.2) * size, y + rng.uniform(-0.3, 0.3) * size
                        cloud = (cx - size, cy - size / 2.4, cx + size, cy + size / 2.4)
                        draw.ellipse(cloud, fill=(*clouds[world.time_of_day], 255))
            field = _scale((225, 228, 232) if snow else (94, 120, 66), self.ambient)
            field = _mix(field, self.haze, 1 - math.exp(-90 / world.haze_m))
            hill = _scale((190, 195, 205) if snow else (70, 92, 84), self.ambient)
            hill = _mix(hill, self.haze, max(1 - math.exp(-170 / world.haze_m), 0.25))
            x, level = -10.0, rng.uniform(4, 14)
            points = [(-10.0, w.HORIZON_Y)]
            while x < WIDTH + 30:
                points.append((x, w.HORIZON_Y - level))
                x += rng.uniform(8, 40)
                level = min(max(level + rng.uniform(-7, 7), 1), 20)
            draw.polygon([*points, (x, w.HORIZON_Y)], fill=(*hill, 255))
            draw.rectangle((0, w.HORIZON_Y, WIDTH, HEIGHT), fill=(*field, 255))
        self.background = np.asarray(image).view(np.uint32)[..., 0].ravel().copy()

    def _pixel_index(self) -> None:
        """For each pixel: its place in the map with the car at row 0, and its row in the table of shades."""
        world, k = self.world, self.world.curvature
        left_wall, right_wall = world.walls_m
        slope = ((np.arange(WIDTH, dtype=np.float32) + 0.5 - w.CENTER_X) / w.FOCAL_PX)[None, :]
        drop = ((np.arange(HEIGHT, dtype=np.float32) + 0.5 - w.HORIZON_Y) / w.FOCAL_PX)[:, None]
        best = np.full((HEIGHT, WIDTH), sc.FAR_M, np.float32)
        column = np.full((HEIGHT, WIDTH), -1, np.int32)

        def surface(rows: slice, z: Floats, place: Floats, first: int, count: float) -> None:
            """Columns ``first`` + ``place`` show where this surface is the nearest so far."""
            z = np.broadcast_to(z, place.shape)
            nearer = (place >= 0) & (place < count) & (z > 0.5) & (z < best[rows])
            best[rows][nearer] = z[nearer]
            column[rows][nearer] = place[nearer].astype(np.int32) + first

        horizon, ceiling = int(w.HORIZON_Y), self.scenery.n_ground + 2 * self.scenery.n_wall
        for rows, level, cell, first, count in (
            (slice(horizon, None), w.CAMERA_HEIGHT_M, sc.ACROSS_CELL_M, 0, self.scenery.n_ground),
            (
                slice(0, horizon),
                w.CAMERA_HEIGHT_M - sc.CEILING_M,
                sc.CEILING_CELL_M,
                ceiling,
                self.scenery.n_ceiling,
            ),
        ):
            z = level / drop[rows]
            if count:
                surface(rows, z, (slope * z - k * z * z / 2 - left_wall) / cell, first, count)
        top = (sc.CEILING_M if world.tunnel else sc.WALL_TOP_M) / sc.UP_CELL_M
        for side, (sign, reach) in enumerate(((-1, -left_wall), (1, right_wall))):
            across, bend = sign * slope, sign * k
            with np.errstate(divide="ignore", invalid="ignore"):
                z = 2 * reach / (across + np.sqrt(across * across - 2 * bend * reach))
            z = np.where((z > 0.5) & (z < sc.FAR_M), z, sc.FAR_M)  # rays that never meet this wall
            first = self.scenery.n_ground + side * self.scenery.n_wall
            surface(slice(None), z, (w.CAMERA_HEIGHT_M - drop * z) / sc.UP_CELL_M, first, top)
        seen = np.flatnonzero(column.ravel() >= 0)
        z = best.ravel()[seen]
        bins = np.clip(np.log(z / 2.0) * (Z_BINS / math.log(sc.FAR_M / 2.0)), 0, Z_BINS - 1).astype(np.int64)
        self.tone = bins * (CONE_LEVELS * sc.PALETTE)
        if self.night:
            x = np.abs((slope * best).ravel()[seen])
            self.tone += np.rint(_cone(z, x) * (CONE_LEVELS - 1)).astype(np.int64) * sc.PALETTE
        self.seen = seen
        self.place = (z / sc.ALONG_CELL_M).astype(np.int64) * self.scenery.columns + column.ravel()[seen]
        self.cells = self.scenery.cells.ravel()
        self.seen_background = self.background[seen]

    def frame(self, time_s: float) -> npt.NDArray[np.uint8]:
        """RGB picture at ``time_s``, uint8, shape (HEIGHT, WIDTH, 3)."""
        row = int((self.world.travelled_m(time_s) - self.scenery.start_m) / sc.ALONG_CELL_M)
        entry = self.cells[self.place + row * self.scenery.columns]
        canvas = self.background.copy()
        canvas[self.seen] = np.where(entry == 0, self.seen_background, self.table[self.tone + entry])
        image = Image.fromarray(canvas.view(np.uint8).reshape(HEIGHT, WIDTH, 4), "RGBA")
        self.draw = ImageDraw.Draw(image)
        for z, lateral, thing in reversed(self.world.things(time_s)):
            x = lateral + self.world.curvature / 2 * z * z
            if isinstance(thing, Landmark):
                self._landmark(thing, z, x)
            elif isinstance(thing, Vehicle):
                self._vehicle(thing, z, lateral)
            elif isinstance(thing, Person):
                self._person(thing, z, x, time_s)
            else:
                self._traffic_light(thing.state(time_s), z, x)
        if self.world.weather in ("rainy", "snowy"):
            self._precipitation(time_s)
        return np.ascontiguousarray(np.asarray(image)[..., :3])

    def _slab(
        self, z: float, x: float, half: float, low: float, high: float, color: RGB, glow: float = 0.0
    ) -> None:
        """An upright rectangle facing the camera, ``2 * half`` wide, from ``low`` to ``high`` m up."""
        box = (*project(x - half, high, z), *project(x + half, low, z))
        self.draw.rectangle(box, fill=self.shade(color, z, x, glow))

    def _disc(
        self, z: float, x: float, half: float, low: float, high: float, color: RGB, glow: float = 0.0
    ) -> None:
        box = (*project(x - half, high, z), *project(x + half, low, z))
        self.draw.ellipse(box, fill=self.shade(color, z, x, glow))

    def _landmark(self, mark: Landmark, z: float, x: float) -> None:
        half, top = mark.width_m / 2, mark.height_m
        if abs(x) > 1.1 * z + 6:
            return
        foot = 0.8 if self.world.road_type == "highway" else 0.0  # the rest is behind the rail
        post, metal = (62, 52, 44), (140, 142, 146)
        if mark.kind == "tree":
            self._slab(z, x, 0.18, foot, top * 0.5, post)
            self._disc(z, x, half, top * 0.3, top, mark.color)
            if self.world.weather == "snowy":
                self._disc(z, x, half * 0.9, top * 0.77, top, (235, 238, 242))
        elif mark.kind == "lamp":
            self._slab(z, x, 0.14, foot, top, mark.color)
            arm = x - math.copysign(0.9, mark.lateral_m)
            self._slab(z, arm, 0.9, top - 0.2, top, mark.color)
            if self.night:
                self._slab(
                    z, arm - math.copysign(0.9, mark.lateral_m), 0.5, top - 0.5, top - 0.1, (255, 226, 150), 1
                )
        elif mark.kind == "sign":
            self._slab(z, x, 0.06, foot, top, post)
            self._slab(z, x, half, top - 2 * half, top, mark.color, 0.5 if self.night else 0.0)
        elif mark.kind == "board":
            self._slab(z, x, 0.2, foot, top, post)
            self._slab(z, x, half, top * 0.5, top, mark.color)
            self._slab(z, x, half * 0.66, top * 0.65, top * 0.8, (240, 240, 240))
        else:  # a gantry over the whole carriageway, its panel above the ego lane
            left, right = self.world.edges_m
            self._slab(z, x + left - 0.8, 0.2, 0, top, metal)
            self._slab(z, x + right + 2.4, 0.2, 0, top, metal)
            self._slab(z, x + (left + right) / 2 + 0.8, (right - left) / 2 + 1.6, top - 0.4, top, metal)
            self._slab(z, x, half, top - 0.6, top + 1.6, mark.color, 0.3)

    def _vehicle(self, vehicle: Vehicle, gap: float, lateral: float) -> None:
        length, width, height = w.SIZES[vehicle.category]
        half_k, half, low, color = self.world.curvature / 2, width / 2, 0.28, vehicle.color
        z, far = max(gap, 1.5), gap + length
        x, x_far = lateral + half_k * z * z, lateral + half_k * far * far
        dark, glass, flank = (18, 18, 20), (52, 66, 82), _scale(color, 0.72)
        for sign in (-1, 1):
            a, b = x + sign * half, x_far + sign * half
            if (a / z - b / far) * sign >= 0:
                continue  # this side faces away from the camera
            parts = [(low, height, flank), (0.0, low, dark)]
            if vehicle.category != "truck":
                parts.append((0.95, height - 0.15, glass) if vehicle.category == "car" else (1.5, 2.4, glass))
            for under, over, paint in parts:
                corners = [
                    project(a, under, z),
                    project(a, over, z),
                    project(b, over, far),
                    project(b, under, far),
                ]
                self.draw.polygon(corners, fill=self.shade(paint, z, x))
        if gap < 1.5:
            return
        oncoming = vehicle.oncoming_mps is not None
        self._slab(z, x, half, 0, low, dark)
        self._slab(z, x, half, low, height, color)
        if vehicle.category == "car":
            self._slab(z, x, half - 0.2, 0.95, height - 0.12, glass)
        elif vehicle.category == "bus" or oncoming:
            self._slab(z, x, half - 0.15, 1.5, height - 0.35, glass)
        else:
            self._slab(z, x, 0.04, low, height, flank)
        lamp: RGB = (255, 250, 215) if oncoming else (235, 28, 24)
        glow = 1.0 if self.night or self.world.tunnel or self.world.time_of_day == "dusk" else 0.45
        for lamp_x in (x - half + 0.24, x + half - 0.24):
            self._slab(z, lamp_x, 0.2, 0.58, 0.88, lamp, glow)
            if self.night and oncoming:
                self._disc(z, lamp_x, 0.4, 0.4, 1.1, lamp, glow)
            if self.world.weather == "rainy":  # its lights shine on the wet road
                self._slab(z, lamp_x, 0.07, -0.45, 0.0, lamp, 0.2)

    def _person(self, person: Person, z: float, x: float, time_s: float) -> None:
        swing = 0.24 * math.sin(9 * time_s + person.lateral_m) if person.walk_mps else 0.1
        for step in (swing, -swing):
            leg = (*project(x, 0.9, z), *project(x + step, 0.0, z))
            self.draw.line(
                leg, fill=self.shade(person.trousers, z, x), width=max(2, int(w.FOCAL_PX / z * 0.2))
            )
        self._slab(z, x, 0.3, 0.8, 1.45, person.shirt, 0.3)
        self._disc(z, x, 0.16, 1.42, 1.78, (224, 178, 148), 0.3)

    def _traffic_light(self, state: str, z: float, x: float) -> None:
        light, right = self.world.light, self.world.edges_m[1]
        assert light is not None
        reach = right + 0.9 - light.lateral_m  # from the head to the post beside the road
        metal = (96, 98, 102)
        self._slab(z, x + reach, 0.12, 0, 6.0, metal)
        self._slab(z, x + reach / 2, reach / 2, 5.8, 6.0, metal)
        self._slab(z, x, 0.6, 3.4, 6.2, (190, 194, 200), 0.2)
        self._slab(z, x, 0.5, 3.5, 6.1, (16, 16, 18))
        for name, up in (("red", 5.67), ("yellow", 4.8), ("green", 3.93)):
            if name == state:
                self._disc(z, x, 0.45, up - 0.45, up + 0.45, LAMPS[name], 1.0)
            else:
                self._disc(z, x, 0.36, up - 0.36, up + 0.36, (52, 52, 54))

    def _precipitation(self, time_s: float) -> None:
        rng, heavy = random.Random(self.world.seed * 1009 + round(time_s * 1000)), self.world.strength == 2
        for _ in range(190 if heavy else 55):
            x, y, size = rng.random() * WIDTH, rng.random() * HEIGHT, rng.random()
            if self.world.weather == "rainy":
                length = 5 + 9 * size + 5 * heavy
                color = (150, 158, 172, 255) if self.night else (196, 203, 214, 255)
                self.draw.line((x, y, x - length * 0.2, y + length), fill=color)
            else:
                edge = 0.6 + 1.8 * size
                color = (214, 218, 226, 255) if self.night else (252, 253, 255, 255)
                self.draw.ellipse((x, y, x + edge, y + edge), fill=color)


def _cone(z: Floats, x: Floats) -> Floats:
    """Share of the headlights' beam that reaches a place ``z`` ahead and ``x`` beside, 0 to 1."""
    return np.clip(1.4 - x / (2.2 + 0.16 * z), 0.0, 1.0)


def _scale(color: RGB, factor: float) -> RGB:
    return int(color[0] * factor), int(color[1] * factor), int(color[2] * factor)


def _mix(a: RGB, b: RGB, weight: float) -> RGB:
    """``a`` with ``weight`` of ``b``."""
    keep = 1 - weight
    return (
        int(a[0] * keep + b[0] * weight),
        int(a[1] * keep + b[1] * weight),
        int(a[2] * keep + b[2] * weight),
    )

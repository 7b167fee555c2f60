"""The road, walls and ceiling of a World as one indexed-colour map: rows along the road, columns across.

Columns: the ground from the left to the right wall, then the left and the right wall from the ground up,
then the ceiling of a tunnel. A cell holds an entry of the palette; lengths of everything are random, so
nothing is periodic but the lane dashes.
"""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt

from roadscribe.simulator.world import LANE_WIDTH_M, STOP_LINE_M, World

ALONG_CELL_M, ACROSS_CELL_M, UP_CELL_M, CEILING_CELL_M = 0.25, 0.15, 0.25, 0.5
WALL_TOP_M, CEILING_M = 14.0, 7.2
FAR_M = 140.0
"""The map is drawn up to this distance; the far background begins there."""

# Palette entries; 0 shows the background. Where a number follows, that many shades stand side by side.
ASPHALT, WHITE, YELLOW, VERGE, PATCH, CRACK, WALL, GLASS, LIT, LAMP, RAIL, DARK, SHOULDER = (
    1, 9, 10, 11, 19, 23, 24, 44, 46, 48, 49, 51, 52,
)  # fmt: skip
PALETTE = 56
GLOWING, REFLECTING = [LIT, LIT + 1, LAMP], [WHITE, YELLOW]

Cells = npt.NDArray[np.uint8]


def palette(world: World, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The drive's colours in full daylight, shape (PALETTE, 3), 0 to 255."""
    snow, wet = world.weather == "snowy", world.weather == "rainy"
    road = rng.uniform(78, 112) + (snow and 20 + 14 * world.strength) - 26 * wet
    colors = np.zeros((PALETTE, 3))
    colors[ASPHALT : ASPHALT + 8] = (road + np.linspace(-20, 20, 8))[:, None] + np.array((-2, 0, 5)) * wet
    colors[PATCH : PATCH + 4] = np.array(((-44,), (-34,), (36,), (26,))) + road + rng.uniform(-10, 10, (4, 3))
    colors[CRACK] = road - 50
    colors[SHOULDER : SHOULDER + 4] = (
        np.array(((12,), (20,), (28,), (0,))) + road + np.array((6, 2, -6)) * (not wet)
    )
    colors[WHITE], colors[YELLOW] = (244, 244, 240), (250, 190, 20)
    verges = {"urban": (150, 146, 140), "suburban": (104, 140, 74), "tunnel": (92, 88, 82)}
    verge = np.array(verges.get(world.road_type, (96, 130, 62)))
    colors[VERGE : VERGE + 8] = verge + rng.uniform(-34, 34, (8, 1)) + rng.uniform(-14, 14, (8, 3))
    if snow:
        colors[VERGE : VERGE + 8] = 236 + rng.uniform(-26, 10, (8, 1))
    walls = rng.uniform(50, 215, (20, 3))
    if world.road_type in ("rural", "suburban"):  # the first eight are hedges
        walls[:8] = rng.uniform((20, 60, 15), (90, 130, 60), (8, 3))
    if world.tunnel:
        walls = rng.uniform(105, 185, (20, 1)) * (1.0, 0.96, 0.86) + rng.uniform(-25, 25, (20, 3))
    colors[WALL : WALL + 20] = walls
    colors[GLASS : GLASS + 2] = ((70, 86, 104), (44, 52, 66))
    colors[LIT : LIT + 2] = ((255, 214, 130), (255, 236, 190))
    colors[LAMP], colors[DARK] = (255, 240, 200), (48, 46, 46)
    colors[RAIL : RAIL + 2] = ((172, 176, 180), (120, 124, 130))
    return np.clip(colors, 0, 255)


class Scenery:
    """The painted map of one drive, ``cells`` of shape (rows, columns)."""

    def __init__(self, world: World, rng: random.Random, noise: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.start_m = world.travelled_m(0.0)
        width = world.walls_m[1] - world.walls_m[0]
        self.n_ground = math.ceil(width / ACROSS_CELL_M)
        self.n_wall = math.ceil(WALL_TOP_M / UP_CELL_M)
        self.n_ceiling = math.ceil(width / CEILING_CELL_M) if world.tunnel else 0
        self.columns = self.n_ground + 2 * self.n_wall + self.n_ceiling
        self.rows = math.ceil((-self.start_m + FAR_M + 4) / ALONG_CELL_M)
        self.cells = np.zeros((self.rows, self.columns), np.uint8)
        ground, left, right, ceiling = np.split(
            self.cells, np.cumsum([self.n_ground, self.n_wall, self.n_wall]), axis=1
        )
        self._paint_ground(ground, noise)
        self._paint_markings(ground)
        self._paint_wall(left, is_right=False)
        self._paint_wall(right, is_right=True)
        if world.tunnel:
            self._paint_ceiling(ceiling)

    def _stretches(self, low: float, high: float) -> list[tuple[int, int]]:
        """The map's length cut into stretches of ``low`` to ``high`` metres, as (first row, row after)."""
        cuts, at = [], 0
        while at < self.rows:
            end = at + max(1, int(self.rng.uniform(low, high) / ALONG_CELL_M))
            cuts.append((at, min(end, self.rows)))
            at = end
        return cuts

    def _column(self, lateral: float) -> int:
        return min(max(int((lateral - self.world.walls_m[0]) / ACROSS_CELL_M), 0), self.n_ground)

    def _paint_ground(self, ground: Cells, noise: np.random.Generator) -> None:
        """Verge, shoulder and lanes in patches of random length, repairs, joints and specks."""
        world, rng = self.world, self.rng
        left, right = world.edges_m
        shoulder = {"highway": 2.6, "urban": 0.4, "suburban": 0.6, "rural": 1.0, "tunnel": 0.9}[
            world.road_type
        ]
        for low, high in ((0, self._column(left)), (self._column(right), self.n_ground)):
            for start, end in self._stretches(2, 11):
                ground[start:end, low:high] = VERGE + rng.randrange(8)
        for low, high in (
            (self._column(left - shoulder), self._column(left)),
            (self._column(right), self._column(right + shoulder)),
        ):
            for start, end in self._stretches(3, 14):
                ground[start:end, low:high] = SHOULDER + rng.randrange(4)
        for lane in range(world.lane_count):
            low = self._column(left + lane * LANE_WIDTH_M)
            high = self._column(left + (lane + 1) * LANE_WIDTH_M)
            for start, end in self._stretches(4, 16):
                ground[start:end, low:high] = ASPHALT + rng.randrange(8)
            for start, end in self._stretches(6, 26):  # repairs
                length = min(end - start, int(rng.uniform(1, 5) / ALONG_CELL_M))
                a = rng.randrange(low, high - 4)
                tint = PATCH + rng.randrange(4)
                ground[start : start + length, a : min(a + rng.randrange(5, 20), high)] = tint
        low, high = self._column(left), self._column(right)
        for start, _ in self._stretches(4, 30):  # joints across the road
            ground[start : start + rng.randrange(1, 3), low:high] = CRACK
        ground[noise.random(ground.shape, np.float32) < 0.025] = CRACK

    def _paint_markings(self, ground: Cells) -> None:
        world, rng = self.world, self.rng
        left, right = world.edges_m

        def line(lateral: float, color: int, rows: slice | npt.NDArray[np.bool_] = slice(None)) -> None:
            column = self._column(lateral)
            ground[rows, max(column - 1, 0) : column + 2] = color

        line(left + 0.2, WHITE if world.oncoming_lanes else YELLOW)
        line(right - 0.1, WHITE)
        dash, period = rng.choice(((4.0, 9.0), (3.5, 8.0), (5.0, 11.0), (3.0, 6.0)))
        dashed = (np.arange(self.rows) * ALONG_CELL_M + rng.uniform(0, period)) % period < dash
        for lane in range(1, world.lane_count):
            lateral = left + lane * LANE_WIDTH_M
            if lane == world.oncoming_lanes:
                line(lateral - 0.35, YELLOW)
                line(lateral + 0.35, YELLOW)
            else:
                line(lateral, WHITE, dashed)
        if world.light is not None:
            low, high = self._column(left) + 2, self._column(right) - 1
            stop = int((world.light.ahead_m - STOP_LINE_M - self.start_m) / ALONG_CELL_M)
            first = self._column(left + world.oncoming_lanes * LANE_WIDTH_M) + 2
            ground[max(stop, 0) : max(stop + 2, 0), first:high] = WHITE
            if world.crossing:
                bars = (np.arange(low, high) // 4) % 2 == 0
                ground[max(stop + 6, 0) : max(stop + 20, 0), low:high][:, bars] = WHITE

    def _paint_wall(self, wall: Cells, is_right: bool) -> None:
        world, rng, up = self.world, self.rng, UP_CELL_M
        if world.tunnel:
            for start, end in self._stretches(2, 14):
                wall[start:end] = WALL + rng.randrange(20)
                if rng.random() < 0.25:
                    wall[start : start + 6, : int(2.2 / up)] = rng.choice((DARK, WALL + 3, GLASS))
            wall[:, : int(0.9 / up)] = DARK
            for start, _ in self._stretches(5, 22):
                wall[start : start + rng.randrange(3, 9), int(4.4 / up) : int(4.9 / up)] = LAMP
        elif world.road_type == "highway":
            for start, end in self._stretches(8, 40):
                if is_right and rng.random() < 0.3:  # a noise barrier
                    for a in range(start, end, rng.randrange(8, 24)):
                        wall[a:end, : int(rng.uniform(2.5, 4) / up)] = WALL + rng.randrange(20)
                else:
                    wall[start:end, 1:3] = RAIL
                    wall[start : start + 2, :3] = rng.choice((RAIL + 1, YELLOW, WALL + 1))
        elif world.road_type == "urban":
            for start, end in self._stretches(7, 20):
                if rng.random() < 0.12:
                    continue
                self._paint_facade(wall[start:end], int(rng.uniform(5, 14) / up))
        elif world.road_type == "suburban":
            for start, end in self._stretches(5, 14):
                what = rng.random()
                if what < 0.45:
                    self._paint_facade(wall[start:end], int(rng.uniform(4, 6) / up))
                elif what < 0.85:
                    wall[start:end, : int(rng.uniform(0.8, 2.2) / up)] = WALL + rng.randrange(8)
        else:
            for start, end in self._stretches(3, 18):
                what = rng.random()
                if what < 0.35:
                    wall[start:end, : int(rng.uniform(0.6, 1.6) / up)] = WALL + rng.randrange(8)
                elif what < 0.5:
                    for a in range(start, end, 6):
                        wall[a : a + 6, : int(rng.uniform(3, 7) / up)] = WALL + rng.randrange(8)

    def _paint_facade(self, wall: Cells, height: int) -> None:
        rng = self.rng
        wall[:, :height] = WALL + 8 + rng.randrange(12)
        wall[:1, :height] = DARK
        if rng.random() < 0.5:
            wall[:, height - 2 : height] = WALL + 8 + rng.randrange(12)
        if rng.random() < 0.5:  # a shop front
            wall[2:-2, 1:11] = WALL + 8 + rng.randrange(12)
        pitch, wide = rng.randrange(8, 15), rng.randrange(3, 7)
        lit = 0.0 if self.world.time_of_day == "day" else 0.5
        for floor in range(13, height - 6, 12):
            for a in range(3, len(wall) - wide, pitch):
                glass = LIT + rng.randrange(2) if rng.random() < lit else GLASS + rng.randrange(2)
                wall[a : a + wide, floor : floor + 6] = glass

    def _paint_ceiling(self, ceiling: Cells) -> None:
        rng, middle = self.rng, self.n_ceiling // 2
        for start, end in self._stretches(4, 16):
            ceiling[start:end] = rng.choice((DARK, DARK, WALL + 2, WALL + 5))
        for start, _ in self._stretches(5, 20):
            ceiling[start : start + rng.randrange(4, 12), middle - 1 : middle + 1] = LAMP

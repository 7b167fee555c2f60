"""How fast the simulator paints, and how its truth is distributed: ``python bench/simulator.py``."""

from __future__ import annotations

import time
from collections import Counter

from roadscribe.report import PARAMETERS
from roadscribe.simulator import make_drive

DRIVES = 40
FRAMES_A_DRIVE = 6
TRUTHS = 1500
TOLERANCE = {"closest_vehicle_distance": (5.0, 0.25), "ego_vehicle_speed": (5.0, 0.15)}


def frames_per_second() -> tuple[float, float]:
    """(frames/s of drives already set up, frames/s when each drive gives six frames), one core."""
    drives = [make_drive(seed) for seed in range(DRIVES)]
    started = time.perf_counter()
    for drive in drives:
        drive.frame(4.0)
    setting_up = time.perf_counter() - started
    started = time.perf_counter()
    for drive in drives:
        for number in range(FRAMES_A_DRIVE):
            drive.frame(4.0 - 0.3 * number)
    painting = time.perf_counter() - started
    count = DRIVES * FRAMES_A_DRIVE
    return count / painting, count / (painting * (1 - 1 / FRAMES_A_DRIVE) + setting_up)


def best_single_value(key: str, values: list[object]) -> tuple[object, float]:
    """The one value that is right most often, within the scorecard's tolerance for numbers, and how often."""
    if key not in TOLERANCE:
        value, count = Counter(values).most_common(1)[0]
        return value, count / len(values)
    floor, share = TOLERANCE[key]
    best: tuple[object, float] = (None, values.count(None) / len(values))
    numbers = [value for value in values if isinstance(value, int)]
    for guess in sorted(set(numbers)):
        hits = sum(abs(guess - truth) <= max(floor, share * truth) for truth in numbers) / len(values)
        best = max(best, (guess, hits), key=lambda pair: pair[1])
    return best


def marginals(seeds: range, seconds: float = 4.0) -> float:
    """Print how often each value occurs at the drives' last moment; returns the mean majority share."""
    truths = [make_drive(seed, seconds).truth(seconds).model_dump() for seed in seeds]
    shares = []
    for key in PARAMETERS:
        values = [truth[key] for truth in truths]
        value, share = best_single_value(key, values)
        shares.append(share)
        if key in TOLERANCE:
            numbers = sorted(v for v in values if v is not None)
            parts = [numbers[int(q * (len(numbers) - 1))] for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
            spread = f"null {values.count(None) / len(values):.0%}, deciles 0 10 25 50 75 90 100: {parts}"
        else:
            spread = ", ".join(f"{v} {n / len(values):.0%}" for v, n in Counter(values).most_common())
        print(f"{key:25} {share:5.1%} ({value})  {spread}")
    mean = sum(shares) / len(shares)
    print(f"mean majority share over {len(shares)} parameters: {mean:.1%} ({len(truths)} drives)")
    return mean


warm, cold = frames_per_second()
print(f"{warm:.0f} frames/s at 320x192 on one core, drives set up beforehand")
print(f"{cold:.0f} frames/s with the set-up of a new drive after every {FRAMES_A_DRIVE} frames")
marginals(range(TRUTHS))

"""The stage `simulate`: an artifact of recorded drives, which `collect` reads like any folder of footage."""

from __future__ import annotations

import os
from pathlib import Path

from roadscribe.artifacts import finish, open_output
from roadscribe.errors import InputError
from roadscribe.progress import progress
from roadscribe.recipe import Recipe
from roadscribe.simulator.record import write_drives

FIRST_TEST_SEED = 1_000_000
"""Held-out drives have seeds from here on, training drives lie below; the tiny base saw none of either."""


def simulate(
    recipe: Recipe,
    drives: int,
    out: Path,
    *,
    first_seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Record ``drives`` drives with consecutive seeds as videos with a manifest, and return ``out``.

    Args:
        recipe: its section ``simulate`` counts.
        drives: how many.
        out: the artifact's folder (kind "drives"): ``videos/`` and ``drives.jsonl``.
        first_seed: the first drive's seed; the recipe's when not given.
        resume: go on where an earlier run was stopped.
        overwrite: delete what is there first.

    Raises:
        InputError: ``drives`` is not positive, or ``out`` is taken.
        WorkError: the disk is full.
    """
    if drives < 1:
        raise InputError(f"{drives} drives: ask for at least one")
    options = recipe.simulate
    first = options.seed if first_seed is None else first_seed
    made_by = {"seconds": options.seconds, "fps": options.fps, "first_seed": first, "drives": drives}
    if open_output(out, "drives", made_by, resume=resume, overwrite=overwrite):
        return out
    with progress(drives, "simulate") as advance:
        shown = 0

        def report(done: int, _: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        workers = os.cpu_count() or 1
        seeds = range(first, first + drives)
        write_drives(seeds, out, options.seconds, options.fps, workers=workers, progress=report)
    finish(out, drives=drives, first_seed=first)
    return out

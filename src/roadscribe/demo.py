"""The main job in one command: simulated drives walk the whole street and end in a scorecard and a report.

Nothing here is a special case: the demo calls the stages that the command line calls, on drives which the
simulator records and with the tiny model that ships with the package.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roadscribe.artifacts import finish, open_output, require_complete
from roadscribe.progress import clock, say
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.tiny import HONEST_LINE

DEMO_OVERRIDES = (
    "footage.frames=6",
    "footage.window_s=1.5",
    "footage.max_pixels=61440",
    "simulate.train_drives=620",
    "simulate.seconds=3",
    "annotate.error_rate=0.8",
    "train.batch_size=1",
    "train.gradient_accumulation=1",
    "train.learning_rate=5e-3",
    "train.claim_weight=4",
    "train.gradient_checkpointing=false",
    "train.verify_in_process=true",
    "infer.max_new_tokens=400",
    "infer.batch_size=60",
)
"""What the demo sets differently from the recipe's defaults; a recipe file or --set may say otherwise."""


class Step(NamedTuple):
    """One stage of the demo."""

    name: str
    usual_s: float
    """Seconds on two cores, measured; the estimate of the time left scales them by how this machine does."""
    run: Callable[[], Any]


def demo_recipe(file: Path | None, overrides: Sequence[str]) -> Recipe:
    """The demo's recipe: its own settings, or a file's, with the overrides on top."""
    return load_recipe(file, overrides) if file else load_recipe(None, [*DEMO_OVERRIDES, *overrides])


def demo(recipe: Recipe, out: Path, *, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Run all stages into ``out`` and print the scorecard, one described drive and where everything lies.

    Args:
        recipe: what to do; see `demo_recipe`.
        out: a folder for all artifacts: drives, clips, raw answers, dataset, adapter, scorecard.
        resume: go on where an earlier run was stopped; every finished stage is kept.
        overwrite: delete what an earlier run left there first.

    Returns:
        The paths and the mean accuracies, as plain JSON values.

    Raises:
        InputError: ``out`` is taken, or the recipe does not fit.
    """
    open_output(out, "demo", recipe.as_json(), resume=resume, overwrite=overwrite)
    # A taken folder is said at once; the training stack takes seconds to import.
    from roadscribe.annotate.annotate import annotate
    from roadscribe.curate.curate import curate
    from roadscribe.evaluate.adapter import evaluate_adapter
    from roadscribe.evaluate.against_truth import as_json, let_through
    from roadscribe.evaluate.evaluate import print_table
    from roadscribe.footage.collect import collect
    from roadscribe.infer.describe import describe_videos
    from roadscribe.simulator.simulate import FIRST_TEST_SEED, simulate
    from roadscribe.train.train import train

    how: dict[str, Any] = {"resume": resume}
    sizes = recipe.simulate
    test_seed = FIRST_TEST_SEED + sizes.seed
    drives, held_out = out / "drives", out / "held-out-drives"
    clips, held_out_clips = out / "clips", out / "held-out-clips"
    raw, dataset, adapter, scorecard = out / "raw", out / "dataset", out / "adapter", out / "scorecard"
    say(
        f"demo: {sizes.train_drives} simulated drives to learn from, {sizes.test_drives} held out; all in {out}/"
    )
    say(f"note: {HONEST_LINE}")
    steps = [
        Step("simulate drives", 27, lambda: simulate(recipe, sizes.train_drives, drives, **how)),
        Step(
            "simulate held-out drives",
            4,
            lambda: simulate(recipe, sizes.test_drives, held_out, first_seed=test_seed, **how),
        ),
        Step("collect frames", 12, lambda: collect([drives], clips, recipe, **how)),
        Step("collect held-out frames", 2, lambda: collect([held_out], held_out_clips, recipe, **how)),
        Step("annotate", 2, lambda: annotate(recipe, clips, raw, **how)),
        Step("curate", 5, lambda: curate(recipe, raw, clips, dataset, **how)),
        Step("train", 135, lambda: train(recipe, dataset, adapter, **how)),
        Step(
            "evaluate",
            45,
            lambda: evaluate_adapter(recipe, held_out_clips, adapter, dataset, scorecard, **how),
        ),
    ]
    results = _walk(steps)
    print_table(results["evaluate"])
    taught = let_through(raw, clips, dataset)
    print(f"\n{taught.sentence()}")
    video = held_out / "videos" / f"sim-{test_seed:08d}.mp4"
    (described,) = describe_videos([video], str(adapter), recipe)
    print(f"\n{video}\n\n{described['text']}\n")
    page = scorecard / "scorecard.html"
    print(f"page     {page}\nadapter  {adapter}\nquality  {dataset / 'quality.html'}")
    print(f"next     roadscribe describe YOUR_VIDEO.mp4 --model {adapter}")
    means = require_complete(scorecard, "scorecard", "evaluate")["summary"]["mean_accuracy"]
    result = {"page": str(page), "adapter": str(adapter), "mean_accuracy": means, "described": described}
    result["teacher"] = as_json(taught)
    finish(
        out,
        page=str(page),
        adapter=str(adapter),
        mean_accuracy=means,
        report=described["text"],
        teacher=result["teacher"],
    )
    return json.loads(json.dumps(result))  # type: ignore[no-any-return]


def _walk(steps: Sequence[Step]) -> dict[str, Any]:
    """Run the steps in order; before each, say how long the rest will take on this machine."""
    results: dict[str, Any] = {}
    begun = time.monotonic()
    usual_done = 0.0
    for number, step in enumerate(steps, 1):
        spent = time.monotonic() - begun
        pace = spent / usual_done if usual_done > 20 else 1.0
        left = sum(later.usual_s for later in steps[number - 1 :]) * pace
        say(f"[{number}/{len(steps)}] {step.name} (about {clock(left)} left in all)")
        results[step.name] = step.run()
        usual_done += step.usual_s
    say(f"all stages done in {clock(time.monotonic() - begun)}")
    return results

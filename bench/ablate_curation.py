"""Whether curation pays: the tiny model trained on curated data against the same model trained on raw answers.

    python bench/ablate_curation.py --seeds 3 --out DIR [--drives 240] [--steps 240] [--error-rate 0.8] [--resume]

Simulated drives are answered by the simulated teacher, of whose answers a share (``--error-rate``) carries one
mistake of the 15 kinds in ``annotate/mistakes.py``. The same answers become training data in two ways:

    raw        every answer, word for word as the teacher wrote it, is the completion; nothing is left out
    curated    `roadscribe curate` on the same answers and clips, with the evidence that lies beside the clips
    normalised `roadscribe curate` on the same answers and clips without any evidence (only when asked for with
               ``--arms raw normalised curated``): what canonical form and consistency bring on their own

Base, drives, optimizer steps, recipe (the demo's) and held-out drives are the same for all. A seed draws the
teacher's mistakes and style, the order of the rows and the adapter's first weights. Held-out drives are seeds
on which nothing was ever chosen. Each model writes freely, and what it writes is read as leniently as for any
scorecard (`evaluate.predictions.stated_values`: units, synonyms, headings and missing fences are all allowed),
so that an untidy form alone costs the raw arm nothing; the same under the report's grammar stands beside it.

The default rate comes from the 400 real answers of FACTS: 133 of 400 name a light that is not there (33 %), 47
overlook a person (12 %), and 19 of 27 speeds that could be checked are wrong (70 %). If those were independent,
1 - 0.67 * 0.88 * 0.30 = 82 % of real answers carry at least one wrong value; here 80 % carry exactly one.

The interval resamples held-out drives and training seeds together (the two-way bootstrap of A. Owen, "The
pigeonhole bootstrap", Annals of Applied Statistics 1, 2007), paired: both arms of a draw see the same ones.
With few seeds it is narrower than it should be, so the differences of the single seeds are printed too.

A finished (seed, arm) is never done again, and a run that was stopped goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import torch

from roadscribe.annotate.annotate import annotate
from roadscribe.annotate.mistakes import MISTAKES
from roadscribe.artifacts import KeyedLog, finish, open_output, require_complete, write_json
from roadscribe.clip import Evidence, clips_to_table, read_clips
from roadscribe.curate.curate import curate
from roadscribe.curate.dataset import FEATURES
from roadscribe.curate.read import open_log
from roadscribe.demo import demo_recipe
from roadscribe.errors import RoadscribeError
from roadscribe.evaluate.adapter import evaluate_adapter
from roadscribe.evaluate.evaluate import PREDICTIONS
from roadscribe.evaluate.predictions import read_predictions, stated_values
from roadscribe.evaluate.scores import Values, flags_array
from roadscribe.evaluate.statistics import Interval, resample_drives
from roadscribe.footage.collect import collect
from roadscribe.progress import say
from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe
from roadscribe.report import PARAMETERS
from roadscribe.simulator.simulate import FIRST_TEST_SEED, simulate
from roadscribe.train.train import train

FIRST_HELD_OUT_SEED = FIRST_TEST_SEED + 600_000
"""Neither the demo's settings nor any other were chosen on drives from here on."""
RESAMPLES = 5000
RESULTS = "results.jsonl"
DATA_COLUMNS = ("images", "prompt", "completion", "clip_id", "drive_id")


# --- the arms: raw answers and clips become a folder that `train` reads -----------------------------------


def raw_dataset(recipe: Recipe, raw: Path, clips: Path, out: Path) -> None:
    """Every raw answer as it is."""
    if open_output(out, "dataset", {"answers": "verbatim"}, resume=True):
        return
    answers = open_log(raw)
    rows = [
        {
            "images": [{"bytes": frame, "path": None} for frame in clip.frames],
            "prompt": [{"role": "user", "content": INSTRUCTION}],
            "completion": [{"role": "assistant", "content": answer.text}],
            "clip_id": clip.clip_id,
            "drive_id": clip.drive_id,
        }
        for clip in read_clips(clips)
        for answer in answers.answers(clip.clip_id)
    ]
    features = datasets.Features({name: FEATURES[name] for name in DATA_COLUMNS})
    split = datasets.Dataset.from_list(rows, features=features)
    datasets.disable_progress_bars()
    datasets.DatasetDict({"train": split}).save_to_disk(str(out / "dataset"))
    finish(out, rows=len(rows))


def curated_dataset(recipe: Recipe, raw: Path, clips: Path, out: Path) -> None:
    """What `curate` makes of the answers."""
    curate(recipe, raw, clips, out, resume=True)


def normalised_dataset(recipe: Recipe, raw: Path, clips: Path, out: Path) -> None:
    """What `curate` makes of the answers when it knows nothing but the frames."""
    bare = clips.parent / "clips-without-evidence"
    if not open_output(bare, "clips", {"evidence": "none"}, resume=True):
        stripped = (clip.model_copy(update={"evidence": Evidence()}) for clip in read_clips(clips))
        pq.write_table(clips_to_table(stripped), bare / "clips.parquet", row_group_size=16)
        finish(bare)
    curate(recipe, raw, bare, out, resume=True)


ARMS: dict[str, Callable[[Recipe, Path, Path, Path], None]] = {
    "raw": raw_dataset,
    "normalised": normalised_dataset,
    "curated": curated_dataset,
}


def mistakes_in(raw: Path) -> Counter[str]:
    """How many mistakes of each kind the teacher put in."""
    log = open_log(raw)
    return Counter(
        note["kind"] for clip_id in log.places for answer in log.answers(clip_id) for note in answer.injected
    )


# --- one (seed, arm) ---------------------------------------------------------------------------------------


def recipe_of(options: argparse.Namespace, seed: int) -> Recipe:
    """The demo's recipe with this run's sizes; the seed draws mistakes, row order and adapter."""
    return demo_recipe(
        None,
        [
            f"simulate.train_drives={options.drives}",
            f"simulate.test_drives={options.held_out}",
            f"annotate.error_rate={options.error_rate}",
            f"annotate.seed={seed}",
            f"train.max_steps={options.steps}",
            f"train.seed={seed}",
            "train.verify_in_process=true",
            "evaluate.controls=[]",
            "evaluate.base=false",
            "evaluate.without_grammar=true",
            *options.set,
        ],
    )


def run_arm(recipe: Recipe, arm: str, raw: Path, clips: Path, held_out: Path, out: Path) -> dict[str, Any]:
    """Make the data, train and write reports on the held-out drives; the figures of this (seed, arm)."""
    begun = time.monotonic()
    ARMS[arm](recipe, raw, clips, out / "data")
    made = time.monotonic()
    train(recipe, out / "data", out / "adapter", resume=True)
    trained = time.monotonic()
    evaluate_adapter(recipe, held_out, out / "adapter", None, out / "scorecard", resume=True)
    ended = time.monotonic()
    about = require_complete(out / "adapter", "adapter", "train")["summary"]
    return {
        "rows": about["rows"],
        "steps": about["steps"],
        "last_loss": about["last_loss"],
        "targets_right": targets_right(out / "data", clips),
        "data_s": round(made - begun, 1),
        "train_s": round(trained - made, 1),
        "evaluate_s": round(ended - trained, 1),
    }


def targets_right(data: Path, clips: Path) -> float:
    """Which share of the values that the training texts state, or should state, is true."""
    rows = datasets.load_from_disk(str(data / "dataset"))["train"].select_columns(["clip_id", "completion"])
    truths = {clip.clip_id: truth_of(clip.evidence) for clip in read_clips(clips)}
    stated = [stated_values(row["completion"][0]["content"]) for row in rows]
    return float(flags_array(stated, [truths[row["clip_id"]] for row in rows]).mean())


def truth_of(evidence: Evidence) -> Values:
    assert evidence.truth is not None  # the simulator knows it
    return evidence.truth.parameters.model_dump()


# --- figures -----------------------------------------------------------------------------------------------


def right_values(scorecard: Path) -> dict[bool, tuple[list[str], np.ndarray, float]]:
    """By grammar: drives (clips,), which values are right (clips, 12), share of texts that hold the schema."""
    found = {}
    predictions = read_predictions(scorecard / PREDICTIONS)
    for grammar in (False, True):
        own = sorted((one for one in predictions if one.run.grammar == grammar), key=lambda one: one.clip_id)
        flags = flags_array([one.predicted for one in own], [one.truth for one in own])
        found[grammar] = (
            [one.drive_id for one in own],
            flags,
            sum(one.schema_valid for one in own) / len(own),
        )
    return found


def over_drives_and_seeds(values: np.ndarray, drive_ids: Sequence[str]) -> Interval:
    """The mean of ``values`` (seeds, clips) with its 95 % interval over resampled drives and seeds."""
    draws = resample_drives(drive_ids, RESAMPLES, 0)
    clip_weights = draws.weights[:, draws.clip_drive]
    seeds = len(values)
    seed_weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    sums = np.einsum("rs,sc,rc->r", seed_weights, values, clip_weights, optimize=True)
    means = sums / (seeds * clip_weights.sum(axis=1))
    low, high = np.quantile(means, [0.025, 0.975])
    return round(float(values.mean()), 6), round(float(low), 6), round(float(high), 6)


def compare(out: Path, arms: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """All figures of finished arms, and each later arm's difference from the first."""
    figures: dict[str, Any] = {}
    for grammar in (False, True):
        drive_ids: list[str] = []
        flags: dict[str, np.ndarray] = {}
        schema: dict[str, list[float]] = {}
        for arm in arms:
            of_seeds = [right_values(out / f"seed-{seed}" / arm / "scorecard")[grammar] for seed in seeds]
            drive_ids = of_seeds[0][0]
            if any(drives != drive_ids for drives, _, _ in of_seeds):
                raise AssertionError("seeds were scored on other drives")
            flags[arm] = np.stack([right for _, right, _ in of_seeds])
            schema[arm] = [share for _, _, share in of_seeds]

        def rows(values: np.ndarray, drives: Sequence[str] = drive_ids) -> dict[str, Interval]:
            each = {name: over_drives_and_seeds(values[:, :, n], drives) for n, name in enumerate(PARAMETERS)}
            return {**each, "mean of 12": over_drives_and_seeds(values.mean(axis=2), drives)}

        first = arms[0]
        figures["grammar" if grammar else "free"] = {
            "accuracy": {arm: rows(flags[arm]) for arm in arms},
            "by_seed": {arm: [float(one.mean()) for one in flags[arm]] for arm in arms},
            "schema_valid": schema,
            "difference": {f"{arm} - {first}": rows(flags[arm] - flags[first]) for arm in arms[1:]},
        }
    return figures


def print_figures(figures: dict[str, Any], arms: Sequence[str]) -> None:
    """Both tables, in percent."""
    for way, title in (
        ("free", "each model writes freely, read leniently"),
        ("grammar", "under the grammar"),
    ):
        found = figures[way]
        print(f"\n{title}: correct values in %, 95 % interval over drives and seeds")
        heads = [*arms, *found["difference"]]
        print(f"{'':26}" + "".join(f"{head:>26}" for head in heads))
        for name in (*PARAMETERS, "mean of 12"):
            cells = [interval_text(found["accuracy"][arm][name]) for arm in arms]
            cells += [interval_text(by_name[name], sign=True) for by_name in found["difference"].values()]
            print(f"{name:26}" + "".join(f"{cell:>26}" for cell in cells))
        for arm in arms:
            shares = ", ".join(f"{100 * one:.1f}" for one in found["by_seed"][arm])
            held = ", ".join(f"{100 * one:.0f}" for one in found["schema_valid"][arm])
            print(f"{arm}: by seed {shares}; texts that hold the schema {held}")


def interval_text(value: Interval, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{100 * value[0]:{plus}.1f} ({100 * value[1]:{plus}.1f} to {100 * value[2]:{plus}.1f})"


# --- the run -----------------------------------------------------------------------------------------------


def experiment(options: argparse.Namespace) -> None:
    """Everything, from drives to tables; what is on disk already is kept."""
    out: Path = options.out
    seeds = range(options.seeds)
    settings = {
        "drives": options.drives,
        "held_out": options.held_out,
        "first_held_out_seed": FIRST_HELD_OUT_SEED,
        "steps": options.steps,
        "seeds": options.seeds,
        "error_rate": options.error_rate,
        "arms": options.arms,
        "recipe": recipe_of(options, 0).as_json(),
    }
    open_output(out, "it-pays", settings, resume=options.resume, overwrite=options.overwrite)
    shared = recipe_of(options, 0)
    simulate(shared, options.drives, out / "drives", resume=True)
    simulate(shared, options.held_out, out / "held-out-drives", first_seed=FIRST_HELD_OUT_SEED, resume=True)
    clips = collect([out / "drives"], out / "clips", shared, resume=True)
    held_out = collect([out / "held-out-drives"], out / "held-out-clips", shared, resume=True)
    mistakes: Counter[str] = Counter()
    with KeyedLog(out / RESULTS) as log:
        for seed in seeds:
            recipe, folder = recipe_of(options, seed), out / f"seed-{seed}"
            raw = annotate(recipe, clips, folder / "answers", resume=True)
            mistakes.update(mistakes_in(raw))
            for arm in options.arms:
                key = f"{seed}/{arm}"
                if key not in log:
                    say(
                        f"seed {seed}, {arm}: data, {options.steps} steps, {options.held_out} held-out drives"
                    )
                    figures = run_arm(recipe, arm, raw, clips, held_out, folder / arm)
                    log.append(key, seed=seed, arm=arm, **figures)
                done = log.records[key]
                print(
                    f"seed {seed} {arm:10} {done['rows']:4} rows, {100 * done['targets_right']:5.1f} % of their "
                    f"values true; data {done['data_s']:.0f} s, "
                    f"training {done['train_s']:.0f} s, reports {done['evaluate_s']:.0f} s",
                    flush=True,
                )
        runs = list(log.records.values())
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"\n{options.drives} drives, {options.steps} steps, {options.held_out} held-out drives, {device}")
    answers = options.drives * options.seeds
    print(
        f"mistakes in {mistakes.total()} of {answers} answers: "
        + ", ".join(f"{kind} {mistakes[kind]}" for kind in MISTAKES)
    )
    figures = compare(out, options.arms, seeds)
    print_figures(figures, options.arms)
    write_json(
        out / "it_pays.json",
        {
            "version": 1,
            "settings": settings,
            "device": device,
            "mistakes": {kind: mistakes[kind] for kind in MISTAKES},
            "runs": runs,
            **figures,
        },
    )
    finish(out, result="it_pays.json")
    print(f"\n{out / 'it_pays.json'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--seeds", type=int, default=3, help="trainings an arm")
    parser.add_argument("--drives", type=int, default=240, help="drives to learn from")
    parser.add_argument("--held-out", type=int, default=60, help="drives to be scored on")
    parser.add_argument("--steps", type=int, default=240, help="optimizer steps of one clip")
    parser.add_argument("--error-rate", type=float, default=0.8, help="share of answers with a mistake")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["raw", "curated"])
    parser.add_argument("--set", action="append", default=[], help="recipe override for all arms")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run was stopped")
    parser.add_argument("--overwrite", action="store_true", help="delete what --out holds first")
    # Libraries tell each other of coming renames there; nothing a reader of the result could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        experiment(parser.parse_args())
    except RoadscribeError as error:
        sys.exit(f"it_pays: {error}")


if __name__ == "__main__":
    main()

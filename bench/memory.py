"""Peak memory and step time of real fine-tuning steps on a card, against what `roadscribe plan` predicts.

    uv run python bench/memory.py --work /tmp/bases --out eager.json                    # layers as torch runs them
    uv run python bench/memory.py --work /tmp/bases --out compiled.json --compile on
    uv run python bench/memory.py --fit eager.json compiled.json                        # rewrites measured.yaml

Needs a CUDA card with some 60 GiB. Each shape is the recipe's own trainer (`build_trainer`) on a full-size
Qwen3-VL-2B with random weights (`bench/base_model.py`, made in ``--work`` where absent), at its full depth of
28 layers or half of it, on frames of 640x352. The shapes marked `check` are never fitted: the error there is
that of the plan. Step time counts from the moment the step's batches are on the card.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
import yaml
from transformers import TrainerCallback

from base_model import make
from roadscribe.estimate import memory
from roadscribe.estimate.gpus import Gpu, present_gpu
from roadscribe.estimate.model_shape import shape_of
from roadscribe.estimate.step_time import batch_flops, layer_passes
from roadscribe.model.load import load_base
from roadscribe.plan.search import Case, candidate
from roadscribe.qwen3_vl.gpu_patches import pixels_of
from roadscribe.qwen3_vl.vision_cache import visual_features
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.train.collator import CLIPS, PLACED
from roadscribe.train.dataset import check_rows
from roadscribe.train.prefix_sharing import workload_of
from roadscribe.train.prepare_model import attention_kernels
from roadscribe.train.trainer import build_trainer
from train import make_rows

GIB = 2**30
WIDTH, HEIGHT = 640, 352
ACCUMULATION = 2
STEPS = 3
"""The first warms up; the shorter of the others counts."""


class Shape(NamedTuple):
    layers: int
    frames: int
    checkpointing: bool
    batch_size: int
    dense: bool
    use: str


SHAPES = (
    Shape(28, 10, True, 2, True, "fit"),
    Shape(28, 10, False, 2, True, "fit"),
    Shape(28, 4, False, 4, True, "fit"),
    Shape(28, 20, True, 4, True, "check"),
    Shape(28, 20, False, 1, True, "check"),
    Shape(28, 10, True, 2, False, "check"),
    Shape(14, 10, False, 4, True, "fit"),
    Shape(14, 20, True, 2, True, "fit"),
    Shape(14, 4, True, 1, True, "check"),
    Shape(14, 20, False, 2, True, "check"),
)


def bench_recipe(base: Path, shape: Shape, compiled: str) -> Recipe:
    return load_recipe(
        None,
        [
            f"model.base={base}",
            f"footage.frames={shape.frames}",
            f"footage.max_pixels={WIDTH * HEIGHT}",
            f"train.batch_size={shape.batch_size}",
            f"train.gradient_accumulation={ACCUMULATION}",
            f"train.gradient_checkpointing={str(shape.checkpointing).lower()}",
            f"train.dequantize_weights={'on' if shape.dense else 'off'}",
            f"train.compile={compiled}",
            "train.cache_vision_features=false",
            "train.workers=0",
            f"train.max_steps={STEPS}",
            "train.save_steps=100000",
            "train.logging_steps=1",
        ],
    )


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Seconds of each optimizer step, from its batches on the card to its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.begun = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        torch.cuda.synchronize()
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.begun)


def measure(base: Path, shape: Shape, compiled: str, card: Gpu) -> dict[str, Any]:
    """Run a few steps of one shape: what it took, and what the plan's counts are."""
    torch._dynamo.reset()
    recipe = bench_recipe(base, shape, compiled)
    count = shape.batch_size * ACCUMULATION
    rows = make_rows(count, shape.frames, WIDTH, HEIGHT, 250)
    rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    facts = check_rows(rows, loaded.processor, recipe.footage, recipe.train.max_length)
    shape_of_base = shape_of(loaded.model.config, recipe.lora.r, recipe.lora.targets)
    _, work = workload_of(recipe, rows, facts, loaded.processor)
    planned = candidate(recipe.train, Case(recipe, shape_of_base, work, card))
    step, compute = planned.setup.step, planned.setup.compute
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(loaded, rows, recipe.train, recipe.lora, Path(folder), setup=planned.setup)
        trainer.add_callback(times)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
        peak, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        free, total = torch.cuda.mem_get_info()
        context = total - free - torch.cuda.memory_reserved()
        vision_bytes, vision_s = measure_vision(trainer)
    counted = memory.units(shape_of_base, work.sizes, step, compute)
    batches = [work.sizes[start : start + shape.batch_size] for start in range(0, count, shape.batch_size)]
    flops = [batch_flops(shape_of_base, batch, checkpointing=shape.checkpointing) for batch in batches]
    return {
        **shape._asdict(),
        "compiled": step.compiled,
        "tokens": [size.tokens for size in work.sizes],
        "peak": peak,
        "reserved": reserved,
        "context": context,
        "vision_bytes": vision_bytes,
        "vision_s": vision_s,
        "step_s": min(times.seconds[1:]),
        "static": sum(term.bytes for term in memory.static_terms(shape_of_base, step, compute)),
        "units": counted._asdict(),
        "language_tflop": sum(one.language for one in flops) / 1e12,
        "vision_tflop_a_batch": flops[0].vision / 1e12,
        "layer_passes": len(batches) * layer_passes(shape_of_base, step),
        "predicted_peak": planned.prediction.peak,
        "predicted_step_s": None if planned.duration is None else planned.duration.seconds / STEPS,
    }


def measure_vision(trainer: Any) -> tuple[int, float]:
    """Bytes above what lies in memory, and seconds, of one micro-batch through the vision encoder."""
    batch = next(iter(trainer.get_train_dataloader()))
    inner = trainer.accelerator.unwrap_model(trainer.model).get_base_model().model
    spent: list[float] = []
    used = 0
    for _ in range(3):
        inputs = dict(batch)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, begun = torch.cuda.memory_allocated(), time.perf_counter()
        with attention_kernels(trainer.setup.attention.value):
            pixels = pixels_of(trainer.processing_class, inputs, inner.visual.dtype)
            visual_features(inner, inputs[CLIPS], torch.tensor(inputs[PLACED]["grid"]), pixels, None)
        torch.cuda.synchronize()
        spent.append(time.perf_counter() - begun)
        used = torch.cuda.max_memory_allocated() - before
        del pixels
    return used, min(spent)


def non_negative(columns: Sequence[Sequence[float]], target: Sequence[float]) -> list[float]:
    """The least-squares factors of the columns, none below zero (relative residuals: each row divided by its
    target)."""
    matrix = np.array(columns, dtype=float).T / np.array(target, dtype=float)[:, None]
    best, answer = float("inf"), [0.0] * len(columns)
    for size in range(1, len(columns) + 1):
        for chosen in combinations(range(len(columns)), size):
            factors, *_ = np.linalg.lstsq(matrix[:, chosen], np.ones(len(target)), rcond=None)
            residual = float(((matrix[:, chosen] @ factors - 1) ** 2).sum())
            if (factors >= 0).all() and residual < best - 1e-12:
                best, answer = residual, [0.0] * len(columns)
                for place, factor in zip(chosen, factors, strict=True):
                    answer[place] = float(factor)
    return answer


def fit_memory(runs: Sequence[dict[str, Any]]) -> memory.Coefficients:
    """The factors on the counts that make the measured peaks: the best of a grid, which the larger of two moments
    in the sum keeps from being a linear problem."""
    vision = statistics.mean(run["vision_bytes"] / run["units"]["vision"] for run in runs)
    grid = np.meshgrid(np.arange(0.3, 1.3, 0.005), np.arange(0.2, 2.0, 0.02), np.arange(0, 520, 32))
    kept, working, fixed = (axis.ravel() for axis in grid)
    error = np.zeros(len(kept))
    for run in runs:
        units = run["units"]
        language = units["inputs"] + kept * units["kept"]
        language += np.maximum(working * units["working"] + units["buffers"], units["logits"])
        always = run["static"] + units["pixels"] + fixed * 2**20
        peak = always + np.maximum(vision * units["vision"], language)
        error += (peak / run["peak"] - 1) ** 2
    # Where the logits are the larger moment everywhere, the working memory is only bounded; its bound counts.
    as_good = np.flatnonzero(error <= error.min() * (1 + 1e-9))
    best = as_good[working[as_good].argmax()]
    found = (kept[best], working[best], vision, fixed[best])
    return memory.Coefficients(*(round(float(one), 3) for one in found))


def fit_time(runs: Sequence[dict[str, Any]], card: Gpu) -> dict[str, float]:
    """Shares of the data sheet's peak, and a layer's least time in milliseconds."""
    peak = card.peak_tflops or 0
    target = [run["step_s"] - ACCUMULATION * run["vision_s"] for run in runs]
    columns = [[run["language_tflop"] / peak for run in runs], [run["layer_passes"] / 1e3 for run in runs]]
    inverse, layer_ms = non_negative(columns, target)
    vision = statistics.mean(run["vision_tflop_a_batch"] / peak / run["vision_s"] for run in runs)
    # The encoder's own blocks are among the layer passes, but their time was taken off with the encoder's.
    return {"language": round(1 / inverse, 3), "vision": round(vision, 3), "layer_ms": round(layer_ms, 3)}


def predicted(run: dict[str, Any], fitted: memory.Coefficients) -> float:
    units = run["units"]
    language = units["inputs"] + fitted.kept * units["kept"]
    language += max(fitted.working * units["working"] + units["buffers"], units["logits"])
    always = run["static"] + units["pixels"] + fitted.fixed_mib * 2**20
    return float(always + max(fitted.vision * units["vision"], language))


def fit(files: Sequence[Path]) -> None:
    """Rewrite `measured.yaml` from measurements, and print what the fit leaves on shapes it never saw."""
    measured = yaml.safe_load(memory.MEASURED.read_text())
    reserve, contexts = [], []
    for file in files:
        record = json.loads(file.read_text())
        runs = record["runs"]
        way = "compiled" if runs[0]["compiled"] else "eager"
        fitting = [run for run in runs if run["use"] == "fit"]
        fitted = fit_memory(fitting)
        source = f"{record['card']['name']}, {record['versions']}, {record['date']}: {record['command']}"
        measured["memory"][way] = {**fitted._asdict(), "measured": True, "source": source}
        card = Gpu(**{**record["card"], "capability": tuple(record["card"]["capability"])})
        speeds = fit_time(fitting, card)
        place = measured["time"].setdefault(record["card"]["key"], {})
        others = {key: place[way][key] for key in ("language_8_bits",) if key in place.get(way, {})}
        place[way] = {**speeds, **others, "whole_steps": True, "source": source}
        for other in ("eager", "compiled"):
            place.setdefault(other, place[way])
        reserve += [run["reserved"] / run["peak"] - 1 for run in runs]
        contexts += [run["context"] / 2**20 for run in runs]
        print(f"{way}: {fitted._asdict()} {speeds}")
        for run in runs:
            error = 100 * (predicted(run, fitted) / run["peak"] - 1)
            print(f"  {describe(run)}  {run['use']:5}  {run['peak'] / GIB:6.2f} GiB  error {error:+5.1f} %")
    measured["memory"]["slack"] = round(statistics.median(reserve), 3)
    measured["memory"]["context_mib"] = round(statistics.median(contexts))
    head = memory.MEASURED.read_text().split("\nmemory:")[0] + "\n"
    memory.MEASURED.write_text(head + yaml.safe_dump(measured, sort_keys=False, width=110))
    print(f"wrote {memory.MEASURED}")


def describe(run: dict[str, Any]) -> str:
    way = "checkpointing" if run["checkpointing"] else "all kept     "
    dense = "dense" if run["dense"] else "4-bit"
    return f"{run['layers']:2} layers, {run['frames']:2} frames, batch {run['batch_size']}, {way}, {dense}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "roadscribe-bases")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compile", choices=("on", "off"), default="off")
    parser.add_argument("--only", help="numbers of shapes, for example 0,3,4")
    parser.add_argument("--fit", type=Path, nargs="+", metavar="JSON", help="fit measured.yaml from these")
    options = parser.parse_args()
    if options.fit:
        fit(options.fit)
        return
    if options.out is None:
        parser.error("give --out FILE, or --fit")
    card = present_gpu()
    record: dict[str, Any] = {
        "card": card._asdict(),
        "versions": ", ".join(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("torch", "transformers", "peft", "bitsandbytes")
        ),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["bench/memory.py", *(Path(argument).name for argument in sys.argv[1:])]),
        "runs": [],
    }
    wanted = [int(one) for one in options.only.split(",")] if options.only else range(len(SHAPES))
    for number in wanted:
        shape = SHAPES[number]
        base = options.work / f"2b-{shape.layers}"
        if not base.exists():
            make("2b", base, shape.layers)
        run = measure(base, shape, options.compile, card)
        record["runs"].append(run)
        # After each shape: what a full card cuts off is not lost.
        options.out.write_text(json.dumps(record, indent=1))
        error = 100 * (run["predicted_peak"] / run["peak"] - 1)
        then = run["predicted_step_s"]
        slower = "" if then is None else f" ({100 * (then / run['step_s'] - 1):+.0f} %)"
        print(
            f"{describe(run)}  {run['peak'] / GIB:6.2f} GiB, predicted {run['predicted_peak'] / GIB:6.2f} "
            f"({error:+5.1f} %), reserved {run['reserved'] / GIB:6.2f}, step {run['step_s']:.2f} s{slower}",
            flush=True,
        )
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

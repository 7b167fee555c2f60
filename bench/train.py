"""Training speed: Roadscribe's trainer against the original recipe in plain TRL: same base, rows, order, steps.

    python bench/train.py --base FOLDER                       # a card with bfloat16
    python bench/train.py --base FOLDER --t4 --steps 50       # a T4's rules on any card
    python bench/train.py --base FOLDER --rows 80 --samples-a-step 8    # three epochs: features are kept
    python bench/train.py --base FOLDER --variants ours "ours on two"   # two cards against one
    python bench/train.py --base roadscribe-tiny --rows 16 --frames 6 --size 320x192 --steps 8   # anywhere

`bench/base_model.py` makes a full-size FOLDER of random weights; speed does not depend on their values. Each
variant is a process of its own. Prints samples/s (whole, and without the first steps, in which kernels are
compiled), peak memory, and the loss of every step side by side.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from peft import LoraConfig
from PIL import Image
from transformers import PrinterCallback, TrainerCallback
from trl import SFTTrainer

from roadscribe.estimate.gpus import Gpu, named_gpu, present_gpu
from roadscribe.estimate.model_shape import shape_of
from roadscribe.estimate.resolve import resolve
from roadscribe.estimate.train_setup import Host, TrainSetup, World
from roadscribe.machine import free_memory
from roadscribe.model.load import LoadedBase, load_base
from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe, Train, load_recipe
from roadscribe.train.dataset import DatasetFacts, check_rows
from roadscribe.train.prefix_sharing import Item, item_rows, workload_of
from roadscribe.train.trainer import build_trainer, training_arguments

WORDS = [
    "the",
    "is",
    "road",
    "a",
    "and",
    "car",
    "ahead",
    "of",
    "in",
    "lane",
    "traffic",
    "light",
    "on",
    "left",
    "right",
    "vehicle",
    "to",
    "no",
    "at",
    "clear",
    "distance",
    "ego",
    "with",
    "speed",
    "low",
    "high",
    "risk",
    "red",
    "green",
    "yellow",
    "pedestrian",
    "crossing",
    "weather",
    "dry",
    "wet",
    "straight",
    "curve",
    "slight",
    "overcast",
    "visibility",
    "good",
    "moderate",
    "urban",
    "highway",
    "rural",
    "residential",
    "street",
    "meters",
    "slow",
    "keep",
    "watch",
    "stop",
    "turn",
    "merge",
    "bus",
    "truck",
    "cyclist",
    "sign",
    "parked",
    "night",
    "day",
    "dusk",
    "rain",
    "fog",
    "snow",
    "bridge",
    "tunnel",
    "shoulder",
    "median",
    "gap",
    "brake",
    "two",
    "three",
    "four",
]
"""Drawn with the frequencies of natural text (Zipf), so that 30 steps end where the loss no longer falls steeply."""
T4_BYTES = 15 * 2**30
SETTLED = 4
"""Steps after which nothing is compiled any more."""


def make_rows(
    count: int, frames: int, width: int, height: int, words: int, answers: int = 1
) -> datasets.Dataset:
    """Rows of random but compressible frames with answers of about ``words`` words, some longer, some shorter."""
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, len(WORDS) + 1)
    frequencies /= frequencies.sum()
    shape = (height // 16, width // 16, 3)
    rows, clips = [], []
    for index in range(count):
        if index % answers == 0:
            clips.append([rng.integers(0, 255, shape, dtype=np.uint8) for _ in range(frames)])
        answer = " ".join(rng.choice(WORDS, int(words * rng.uniform(0.75, 1.25)), p=frequencies))
        rows.append(
            {
                "prompt": [{"role": "user", "content": INSTRUCTION}],
                "completion": [{"role": "assistant", "content": answer}],
                "clip_id": f"clip-{index // answers}",
            }
        )

    def encode(clip: list[np.ndarray]) -> list[dict[str, Any]]:
        images = []
        for coarse in clip:
            file = io.BytesIO()
            Image.fromarray(coarse).resize((width, height)).save(file, "JPEG", quality=90)
            images.append({"bytes": file.getvalue(), "path": None})
        return images

    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(encode, clips))
    for index, row in enumerate(rows):
        row["images"] = encoded[index // answers]
    messages = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "prompt": messages,
            "completion": messages,
            "clip_id": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_list(rows, features=features)


class Run(NamedTuple):
    """How a recipe computes on these rows, as `train` resolves it."""

    rows: datasets.Dataset
    """Images as stored."""
    facts: DatasetFacts
    items: list[Item]
    setup: TrainSetup


def resolved(recipe: Recipe, rows: datasets.Dataset, loaded: LoadedBase, gpu: Gpu | None = None) -> Run:
    """Resolve a recipe for the GPU that is present, if any, or for another."""
    stored = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    facts = check_rows(stored, loaded.processor, recipe.footage, recipe.train.max_length)
    items, work = workload_of(recipe, stored, facts, loaded.processor)
    shape = shape_of(loaded.model.config, recipe.lora.r, recipe.lora.targets)
    if gpu is None and loaded.device.type == "cuda":
        gpu = present_gpu()
    count = int(os.environ.get("WORLD_SIZE", "1"))
    host = Host(free_memory(), os.cpu_count() or 2)
    setup = resolve(recipe, shape, work, gpu, World(count, count), host)
    if os.environ.get("RANK", "0") == "0":
        print("\n".join(setup.lines()), file=sys.stderr)
    return Run(stored, facts, items, setup)


def original(recipe: Recipe, rows: datasets.Dataset, folder: Path) -> Any:
    """The original recipe as its user would call TRL: TRL's collator in the main process, the model as shipped.

    The adapters are float32, without which fp16 does not run at all, and the loss is averaged over the answer
    tokens of a whole step, without which the losses could not be compared.
    """
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    visual = loaded.model.model.visual
    for module in (visual, visual.patch_embed, *(block.attn for block in visual.blocks)):
        module.__class__ = type(module).__mro__[1]
    plain = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"workers": 0, "shared_prefix": False})}
    )
    arguments = training_arguments(plain.train, resolved(plain, rows, loaded).setup, loaded, folder)
    trainer = SFTTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=rows.select_columns(["images", "prompt", "completion"]),
        processing_class=loaded.processor,
        peft_config=LoraConfig(
            r=recipe.lora.r,
            lora_alpha=recipe.lora.alpha,
            target_modules=list(recipe.lora.targets),
            task_type="CAUSAL_LM",
        ),
    )
    trainer.model_accepts_loss_kwargs = True
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def ours(recipe: Recipe, rows: datasets.Dataset, folder: Path, gpu: Gpu | None = None) -> Any:
    """Roadscribe's trainer, as `train` builds it; for the GPU that is present, or as for another."""
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    run = resolved(recipe, rows, loaded, gpu)
    given = item_rows(run.rows, run.items)
    settings = recipe.train.model_copy(update=run.setup.batch.value._asdict())
    return build_trainer(loaded, given, settings, recipe.lora, folder, setup=run.setup, keys=run.facts.keys)


VARIANTS = {
    "original": ["train.batch_size=2", "train.gradient_checkpointing=true"],
    "ours": ["train.batch_size=8", "train.gradient_checkpointing=false", "train.fp8_matmul=auto"],
}
T4_VARIANTS = {
    "original": ["train.batch_size=2", "train.gradient_checkpointing=true"],
    "ours": ["train.batch_size=4", "train.gradient_checkpointing=true"],
}


TWO_CARDS = "ours on two"


class Watch(TrainerCallback):  # type: ignore[misc]
    """When each optimizer step ended and what its loss was, without making the card wait for the host."""

    def __init__(self, trainer: Any) -> None:
        self.losses: list[list[torch.Tensor]] = [[]]
        self.ends: list[Any] = []
        trainer.add_callback(self)
        step = trainer.training_step

        def training_step(*args: Any, **kwargs: Any) -> torch.Tensor:
            loss: torch.Tensor = step(*args, **kwargs)
            self.losses[-1].append(loss.detach())
            return loss

        trainer.training_step = training_step

    def _note(self) -> None:
        if not torch.cuda.is_available():
            self.ends.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.ends.append(event)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._note()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._note()
        self.losses.append([])

    def seconds(self) -> list[float]:
        """Of each step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(self.ends)]
        return [b - a for a, b in itertools.pairwise(self.ends)]

    def loss(self) -> list[float]:
        """Of each step: the mean over its answer tokens, in all processes."""
        sums = torch.stack([torch.stack(parts).sum() for parts in self.losses if parts])
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            sums /= torch.distributed.get_world_size()
        return [float(one) for one in sums]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train one variant for some steps."""
    width, height = (int(side) for side in options.size.split("x"))
    table = T4_VARIANTS if options.t4 else VARIANTS
    overrides = [
        f"model.base={options.base}",
        f"footage.frames={options.frames}",
        f"footage.max_pixels={width * height}",
        f"train.max_steps={options.steps}",
        f"train.logging_steps={Train().logging_steps}",
        "train.save_steps=100000",
        *table[options.variant],
        *options.set,
    ]
    if options.t4:
        overrides.append("model.dtype=float16")
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        share = T4_BYTES / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(share)
    recipe = load_recipe(None, overrides)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation = max(1, options.samples_a_step // (recipe.train.batch_size * processes))
    recipe = load_recipe(None, [*overrides, f"train.gradient_accumulation={accumulation}"])
    rows = make_rows(options.rows, options.frames, width, height, options.words, options.answers)
    with tempfile.TemporaryDirectory() as folder:
        if options.variant == "original":
            trainer = original(recipe, rows, Path(folder))
        else:
            trainer = ours(recipe, rows, Path(folder), named_gpu("t4") if options.t4 else None)
        trainer.remove_callback(PrinterCallback)
        watch = Watch(trainer)
        cpu = time.process_time()
        trainer.train()
        cpu = time.process_time() - cpu
    step = recipe.train.batch_size * recipe.train.gradient_accumulation * processes
    seconds = watch.seconds()
    speeds = epoch_speeds(seconds, step, max(1, options.rows // step))
    return {
        "samples_per_s": options.steps * step / sum(seconds),
        "settled_samples_per_s": sum(share for share, _ in speeds)
        / sum(share / speed for share, speed in speeds),
        "epochs_samples_per_s": [round(speed, 2) for _, speed in speeds],
        "cpu_seconds_a_sample": cpu / (options.steps * step),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
        "reserved_gib": torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None,
        "loss": watch.loss(),
        "seconds": [round(one, 3) for one in seconds],
    }


def epoch_speeds(seconds: list[float], samples: int, steps: int) -> list[tuple[int, float]]:
    """Each epoch's share (its steps) and its samples/s; the first steps of all count in the share alone.

    Args:
        seconds: of each step.
        samples: in a step.
        steps: in an epoch.
    """
    speeds = []
    for begin in range(0, len(seconds), steps):
        epoch = seconds[begin : begin + steps]
        counted = epoch[min(SETTLED, len(epoch) - 1) :] if begin == 0 else epoch
        speeds.append((len(epoch), len(counted) * samples / sum(counted)))
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="roadscribe-tiny")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--answers", type=int, default=1, help="answers a clip")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--size", default="640x352", help="pixels of a frame, WxH")
    parser.add_argument("--words", type=int, default=350, help="words of an answer, more or less")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--samples-a-step", type=int, default=16)
    parser.add_argument("--t4", action="store_true", help="float16, 15 GiB, no flash kernels")
    parser.add_argument("--set", action="append", default=[], help="recipe overrides for all variants")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=list(VARIANTS),
        choices=[*VARIANTS, TWO_CARDS],
        help=f"`{TWO_CARDS}` is `ours` in two processes, a card each, with as many samples a step in all",
    )
    parser.add_argument("--variant", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.variant:
        result = measure(options)
        if os.environ.get("RANK", "0") == "0":
            print("RESULT " + json.dumps(result), flush=True)
        return
    results: dict[str, dict[str, Any]] = {}
    for variant in options.variants:
        program = [__file__, *sys.argv[1:], "--variant", variant.split()[0]]
        if variant == TWO_CARDS:
            program = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *program]
        environment = dict(os.environ)
        if variant != TWO_CARDS:
            first = environment.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            environment["CUDA_VISIBLE_DEVICES"] = first
        done = subprocess.run([sys.executable, *program], stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{variant}: failed")
        line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
        results[variant] = json.loads(line.removeprefix("RESULT "))
        show(results)
        if options.json:
            # After each: what a time limit cuts off is not lost.
            options.json.write_text(json.dumps(results, indent=1))


def show(results: dict[str, dict[str, Any]]) -> None:
    """The table, and the losses side by side."""
    print(
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    for name, result in results.items():
        memory = f"  peak {result['peak_gib']:.1f} GiB" if result["peak_gib"] else ""
        print(
            f"{name:11} {result['settled_samples_per_s']:7.2f} samples/s"
            f"  (with start-up {result['samples_per_s']:.2f}){memory}"
            f"  {result['cpu_seconds_a_sample']:.3f} processor s a sample"
        )
        if len(result["epochs_samples_per_s"]) > 1:
            print(f"{'':11} epoch by epoch: {result['epochs_samples_per_s']}")
    if len(results) == 2:
        slow, fast = sorted(results.values(), key=lambda result: result["settled_samples_per_s"])
        ratio = fast["settled_samples_per_s"] / slow["settled_samples_per_s"]
        print(f"ratio       {ratio:7.2f}")
    print("step  " + "  ".join(f"{name:>11}" for name in results))
    for step, losses in enumerate(zip(*(result["loss"] for result in results.values()), strict=True), 1):
        print(f"{step:4}  " + "  ".join(f"{loss:11.4f}" for loss in losses))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

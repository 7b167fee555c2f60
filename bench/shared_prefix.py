"""Several answers on one clip: one shared visual prefix against a sample for each answer, in one run.

    OMP_NUM_THREADS=1 uv run python bench/shared_prefix.py --base roadscribe-tiny --answers 3 --frames 6 --size 320x192

First one clip's loss and adapter gradients are compared in float32, for each way of attending that the device
has. Then both ways train the same number of steps; answers/s and processor seconds an answer leave out the
first steps (`--warm-up`). Wall time means something only on a machine that does nothing else; processor
seconds (OMP_NUM_THREADS=1) hold anywhere.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import PrinterCallback, TrainerCallback

from roadscribe.estimate.workload import rows_per_step
from roadscribe.model.load import load_base
from roadscribe.prompts import INSTRUCTION
from roadscribe.qwen3_vl.tree_attention import attend_in_branches
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.train.collator import CLIPS, Collator
from roadscribe.train.prefix_sharing import Item, item_rows
from roadscribe.train.trainer import build_trainer, peak_memory_gib
from train import resolved

SENTENCE = "The road is straight and dry, traffic is light, a car stands ahead on the right. "
QUESTIONS = (
    INSTRUCTION,
    "Which lights are shown, and to whom?",
    "How many lanes are there, and which is ours?",
)


def make_rows(
    clips: int, answers: int, questions: int, frames: int, width: int, height: int, words: int
) -> Any:
    """Rows of random but compressible frames, ``answers`` rows a clip, the rows of a clip far apart."""
    rng = np.random.default_rng(0)
    shown = []
    for _ in range(clips):
        images = []
        for _ in range(frames):
            file = io.BytesIO()
            coarse = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((width, height)).save(file, "JPEG", quality=90)
            images.append({"bytes": file.getvalue(), "path": None})
        shown.append(images)
    rows = []
    for answer in range(answers):
        for clip, images in enumerate(shown):
            start = (clip * answers + answer) % 16
            text = " ".join((SENTENCE * (words // 16 + 2)).split()[start : start + words])
            rows.append(
                {
                    "images": images,
                    "prompt": [{"role": "user", "content": QUESTIONS[answer % questions]}],
                    "completion": [{"role": "assistant", "content": text}],
                    "clip_id": f"clip-{clip}",
                }
            )
    messages = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image(decode=False)),
            "prompt": messages,
            "completion": messages,
            "clip_id": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_list(rows, features=features)


def check(recipe: Recipe, rows: datasets.Dataset, answers: int) -> None:
    """Loss and gradients of one clip's rows: as samples of their own, and as branches each way."""
    model_section = recipe.model.model_copy(update={"dtype": "float32"})
    loaded = load_base(model_section, max_pixels=recipe.footage.max_pixels)
    config = LoraConfig(
        r=recipe.lora.r, lora_alpha=recipe.lora.alpha, target_modules=list(recipe.lora.targets)
    )
    model = get_peft_model(loaded.model, config).train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    language_model = model.get_base_model().model.language_model
    places = tuple(range(0, len(rows), len(rows) // answers))[:answers]
    collate = Collator(loaded.processor)
    separate = collate([rows[place] for place in places])
    together = collate(list(item_rows(rows, [Item(places, 0)])))

    def run(batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        inputs = {name: part.to(loaded.device) for name, part in batch.items() if name != CLIPS}
        loss = model(**inputs, use_cache=False).loss
        loss.backward()
        return loss.item(), {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}

    loss, gradients = run(separate)
    handle = attend_in_branches(language_model)
    shared_loss, shared = run(together)
    handle.remove()
    worst = max(float((shared[n] - gradient).norm() / gradient.norm()) for n, gradient in gradients.items())
    print(
        f"loss {shared_loss:.7f} against {loss:.7f}, {len(gradients)} gradients, the farthest is off "
        f"by {worst:.1e} (float32, {separate['attention_mask'].sum()} tokens become "
        f"{together['attention_mask'].sum()})"
    )


class Clock(TrainerCallback):  # type: ignore[misc]
    """Wall and processor seconds at the end of each step."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ticks.append((time.perf_counter(), time.process_time()))


def measure(recipe: Recipe, rows: datasets.Dataset, shared: bool, warm_up: int) -> tuple[float, float]:
    """Answers a second, and processor seconds an answer; prints both, the peak and the losses."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    # On a card features are computed each time, so that the first epoch is what is measured.
    kept = loaded.device.type != "cuda"
    asked = recipe.train.model_copy(update={"shared_prefix": shared, "cache_vision_features": kept})
    recipe = recipe.model_copy(update={"train": asked})
    run = resolved(recipe, rows, loaded)
    given, batch = item_rows(run.rows, run.items), run.setup.batch.value
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            loaded,
            given,
            asked.model_copy(update=batch._asdict()),
            recipe.lora,
            Path(folder),
            setup=run.setup,
            keys=run.facts.keys,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        trainer.train()
    (wall, cpu), (wall_end, cpu_end) = clock.ticks[warm_up - 1], clock.ticks[-1]
    answers = (len(clock.ticks) - warm_up) * rows_per_step(batch, len(rows), len(given))
    rate, seconds = answers / (wall_end - wall), (cpu_end - cpu) / answers
    losses = " ".join(f"{line['loss']:.3f}" for line in trainer.state.log_history if "loss" in line)
    print(
        f"{'shared  ' if shared else 'separate'} {rate:7.2f} answers/s  {seconds:6.3f} processor s an answer  "
        f"peak {peak_memory_gib():.1f} GiB  loss {losses}",
        flush=True,
    )
    return rate, seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="roadscribe-tiny")
    parser.add_argument("--answers", type=int, default=3, help="rows a clip")
    parser.add_argument(
        "--questions", type=int, default=1, choices=(1, 2, 3), help="different questions a clip"
    )
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", default="320x192", help="pixels of a frame, WxH")
    parser.add_argument("--words", type=int, default=100, help="words of an answer")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warm-up", type=int, default=2, help="first steps that are not timed")
    parser.add_argument("--set", action="append", default=[], help="recipe overrides for both")
    parser.add_argument("--check-only", action="store_true")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    recipe = load_recipe(
        None,
        [
            f"model.base={options.base}",
            f"footage.frames={options.frames}",
            f"footage.max_pixels={width * height}",
            f"train.max_steps={options.steps}",
            "train.batch_size=6",
            "train.gradient_checkpointing=false",
            "train.gradient_accumulation=1",
            "train.logging_steps=1",
            "train.save_steps=100000",
            *options.set,
        ],
    )
    shape = (options.frames, width, height, options.words)
    rows = make_rows(options.clips, options.answers, options.questions, *shape)
    check(recipe, rows, options.answers)
    if options.check_only:
        return
    separate = measure(recipe, rows, False, options.warm_up)
    shared = measure(recipe, rows, True, options.warm_up)
    print(
        f"{torch.get_num_threads()} threads, {'cuda' if torch.cuda.is_available() else 'cpu'}: "
        f"{shared[0] / separate[0]:.2f} times the answers/s, "
        f"{separate[1] / shared[1]:.2f} times fewer processor seconds an answer"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

"""Training speed: Roadscribe's trainer against plain TRL, same base, same rows, same steps, one run.

    uv run python bench/train.py --base roadscribe-tiny --rows 16 --frames 6 --size 320x192 --steps 8

Prints samples/s, processor seconds a sample and the loss of every step, side by side. Wall time means
something only on a machine that does nothing else; processor seconds (OMP_NUM_THREADS=1) hold anywhere.
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
from peft import LoraConfig
from PIL import Image
from transformers import PrinterCallback
from trl import SFTTrainer

from roadscribe.model.load import load_base
from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.train.batches import KeptFeatures
from roadscribe.train.trainer import build_trainer, training_arguments

ANSWER = "The road is straight and dry, traffic is light, a car stands ahead on the right. "


def make_rows(count: int, frames: int, width: int, height: int, words: int) -> datasets.Dataset:
    """Rows of random but compressible frames with answers of about ``words`` words."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        images = []
        for _ in range(frames):
            file = io.BytesIO()
            coarse = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((width, height)).save(file, "JPEG", quality=90)
            images.append({"bytes": file.getvalue(), "path": None})
        answer = " ".join((ANSWER * (words // 16 + 2)).split()[index % 16 : index % 16 + words])
        rows.append(
            {
                "images": images,
                "prompt": [{"role": "user", "content": INSTRUCTION}],
                "completion": [{"role": "assistant", "content": answer}],
                "clip_id": f"clip-{index}",
            }
        )
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


def lora(recipe: Recipe) -> LoraConfig:
    return LoraConfig(
        r=recipe.lora.r,
        lora_alpha=recipe.lora.alpha,
        target_modules=list(recipe.lora.targets),
        task_type="CAUSAL_LM",
    )


def plain_trl(recipe: Recipe, rows: datasets.Dataset, folder: Path) -> Any:
    """TRL as a user would call it: its own collator, the tower as shipped inside the model's forward pass."""
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    visual = loaded.model.model.visual
    for module in (visual, visual.patch_embed, *(block.attn for block in visual.blocks)):
        module.__class__ = type(module).__mro__[1]
    arguments = training_arguments(recipe.train, loaded, folder, 0)
    trainer = SFTTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=rows.select_columns(["images", "prompt", "completion"]),
        processing_class=loaded.processor,
        peft_config=lora(recipe),
    )
    trainer.model_accepts_loss_kwargs = True
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return trainer


def ours(recipe: Recipe, rows: datasets.Dataset, folder: Path) -> Any:
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    stored = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    kept = KeptFeatures() if loaded.device.type == "cpu" else None
    return build_trainer(loaded, stored, recipe.train, recipe.lora, folder, kept=kept, workers=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="roadscribe-tiny")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", default="320x192", help="pixels of a frame, WxH")
    parser.add_argument("--words", type=int, default=100, help="words of an answer")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="recipe overrides for both")
    parser.add_argument("--only", choices=("plain", "ours"))
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    recipe = load_recipe(
        None,
        [
            f"model.base={options.base}",
            f"footage.frames={options.frames}",
            f"footage.max_pixels={width * height}",
            f"train.max_steps={options.steps}",
            "train.gradient_checkpointing=false",
            "train.gradient_accumulation=1",
            "train.logging_steps=1",
            "train.save_steps=100000",
            *options.set,
        ],
    )
    rows = make_rows(options.rows, options.frames, width, height, options.words)
    results: dict[str, tuple[float, float, list[float]]] = {}
    for name, build in (("plain", plain_trl), ("ours", ours)):
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            trainer = build(recipe, rows, Path(folder))
            trainer.remove_callback(PrinterCallback)
            wall, cpu = time.perf_counter(), time.process_time()
            trainer.train()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        samples = options.steps * recipe.train.batch_size * recipe.train.gradient_accumulation
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        results[name] = samples / wall, cpu / samples, losses
    print(f"{torch.get_num_threads()} threads, {'cuda' if torch.cuda.is_available() else 'cpu'}")
    for name, (rate, cpu, losses) in results.items():
        shown = " ".join(f"{loss:.4f}" for loss in losses)
        print(f"{name:6} {rate:6.2f} samples/s  {cpu:6.3f} processor s a sample  loss {shown}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

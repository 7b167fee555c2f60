"""Rows of small datasets in the form that `curate` writes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from roadscribe.recipe import Lora, Train

PROMPT = "What do you see on this road, and how risky is it?"
"""Short, so that a step takes a fraction of a second."""

MESSAGES = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
FEATURES = datasets.Features(
    {
        "images": datasets.List(datasets.Image()),
        "prompt": MESSAGES,
        "completion": MESSAGES,
        "clip_id": datasets.Value("string"),
        "drive_id": datasets.Value("string"),
        "report": datasets.Value("string"),
        "findings": datasets.Value("string"),
    }
)


def jpeg(rng: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG of soft random blobs, so that compression keeps something to look at."""
    coarse = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_row(index: int, frames: int = 2, size: tuple[int, int] = (96, 64), **changes: Any) -> dict[str, Any]:
    """One dataset row whose answer depends on its index; the same index gives the same row."""
    rng = np.random.default_rng(index)
    answer = f"**Scene Description:**\nroad number {index}\n\n- {('low', 'medium', 'high')[index % 3]} risk"
    row = {
        "images": [{"bytes": jpeg(rng, *size), "path": None} for _ in range(frames)],
        "prompt": [{"role": "user", "content": PROMPT}],
        "completion": [{"role": "assistant", "content": answer + " careful" * (index % 4)}],
        "clip_id": f"clip-{index}",
        "drive_id": f"drive-{index // 2}",
        "report": "{}",
        "findings": "[]",
    }
    return {**row, **changes}


def save_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as a saved `DatasetDict` with a train split."""
    dataset = datasets.Dataset.from_list(rows, features=FEATURES)
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(folder))
    return folder


def setup_for(loaded: Any, rows: Any, train: Train, lora: Lora | None = None, gpu: Any = None) -> Any:
    """How a run of these rows, each a clip of its own, computes on a GPU or a CPU; nothing is cached, no workers."""
    from roadscribe.estimate.model_shape import shape_of
    from roadscribe.estimate.resolve import resolve
    from roadscribe.estimate.workload import SampleSize, Workload
    from roadscribe.recipe import Model, Recipe

    lora, count = lora or Lora(), len(rows)
    dtype = str(loaded.dtype).removeprefix("torch.")
    model = Model(quantization="nf4" if loaded.quantized else "none", dtype=dtype)  # type: ignore[arg-type]
    train = train.model_copy(update={"cache_vision_features": False, "workers": 0})
    shape = shape_of(loaded.model.config, lora.r, lora.targets)
    sizes = (SampleSize(300, 12, 50, 2, 96, 64),) * count
    work = Workload(sizes, rows=count, clips=count, row_tokens=300 * count, visual_tokens=12 * count)
    return resolve(Recipe(model=model, lora=lora, train=train), shape, work, gpu)

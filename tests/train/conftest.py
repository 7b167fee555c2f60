"""Small datasets in the form that `curate` writes, and recipes that train on them in seconds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe, load_recipe

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
    answer = f"**Scene Description:**\nroad number {index}\n\n- {'low medium high'.split()[index % 3]} risk"
    row = {
        "images": [{"bytes": jpeg(rng, *size), "path": None} for _ in range(frames)],
        "prompt": [{"role": "user", "content": INSTRUCTION}],
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


@pytest.fixture(scope="session")
def eight_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of eight clips of two 96x64 frames."""
    return save_rows(tmp_path_factory.mktemp("eight") / "dataset", [make_row(index) for index in range(8)])


@pytest.fixture
def recipe_for(tiny_folder: Path) -> Callable[..., Recipe]:
    """A recipe for `eight_rows` on the untrained tiny base; arguments are further overrides."""

    def make(*overrides: str) -> Recipe:
        return load_recipe(
            None,
            [
                f"model.base={tiny_folder}",
                "footage.frames=2",
                "footage.max_pixels=6144",
                "lora.r=4",
                "train.batch_size=2",
                "train.gradient_accumulation=1",
                "train.gradient_checkpointing=false",
                "train.logging_steps=1",
                "train.learning_rate=2e-3",
                *overrides,
            ],
        )

    return make

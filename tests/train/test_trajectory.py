"""A stored trajectory of the trainer: fifty steps whose losses and gradient norms must not move unnoticed.

Write it again after a change that is meant to move it, and say in the commit why it moved:

    uv run python tests/train/test_trajectory.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from roadscribe.recipe import Recipe
from roadscribe.tiny.build import build_model, build_processor, train_tokenizer
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG
from training_rows import make_row, save_rows

STEPS = 50
STORED = Path(__file__).with_name("trajectory.json")
LOSS_TOLERANCE = 1e-3
"""Relative. Processors round differently; another batch order, label or rate moves whole per cents."""
NORM_TOLERANCE = 1e-2
"""Relative. Gradient norms amplify rounding."""
TEXTS = ["road number 1 2 3 4 5 6 7", "low medium high risk careful", "What do you see on this road?"]
"""The tokenizer's own text, so that a new wording of the real prompt leaves the trajectory alone."""


def run(folder: Path) -> list[dict[str, float]]:
    """Six epochs and two steps over eight clips of one frame on a seeded, untrained tiny base, from the log."""
    base = folder / "base"
    tokenizer = train_tokenizer(TEXTS * 3)
    build_processor(base, tokenizer)
    build_model(tokenizer, seed=0).save_pretrained(base)
    recipe = Recipe.model_validate(
        {
            "model": {"base": str(base), "dtype": "float32"},
            "footage": {"frames": 1, "max_pixels": 6144},
            "train": {
                "batch_size": 1,
                "gradient_accumulation": 1,
                "gradient_checkpointing": False,
                "max_steps": STEPS,
                "save_steps": STEPS,
                "verify_in_process": True,
                "learning_rate": 1e-3,
                "logging_steps": 1,
            },
        }
    )
    dataset = save_rows(folder / "dataset", [make_row(index, frames=1) for index in range(8)])
    out = train(recipe, dataset, folder / "out")
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{name: line[name] for name in ("step", "loss", "grad_norm")} for line in lines]


def test_the_trainer_goes_the_way_it_went(tmp_path: Path) -> None:
    stored = json.loads(STORED.read_text())
    now = run(tmp_path)
    assert [line["step"] for line in now] == [line["step"] for line in stored] == list(range(1, STEPS + 1))
    for then, here in zip(stored, now, strict=True):
        assert here["loss"] == pytest.approx(then["loss"], rel=LOSS_TOLERANCE), here["step"]
        assert here["grad_norm"] == pytest.approx(then["grad_norm"], rel=NORM_TOLERANCE), here["step"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        STORED.write_text(json.dumps(run(Path(folder)), indent=1) + "\n")

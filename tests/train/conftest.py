"""Small datasets in the form that `curate` writes, and recipes that train on them in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_rows import make_row, save_rows

from roadscribe.model.load import load_processor, resolve_base
from roadscribe.recipe import Model, Recipe, load_recipe


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
                "train.read_back=same",
                *overrides,
            ],
        )

    return make


@pytest.fixture(scope="session")
def tiny_processor(tiny_folder: Path) -> Any:
    """The processor of the untrained tiny base, for frames of up to 96x64 pixels."""
    return load_processor(resolve_base(Model(base=str(tiny_folder))), 6144)

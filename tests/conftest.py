"""Fixtures for every room (an untrained tiny base, made once a session), and how tests are spread over cores."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roadscribe.prompts import INSTRUCTION
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.report import VOCABULARY
from training_rows import make_row, save_rows

# The tiny model's operations are so small that threads which wait for each other on a busy machine cost more
# than they bring. Before torch is imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts what runs in the background deaf to Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAX_WORKERS = 8
"""Each holds the training stack: about 2 GB of memory."""

LONGEST = (
    "test_notebooks.py",
    "test_train.py",
    "test_demo.py",
    "test_distributed.py",
    "test_eval_callback.py",
)
"""Files to begin with: a long one that is begun last leaves the other cores idle."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker per core for folders; none for tests named by their file, and none for those on a card or heavy."""
    alone = config.option.markexpr in ("gpu", "heavy") or all(".py" in name for name in config.args)
    return 0 if alone else min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained roadscribe-tiny: configuration, tokenizer, processor, seeded weights."""
    from roadscribe.tiny.build import build_model, build_processor, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny-base")
    words = [json.dumps({key: word}, indent=2) for key, options in VOCABULARY.items() for word in options]
    tokenizer = train_tokenizer([INSTRUCTION, *words] * 3)
    build_processor(folder, tokenizer)
    build_model(tokenizer, seed=0).save_pretrained(folder)
    return folder


class SmallRun(NamedTuple):
    """One walk from footage to adapter, as the stages themselves made it."""

    clips: Path
    dataset: Path
    adapter: Path


@pytest.fixture(scope="session")
def small_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """Eight simulated drives, their dataset (train and test), and an adapter of two steps on the untrained base."""
    from roadscribe.annotate.annotate import annotate
    from roadscribe.curate.curate import curate
    from roadscribe.footage.collect import collect
    from roadscribe.simulator import write_drives
    from roadscribe.train.train import train

    folder = tmp_path_factory.mktemp("small-run")
    recipe = load_recipe(
        None,
        [
            f"model.base={tiny_folder}",
            "footage.frames=2",
            "footage.max_pixels=6144",
            "curate.test_share=0.25",
            "lora.r=4",
            "train.max_steps=2",
            "train.batch_size=2",
            "train.gradient_accumulation=1",
            "train.gradient_checkpointing=false",
            "train.learning_rate=2e-2",
            "train.logging_steps=1",
        ],
    )
    write_drives(range(8), folder / "drives", seconds=1.0)
    collect([folder / "drives"], folder / "clips", recipe)
    annotate(recipe, folder / "clips", folder / "raw")
    curate(recipe, folder / "raw", folder / "clips", folder / "dataset")
    train(recipe, folder / "dataset", folder / "adapter")
    return SmallRun(folder / "clips", folder / "dataset", folder / "adapter")


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
                "train.verify_in_process=true",
                *overrides,
            ],
        )

    return make


@pytest.fixture(scope="session")
def tiny_processor(tiny_folder: Path) -> Any:
    """The processor of the untrained tiny base, for frames of up to 96x64 pixels."""
    from roadscribe.model.load import load_processor, resolve_base
    from roadscribe.recipe import Model

    return load_processor(resolve_base(Model(base=str(tiny_folder))), 6144)

"""What `plan` counts is what a run does, for every adapter, type, base, GPU and launch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import peft
import pytest
import torch
from transformers import AutoConfig

from roadscribe.errors import InputError
from roadscribe.estimate.gpus import GPUS
from roadscribe.estimate.model_shape import ModelShape, shape_of
from roadscribe.estimate.resolve import resolve
from roadscribe.estimate.train_setup import Host, TrainSetup, World
from roadscribe.estimate.workload import SampleSize, Workload
from roadscribe.model.load import load_base
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.plan.search import Case, candidate
from roadscribe.qwen3_vl.folded_linear import FoldedLinear4bit
from roadscribe.qwen3_vl.text_model import FusedTextModel, layer_forward
from roadscribe.qwen3_vl.vision_tower import CompiledBlock
from roadscribe.recipe import Model, Recipe, load_recipe
from roadscribe.train.prepare_model import apply_setup

ROWS = 1000
SAMPLE = SampleSize(300, 200, 50, 2, 96, 64)
WORLDS = {"1": World(), "2": World(2, 2), "fsdp": World(2, 2, sharded=True)}
HOST = Host(free_memory=0, cpus=4)


class Row(NamedTuple):
    """One combination. The recipe knows no DoRA (see the test below)."""

    dropout: float
    rank: int
    dtype: str
    quantization: str
    gpu: str
    world: str


ROWS_OF_TABLE = [
    Row(*one)
    for one in itertools.product(
        (0.0, 0.1),
        (4, 32),
        ("float16", "bfloat16", "float32"),
        ("nf4", "none"),
        ("cpu", "t4", "a100", "h200"),
        WORLDS,
    )
]


class Does(NamedTuple):
    """What a model does while it trains, read from the model itself."""

    fused: bool
    folded: bool
    dense: bool
    eight: bool
    layers_compiled: bool
    vision_compiled: bool
    keys_shared: bool


def recipe_of(row: Row) -> Recipe:
    overrides = {
        "lora.dropout": row.dropout,
        "lora.r": row.rank,
        "model.dtype": row.dtype,
        "model.quantization": row.quantization,
        "train.fp8_matmul": "auto",
        "train.epochs": 2,
    }
    return load_recipe(None, [f"{key}={value}" for key, value in overrides.items()])


def refused(row: Row) -> str | None:
    """What the line must name where a combination cannot run."""
    no_bf16, no_fp16 = row.gpu == "t4", row.gpu == "cpu" or row.world == "fsdp"
    if (row.dtype == "bfloat16" and no_bf16) or (row.dtype == "float16" and no_fp16):
        return "model.dtype"
    return None


@pytest.fixture(scope="module")
def shapes(tiny_folder: Path) -> dict[int, ModelShape]:
    config = AutoConfig.from_pretrained(str(tiny_folder))
    return {rank: shape_of(config, rank, LANGUAGE_LINEARS) for rank in (4, 32)}


@pytest.fixture(scope="module")
def bases(tiny_folder: Path) -> Iterator[Any]:
    def make(row: Row, seen: dict[tuple[Any, ...], Does], setup: TrainSetup) -> Does:
        """What a model does once this setup is applied to it; models that get the same are made once."""
        key = (
            row.dropout > 0,
            row.dtype,
            row.quantization,
            *(
                choice.value
                for choice in (
                    setup.attention,
                    setup.adapters,
                    setup.compile_layers,
                    setup.compile_vision,
                    setup.fp8_matmul,
                    setup.dequantize_weights,
                )
            ),
        )
        if key not in seen:
            seen[key] = _applied(tiny_folder, row, setup)
        return seen[key]

    yield make


def _applied(folder: Path, row: Row, setup: TrainSetup) -> Does:
    # Held in float32 on this machine; the setup alone says what a GPU would be given.
    model = Model(base=str(folder), quantization=row.quantization, dtype="float32")  # type: ignore[arg-type]
    base = load_base(model, max_pixels=6144, device=torch.device("cpu"))
    config = peft.LoraConfig(r=row.rank, lora_dropout=row.dropout, target_modules=list(LANGUAGE_LINEARS))
    tuned = peft.get_peft_model(base.model, config)
    base.dtype = getattr(torch, row.dtype)
    apply_setup(SimpleNamespace(model=tuned), base, setup)
    language = tuned.get_base_model().model.language_model
    fused = isinstance(language, FusedTextModel)
    spec = language.fused.spec if fused else None
    return Does(
        fused=fused,
        folded=any(isinstance(module, FoldedLinear4bit) for module in tuned.modules()),
        dense=spec is not None and base.quantized and not spec.groups[0].block and not spec.groups[0].eight,
        eight=spec is not None and spec.groups[0].eight,
        layers_compiled=fused and language.fused.forward is not layer_forward,
        vision_compiled=any(isinstance(module, CompiledBlock) for module in tuned.modules()),
        keys_shared=spec is None or spec.share,
    )


def test_plan_counts_what_a_run_does_in_every_combination(shapes: dict[int, ModelShape], bases: Any) -> None:
    work = Workload((SAMPLE,) * ROWS, ROWS, ROWS, SAMPLE.tokens * ROWS, SAMPLE.visual * ROWS)
    seen: dict[tuple[Any, ...], Does] = {}
    ran = 0
    for row in ROWS_OF_TABLE:
        recipe, shape, world = recipe_of(row), shapes[row.rank], WORLDS[row.world]
        gpu = None if row.gpu == "cpu" else GPUS[row.gpu]
        if (named := refused(row)) is not None:
            with pytest.raises(InputError, match=named):
                resolve(recipe, shape, work, gpu, world, HOST)
            continue
        run = resolve(recipe, shape, work, gpu, world, HOST)
        does = bases(row, seen, run)
        planned = run.step
        if gpu is not None:
            found = candidate(recipe.train, Case(recipe, shape, work, gpu, world))
            planned = found.setup.step
            # Where the host's memory would have room for features is all that a plan leaves open, and workers.
            open_ones = ("visual features", "workers")
            shown = [
                [one for one in part.shown() if one.name not in open_ones] for part in (run, found.setup)
            ]
            assert shown[0] == shown[1], row
            assert run.step == found.setup.step, row
        counted = (planned.fused, planned.eight, planned.dense, planned.compiled)
        dense = does.dense or (does.eight and row.quantization == "nf4")
        assert counted == (does.fused, does.eight, dense, does.layers_compiled), row
        assert planned.features == 0 or run.vision_cache.value.value == "gpu", row
        # What is said is what is done.
        said = {one.name: one.value for one in run.shown()}
        assert said["compiled layers"] == ("on" if does.layers_compiled else "off"), row
        assert said["compiled vision encoder"] == ("on" if does.vision_compiled else "off"), row
        assert said["products"] == f"in {8 if does.eight else 16} bits", row
        assert said.get("dense weights", "off") == ("on" if does.dense else "off"), row
        assert (said["adapters"] == "fused", said["adapters"].startswith("folded")) == does[:2], row
        assert does.keys_shared or row.gpu == "t4", row
        ran += 1
    # 48 of 288 are refused: bfloat16 on a T4, float16 on a CPU or sharded.
    assert ran == len(ROWS_OF_TABLE) - sum(refused(row) is not None for row in ROWS_OF_TABLE) >= 200


def test_dora_is_no_option_so_no_combination_has_it() -> None:
    with pytest.raises(InputError, match=r"unknown key `lora\.dora`"):
        load_recipe(None, ["lora.dora=true"])

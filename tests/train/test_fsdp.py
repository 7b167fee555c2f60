"""FSDP: cards that share the layers learn what one process learns, 4-bit weights included.

On two processes of a CPU with gloo; accelerate itself shards on cards only (see `launched`). What this cannot show is
NCCL, CUDA's 4-bit kernels and a model that does not fit one card.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from launched import launch
from test_distributed import arguments, kill_after, of_one_process, require_same_run

from roadscribe.errors import InputError, WorkError
from roadscribe.estimate.resolve import check_insisted
from roadscribe.estimate.train_setup import World
from roadscribe.model.load import load_base
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.train import fsdp as sharding
from roadscribe.train.train import train

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def recipe(recipe_for: Callable[..., Recipe]) -> Recipe:
    return recipe_for("train.max_steps=4", "train.save_steps=2", "train.gradient_checkpointing=true")


@pytest.mark.heavy
def test_cards_that_share_4_bit_layers_learn_what_one_learns(
    recipe: Recipe, eight_rows: Path, tmp_path: Path
) -> None:
    launched = launch(arguments(recipe, eight_rows, tmp_path / "two", tmp_path), tmp_path / "logs", fsdp=True)
    one = train(of_one_process(recipe), eight_rows, tmp_path / "one")
    assert launched.end() == [0, 0], launched.said(0)
    assert any("off (FSDP shards the layers)" in line for line in launched.said(0))
    assert any("read back from disk" in line for line in launched.said(0))
    assert launched.said(1) == []
    require_same_run(tmp_path / "two", one)


@pytest.mark.heavy
@pytest.mark.parametrize("quantization", ["nf4", "none"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sharded_runs_that_are_killed_resume(
    recipe: Recipe, eight_rows: Path, tmp_path: Path, quantization: str, dtype: str
) -> None:
    model = recipe.model.model_copy(update={"quantization": quantization, "dtype": dtype})
    recipe = recipe.model_copy(update={"model": model})
    out = tmp_path / "two"
    command = arguments(recipe, eight_rows, out, tmp_path)
    kill_after(launch(command, tmp_path / "killed", fsdp=True), out, 3)
    resumed = launch([*command, "--resume"], tmp_path / "resumed", fsdp=True)
    assert resumed.end() == [0, 0], resumed.said(0)
    whole = launch(
        arguments(recipe, eight_rows, tmp_path / "whole", tmp_path), tmp_path / "undisturbed", fsdp=True
    )
    assert whole.end() == [0, 0], whole.said(0)
    require_same_run(out, tmp_path / "whole")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.eval_steps=5", "no process of an FSDP run holds a whole model"),
        ("train.compile=true", r"train\.compile: needs whole layers"),
        ("train.dequantize_weights=true", r"train\.dequantize_weights: needs whole layers"),
        ("train.fp8_matmul=true", r"train\.fp8_matmul: needs whole layers"),
    ],
)
def test_what_sharding_cannot_do_is_refused_before_anything_is_loaded(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_insisted(load_recipe(None, [override]), None, World(2, 2, sharded=True))


def test_a_wrong_configuration_of_accelerate_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in sharding.LAUNCH.items():
        monkeypatch.setenv(key.upper(), value)
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(InputError, match="fsdp_version is 1; set it to 2"):
        sharding.check_launch()


def test_the_shipped_configuration_is_what_accelerate_and_training_want() -> None:
    path = RECIPES / "fsdp.accelerate.yaml"
    config = load_config_from_file(str(path))
    assert (str(config.distributed_type), config.num_processes) == ("DistributedType.FSDP", 2)
    fsdp = yaml.safe_load(path.read_text())["fsdp_config"]
    assert {key: str(fsdp[key]).lower() for key in sharding.LAUNCH} == {
        key: value.lower() for key, value in sharding.LAUNCH.items()
    }
    assert fsdp["fsdp_transformer_layer_cls_to_wrap"] == sharding.LAYER
    sharded_recipe = load_recipe(RECIPES / "fsdp-qwen3-vl-8b.yaml")
    whole = load_recipe(RECIPES / "gpu-qwen3-vl-8b.yaml")
    assert (sharded_recipe.lora, sharded_recipe.footage) == (whole.lora, whole.footage)
    seen = [r.train.batch_size * r.train.gradient_accumulation for r in (sharded_recipe, whole)]
    assert seen[0] * config.num_processes == seen[1]


@pytest.mark.parametrize("storage", [torch.uint8, torch.float32])
def test_a_4_bit_weight_that_changed_by_one_bit_is_noticed(recipe: Recipe, storage: torch.dtype) -> None:
    loaded = load_base(recipe.model, max_pixels=6144, to_shard=storage == torch.float32)
    before = sharding.codes(loaded.model)
    assert len(before) == 42 and sharding.codes(loaded.model) == before
    weight = loaded.model.model.language_model.layers[1].mlp.up_proj.weight
    assert weight.dtype == storage
    weight.data.view(torch.uint8)[7] ^= 1
    changed = [name for name, code in sharding.codes(loaded.model).items() if code != before[name]]
    assert changed == ["model.language_model.layers.1.mlp.up_proj"]
    with pytest.raises(
        WorkError, match=r"is not what it was before FSDP sharded it; set model\.quantization=none"
    ):
        sharding.assert_sharded(loaded.model, before)

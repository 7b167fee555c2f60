"""Every decision on how a run computes follows from recipe, model, dataset, GPU and launch, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from roadscribe.errors import InputError
from roadscribe.estimate.gpus import GPUS, Gpu
from roadscribe.estimate.model_shape import ModelShape, shape_of
from roadscribe.estimate.resolve import check_insisted, resolve, why_not_fused
from roadscribe.estimate.train_setup import AdapterPath, Attention, Host, TrainSetup, VisionCache, World
from roadscribe.estimate.workload import SampleSize, Workload
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.recipe import load_recipe

GIB = 2**30
SAMPLE = SampleSize(tokens=300, visual=200, answer=50, frames=2, width=320, height=320)
HOPPER = GPUS["h200"]
PLENTY = Host(free_memory=500 * GIB, cpus=16)


@pytest.fixture(scope="module")
def shape(tiny_folder: Path) -> ModelShape:
    return shape_of(AutoConfig.from_pretrained(str(tiny_folder)), 8, LANGUAGE_LINEARS)


def work(rows: int = 1000, clips: int | None = None, visual: int = 200) -> Workload:
    return Workload(
        (SAMPLE,) * rows,
        rows=rows,
        clips=clips or rows,
        row_tokens=SAMPLE.tokens * rows,
        visual_tokens=visual * (clips or rows),
    )


def setup(
    shape: ModelShape,
    *overrides: str,
    gpu: Gpu | None = HOPPER,
    work: Workload = work(),
    world: World = World(),
    host: Host | None = PLENTY,
) -> TrainSetup:
    return resolve(load_recipe(None, list(overrides)), shape, work, gpu, world, host)


@pytest.mark.parametrize(
    ("asked", "gib", "memory", "kept"),
    [
        ("auto", 2.6, 15, True),
        ("auto", 13, 24, False),
        ("auto", 13, 80, True),
        ("true", 13, 15, True),
        ("false", 1, 140, False),
    ],
)
def test_weights_are_kept_dequantised_where_there_is_room_or_as_asked(
    shape: ModelShape, asked: str, gib: float, memory: float, kept: bool
) -> None:
    side = round((gib * GIB / 2) ** 0.5)
    large = shape._replace(linears=((side, side),))
    gpu = HOPPER._replace(memory_gib=memory)
    choice = setup(large, f"train.dequantize_weights={asked}", gpu=gpu).dequantize_weights
    assert choice.value is kept
    assert f"{gib:.1f} GiB" in choice.why


def test_layers_are_compiled_where_a_run_is_long_enough_to_pay_for_it(shape: ModelShape) -> None:
    def compiled(gpu: Gpu | None, rows: int, asked: str = "auto") -> bool:
        found = setup(shape, "train.batch_size=1", f"train.compile={asked}", gpu=gpu, work=work(rows))
        assert found.compile_layers == found.compile_vision
        return found.compile_layers.value

    assert compiled(HOPPER, 1000) and not compiled(HOPPER, 10)
    assert not compiled(None, 10**4) and compiled(None, 1, "true")


def test_dropout_on_a_gpu_leaves_the_decoder_layers_eager_and_says_so(shape: ModelShape) -> None:
    found = setup(shape, "lora.dropout=0.1", "train.fp8_matmul=auto")
    assert found.adapters.value is AdapterPath.PEFT
    assert not found.compile_layers.value and found.compile_vision.value
    assert not found.dequantize_weights.value and not found.fp8_matmul.value
    lines = found.lines()
    assert "compiled layers: off (needs LoRA on all seven projections, without dropout)" in lines
    assert any(line.startswith("compiled vision encoder: on (a minute's work") for line in lines)
    with pytest.raises(InputError, match=r"train\.dequantize_weights: needs LoRA .* set it to auto"):
        setup(shape, "lora.dropout=0.1", "train.dequantize_weights=true")


def test_an_adapter_or_a_base_that_cannot_be_fused_says_why(shape: ModelShape) -> None:
    lora = load_recipe().lora
    assert why_not_fused(lora, shape) is None
    assert "dropout" in str(why_not_fused(lora.model_copy(update={"dropout": 0.1}), shape))
    assert "seven" in str(why_not_fused(lora.model_copy(update={"targets": ("q_proj",)}), shape))
    odd = shape._replace(odd_layers="the base's layers have a bias")
    assert why_not_fused(lora, odd) == "the base's layers have a bias"
    assert setup(odd).adapters.value is AdapterPath.PEFT


def test_a_base_with_a_bias_is_not_fused(tiny_folder: Path) -> None:
    config = AutoConfig.from_pretrained(str(tiny_folder))
    config.text_config.attention_bias = True
    assert "bias" in str(shape_of(config, 8, LANGUAGE_LINEARS).odd_layers)


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ((), AdapterPath.FOLDED),
        (("model.dtype=bfloat16",), AdapterPath.PEFT),
        (("model.quantization=none",), AdapterPath.PEFT),
        (("lora.dropout=0.1",), AdapterPath.PEFT),
        (("train.compile=true",), AdapterPath.FUSED),
        (("train.dequantize_weights=false",), AdapterPath.FUSED),
    ],
)
def test_a_cpu_folds_adapters_into_the_weight_in_float32(
    shape: ModelShape, overrides: tuple[str, ...], path: AdapterPath
) -> None:
    found = setup(shape, *overrides, gpu=None)
    assert found.adapters.value is path and found.attention.value is Attention.CPU


def test_auto_takes_8_bits_on_hopper_where_they_pay_and_says_why_not_elsewhere(shape: ModelShape) -> None:
    def chosen(asked: str = "auto", age: Any = (9, 0), *overrides: str, rows: int = 1000) -> Any:
        gpu = None if age is None else HOPPER._replace(name="CARD", capability=age)
        asks = (f"train.fp8_matmul={asked}", *overrides)
        return setup(shape, *asks, gpu=gpu, work=work(rows)).fp8_matmul

    assert chosen().value and chosen(age=(10, 0)).value and chosen("true", (8, 9)).value
    on_cpu = ("model.dtype=bfloat16", "train.compile=false", "train.dequantize_weights=false")
    assert chosen("true", None, *on_cpu).value
    assert not chosen("false").value
    for says, choice in (
        ("Hopper alone", chosen(age=(8, 9))),
        ("Hopper alone", chosen("auto", None, "model.dtype=bfloat16")),
        ("older than Ada", chosen(age=(8, 6))),
        ("float16", chosen("auto", (9, 0), "model.dtype=float16")),
        ("compiled layers", chosen(rows=10)),
        ("4-bit base", chosen("auto", (9, 0), "model.quantization=none")),
        ("train.dequantize_weights", chosen("auto", (9, 0), "train.dequantize_weights=false")),
    ):
        assert not choice.value and says in choice.why
    with pytest.raises(InputError, match="CARD is older than Ada and Hopper; set it to auto"):
        chosen("true", (8, 6))


@pytest.mark.parametrize(
    ("asked", "epochs", "gpu_bytes", "host_bytes", "where"),
    [
        ("auto", 2, 1.0, 0.0, VisionCache.GPU),
        ("auto", 2, 0.0, 1.0, VisionCache.HOST),
        ("auto", 2, 0.0, 0.9, VisionCache.OFF),
        ("auto", 1, 1.0, 1.0, VisionCache.OFF),
        ("true", 1, 1.0, 0.0, VisionCache.GPU),
        ("false", 9, 1.0, 1.0, VisionCache.OFF),
    ],
)
def test_features_are_kept_in_the_first_place_with_room_where_a_clip_comes_by_again(
    shape: ModelShape, asked: str, epochs: int, gpu_bytes: float, host_bytes: float, where: VisionCache
) -> None:
    asks = (f"train.cache_vision_features={asked}", f"train.epochs={epochs}")
    large = work(100, visual=10**7)
    size = setup(shape, work=large, host=None).vision_cache_bytes
    gpu = HOPPER._replace(memory_gib=10 * size / GIB if gpu_bytes else 1.0)
    # Half of what is free may be taken.
    found = setup(shape, *asks, gpu=gpu, work=large, host=Host(2 * host_bytes * size, 4))
    assert found.vision_cache.value is where
    assert found.step.features == (size if where is VisionCache.GPU else 0)


def test_features_that_must_be_kept_and_have_no_room_are_one_line(shape: ModelShape) -> None:
    large = work(100, visual=10**9)
    with pytest.raises(
        InputError, match=r"train\.cache_vision_features: they would take .* in memory; set it to auto"
    ):
        setup(shape, "train.cache_vision_features=true", work=large, host=Host(0, 4))
    # A plan does not know the machine that will run it.
    assert (
        "machine's memory"
        in setup(shape, "train.cache_vision_features=true", work=large, host=None).vision_cache.why
    )


def test_cards_that_share_the_layers_take_pefts_and_keep_no_features_on_the_card(shape: ModelShape) -> None:
    sharded = World(2, 2, sharded=True)
    found = setup(shape, "train.epochs=3", "train.fp8_matmul=auto", world=sharded)
    assert found.adapters.value is AdapterPath.PEFT and found.vision_cache.value is VisionCache.HOST
    assert not any(
        choice.value
        for choice in (found.compile_layers, found.compile_vision, found.dequantize_weights, found.fp8_matmul)
    )
    with pytest.raises(InputError, match=r"model\.dtype: FSDP runs in bfloat16 or float32"):
        check_insisted(load_recipe(None, ["model.dtype=float16"]), HOPPER, sharded)


@pytest.mark.parametrize(
    ("gpu", "attention"),
    [
        ("t4", Attention.REPEATED_KEYS),
        ("a100", Attention.FLASH),
        ("l4", Attention.FLASH),
        ("h100", Attention.CUDNN),
    ],
)
def test_attention_takes_the_kernels_that_the_card_has(
    shape: ModelShape, gpu: str, attention: Attention
) -> None:
    assert setup(shape, gpu=GPUS[gpu]).attention.value is attention


def test_workers_leave_a_core_to_the_trainer(shape: ModelShape) -> None:
    def workers(cpus: int, local: int = 1, gpu: Gpu | None = HOPPER, *overrides: str) -> int:
        return setup(shape, *overrides, gpu=gpu, world=World(local, local), host=Host(0, cpus)).workers.value

    assert [workers(64), workers(4), workers(1), workers(8, 2)] == [8, 3, 1, 3]
    assert workers(64, 1, None) == 0 and workers(64, 1, None, "train.workers=3") == 3


def test_resolving_twice_gives_the_same_and_what_was_resolved_cannot_be_changed(shape: ModelShape) -> None:
    one, other = setup(shape), setup(shape)
    assert one == other
    with pytest.raises(AttributeError):
        one.batch = other.batch  # type: ignore[misc]
    assert all(shown.value and shown.why for shown in one.shown())

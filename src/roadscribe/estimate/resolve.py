"""Resolves a recipe for a model, a dataset and a GPU: the one place that decides how a fine-tuning run computes.

`resolve` is pure: everything it depends on is an argument. `plan` prints and searches over what it returns, `train`
prints and applies it, and nothing else decides.
"""

from __future__ import annotations

from roadscribe.choice import Choice
from roadscribe.errors import InputError
from roadscribe.estimate.gpus import Gpu
from roadscribe.estimate.memory import (
    Compute,
    Prediction,
    StepSetup,
    feature_bytes,
    linear_bytes,
    predict,
)
from roadscribe.estimate.model_shape import ModelShape
from roadscribe.estimate.train_setup import AdapterPath, Attention, Host, TrainSetup, VisionCache, World
from roadscribe.estimate.workload import Batch, Workload, cut_steps, rows_per_step, sequences_seen
from roadscribe.model.dtype import DtypeName, choose_dtype
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.recipe import Lora, Recipe, Switch, Train

GIB = 2**30
ROOM_FOR_DENSE = 4.0
"""Dequantised weights are kept where the GPU has this many times their size."""
FEWEST_PASSES = 100
"""Compiling takes about a minute, which fewer passes do not save."""
SPARE = 0.08
"""Share of the GPU's memory that a proposed setup leaves free, for what no plan foresees."""
DOUBT_MEASURED, DOUBT_COUNTED = 0.1, 0.25
"""Shares of a run's predicted memory that cached vision features leave free besides."""
SHARE_OF_MEMORY = 0.5
"""Of the host's free memory, that cached vision features may take."""
MODEST = 2**30
"""Bytes that cached vision features may take in a CPU run unless insisted on, and in any run where the system does not
say what is free."""
MOST_WORKERS = 8
SHARDED = "FSDP shards the layers"
NOT_4_BIT = "the base is not 4-bit"


def resolve(
    recipe: Recipe,
    model: ModelShape,
    work: Workload,
    gpu: Gpu | None,
    world: World = World(),
    host: Host | None = None,
) -> TrainSetup:
    """Decide how a run of the recipe computes.

    Args:
        recipe: `model`, `lora` and `train` count.
        model: the base with the recipe's adapter.
        work: the dataset, its rows grouped as the recipe says.
        gpu: what each process computes on; None is a CPU.
        world: the processes.
        host: the machine at the start of the run; None leaves open what depends on it (`plan`).

    Raises:
        InputError: the recipe insists on something that cannot be had here.
    """
    check_insisted(recipe, gpu, world)
    train, quantized = recipe.train, recipe.model.quantization == "nf4"
    dtype = _dtype(recipe, gpu)
    itemsize = 4 if dtype.value == "float32" else 2
    batch = _batch(train, work)
    total = sequences_seen(train, batch.value, len(work.sizes), world.processes)
    whole = SHARDED if world.sharded else None
    why_not = whole or why_not_fused(recipe.lora, model)
    adapters = _adapters(recipe, why_not, dtype.value, gpu, world)
    fused = adapters.value is AdapterPath.FUSED
    compiled = (
        Choice(False, whole) if whole else _compile(train.compile, gpu, int(total / batch.value.batch_size))
    )
    layers = Choice(False, adapters.why) if compiled.value and not fused else compiled
    if train.dequantize_weights is True and why_not is not None and quantized:
        raise InputError(f"train.dequantize_weights: {why_not}; set it to auto")
    if adapters.value is AdapterPath.FOLDED:
        dense = Choice(False, "the folded weight is written anew in each pass")
    elif not fused or not quantized:
        dense = Choice(False, NOT_4_BIT if fused else adapters.why)
    else:
        dense = _dequantize(train.dequantize_weights, linear_bytes(model, itemsize), gpu)
    fp8 = _fp8(
        train.fp8_matmul,
        _why_not_fp8(why_not, dtype.value, gpu),
        _why_fp8_does_not_pay(gpu, layers.value, quantized, dense.value),
    )
    if fp8.value and dense.value:
        dense = Choice(False, "the weights are kept in 8 bits instead")
    step = StepSetup(
        batch_size=batch.value.batch_size,
        accumulation=batch.value.gradient_accumulation,
        checkpointing=train.gradient_checkpointing,
        dense=(dense.value or fp8.value) and quantized,
        compiled=layers.value,
        quantized=quantized,
        fused=fused,
        processes=world.processes,
        eight=fp8.value,
    )
    compute = Compute(itemsize, flash=gpu is not None and gpu.flash, masked=work.shares)
    size = int(feature_bytes(work.visual_tokens, model.deepstack, model.hidden, itemsize))
    cache = _vision_cache(
        train.cache_vision_features, total / work.clips, size, model, work, step, compute, gpu, world, host
    )
    if cache.value is VisionCache.GPU:
        step = step._replace(features=size)
    return TrainSetup(
        dtype=dtype,
        attention=_attention(gpu),
        shared_prefix=_shared_prefix(train, work),
        batch=batch,
        checkpointing=Choice(
            train.gradient_checkpointing,
            "activations are computed again in the backward pass"
            if train.gradient_checkpointing
            else "the recipe keeps the activations",
        ),
        adapters=adapters,
        compile_layers=layers,
        compile_vision=compiled,
        fp8_matmul=fp8,
        dequantize_weights=dense,
        vision_cache=cache,
        vision_cache_bytes=size,
        workers=_workers(train.workers, gpu, world, host),
        step=step,
        compute=compute,
    )


def check_insisted(recipe: Recipe, gpu: Gpu | None, world: World) -> None:
    """Compare what the recipe insists on with what GPU and launch can do, before a dataset is read.

    Raises:
        InputError: naming the key and what to set.
    """
    train, dtype = recipe.train, _dtype(recipe, gpu).value
    if world.sharded:
        if train.eval_steps:
            raise InputError(
                "train.eval_steps: no process of an FSDP run holds a whole model that could write reports; "
                "set train.eval_steps=0 and evaluate the finished adapter"
            )
        for key in ("dequantize_weights", "compile", "fp8_matmul"):
            if getattr(train, key) is True:
                raise InputError(f"train.{key}: needs whole layers, which FSDP does not keep; set it to auto")
        if dtype == "float16":
            raise InputError(
                "model.dtype: FSDP runs in bfloat16 or float32; on these cards start with torchrun instead"
            )
    why_not = _why_not_lora(recipe.lora)
    if train.dequantize_weights is True and why_not is not None and recipe.model.quantization == "nf4":
        raise InputError(f"train.dequantize_weights: {why_not}; set it to auto")
    _fp8(train.fp8_matmul, _why_not_fp8(why_not, dtype, gpu), None)


def why_not_fused(lora: Lora, model: ModelShape) -> str | None:
    """Why the adapter cannot take the fused pass (`qwen3_vl.text_model`), or None where it can."""
    return _why_not_lora(lora) or model.odd_layers


def _why_not_lora(lora: Lora) -> str | None:
    if set(lora.targets) == set(LANGUAGE_LINEARS) and not lora.dropout:
        return None
    return "needs LoRA on all seven projections, without dropout"


def _dtype(recipe: Recipe, gpu: Gpu | None) -> Choice[DtypeName]:
    if gpu is None:
        return choose_dtype(recipe.model.dtype, "cpu")
    return choose_dtype(recipe.model.dtype, "cuda", gpu.name, gpu.bf16)


def _attention(gpu: Gpu | None) -> Choice[Attention]:
    if gpu is None:
        return Choice(Attention.CPU, "the CPU's fused kernel")
    if not gpu.flash:
        why = f"memory-efficient kernel, keys repeated; {gpu.name} has no flash"
        return Choice(Attention.REPEATED_KEYS, why)
    if gpu.cudnn_attention:
        return Choice(Attention.CUDNN, "flash kernels, which keep no pairs; cuDNN's first, the fastest here")
    return Choice(Attention.FLASH, "flash kernels, which keep no pairs")


def _shared_prefix(train: Train, work: Workload) -> Choice[bool]:
    if not train.shared_prefix:
        return Choice(False, "train.shared_prefix=false; every answer reads its clip anew")
    if not work.shares:
        return Choice(False, "no two rows that fit into one step show the same clip")
    fewer = work.row_tokens / sum(size.tokens for size in work.sizes)
    return Choice(
        True,
        f"{work.rows} rows become {len(work.sizes)} sequences with {fewer:.1f} times fewer tokens; answers that "
        "share a clip see it once, and not each other",
    )


def _batch(train: Train, work: Workload) -> Choice[Batch]:
    asked = Batch(train.batch_size, train.gradient_accumulation)
    if not work.shares:
        return Choice(asked, "as the recipe says")
    cut = cut_steps(asked, work.rows, len(work.sizes))
    rows = rows_per_step(cut, work.rows, len(work.sizes))
    return Choice(cut, f"sequences: {rows:.1f} rows per step on average, {asked.sequences} asked for")


def _adapters(
    recipe: Recipe, why_not: str | None, dtype: DtypeName, gpu: Gpu | None, world: World
) -> Choice[AdapterPath]:
    train = recipe.train
    left_open = (
        train.dequantize_weights == "auto" and train.compile == "auto" and train.fp8_matmul is not True
    )
    if gpu is None and left_open and not world.sharded:
        if recipe.lora.dropout:
            return Choice(AdapterPath.PEFT, "the adapters have dropout")
        if recipe.model.quantization != "nf4":
            return Choice(AdapterPath.PEFT, NOT_4_BIT)
        if dtype != "float32":
            return Choice(AdapterPath.PEFT, "in half precision a small update would vanish in the weight")
        return Choice(AdapterPath.FOLDED, "the quickest on a CPU")
    if why_not is not None:
        return Choice(AdapterPath.PEFT, why_not)
    return Choice(AdapterPath.FUSED, "weight and adapter share a product")


def _compile(asked: Switch, gpu: Gpu | None, passes: int) -> Choice[bool]:
    """Whether to compile, for a run of so many forward and backward passes."""
    if asked != "auto":
        return Choice(asked, "asked for")
    if gpu is None:
        return Choice(False, "on a CPU it gains little")
    if passes < FEWEST_PASSES:
        return Choice(False, f"{passes} passes are over before it pays")
    return Choice(True, f"a minute's work that {passes} passes pay back")


def _dequantize(asked: Switch, weight_bytes: int, gpu: Gpu | None) -> Choice[bool]:
    """Whether to keep the language model's weights dequantised, which take so many bytes."""
    size = f"{weight_bytes / GIB:.1f} GiB"
    if asked != "auto":
        return Choice(asked, f"asked for; they take {size}")
    memory = 0 if gpu is None else int(gpu.memory_gib * GIB)
    if weight_bytes * ROOM_FOR_DENSE <= memory:
        return Choice(True, f"the card has room for {size}")
    return Choice(False, f"they would take {size} of {memory / GIB:.0f} GiB")


def _why_not_fp8(why_not_fused: str | None, dtype: DtypeName, gpu: Gpu | None) -> str | None:
    """Why 8-bit products cannot be had, or None where they can; a CPU can, slowly, to try things out."""
    if why_not_fused is not None:
        return why_not_fused
    if dtype != "bfloat16":
        return f"the model computes in {dtype}, and only bfloat16 goes with it"
    if gpu is not None and not gpu.fp8:
        return f"{gpu.name} is older than Ada and Hopper"
    return None


def _why_fp8_does_not_pay(gpu: Gpu | None, compiled: bool, quantized: bool, room: bool) -> str | None:
    """Why ``auto`` leaves 8 bits alone that could be had, or None where it was measured to pay."""
    if gpu is None or not gpu.fp8_pays:
        return "8 were measured on Hopper alone"
    if not compiled:
        return "8 pay in compiled layers"
    if not quantized:
        return "8 were measured with a 4-bit base, which is coarser already"
    return None if room else "8 need weights beside the 4-bit ones (train.dequantize_weights)"


def _fp8(asked: Switch, cannot: str | None, does_not_pay: str | None) -> Choice[bool]:
    """Whether to multiply in 8 bits.

    Raises:
        InputError: it is asked for and cannot be had.
    """
    if asked is False:
        return Choice(False, "8 are not asked for")
    if asked is True:
        if cannot is not None:
            raise InputError(f"train.fp8_matmul: {cannot}; set it to auto")
        return Choice(True, "asked for; not quite the same function as in 16")
    why_not = cannot or does_not_pay
    if why_not is not None:
        return Choice(False, why_not)
    return Choice(True, "faster here; each factor is rounded to some 3 %, set it to false for 16")


def room_beside(prediction: Prediction, gpu: Gpu) -> float:
    """Bytes that a run leaves on its GPU, with room for what the prediction does not know."""
    doubt = DOUBT_MEASURED if prediction.measured else DOUBT_COUNTED
    return (1 - SPARE) * gpu.memory_gib * GIB - (1 + doubt) * prediction.needed


def _vision_cache(
    asked: Switch,
    uses: float,
    size: int,
    model: ModelShape,
    work: Workload,
    step: StepSetup,
    compute: Compute,
    gpu: Gpu | None,
    world: World,
    host: Host | None,
) -> Choice[VisionCache]:
    """Where to keep ``size`` bytes of features, each used ``uses`` times by this process in the whole run.

    Raises:
        InputError: they must be kept, and there is no room.
    """
    if not asked:
        return Choice(VisionCache.OFF, "asked for")
    if asked == "auto" and uses <= 1:
        return Choice(VisionCache.OFF, "each clip is looked at once")
    kept = f"each clip is looked at {uses:.1f} times and they take {size / 2**20:,.0f} MiB"
    rooms = []
    if gpu is not None and not world.sharded:
        on_gpu = room_beside(predict(model, work.sizes, step, compute, work.evaluation), gpu)
        if size <= on_gpu:
            return Choice(VisionCache.GPU, kept)
        rooms.append(f"{max(0.0, on_gpu) / 2**20:,.0f} MiB on the card")
    if host is not None:
        in_memory = _host_room(asked, model.base * compute.itemsize, gpu, world, host)
        if size <= in_memory:
            return Choice(VisionCache.HOST, kept)
        rooms.append(f"{in_memory / 2**20:,.0f} MiB in memory")
    why = f"they would take {size / 2**20:,.0f} MiB; there is room for {', '.join(rooms) or 'none'}"
    if host is None:
        why += "; `train` looks whether the machine's memory has it"
    elif asked is True:
        raise InputError(f"train.cache_vision_features: {why}; set it to auto, or use fewer clips or frames")
    return Choice(VisionCache.OFF, why)


def _host_room(asked: Switch, base_bytes: int, gpu: Gpu | None, world: World, host: Host) -> float:
    if host.free_memory is None:
        return MODEST
    if gpu is not None:
        return SHARE_OF_MEMORY * host.free_memory / world.local
    # On a CPU the base itself has yet to be loaded into the same memory.
    room = SHARE_OF_MEMORY * max(0.0, host.free_memory / world.local - base_bytes)
    return room if asked is True else min(room, MODEST)


def _workers(asked: int | None, gpu: Gpu | None, world: World, host: Host | None) -> Choice[int]:
    if asked is not None:
        return Choice(asked, "asked for")
    if gpu is None:
        return Choice(0, "on a CPU the cores are needed for training")
    count = MOST_WORKERS if host is None else max(1, min(MOST_WORKERS, host.cpus // world.local - 1))
    return Choice(count, "per card; images are prepared while the card trains")

"""Time of a fine-tuning run: floating-point operations, divided by what a GPU was measured to reach."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from roadscribe.estimate.gpus import GPUS, Gpu
from roadscribe.estimate.memory import MEASURED, StepSetup, read_measured
from roadscribe.estimate.model_shape import ModelShape
from roadscribe.estimate.workload import SampleSize
from roadscribe.qwen3_vl.processor import MERGE

MEASURED_ON = "h200"
"""The GPU from which others are estimated."""
REWRITE_BYTES = 0.5625 + 3 * 2
"""Memory traffic of writing one 4-bit weight out in 16 bits: read with its scale, written, and copied beside the
adapter's columns."""


class Speed(NamedTuple):
    """What a GPU reaches: TFLOP/s of language model and vision encoder, and a layer's least time in a pass."""

    language_tflops: float
    vision_tflops: float
    layer_s: float
    bandwidth_gbs: float
    """Of the data sheet: for weights written out in each pass."""
    basis: str
    """Where these numbers come from, in words."""


class Flops(NamedTuple):
    """Floating-point operations of a stretch of training."""

    language: float
    vision: float


class Duration(NamedTuple):
    """The predicted time of a run."""

    seconds: float
    sequences_a_second: float
    language_s: float
    """Of ``seconds``; the other two likewise."""
    vision_s: float
    launch_s: float
    rewrite_s: float
    basis: str
    """`Speed.basis`."""


def gpu_speed(gpu: Gpu, *, compiled: bool, fp8: bool = False, path: Path = MEASURED) -> Speed | None:
    """What a GPU reaches, measured or reckoned, with products in 8 bits or in 16; None where its data sheet is not
    in the table."""
    if gpu.peak_tflops is None or gpu.bandwidth_gbs is None:
        return None
    measured = read_measured(path)["time"]
    here = gpu.key in measured
    values = measured[gpu.key if here else MEASURED_ON]["compiled" if compiled else "eager"]
    if not here:
        basis = f"estimated, not measured: from {GPUS[MEASURED_ON].name} by both cards' data sheets"
    elif values["whole_steps"]:
        basis = f"measured on {gpu.name}"
    else:
        basis = f"estimated from parts measured on {gpu.name}"
    language = values["language"]
    if fp8 and "language_8_bits" in values:
        language = values["language_8_bits"]
    elif fp8:
        basis += ", with products in 16 bits"
    # A smaller GPU takes longer for what a layer costs at least, too: that is memory traffic for a good part.
    longer = 1.0 if here else (GPUS[MEASURED_ON].peak_tflops or 0) / gpu.peak_tflops
    return Speed(
        language * gpu.peak_tflops,
        values["vision"] * gpu.peak_tflops,
        values["layer_ms"] / 1000 * longer,
        gpu.bandwidth_gbs,
        basis,
    )


def micro_batches(sizes: Sequence[SampleSize], batch_size: int, seed: int) -> list[list[SampleSize]]:
    """The dataset in shuffled micro-batches; the last may be short."""
    order = list(sizes)
    random.Random(seed).shuffle(order)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def batch_flops(shape: ModelShape, batch: Sequence[SampleSize], *, checkpointing: bool) -> Flops:
    """Operations of one micro-batch, padded to its longest sample; a multiplication with an addition counts two.

    Forward, every linear takes 2 a weight and token; backward, 2 for the gradient of its input (the weight is
    frozen), and adapters twice their forward. Causal attention multiplies half of all pairs twice forward and
    five times backward (flash attention computes the scores anew). Checkpointing repeats the forward pass. The
    head's logits and their gradient are for answer tokens alone. The vision encoder runs forward only; within a
    frame its attention is over all pairs.
    """
    length = max(size.tokens for size in batch)
    tokens = len(batch) * length
    pairs = len(batch) * length * length / 2
    attention = 4 * shape.heads * shape.head_dim * shape.layers * pairs
    forward = 2 * tokens * (shape.linear_parameters + shape.adapter) + attention
    backward = 2 * tokens * (shape.linear_parameters + 2 * shape.adapter) + 2.5 * attention
    head = 4 * sum(size.answer for size in batch) * shape.hidden * shape.vocabulary
    language = forward * (2 if checkpointing else 1) + backward + head
    vision = sum(
        2 * size.patches * shape.vision_blocks
        + 2 * size.visual * shape.vision_mergers
        + 4 * shape.vision_hidden * shape.vision_depth * size.patches * _patches_a_frame(size)
        for size in batch
    )
    return Flops(language, vision)


def _patches_a_frame(size: SampleSize) -> float:
    return size.visual * MERGE * MERGE / max(1, size.frames)


def duration(
    shape: ModelShape,
    sizes: Sequence[SampleSize],
    step: StepSetup,
    speed: Speed,
    passes: float,
    seed: int,
    seen: float | None = None,
) -> Duration:
    """Predicted time of ``passes`` over the dataset, without loading, saving and evaluating; in ``seen`` of them
    (all, if None) the vision encoder is at work."""
    batches = micro_batches(sizes, step.batch_size, seed)
    flops = [batch_flops(shape, batch, checkpointing=step.checkpointing) for batch in batches]
    language_s = passes * sum(one.language for one in flops) / (speed.language_tflops * 1e12)
    vision_s = (
        (passes if seen is None else seen) * sum(one.vision for one in flops) / (speed.vision_tflops * 1e12)
    )
    launch_s = passes * len(batches) * layer_passes(shape, step) * speed.layer_s
    rewrite_s = passes * len(batches) * rewritten(shape, step) / (speed.bandwidth_gbs * 1e9)
    seconds = language_s + vision_s + launch_s + rewrite_s
    return Duration(
        seconds=seconds,
        sequences_a_second=passes * len(sizes) / seconds,
        language_s=language_s,
        vision_s=vision_s,
        launch_s=launch_s,
        rewrite_s=rewrite_s,
        basis=speed.basis,
    )


def rewritten(shape: ModelShape, step: StepSetup) -> float:
    """Bytes of memory traffic a micro-batch for 4-bit weights that are not kept dequantised."""
    if not step.quantized or step.dense:
        return 0.0
    return REWRITE_BYTES * shape.linear_parameters * (3 if step.checkpointing else 2)


def layer_passes(shape: ModelShape, step: StepSetup) -> int:
    """How often a micro-batch goes through a layer: forward, backward, and once more with checkpointing."""
    return shape.layers * (3 if step.checkpointing else 2) + shape.vision_depth

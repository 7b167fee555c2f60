"""Memory of a fine-tuning step on a GPU, from the model's configuration and the samples' sizes alone.

Parameters, quantisation and optimiser are counted exactly. What the layers keep for the backward pass follows
from `text_model.layer_forward`, tensor by tensor (a test compares the counts with what autograd saves). Four
coefficients (`measured.yaml`) say how far kernels and compiler depart from that; `bench/memory.py` fits them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from roadscribe.estimate.model_shape import ModelShape
from roadscribe.estimate.workload import EvalBatch, SampleSize
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.qwen3_vl.chunked_loss import CHUNK_BYTES
from roadscribe.qwen3_vl.processor import MERGE, PATCH

MEASURED = Path(__file__).with_name("measured.yaml")
"""The only place of measured numbers; `bench/memory.py --fit` writes it."""
NF4_BLOCK = 64
"""Weights that share an 8-bit scale in bitsandbytes' NF4."""
NESTED_BLOCK = 256
"""Scales that share a float32 scale under double quantisation."""
NF4_TABLES = 4 * (16 + 256 + 1)
"""Bytes of a matrix's two tables of code values and its offset."""
FRAME_BYTES = 3 * PATCH * PATCH
"""Bytes of a patch's pixels in a decoded frame; frames wait like this on the GPU."""
PATCH_BYTES = 4 * 2 * FRAME_BYTES
"""Bytes of a patch as the encoder takes it: float32, the frame twice (temporal patch)."""
ADAM_BYTES = 8
"""AdamW's two float32 moments of a parameter."""


class StepSetup(NamedTuple):
    """What a recipe can trade between memory and time without changing what is learned."""

    batch_size: int
    accumulation: int
    checkpointing: bool
    dense: bool
    """The 4-bit weights are kept dequantised as well."""
    compiled: bool
    quantized: bool = True
    """The language model's linears are 4-bit."""
    fused: bool = True
    """Weight and adapter share a product (`resolve.why_not_fused`); otherwise PEFT's own layers run."""
    processes: int = 1
    """GPUs that train together, each with the whole base (data parallelism)."""
    features: float = 0
    """Bytes of visual features that stay on the GPU (`qwen3_vl.vision_cache.KeptFeatures`)."""
    eight: bool = False
    """The weights beside the 4-bit ones are two copies in 8 bits (`fp8_linear`), not one in 16."""

    @property
    def clips_a_step(self) -> int:
        """Samples of one optimizer step."""
        return self.batch_size * self.accumulation


class Compute(NamedTuple):
    """How numbers are held and which kernels there are."""

    itemsize: int
    """Bytes of a value of the computation type."""
    flash: bool
    """Whether attention lets several query heads share a key (compute capability 8.0 and later)."""
    masked: bool = False
    """Whether attention reads a mask of all pairs: answers that share a prefix."""


class Coefficients(NamedTuple):
    """Fitted factors on counted bytes (1 is the count), and what no count explains."""

    kept: float
    """Of what a layer keeps for its backward pass."""
    working: float
    """Of what the backward pass of one layer holds at its height."""
    vision: float
    """Of what a block of the vision encoder holds at its height."""
    fixed_mib: float
    """Workspaces of the libraries, in MiB, at any shape."""


class Measured(NamedTuple):
    """What `measured.yaml` holds on memory."""

    coefficients: Coefficients
    measured: bool
    """Whether fitted to a GPU; otherwise the factors are those of the count."""
    slack: float
    """What the allocator's fragments take, as a share of the peak."""
    context_mib: float
    """CUDA context and loaded kernels, in MiB."""


class Term(NamedTuple):
    """One line of the prediction."""

    name: str
    bytes: float
    how: str


class Prediction(NamedTuple):
    """Memory at the height of a step. ``terms`` sum to ``peak``."""

    terms: tuple[Term, ...]
    vision_moment: float
    """Bytes while the vision encoder is at work; beneath ``peak``, or equal to it."""
    step_moment: float
    """Bytes at the height of a training step; likewise."""
    eval_moment: float
    """Bytes while held-out reports are written, 0 where none are; likewise."""
    peak: float
    """Bytes that torch has allocated at the highest point."""
    needed: float
    """Bytes that the GPU must have: the peak, the allocator's slack and the process's context."""
    measured: bool
    """Whether a run of this kind was fitted on a GPU: flash kernels, fused adapters, no mask. Otherwise it rests
    on counts."""


def feature_bytes(tokens: float, deepstack: int, hidden: int, itemsize: int) -> float:
    """Memory of the features of this many visual tokens: the merger's and each DeepStack layer's."""
    return tokens * (1 + deepstack) * hidden * itemsize


def linear_bytes(shape: ModelShape, itemsize: int) -> int:
    """Memory of the language model's linears, unpacked."""
    return shape.linear_parameters * itemsize


def nf4_bytes(weights: int) -> int:
    """Bytes of a matrix of this many weights in NF4 with double quantisation, tables and all."""
    blocks = math.ceil(weights / NF4_BLOCK)
    return math.ceil(weights / 2) + blocks + 4 * math.ceil(blocks / NESTED_BLOCK) + NF4_TABLES


def kept_bytes(shape: ModelShape, compute: Compute, *, fused: bool = True) -> float:
    """Bytes per token that one decoder layer keeps for its backward pass, as `text_model.layer_forward` runs eagerly.

    Counted from the tensors that autograd saves; s is the size of a value:

    - the layer's two norms: their float32 input and their result, 4 + s a unit of width each;
    - the norms of queries and keys: their float32 input, where that is a copy;
    - attention: queries, keys, result, and the values, which are a part of the product that made all three; a
      kernel that takes as many keys as queries keeps repeated keys and values instead; and the result once more
      beside its rank-wide product;
    - the MLP: the gate and up product, silu of the one, and that times the other;
    - each projection: the rank-wide product with A.

    PEFT's own layers keep their inputs once a projection: query, key and value three times, gate and up twice.
    """
    s = compute.itemsize
    queries = shape.heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    copied = s < 4
    shared = compute.flash and not compute.masked
    norms = 2 * (4 + s) * shape.hidden + (4 * (queries + keys) if copied else 0)
    attention = s * (3 * queries + keys) if shared else s * 5 * queries
    if compute.masked:
        # Prefix and branches are two calls: results, queries and the joint product once more.
        attention += s * 4 * queries
    if shared or not copied:
        attention += s * (queries + 2 * keys)
    mlp = s * 4 * shape.intermediate
    thin = s * len(LANGUAGE_LINEARS) * shape.rank
    # Float32: one inverse root a norm and head, and one normaliser a head of attention.
    small = 4 * (2 + shape.heads + shape.kv_heads + shape.heads)
    copies = 0 if fused else 3 * s * shape.hidden
    return norms + attention + mlp + thin + small + copies


def working_bytes(shape: ModelShape, compute: Compute) -> float:
    """Bytes per token while the backward pass is in a layer's MLP: gradients of gate, up, their joint product, and
    of silu; of the layer's input and output; and the norm's in float32."""
    s = compute.itemsize
    return s * (5 * shape.intermediate + 4 * shape.hidden) + 8 * shape.hidden


def vision_bytes(shape: ModelShape, compute: Compute) -> float:
    """Bytes per patch while a block of the vision encoder computes attention: its pixels, the block's input, the
    norm's result, queries, keys and values, and queries and keys in float32 before and after rotation with two
    halves on the way."""
    return PATCH_BYTES + (5 * compute.itemsize + 24) * shape.vision_hidden


def buffer_bytes(shape: ModelShape, step: StepSetup, compute: Compute) -> float:
    """Bytes of the largest product's weight, written out for one pass: gate and up with their adapters' columns,
    and one of them fresh from its 4-bit form."""
    if not step.quantized or step.dense:
        return 0
    inputs = shape.hidden + 2 * shape.rank
    return compute.itemsize * shape.intermediate * (2 * inputs + shape.hidden)


def logits_bytes(shape: ModelShape, answer_tokens: int, compute: Compute, *, compiled: bool = False) -> float:
    """Bytes of one chunk of `answer_loss`: logits in the computation type, in float32 unless compiled, and their
    gradient."""
    rows = min(answer_tokens, max(1, CHUNK_BYTES // (4 * shape.vocabulary)))
    return rows * shape.vocabulary * (2 * compute.itemsize + (0 if compiled else 4))


def eval_bytes(
    shape: ModelShape, sizes: Sequence[SampleSize], evaluation: EvalBatch, compute: Compute
) -> float:
    """Bytes of the keys and values of all reports of an evaluation, prompt included; while they grow, the keys
    are held twice."""
    tokens = max(size.tokens - size.answer for size in sizes) + evaluation.new_tokens
    return 3 * shape.layers * evaluation.reports * shape.kv_heads * shape.head_dim * compute.itemsize * tokens


def static_terms(shape: ModelShape, step: StepSetup, compute: Compute) -> list[Term]:
    """What lies in memory from the first step to the last."""
    s = compute.itemsize
    bits = f"{8 * s}-bit"
    weights = shape.linear_parameters
    terms = []
    if step.quantized:
        packed = sum(nf4_bytes(outputs * inputs) for outputs, inputs in shape.linears)
        how = f"{weights:,} weights x {8 * packed / weights:.3f} bit (NF4, double quantisation)"
        terms.append(Term("language linears", packed, how))
        if step.dense and step.fused:
            copy = s * (weights + _adapter_columns(shape))
            name, why = "the same, dequantised", f"{bits}, kept for speed (train.dequantize_weights)"
            if step.eight:
                name, why = "the same in 8 bits", "two copies, one for each pass (train.fp8_matmul)"
            terms.append(Term(name, copy, why))
        elif step.fused:
            terms.append(
                Term("their scales", 4 * weights / NF4_BLOCK, f"float32, one for {NF4_BLOCK} weights")
            )
    else:
        terms.append(Term("language linears", s * weights, f"{weights:,} weights, {bits}"))
        if step.fused:
            copy = s * (weights + _adapter_columns(shape))
            terms.append(Term("the same with adapters", copy, f"{bits}, one matrix for both"))
    rest = shape.embeddings + shape.norms
    terms += [
        Term("embeddings, head, norms", s * rest, f"{rest:,} weights, {bits}"),
        Term("vision encoder", s * shape.visual, f"{shape.visual:,} weights, {bits}, frozen"),
        Term("adapters", 4 * shape.adapter, f"{shape.adapter:,} weights, float32"),
        Term("their gradients", 4 * shape.adapter, "float32"),
        Term("AdamW's moments", ADAM_BYTES * shape.adapter, "two, float32"),
    ]
    if step.features:
        terms.append(Term("visual features", step.features, "of all clips, kept for the next epoch"))
    if step.processes > 1:
        terms.append(Term("gradients on their way", 4 * shape.adapter, "float32, what the cards exchange"))
    return terms


def _adapter_columns(shape: ModelShape) -> int:
    """Values of the adapters' columns beside the dense weights: rank x outputs of a group a projection in it."""
    width = shape.heads * shape.head_dim
    keys = shape.kv_heads * shape.head_dim
    qkv = 3 * (width + 2 * keys)
    mlp = 2 * 2 * shape.intermediate
    return shape.layers * shape.rank * (qkv + shape.hidden + mlp + shape.hidden)


class Units(NamedTuple):
    """The largest micro-batch in counted bytes, before any coefficient; the fit starts here."""

    pixels: float
    """Frames of all clips of an optimizer step, which wait on the GPU."""
    inputs: float
    """Visual features, the embedded sequence, the mask if any and, with checkpointing, every layer's input."""
    kept: float
    working: float
    buffers: float
    logits: float
    vision: float


def units(shape: ModelShape, sizes: Sequence[SampleSize], step: StepSetup, compute: Compute) -> Units:
    """Counted bytes of the worst micro-batch that shuffling can deal: the longest samples together."""
    s = compute.itemsize
    batch = min(step.batch_size, len(sizes))
    longest = max(size.tokens for size in sizes)
    tokens = batch * longest
    visual = sum(sorted((size.visual for size in sizes), reverse=True)[:batch])
    answers = sum(sorted((size.answer for size in sizes), reverse=True)[:batch])
    waiting = sum(sorted((size.patches for size in sizes), reverse=True)[: step.clips_a_step])
    features = feature_bytes(visual, shape.deepstack, shape.hidden, s)
    inputs = tokens * shape.hidden * s * (shape.layers if step.checkpointing else 1)
    layers = 1 if step.checkpointing else shape.layers
    # Yes or no a pair of an answer's token and any other, and what attention makes of it in each layer.
    mask = answers * longest * (1 + s * layers) if compute.masked else 0
    return Units(
        pixels=waiting * FRAME_BYTES,
        inputs=features + inputs + mask,
        kept=layers * tokens * kept_bytes(shape, compute, fused=step.fused),
        working=tokens * working_bytes(shape, compute),
        buffers=buffer_bytes(shape, step, compute),
        logits=logits_bytes(shape, answers, compute, compiled=step.compiled),
        vision=visual * MERGE * MERGE * vision_bytes(shape, compute),
    )


def predict(
    shape: ModelShape,
    sizes: Sequence[SampleSize],
    step: StepSetup,
    compute: Compute,
    evaluation: EvalBatch | None = None,
) -> Prediction:
    """Peak memory of a fine-tuning run, with its terms.

    The height is while the vision encoder is at work, or in the language model (everything kept, and the larger of
    the logits' chunk and a layer's backward pass), or while held-out reports are written.
    """
    known = measured(compiled=step.compiled)
    fitted = known.coefficients
    counted = units(shape, sizes, step, compute)
    static = static_terms(shape, step, compute)
    fixed = fitted.fixed_mib * 2**20
    always = sum(term.bytes for term in static) + counted.pixels + fixed
    working = fitted.working * counted.working + counted.buffers
    vision = fitted.vision * counted.vision
    language = counted.inputs + fitted.kept * counted.kept + max(working, counted.logits)
    clips = min(step.clips_a_step, len(sizes))
    terms = [
        *static,
        Term("frames in waiting", counted.pixels, f"{_clips(clips)} of an optimizer step, 3 bytes a pixel"),
    ]
    if vision >= language:
        terms.append(Term("vision encoder at work", vision, f"{_clips(step.batch_size)} at once"))
    else:
        terms.append(Term("kept for the backward pass", counted.inputs + fitted.kept * counted.kept, ""))
        terms[-1] = terms[-1]._replace(how=_per_token(shape, sizes, step, compute, fitted))
        if working >= counted.logits:
            terms.append(Term("one layer's backward pass", working, "gradients and the weight written out"))
        else:
            terms.append(Term("logits", counted.logits, "answer tokens only, in chunks"))
    peak = step_moment = always + max(vision, language)
    eval_moment = 0.0
    if evaluation is not None:
        written = eval_bytes(shape, sizes, evaluation, compute)
        eval_moment = sum(term.bytes for term in static) + fixed + written
        if eval_moment > peak:
            peak = eval_moment
            reports, new = evaluation
            how = f"keys and values of {reports}, {new:,} new tokens each (infer.batch_size)"
            terms = [*static, Term("held-out reports", written, how)]
    terms.append(Term("libraries' workspaces", fixed, ""))
    return Prediction(
        terms=tuple(terms),
        vision_moment=always + vision,
        step_moment=step_moment,
        eval_moment=eval_moment,
        peak=peak,
        needed=peak * (1 + known.slack) + known.context_mib * 2**20,
        measured=known.measured and compute.flash and not compute.masked and step.fused,
    )


def _clips(count: int) -> str:
    return f"{count} clip{'s' * (count != 1)}"


def bytes_a_token(
    shape: ModelShape, step: StepSetup, compute: Compute, fitted: Coefficients
) -> tuple[float, float]:
    """Kept bytes of one visual and of one text token: the a and b of ``a·visual_tokens + b·text_tokens``."""
    s = compute.itemsize
    layers = 1 if step.checkpointing else shape.layers
    inputs = shape.hidden * s * (shape.layers if step.checkpointing else 1)
    text = inputs + layers * fitted.kept * kept_bytes(shape, compute, fused=step.fused)
    return text + feature_bytes(1, shape.deepstack, shape.hidden, s), text


def _per_token(
    shape: ModelShape,
    sizes: Sequence[SampleSize],
    step: StepSetup,
    compute: Compute,
    fitted: Coefficients,
) -> str:
    batch = min(step.batch_size, len(sizes))
    visual = sum(sorted((size.visual for size in sizes), reverse=True)[:batch])
    others = batch * max(size.tokens for size in sizes) - visual
    a, b = bytes_a_token(shape, step, compute, fitted)
    return f"{a / 2**10:,.0f} KiB x {visual:,} visual + {b / 2**10:,.0f} KiB x {others:,} text tokens"


@functools.cache
def read_measured(path: Path) -> dict[str, Any]:
    """The whole of `measured.yaml`."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def measured(*, compiled: bool, path: Path = MEASURED) -> Measured:
    """What is known of eager or compiled layers."""
    known = read_measured(path)["memory"]
    fitted = known["compiled" if compiled else "eager"]
    return Measured(
        Coefficients(fitted["kept"], fitted["working"], fitted["vision"], fitted["fixed_mib"]),
        fitted["measured"],
        known["slack"],
        known["context_mib"],
    )

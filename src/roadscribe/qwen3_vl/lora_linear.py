"""Products of a group of projections that read one input, weight and LoRA in one matrix.

PEFT computes ``x W' + s (x A') B'`` as three products, casts ``x`` to the adapter's type and back, and passes
over every output twice more. Here ``[x, x A']`` is multiplied by ``[W, s B]'``: one product, the same sum, and
its backward pass gives the gradient of ``x A'`` along the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from bitsandbytes.functional import dequantize_blockwise
from torch.nn.functional import linear, pad

from roadscribe.qwen3_vl import fp8_linear

ALIGNED = 16
"""A row of what goes through these products is a multiple of this many values long: 8-bit products ask for it, 16-bit
ones are slow without, and cuDNN's attention stops with "misaligned address" at a gradient whose rows do not begin
every 16 bytes."""


class Spec(NamedTuple):
    """The numbers of one group of projections that share an input."""

    outputs: tuple[int, ...]
    inputs: int
    scaling: float
    block: int
    """Weights that share a scale in NF4; 0 where the weight is kept dense."""
    eight: bool = False
    """Whether the weight is kept in 8 bits, for `fp8_linear`."""


Tensors = tuple[torch.Tensor, ...]
"""A group's A, then its B, then the dense weight, or the NF4 codes and their float32 scales, or `fp8_linear.Codes`."""


def columns(inputs: int, ranks: int) -> int:
    """Columns of ``[W, s B]``: those of W, of every B, and zeros up to a multiple of `ALIGNED`."""
    return inputs + ranks + -(inputs + ranks) % ALIGNED


def adapter_places(weight: torch.Tensor, inputs: int, bs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Views on the columns of ``[W, s B]`` behind W's ``inputs`` that hold each projection's B, one block per
    projection."""
    rank = bs[0].shape[1]
    row, column, places = 0, inputs, []
    for b in bs:
        places.append(weight[row : row + b.shape[0], column : column + rank])
        row, column = row + b.shape[0], column + rank
    return places


def write_weight(
    weight: torch.Tensor, codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor], spec: Spec
) -> None:
    """Dequantise a group's projections into the first columns of ``weight``."""
    row = 0
    for code, scale, count in zip(codes, scales, spec.outputs, strict=True):
        weight[row : row + count, : spec.inputs].copy_(
            torch.ops.bitsandbytes.dequantize_4bit.default(
                code, scale, spec.block, "nf4", [count, spec.inputs], weight.dtype
            )
        )
        row += count


def _whole(
    x: torch.Tensor, spec: Spec, bs: Sequence[torch.Tensor], base: Sequence[torch.Tensor]
) -> torch.Tensor:
    """``[W, s B]`` of a group, (sum of outputs, `columns`)."""
    if not spec.block:
        return base[0]
    weight = x.new_zeros((sum(spec.outputs), columns(spec.inputs, bs[0].shape[1] * len(bs))))
    write_weight(weight, base[: len(bs)], base[len(bs) :], spec)
    for place, b in zip(adapter_places(weight, spec.inputs, bs), bs, strict=True):
        place.copy_(b.detach() * spec.scaling)
    return weight


@torch.library.custom_op("roadscribe::write_thin", mutates_args=("wide",))
def _write_thin(wide: torch.Tensor, a: torch.Tensor) -> None:
    """Write ``x A'`` next to the ``x`` that ``wide`` (tokens, `columns`) begins with."""
    ranks, inputs = a.shape
    torch.mm(wide[:, :inputs], a.t(), out=wide[:, inputs : inputs + ranks])


@torch.library.custom_op("roadscribe::back_products", mutates_args=())
def _back_products(upstream: list[torch.Tensor], whole: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """The gradients of ``x`` and of ``x A'`` side by side, (tokens, `columns`), summed within the products: as
    products and sums of a compiled graph each would pass over the widest tensors once more."""
    both: torch.Tensor | None = None
    row = 0
    ranks, inputs = a.shape
    for one in upstream:
        part = whole[row : row + one.shape[1]]
        both = one @ part if both is None else both.addmm_(one, part)
        row += one.shape[1]
    assert both is not None
    both[:, :inputs].addmm_(both[:, inputs : inputs + ranks], a)
    return both


@_back_products.register_fake
def _(upstream: list[torch.Tensor], whole: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return upstream[0].new_empty((upstream[0].shape[0], whole.shape[1]))


class _Product(torch.autograd.Function):
    """``x W' + s (x A') B'`` for projections that share ``x``."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, a: torch.Tensor, spec: Spec, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """``x`` (tokens, inputs), ``a`` (sum of ranks, inputs), then B and base: (tokens, outputs) for each."""
        count = len(spec.outputs)
        bs, base = tensors[:count], tensors[count:]
        wide = pad(x, (0, columns(spec.inputs, a.shape[0]) - spec.inputs))
        _write_thin(wide, a)
        if spec.eight:
            out = fp8_linear.outputs_of(wide, bs, spec.scaling, fp8_linear.Codes(*base))
        else:
            out = linear(wide, _whole(x, spec, bs, base))
        ctx.save_for_backward(wide, a, *tensors)
        ctx.spec = spec
        return tuple(torch.split(out, list(spec.outputs), dim=1))

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of ``x``, ``a`` and every B; the outputs' gradients come one by one and stay so."""
        spec: Spec = ctx.spec
        count = len(spec.outputs)
        wide, a, *tensors = ctx.saved_tensors
        x, thin = wide[:, : spec.inputs], wide[:, spec.inputs :]
        bs, base = tensors[:count], tensors[count:]
        # These first: a compiled graph then writes the outputs' gradients once and reads them from there, where it
        # would compute them anew in each pass over a row that rounding them takes.
        grads: list[torch.Tensor | None] = []
        column = 0
        for one, b in zip(upstream, bs, strict=True):
            rank = b.shape[1]
            grads.append(((one.t() @ thin[:, column : column + rank]) * spec.scaling).to(b.dtype))
            column += rank
        if spec.eight:
            codes = fp8_linear.Codes(*base)
            both = fp8_linear.gradients_of(upstream, a, bs, spec.scaling, codes, wide.shape[1])
        else:
            both = _back_products(list(upstream), _whole(x, spec, bs, base), a)
        grad_a = both[:, spec.inputs : spec.inputs + a.shape[0]].t() @ x
        return both[:, : spec.inputs], grad_a, None, *grads, *[None] * len(base)


def product(x: torch.Tensor, spec: Spec, tensors: Tensors) -> tuple[torch.Tensor, ...]:
    """What each projection of a group makes of ``x`` (batch, tokens, inputs)."""
    count = len(spec.outputs)
    a = torch.cat([one.to(x.dtype) for one in tensors[:count]])
    outs = _Product.apply(x.flatten(0, 1), a, spec, *tensors[count:])  # type: ignore[no-untyped-call]
    return tuple(out.unflatten(0, x.shape[:-1]) for out in outs)


def scales_of(state: Any) -> torch.Tensor:
    """A 4-bit weight's scales in float32; double quantisation keeps them in 8 bits."""
    if not state.nested:
        return state.absmax.float()  # type: ignore[no-any-return]
    return (dequantize_blockwise(state.absmax, state.state2) + state.offset).float()  # type: ignore[no-any-return]

"""The fused products in 8-bit floating point, for cards that multiply it twice as fast (Ada, Hopper and later).

Every row that goes into a product is divided by its largest value's share of what e4m3 holds and rounded to three
bits behind the leading one, weights and adapters likewise, row by row in the forward pass and column by column in
the backward pass; sums are taken in higher precision. It is **not the same function** as the plain path: each
factor is off by some 3 %, at random, beside the 10 % by which NF4 is off the stored weights. Gradients of the
adapters are computed from 16-bit values.

e4m3: 1 sign, 4 exponent and 3 fraction bits, largest finite value 448 (Micikevicius et al., "FP8 formats for deep
learning", arXiv 2209.05433).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad

from roadscribe.errors import InputError
from roadscribe.train.products import Spec, Tensors, columns, write_thin

CAPABILITY = (8, 9)
"""CUDA compute capability from which cards multiply 8-bit floating point."""
CODE = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST = 2.0**-100
"""Of scales: rows of zeros have one, too."""
HEADROOM = 16.0
"""A weight's rows are scaled for values so many times their largest, since adapters grow beside them. It costs no
precision but in values a thousandth of the largest."""


class Codes(NamedTuple):
    """A group's weight for both passes: codes with a float32 scale a row each."""

    forward: torch.Tensor
    """(outputs, inputs)."""
    forward_scale: torch.Tensor
    """(outputs, 1)."""
    backward: torch.Tensor
    """(inputs, outputs)."""
    backward_scale: torch.Tensor
    """(inputs, 1)."""


def require(dtype: str, device: str, capable: bool, unfused: str | None = None) -> None:
    """Check that ``train.float8_products`` can be had.

    Args:
        dtype: what the rest of the model computes in.
        device: its name, for the message.
        capable: whether it multiplies 8-bit floating point.
        unfused: why the adapter cannot take the fused pass, if that is known.

    Raises:
        InputError: it cannot.
    """
    why = unfused
    if dtype != "bfloat16":
        why = f"the model computes in {dtype}, and only bfloat16 goes with it"
    elif not capable:
        why = f"{device} is older than Ada and Hopper"
    if why is not None:
        raise InputError(f"train.float8_products: {why}; set it to false")


def rounded(x: torch.Tensor, headroom: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """``x`` (rows, columns) as codes and the scale of each row, (rows, 1) float32: ``x`` is about their product."""
    wide = x.float()
    scale = (wide.abs().amax(1, keepdim=True) * (headroom / LARGEST)).clamp(min=SMALLEST)
    return (wide / scale).to(CODE), scale


def codes_of(weight: torch.Tensor) -> Codes:
    """A group's weight (outputs, inputs) as it is kept."""
    forward, forward_scale = rounded(weight, HEADROOM)
    backward, backward_scale = rounded(weight.t())
    return Codes(forward, forward_scale, backward.contiguous(), backward_scale)


def _joined(codes: torch.Tensor, more: torch.Tensor, dim: int) -> torch.Tensor:
    """Two tensors of codes as one."""
    return torch.cat([codes.view(torch.uint8), more.view(torch.uint8)], dim).view(CODE)


def _adapters(bs: Sequence[torch.Tensor], spec: Spec) -> torch.Tensor:
    """``s B`` of a group, a block a projection, (sum of outputs, columns behind the inputs), float32."""
    blocks: torch.Tensor = torch.block_diag(*(b.detach().float() for b in bs))  # type: ignore[no-untyped-call]
    blocks = blocks * spec.scaling
    ranks = blocks.shape[1]
    return pad(blocks, (0, columns(spec.inputs, ranks) - spec.inputs - ranks))


@torch.library.custom_op("roadscribe::multiply_codes", mutates_args=())
def _multiply(
    left: torch.Tensor, left_scale: torch.Tensor, right: torch.Tensor, right_scale: torch.Tensor
) -> torch.Tensor:
    """``left`` (rows, inner) times ``right`` (columns, inner) transposed, each with a scale a row: bfloat16."""
    return torch._scaled_mm(
        left,
        right.t(),
        scale_a=left_scale,
        scale_b=right_scale.t(),
        out_dtype=torch.bfloat16,
        use_fast_accum=left.is_cuda,
    )


@_multiply.register_fake
def _(
    left: torch.Tensor, left_scale: torch.Tensor, right: torch.Tensor, right_scale: torch.Tensor
) -> torch.Tensor:
    return left.new_empty((left.shape[0], right.shape[0]), dtype=torch.bfloat16)


@torch.library.custom_op("roadscribe::add_through_a", mutates_args=("both",))
def _add_through_a(both: torch.Tensor, a: torch.Tensor) -> None:
    """Add to the gradient of ``x``, with which ``both`` begins, what comes through that of ``x A'`` beside it."""
    ranks, inputs = a.shape
    both[:, :inputs].addmm_(both[:, inputs : inputs + ranks], a)


class _Product8(torch.autograd.Function):
    """``x W' + s (x A') B'`` for projections that share ``x``, in 8 bits."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, a: torch.Tensor, spec: Spec, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """``x`` (tokens, inputs), ``a`` (sum of ranks, inputs), then B and `Codes`: (tokens, outputs) for each."""
        count = len(spec.outputs)
        bs, base = tensors[:count], Codes(*tensors[count:])
        wide = pad(x, (0, columns(spec.inputs, a.shape[0]) - spec.inputs))
        write_thin(wide, a)
        beside = (_adapters(bs, spec) / base.forward_scale).clamp(-LARGEST, LARGEST).to(CODE)
        out = _multiply(*rounded(wide), _joined(base.forward, beside, 1), base.forward_scale)
        ctx.save_for_backward(wide, a, *tensors)
        ctx.spec = spec
        return tuple(torch.split(out, list(spec.outputs), dim=1))

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of ``x``, ``a`` and every B."""
        spec: Spec = ctx.spec
        count = len(spec.outputs)
        wide, a, *tensors = ctx.saved_tensors
        bs, base = tensors[:count], Codes(*tensors[count:])
        ranks = slice(spec.inputs, spec.inputs + a.shape[0])
        beside, beside_scale = rounded(_adapters(bs, spec).t())
        both = _multiply(
            *rounded(torch.cat(upstream, 1)),
            _joined(base.backward, beside, 0),
            torch.cat([base.backward_scale, beside_scale]),
        )
        _add_through_a(both, a)
        grads: list[torch.Tensor | None] = []
        column = spec.inputs
        for one, b in zip(upstream, bs, strict=True):
            grads.append(((one.t() @ wide[:, column : column + b.shape[1]]) * spec.scaling).to(b.dtype))
            column += b.shape[1]
        grad_a = both[:, ranks].t() @ wide[:, : spec.inputs]
        return both[:, : spec.inputs], grad_a, None, *grads, *[None] * len(base)


def product(x: torch.Tensor, spec: Spec, tensors: Tensors) -> tuple[torch.Tensor, ...]:
    """What each projection of a group makes of ``x`` (batch, tokens, inputs), bfloat16."""
    count = len(spec.outputs)
    a = torch.cat([one.to(x.dtype) for one in tensors[:count]])
    outs = _Product8.apply(x.flatten(0, 1), a, spec, *tensors[count:])  # type: ignore[no-untyped-call]
    return tuple(out.unflatten(0, x.shape[:-1]) for out in outs)

"""The fused products in 8-bit floating point, for cards that multiply it twice as fast (Ada, Hopper and later).

Every row that goes into a product is divided by its largest value's share of what e4m3 holds and rounded to three
bits behind the leading one, weights and adapters likewise, row by row in the forward pass and column by column in
the backward pass; sums are taken in higher precision. It is **not the same function** as the plain path: each
factor is off by some 3 %, at random, next to the 10 % by which NF4 is off the stored weights. What `lora_linear`
multiplies in addition, the thin products with A and B, stays in 16 bits.

e4m3: 1 sign, 4 exponent and 3 fraction bits, largest finite value 448 (Micikevicius et al., "FP8 formats for deep
learning", arXiv 2209.05433).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import pad

CODE = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST = 2.0**-100
"""Of scales: rows of zeros have one, too."""
HEADROOM = 64.0
"""A weight's rows are scaled for values so many times their largest, since adapters grow next to them. It costs no
precision but in values a four-hundredth of the largest and below."""


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


def _adapters(bs: Sequence[torch.Tensor], scaling: float, columns: int) -> torch.Tensor:
    """``s B`` of a group, a block a projection, (sum of outputs, ``columns``), float32."""
    blocks: torch.Tensor = torch.block_diag(*(b.detach().float() for b in bs))  # type: ignore[no-untyped-call]
    return pad(blocks * scaling, (0, columns - blocks.shape[1]))


@torch.library.custom_op("roadscribe::multiply_codes", mutates_args=())
def _multiply(
    left: torch.Tensor,
    left_scale: torch.Tensor,
    right: torch.Tensor,
    right_scale: torch.Tensor,
    a: torch.Tensor | None,
) -> torch.Tensor:
    """``left`` (rows, inner) times ``right`` (columns, inner) transposed, each with a scale a row: bfloat16. With
    ``a``, a backward pass: what comes to the gradient of ``x`` through that of ``x A'`` beside it is added."""
    if left.is_cuda:
        out = torch._scaled_mm(
            left,
            right.t(),
            scale_a=left_scale,
            scale_b=right_scale.t(),
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
    else:
        # Not every CPU's library takes a scale a row.
        out = ((left.float() * left_scale) @ (right.float() * right_scale).t()).bfloat16()
    if a is not None:
        ranks, inputs = a.shape
        out[:, :inputs].addmm_(out[:, inputs : inputs + ranks], a)
    return out


@_multiply.register_fake
def _(left: torch.Tensor, left_scale: torch.Tensor, right: torch.Tensor, *_: object) -> torch.Tensor:
    return left.new_empty((left.shape[0], right.shape[0]), dtype=torch.bfloat16)


def outputs_of(wide: torch.Tensor, bs: Sequence[torch.Tensor], scaling: float, base: Codes) -> torch.Tensor:
    """``[x, x A'] [W, s B]'``, (tokens, sum of outputs), from ``wide`` (tokens, columns), bfloat16."""
    beside = _adapters(bs, scaling, wide.shape[1] - base.forward.shape[1]) / base.forward_scale
    # An adapter that has outgrown the weight so far makes the loss nan, which names its clips, and not a quiet error.
    beside = beside.masked_fill(beside.abs() > LARGEST, torch.nan).to(CODE)
    out: torch.Tensor = _multiply(*rounded(wide), _joined(base.forward, beside, 1), base.forward_scale, None)
    return out


def gradients_of(
    upstream: Sequence[torch.Tensor],
    a: torch.Tensor,
    bs: Sequence[torch.Tensor],
    scaling: float,
    base: Codes,
    columns: int,
) -> torch.Tensor:
    """The gradients of ``x`` and of ``x A'`` side by side, (tokens, ``columns``), bfloat16."""
    beside, scale = rounded(_adapters(bs, scaling, columns - base.backward.shape[0]).t())
    right, right_scale = _joined(base.backward, beside, 0), torch.cat([base.backward_scale, scale])
    both: torch.Tensor = _multiply(*rounded(torch.cat(list(upstream), 1)), right, right_scale, a)
    return both

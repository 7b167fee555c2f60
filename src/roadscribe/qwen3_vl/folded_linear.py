"""LoRA on 4-bit linears without its extra passes: the update is folded into the weight for the forward pass.

PEFT computes ``x W' + s (x A') B'`` with two thin products and three passes over the output. Folding computes
``x (W + s B A)'`` with one product, and the gradients of A and B from the saved input: the same function up
to the order of summation. Only float32 is folded: in half precision a small update would vanish in the
weight.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit
from peft.tuners.lora.bnb import Linear4bit


class _Folded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        packed: torch.Tensor,
        state: QuantState,
        scaling: float,
    ) -> torch.Tensor:
        """``x`` (..., inputs), ``a`` (rank, inputs), ``b`` (outputs, rank); the product is (..., outputs)."""
        ctx.save_for_backward(x, a, b, packed)
        ctx.state, ctx.scaling = state, scaling
        return torch.nn.functional.linear(x, _weight(packed, state, a, b, scaling))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of ``x``, ``a`` and ``b``."""
        x, a, b, packed = ctx.saved_tensors
        inputs, outputs = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        through_b = outputs @ b
        grad_a = (through_b.T @ inputs).mul_(ctx.scaling)
        grad_b = (outputs.T @ (inputs @ a.T)).mul_(ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = gradient @ _weight(packed, ctx.state, a, b, ctx.scaling)
        return grad_x, grad_a, grad_b, None, None, None


def _weight(
    packed: torch.Tensor, state: QuantState, a: torch.Tensor, b: torch.Tensor, scaling: float
) -> torch.Tensor:
    """The linear's weight with the update in it, (outputs, inputs)."""
    weight: torch.Tensor = dequantize_4bit(packed, state)
    return weight.addmm_(b, a, alpha=scaling)


class FoldedLinear4bit(Linear4bit):  # type: ignore[misc]
    """PEFT's 4-bit LoRA linear, folded while it trains in float32; at all other times it is PEFT's."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        name = self.active_adapters[0]
        if not self.training or self.disable_adapters or self.merged or x.dtype != torch.float32:
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        packed = self.base_layer.weight
        out: torch.Tensor = _Folded.apply(  # type: ignore[no-untyped-call]
            x,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            packed.data.view(-1, 1),
            packed.quant_state,
            self.scaling[name],
        )
        return out


def fold_lora(model: Any) -> None:
    """Fold every 4-bit LoRA linear that has neither dropout nor bias; the parameters stay what they are."""
    for module in model.modules():
        if type(module) is not Linear4bit or module.base_layer.bias is not None:
            continue
        if all(isinstance(dropout, torch.nn.Identity) for dropout in module.lora_dropout.values()):
            module.__class__ = FoldedLinear4bit

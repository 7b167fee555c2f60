"""Merged weights for the CPU: what a 4-bit linear and its adapter compute, as one dense matrix.

A CPU spends most of a decoding step on unpacking 4-bit weights and on the adapter's many small products.
The weights do not change while a model is in use, so both can be done once. The matrix is exactly the one
that the 4-bit layer unpacks plus the adapter's product, in float32: nothing is rounded to 4 bits again, as
merging into a 4-bit base would do (peft#2321).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch.nn.functional import linear

DENSE_LIMIT_BYTES = 2**30
"""Beyond this, the memory saved by 4 bits is worth more than the time."""


class DenseWeights:
    """The dense float32 matrices of a language model's 4-bit or adapted linears."""

    def __init__(self, language_model: torch.nn.Module, adapter: bool) -> None:
        """``adapter``: whether the adapter's product is part of the matrices."""
        self._weights = [
            (module, dense_weight(module, adapter), base_layer(module).bias)
            for module in _replaceable(language_model)
        ]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The linears multiply by these matrices while the block lasts."""
        for module, weight, bias in self._weights:
            module.forward = functools.partial(linear, weight=weight, bias=bias)
        try:
            yield
        finally:
            for module, _, _ in self._weights:
                del module.forward  # the class's own method shows again


def wants_dense(language_model: Any) -> bool:
    """Whether dense weights pay here: on a CPU, in float32, for a small model that is 4-bit or adapted."""
    embedding = language_model.embed_tokens.weight
    modules = _replaceable(language_model)
    numbers = sum(base_layer(module).in_features * base_layer(module).out_features for module in modules)
    return (
        embedding.device.type == "cpu"
        and embedding.dtype == torch.float32
        and 0 < 4 * numbers <= DENSE_LIMIT_BYTES
        and not any(module.lora_variant for module in modules if isinstance(module, LoraLayer))
    )


def dense_weight(module: Any, adapter: bool) -> torch.Tensor:
    """The matrix (outputs, inputs) by which a linear, 4-bit or adapted or both, multiplies, in float32."""
    base = base_layer(module)
    weight: torch.Tensor = base.weight.data
    if isinstance(base, Linear4bit):
        weight = dequantize_4bit(weight, base.weight.quant_state)
    weight = weight.float()
    if adapter and isinstance(module, LoraLayer):
        for name in module.active_adapters:
            weight = weight + module.get_delta_weight(name).float()
    return weight.contiguous()


def base_layer(module: Any) -> Any:
    """The linear inside an adapted one, or the linear itself."""
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


def _replaceable(language_model: torch.nn.Module) -> list[Any]:
    """The adapted linears, and the 4-bit ones that carry no adapter."""
    adapted = [module for module in language_model.modules() if isinstance(module, LoraLayer)]
    inside = {id(base_layer(module)) for module in adapted}
    bare = [module for module in language_model.modules() if isinstance(module, Linear4bit)]
    return adapted + [module for module in bare if id(module) not in inside]

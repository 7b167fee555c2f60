"""FSDP: every card holds a share of each decoder layer and borrows the rest while it computes that layer.

`accelerate launch` with an FSDP configuration (`recipes/fsdp.accelerate.yaml`) asks for it. The vision encoder, the
word embeddings and `lm_head` stay whole on every card: they are frozen, and read outside the layers' own passes.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from roadscribe.errors import InputError, WorkError
from roadscribe.model.adapter import adapter_state

WHOLE_MODULES = r".*\.(visual|embed_tokens|lm_head)"
"""Full names of the modules that are not sharded."""
LAYER = "Qwen3VLTextDecoderLayer"
"""What is sharded, one by one."""
LAUNCH = {
    "fsdp_version": "2",
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": "false",
}
"""What accelerate's configuration must say; it hands it on in the environment, in capitals."""


def check_launch() -> None:
    """Check accelerate's configuration before anything is loaded; `resolve.check_insisted` checks the recipe.

    Raises:
        InputError: naming the configuration's key, and what to set.
    """
    for key, value in LAUNCH.items():
        found = os.environ.get(key.upper(), "")
        if found.lower() != value.lower():
            raise InputError(f"accelerate's configuration: {key} is {found or 'not set'}; set it to {value}")


def shard(trainer: Any) -> None:
    """Tell a built trainer's accelerator what to shard when training begins.

    Every parameter keeps its own type: adapters compute in float32 as they do on one card, and packed 4-bit weights
    must never be cast.
    """
    plugin = trainer.accelerator.state.fsdp_plugin
    plugin.ignored_modules = WHOLE_MODULES
    plugin.transformer_cls_names_to_wrap = [LAYER]
    plugin.mixed_precision_policy = MixedPrecisionPolicy(
        reduce_dtype=torch.float32, cast_forward_inputs=False
    )


def codes(model: torch.nn.Module) -> dict[str, int]:
    """A checksum of each 4-bit linear's packed codes."""
    return {
        name: _checksum(module) for name, module in model.named_modules() if isinstance(module, Linear4bit)
    }


def _checksum(linear: Linear4bit) -> int:
    # A copy: FSDP frees the storage of what a layer borrowed, which numpy would pin.
    packed = linear.weight.detach().contiguous().view(torch.uint8).to("cpu", copy=True)
    return zlib.crc32(packed.numpy())


def assert_sharded(model: torch.nn.Module, before: dict[str, int]) -> None:
    """Hold the law on a sharded model; all processes take part.

    Only adapters train, in float32, and what a layer borrows is what was loaded, to the last bit: 4-bit codes
    travel as floats whose every bit pattern counts, and a library that tidies up NaNs would spoil them.

    Args:
        model: what is trained, in training.
        before: its `codes` before it was sharded.

    Raises:
        WorkError: naming the first module that breaks it.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (".lora_" not in name or parameter.dtype != torch.float32):
            raise WorkError(
                f"{name}: only adapters may be trained, in float32; this one is {parameter.dtype}"
            )
    seen: dict[str, int] = {}
    for name, module in model.named_modules():
        layer: Any = module
        if isinstance(layer, FSDPModule) and type(layer).__name__.endswith(LAYER):
            layer.unshard()
            seen |= {f"{name}.{inner}": code for inner, code in codes(module).items()}
            layer.reshard()
    for name, code in before.items():
        if seen.get(name) != code:
            raise WorkError(
                f"{name}: its 4-bit weight is not what it was before FSDP sharded it; set model.quantization=none, "
                "or start with torchrun, which leaves the weights whole"
            )


def whole_adapter(model: Any) -> dict[str, torch.Tensor]:
    """`adapter_state` of a sharded model, whole and on the host; all processes take part."""
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu().contiguous()
        for name, tensor in adapter_state(model).items()
    }

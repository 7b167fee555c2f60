"""How a fine-tuning run computes: every decision of `resolve` with its reason, as values and as lines to print."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from roadscribe.choice import Choice
from roadscribe.estimate.memory import Compute, StepSetup
from roadscribe.estimate.workload import Batch
from roadscribe.model.dtype import DtypeName


class Attention(Enum):
    """The attention kernels of the language model."""

    CPU = "cpu"
    REPEATED_KEYS = "repeated_keys"
    """On GPUs older than Ampere: the memory-efficient kernel, which takes as many key heads as query heads."""
    FLASH = "flash"
    CUDNN = "cudnn"
    """cuDNN's kernels before flash, on Hopper and later."""


class AdapterPath(Enum):
    """How a linear and its LoRA are computed while training."""

    FUSED = "fused"
    """Weight and adapter in one product (`qwen3_vl.text_model`)."""
    FOLDED = "folded"
    """The update is added to the dequantised weight (`qwen3_vl.folded_linear`)."""
    PEFT = "peft"
    """PEFT's own layers."""


class VisionCache(Enum):
    """Where the frozen vision encoder's features are kept between epochs."""

    OFF = "off"
    GPU = "gpu"
    HOST = "host"


class World(NamedTuple):
    """The processes that train together."""

    processes: int = 1
    local: int = 1
    """How many of them run on this machine."""
    sharded: bool = False
    """Whether each holds only a share of every layer (FSDP)."""


class Host(NamedTuple):
    """The machine around the GPU, as it is when the run starts."""

    free_memory: float | None
    """Bytes; None where the system does not say."""
    cpus: int


class Shown(NamedTuple):
    """One decision in words."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class TrainSetup:
    """How a run computes, each decision with its reason."""

    dtype: Choice[DtypeName]
    attention: Choice[Attention]
    shared_prefix: Choice[bool]
    """Rows that show the same clip go through the model as one sequence."""
    batch: Choice[Batch]
    """Per process, in sequences."""
    checkpointing: Choice[bool]
    adapters: Choice[AdapterPath]
    compile_layers: Choice[bool]
    """The language model's decoder layers."""
    compile_vision: Choice[bool]
    """The vision encoder's blocks and the loss."""
    fp8_matmul: Choice[bool]
    """The fused products in 8-bit floating point."""
    dequantize_weights: Choice[bool]
    """The 4-bit weights are kept in the computation type as well."""
    vision_cache: Choice[VisionCache]
    vision_cache_bytes: int
    """What the features of all clips take, kept or not."""
    workers: Choice[int]
    """Processes that prepare batches, per training process."""
    step: StepSetup
    """The same as numbers, for memory and time."""
    compute: Compute

    def shown(self) -> list[Shown]:
        """Every decision in words, in the order in which they are printed."""
        size, passes = self.batch.value
        weights = [Shown("dense weights", _on(self.dequantize_weights.value), self.dequantize_weights.why)]
        return [
            Shown("dtype", *self.dtype),
            Shown("attention", "sdpa", self.attention.why),
            Shown("shared prefix", _on(self.shared_prefix.value), self.shared_prefix.why),
            Shown("micro-batch", f"{size} x {passes}", self.batch.why),
            Shown("checkpointing", _on(self.checkpointing.value), self.checkpointing.why),
            Shown("adapters", _ADAPTERS[self.adapters.value], self.adapters.why),
            Shown("compiled layers", _on(self.compile_layers.value), self.compile_layers.why),
            Shown("compiled vision encoder", _on(self.compile_vision.value), self.compile_vision.why),
            Shown("products", f"in {8 if self.fp8_matmul.value else 16} bits", self.fp8_matmul.why),
            # In 8 bits, and of an unquantised base, there is nothing to dequantise.
            *([] if self.fp8_matmul.value or not self.step.quantized else weights),
            Shown("visual features", _CACHE[self.vision_cache.value], self.vision_cache.why),
            Shown("workers", str(self.workers.value), self.workers.why),
        ]

    def lines(self) -> list[str]:
        """`shown` as lines of text."""
        return [f"{name}: {value} ({why})" for name, value, why in self.shown()]


_ADAPTERS = {
    AdapterPath.FUSED: "fused",
    AdapterPath.FOLDED: "folded into the weight",
    AdapterPath.PEFT: "PEFT's layers",
}
_CACHE = {
    VisionCache.OFF: "computed each time",
    VisionCache.GPU: "kept on the card",
    VisionCache.HOST: "kept in memory",
}


def _on(switch: bool) -> str:
    return "on" if switch else "off"

"""What a GPU can hold and compute: the table behind `roadscribe plan --card`, and the GPU of this machine."""

from __future__ import annotations

from typing import NamedTuple

from roadscribe.errors import InputError

FP8_CAPABILITY = (8, 9)
"""CUDA compute capability from which GPUs multiply 8-bit floating point."""


class Gpu(NamedTuple):
    """One GPU as a run sees it."""

    key: str
    """The name on the command line; for a GPU that the table does not know, its own name."""
    name: str
    memory_gib: float
    """All memory that the driver shows to a process; the process's own context is still to be taken off."""
    capability: tuple[int, int]
    """CUDA compute capability: Turing 7.5, Ampere 8.0 and 8.6, Ada 8.9, Hopper 9.0."""
    peak_tflops: float | None
    """Dense 16-bit tensor core TFLOP/s of the data sheet, None where the table does not know the GPU."""
    bandwidth_gbs: float | None
    """Memory traffic of the data sheet, in GB/s; None likewise."""

    @property
    def bf16(self) -> bool:
        """Whether it computes bfloat16 in hardware (Ampere and later)."""
        return self.capability >= (8, 0)

    @property
    def flash(self) -> bool:
        """Whether torch's flash attention runs on it (Ampere and later)."""
        return self.capability >= (8, 0)

    @property
    def cudnn_attention(self) -> bool:
        """Whether cuDNN's attention kernels are the fastest on it (Hopper and later)."""
        return self.capability >= (9, 0)

    @property
    def fp8(self) -> bool:
        """Whether it multiplies 8-bit floating point in hardware (Ada, Hopper and later)."""
        return self.capability >= FP8_CAPABILITY

    @property
    def fp8_pays(self) -> bool:
        """Whether 8-bit products were measured to be faster on its kind (Hopper and later)."""
        return self.capability >= (9, 0)


# memory: `torch.cuda.get_device_properties(0).total_memory`, which is below the number on the box (ECC, the
# driver's reserve). peak_tflops (dense) and bandwidth_gbs from NVIDIA's data sheets: "Tesla T4" (65 fp16; 320 GB/s),
# "L4 Tensor Core GPU" (242 with sparsity; 300), "A100 Tensor Core GPU" (312; 1,555 with 40 GB, 2,039 with 80 GB),
# "H100 Tensor Core GPU", SXM (1,979 with sparsity; 3,350), "H200 Tensor Core GPU", SXM (1,979; 4,800).
GPUS = {
    gpu.key: gpu
    for gpu in (
        Gpu("t4", "T4", 14.6, (7, 5), 65, 320),
        Gpu("l4", "L4", 22.0, (8, 9), 121, 300),
        Gpu("a100", "A100 40 GB", 39.4, (8, 0), 312, 1555),
        Gpu("a100-80", "A100 80 GB", 79.1, (8, 0), 312, 2039),
        Gpu("h100", "H100 80 GB", 79.1, (9, 0), 989, 3350),
        Gpu("h200", "H200", 139.7, (9, 0), 989, 4800),
    )
}


def named_gpu(key: str) -> Gpu:
    """A GPU of the table.

    Raises:
        InputError: the table has no such GPU.
    """
    if key.lower() not in GPUS:
        raise InputError(f"--card {key}: known cards are {', '.join(GPUS)}")
    return GPUS[key.lower()]


def gpu_like(name: str, memory_gib: float, capability: tuple[int, int]) -> Gpu:
    """The GPU with this name, memory in GiB and compute capability, in the table's terms.

    The table gives the peak; memory and abilities are what the driver says. Among namesakes (A100) the one
    whose memory is nearest counts.
    """
    words = name.replace("-", " ").upper().split()
    namesakes = [gpu for gpu in GPUS.values() if gpu.key.split("-")[0].upper() in words]
    if not namesakes:
        return Gpu(name, name, memory_gib, capability, None, None)
    nearest = min(namesakes, key=lambda gpu: abs(gpu.memory_gib - memory_gib))
    return nearest._replace(memory_gib=memory_gib, capability=capability)


def present_gpu() -> Gpu:
    """The GPU in this machine (torch's current device).

    Raises:
        InputError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"there is no card in this machine; name one with --card {'|'.join(GPUS)}")
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return gpu_like(found.name, found.total_memory / 2**30, (found.major, found.minor))

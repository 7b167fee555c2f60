"""Applies a `TrainSetup` to a built trainer: fused or folded adapters, compiled layers, loss on answer tokens alone.

Every choice but 8-bit products computes the same function as the plain path; `bench/train.py` measures each,
`docs/log.md` holds the numbers. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from roadscribe.estimate.train_setup import AdapterPath, Attention, TrainSetup
from roadscribe.model.load import LoadedBase
from roadscribe.qwen3_vl.answer_forward import answer_only_head, drop_padding_mask
from roadscribe.qwen3_vl.folded_linear import fold_lora
from roadscribe.qwen3_vl.text_model import fuse
from roadscribe.qwen3_vl.tree_attention import attend_in_branches
from roadscribe.qwen3_vl.vision_tower import compile_vision


def apply_setup(trainer: Any, loaded: LoadedBase, setup: TrainSetup) -> None:
    """Put a setup's faster paths into a trainer whose adapters are float32 already.

    Args:
        trainer: the built trainer.
        loaded: the base in it.
        setup: what `resolve` decided.
    """
    answer_only_head(trainer.model.get_base_model(), compiled=setup.compile_vision.value)
    if setup.compile_vision.value:
        # Each layer is compiled by itself, so its gradients leave for the other cards when it is done with them;
        # torch would cut every layer in two at a bucket of gradients, and pass the widest tensors between.
        torch._dynamo.config.optimize_ddp = False
        compile_vision(loaded.model)
    if setup.adapters.value is AdapterPath.FOLDED:
        fold_lora(trainer.model)
    elif setup.adapters.value is AdapterPath.FUSED:
        fuse(
            trainer.model,
            dense=setup.dequantize_weights.value,
            compiled=setup.compile_layers.value,
            dtype=loaded.dtype,
            eight=setup.fp8_matmul.value,
            share=setup.attention.value is not Attention.REPEATED_KEYS,
        )
    language_model = trainer.model.get_base_model().model.language_model
    drop_padding_mask(language_model)
    if setup.shared_prefix.value:
        attend_in_branches(language_model)


@contextmanager
def attention_kernels(attention: Attention) -> Iterator[None]:
    """Within it cuDNN's attention kernels come before the others, where the setup says so."""
    if attention is not Attention.CUDNN:
        yield
        return
    order = [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]
    with sdpa_kernel(order, set_priority=True):
        yield

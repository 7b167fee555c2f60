"""Applies a `TrainSetup` to a built trainer: fused or folded adapters, compiled layers, loss on answer tokens alone.

Every choice but 8-bit products computes the same function as the plain path; `bench/train.py` measures each,
`docs/log.md` holds the numbers. Nothing is decided here.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from roadscribe.estimate.train_setup import AdapterPath, Attention, TrainSetup
from roadscribe.model.load import LoadedBase
from roadscribe.qwen3_vl.chunked_loss import answer_loss, token_loss
from roadscribe.qwen3_vl.folded_linear import fold_lora
from roadscribe.qwen3_vl.text_model import FusedTextModel, at_places, fuse
from roadscribe.qwen3_vl.tree_attention import attend_in_branches
from roadscribe.qwen3_vl.vision_tower import compile_vision
from roadscribe.train.collator import Placed


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


def drop_padding_mask(language_model: torch.nn.Module) -> None:
    """Train without a padding mask, so that attention takes its faster causal path.

    Training pads on the right, and a causal token never looks right, so no token of a sample can see padding;
    what padding itself computes carries no loss.
    """

    def drop(
        module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        if module.training:
            kwargs["attention_mask"] = None
        return args, kwargs

    language_model.register_forward_pre_hook(drop, with_kwargs=True)


def answer_only_head(base: Any, *, compiled: bool = False) -> None:
    """Let a Qwen3-VL answer with the summed loss of the answer tokens, on the way ``compiled`` or not.

    ``base(..., answer_labels=labels)`` takes what the model takes; ``base(..., placed=places)`` what a `Placed`
    batch holds, and asks the card for nothing on the way. Any other call is as before. The call goes through
    the model's own ``forward``, so that wrappers around it (data parallelism, mixed precision) see it.
    """
    before = base.forward

    def forward(
        self: Any,
        *args: Any,
        answer_labels: torch.Tensor | None = None,
        placed: Placed | None = None,
        **kwargs: Any,
    ) -> Any:
        head = self.get_output_embeddings().weight
        if placed is not None:
            hidden = _placed_hidden(self.model, placed, **kwargs)
            before_answers = hidden.flatten(0, 1).index_select(0, placed["counts"])
            return token_loss(before_answers, placed["targets"], head, compiled=compiled)
        if answer_labels is None:
            return before(*args, **kwargs)
        hidden = self.model(*args, **kwargs).last_hidden_state
        return answer_loss(hidden, answer_labels, head, compiled=compiled)

    base.forward = types.MethodType(forward, base)


def _placed_hidden(
    inner: Any, placed: Placed, input_ids: torch.Tensor, mm_encoder_outputs: dict[str, Any], **kwargs: Any
) -> torch.Tensor:
    """The last hidden states (rows, places, width) at ``placed["before"]``, come by as in ``Qwen3VLModel``."""
    # PEFT names everything that a language model may take; what nobody gave is None.
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    features = mm_encoder_outputs["image"]
    words = inner.get_input_embeddings()(input_ids)
    seen = torch.cat(list(features.pooler_output)).to(words.dtype)
    both = words.flatten(0, 1).index_copy(0, placed["visual"], seen).view_as(words)
    fused = isinstance(inner.language_model, FusedTextModel)
    if fused:
        # Places, not a mask: writing True into one by index waits for the card.
        kwargs |= {"visual_places": placed["visual"], "wanted_places": placed["before"]}
    else:
        mask = torch.zeros(input_ids.numel(), dtype=torch.bool, device=input_ids.device)
        kwargs["visual_pos_masks"] = mask.index_fill(0, placed["visual"], True).view_as(input_ids)
    hidden: torch.Tensor = inner.language_model(
        inputs_embeds=both,
        deepstack_visual_embeds=[torch.cat(list(level)) for level in features.deepstack_features],
        **kwargs,
    ).last_hidden_state
    return hidden if fused else at_places(hidden, placed["before"])


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

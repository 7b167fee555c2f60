"""The numbers of a Qwen3-VL with its adapter that memory and time follow from; no weight is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from roadscribe.model.precision import LANGUAGE_LINEARS


class ModelShape(NamedTuple):
    """The numbers of a Qwen3-VL with its adapter that memory and time follow from."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    linears: tuple[tuple[int, int], ...]
    """(outputs, inputs) of every linear of the language model."""
    norms: int
    """Parameters of the language model's norms."""
    embeddings: int
    """Parameters of the embedding, and of the head where it is not tied to it."""
    visual: int
    """Parameters of the vision encoder."""
    vision_depth: int
    vision_hidden: int
    vision_blocks: int
    """Parameters of the encoder's blocks; each patch meets them once."""
    vision_mergers: int
    """Parameters of the mergers; each visual token meets them once."""
    deepstack: int
    """Layers whose features go into the language model, besides the last one's."""
    rank: int
    adapter: int
    """Trained parameters."""
    odd_layers: str | None
    """Why `fused` cannot compute the base's decoder layers; None where it can."""

    @property
    def linear_parameters(self) -> int:
        """Weights of the language model's linears, unpacked."""
        return sum(outputs * inputs for outputs, inputs in self.linears)

    @property
    def base(self) -> int:
        """Parameters of the base, without the adapter."""
        return self.linear_parameters + self.norms + self.embeddings + self.visual


def shape_of(config: Any, rank: int, targets: Sequence[str]) -> ModelShape:
    """The numbers of a base with LoRA of this rank, from its ``Qwen3VLConfig``; no weight is made."""
    from transformers import Qwen3VLForConditionalGeneration

    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    model.tie_weights()
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    language = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rsplit(".", 1)[-1] in LANGUAGE_LINEARS
    }
    carrying = [
        module.in_features + module.out_features
        for name, module in language.items()
        if name.rsplit(".", 1)[-1] in targets
    ]

    def total(*parts: str) -> int:
        return sum(size for name, size in sizes.items() if any(part in name for part in parts))

    text, vision = config.text_config, config.vision_config
    linears = tuple((module.out_features, module.in_features) for module in language.values())
    embeddings = total("embed_tokens.", "lm_head.")
    visual = total(".visual.")
    return ModelShape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        vocabulary=text.vocab_size,
        linears=linears,
        norms=sum(sizes.values()) - embeddings - visual - sum(one * other for one, other in linears),
        embeddings=embeddings,
        visual=visual,
        vision_depth=vision.depth,
        vision_hidden=vision.hidden_size,
        vision_blocks=total(".visual.blocks."),
        vision_mergers=total(".visual.merger.", ".visual.deepstack_merger_list."),
        deepstack=len(vision.deepstack_visual_indexes),
        rank=rank,
        adapter=rank * sum(carrying),
        odd_layers="the base's layers have a bias, dropout or another activation"
        if text.attention_bias or text.hidden_act != "silu" or text.attention_dropout
        else None,
    )

"""The language model's training pass in few, large products: weight and LoRA in one matrix, layers compiled.

`lora_linear` multiplies ``[x, x A']`` by ``[W, s B]'``: LoRA within the product. Projections that read the same input
(query, key and value; gate and up) share one. The parameters, their names and what is saved stay PEFT's.

``W`` is the NF4 weight dequantised: kept next to the adapter's columns where the GPU has room (dense), or
written anew in each pass. Either way the numbers are those of the 4-bit weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from roadscribe.qwen3_vl import fp8_linear
from roadscribe.qwen3_vl.lora_linear import (
    Spec,
    Tensors,
    adapter_places,
    columns,
    product,
    scales_of,
    write_weight,
)
from roadscribe.qwen3_vl.tree_attention import attend_masked

GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Projections of a layer that read one input."""


class LayerSpec(NamedTuple):
    """The numbers of one decoder layer; the same for all layers, so that all share one compiled function."""

    groups: tuple[Spec, ...]
    eps: float
    head: int
    """Width of an attention head."""
    share: bool
    """Whether the attention kernel lets several query heads share a key."""


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Root-mean-square normalisation over the last axis, in float32, as Qwen3-VL does it."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of ``x`` (batch, tokens, heads, width)."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, scaling: float, share: bool
) -> torch.Tensor:
    """Causal attention, or as ``mask`` says; q, k and v are (batch, heads, tokens, width)."""
    if mask is not None and mask.shape[2] < q.shape[2]:
        return attend_masked(q, k, v, mask, scaling)
    if not share or mask is not None:
        times = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=share and mask is None
    )


def layer_forward(
    hidden: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    mask: Any,
    spec: LayerSpec,
    norms: Tensors,
    groups: tuple[Tensors, ...],
    places: torch.Tensor | None = None,
) -> torch.Tensor:
    """One decoder layer of Qwen3-VL.

    Args:
        hidden: (batch, tokens, width).
        cos, sin: (batch, tokens, 1, head width).
        mask: None for causal attention, or a boolean tensor (batch, 1, tokens, tokens).
        spec: the layer's numbers.
        norms: weights of the norms: input, query, key, after attention.
        groups: the tensors of each of `GROUPS`.
        places: (batch, some): the only tokens whose output is wanted, under causal attention.

    Returns:
        (batch, tokens, width), or (batch, some, width) with ``places``.
    """
    norm_in, norm_q, norm_k, norm_after = norms
    heads = (hidden.shape[0], hidden.shape[1], -1, spec.head)
    q, k, v = product(_norm(hidden, norm_in, spec.eps), spec.groups[0], groups[0])
    q = _rotate(_norm(q.reshape(heads), norm_q, spec.eps), cos, sin)
    k = _rotate(_norm(k.reshape(heads), norm_k, spec.eps), cos, sin).transpose(1, 2)
    v = v.reshape(heads).transpose(1, 2)
    if places is not None:
        mask = places[:, None, :, None] >= torch.arange(hidden.shape[1], device=hidden.device)
        q, hidden = (
            at_places(q.flatten(2), places).view(*places.shape, -1, spec.head),
            at_places(hidden, places),
        )
    seen = _attend(q.transpose(1, 2), k, v, mask, spec.head**-0.5, spec.share).transpose(1, 2).flatten(2)
    hidden = hidden + product(seen, spec.groups[1], groups[1])[0]
    gate, up = product(_norm(hidden, norm_after, spec.eps), spec.groups[2], groups[2])
    return hidden + product(silu(gate) * up, spec.groups[3], groups[3])[0]


def at_places(hidden: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """What ``hidden`` (batch, tokens, width) holds at each row's ``places`` (batch, some)."""
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))


@dataclass
class FusedLayers:
    """The decoder layers' tensors in the order in which `layer_forward` takes them."""

    spec: LayerSpec
    norms: list[Tensors]
    groups: list[tuple[Tensors, ...]]
    forward: Callable[..., torch.Tensor]
    """`layer_forward`, compiled or as it is."""
    places: list[torch.Tensor] = field(default_factory=list)
    """Where each B belongs in the dense weights, (outputs, rank) views."""
    adapters: list[torch.Tensor] = field(default_factory=list)
    """The B of each place."""

    def __post_init__(self) -> None:
        for layer in self.groups:
            for spec, tensors in zip(self.spec.groups, layer, strict=True):
                if not spec.block and not spec.eight:
                    bs = tensors[len(spec.outputs) : -1]
                    self.places += adapter_places(tensors[-1], spec.inputs, bs)
                    self.adapters += bs

    def refresh(self) -> None:
        """Write the adapters' B next to the dense weights, once per pass: two calls for all layers."""
        if self.places:
            # Each pass, not each optimizer step: the fused optimizer leaves no trace in a tensor's version.
            with torch.no_grad():
                scaled = torch._foreach_mul(self.adapters, self.spec.groups[0].scaling)
                torch._foreach_copy_(self.places, scaled)


class FusedTextModel(Qwen3VLTextModel):  # type: ignore[misc]
    """Qwen3-VL's language model with the layers above while it trains; at all other times as shipped."""

    fused: FusedLayers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As `Qwen3VLTextModel.forward`; while it trains, ``attention_mask`` is None (causal) or a boolean mask of
        four dimensions, and there is no cache."""
        if not self.training:
            return super().forward(*args, **kwargs)
        return self._train_forward(**kwargs)

    def _train_forward(
        self,
        inputs_embeds: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: Any = None,
        visual_pos_masks: torch.Tensor | None = None,
        visual_places: torch.Tensor | None = None,
        wanted_places: torch.Tensor | None = None,
        deepstack_visual_embeds: Sequence[torch.Tensor] | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        fused = self.fused
        fused.refresh()
        mask = (
            None if isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2 else attention_mask
        )
        cos, sin = (one.unsqueeze(2) for one in self.rotary_emb(inputs_embeds, position_ids[-3:]))
        _differs_in_length(cos, sin)
        if wanted_places is not None:
            _differs_in_length(wanted_places)
        if isinstance(mask, torch.Tensor):
            torch._dynamo.maybe_mark_dynamic(mask, [2, 3])
        visual = visual_places
        if visual is None and visual_pos_masks is not None:
            visual = visual_pos_masks.flatten().nonzero().squeeze(1)
        deep = deepstack_visual_embeds or ()
        # The first layer's input needs no gradient; with one, all layers share what is compiled.
        hidden = inputs_embeds.detach().requires_grad_()
        with torch.autocast(hidden.device.type, enabled=False):
            for index, (norms, groups) in enumerate(zip(fused.norms, fused.groups, strict=True)):
                # Nothing reads the last layer's other tokens, so they only lend it their keys and values.
                last = index + 1 == len(fused.norms) and index >= len(deep) and mask is None
                places = wanted_places if last else None
                _differs_in_length(hidden)
                arguments = (hidden, cos, sin, mask, fused.spec, norms, groups, places)
                if self.gradient_checkpointing:
                    # Nothing in a layer draws a random number.
                    hidden = checkpoint(
                        fused.forward, *arguments, use_reentrant=False, preserve_rng_state=False
                    )
                else:
                    hidden = fused.forward(*arguments)
                if index < len(deep) and visual is not None:
                    flat = hidden.flatten(0, 1)
                    hidden = flat.index_add(0, visual, deep[index].to(hidden.dtype)).view_as(hidden)
            if wanted_places is not None and places is None:
                hidden = at_places(hidden, wanted_places)
            hidden = self.norm(hidden)
        return BaseModelOutputWithPast(last_hidden_state=hidden)


def _differs_in_length(*tensors: torch.Tensor) -> None:
    """Say before it is compiled that dimension 1 differs from batch to batch, or the second batch compiles anew."""
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, 1)


def fuse(
    model: Any,
    *,
    dense: bool,
    compiled: bool,
    dtype: torch.dtype,
    eight: bool = False,
    share: bool = True,
) -> None:
    """Give a PEFT model around a Qwen3-VL the fused training pass.

    Args:
        model: LoRA on all seven projections of every layer (see `resolve.why_not_fused`), 4-bit or not.
        dense: keep the dequantised weights; otherwise they are written anew in each pass.
        compiled: compile the layer (one function for all layers).
        dtype: the type to compute in.
        eight: products in 8 bits (`fp8_linear`), whose weights are kept in place of dense ones; ``dtype`` is bfloat16.
        share: the attention kernel lets several query heads share a key; GPUs older than Ampere have none that does.
    """
    language = model.get_base_model().model.language_model
    norms: list[Tensors] = []
    groups: list[tuple[Tensors, ...]] = []
    specs: tuple[Spec, ...] = ()
    for layer in language.layers:
        attention, mlp = layer.self_attn, layer.mlp
        norms.append(
            tuple(
                norm.weight.detach()
                for norm in (
                    layer.input_layernorm,
                    attention.q_norm,
                    attention.k_norm,
                    layer.post_attention_layernorm,
                )
            )
        )
        made = [
            _group([getattr(part, name) for name in names], dense, dtype, eight)
            for part, names in zip((attention, attention, mlp, mlp), GROUPS, strict=True)
        ]
        specs = tuple(spec for spec, _ in made)
        groups.append(tuple(tensors for _, tensors in made))
    config = language.config
    spec = LayerSpec(specs, config.rms_norm_eps, language.layers[0].self_attn.head_dim, share)
    function = torch.compile(layer_forward, dynamic=None) if compiled else layer_forward
    language.__class__ = FusedTextModel
    language.fused = FusedLayers(spec, norms, groups, function)


def _group(linears: Sequence[Any], dense: bool, dtype: torch.dtype, eight: bool) -> tuple[Spec, Tensors]:
    """The numbers and tensors of projections that share an input, from PEFT's modules."""
    name = linears[0].active_adapters[0]
    bases = [one.base_layer for one in linears]
    a = [one.lora_A[name].weight for one in linears]
    b = [one.lora_B[name].weight for one in linears]
    outputs = tuple(base.out_features for base in bases)
    inputs = bases[0].in_features
    scaling = float(linears[0].scaling[name])
    packed = type(bases[0].weight).__name__ == "Params4bit"
    states = [base.weight.quant_state for base in bases] if packed else []
    codes = [base.weight.data.view(-1, 1) for base in bases] if packed else []
    scales = [scales_of(state) for state in states]
    spec = Spec(outputs, inputs, scaling, states[0].blocksize if packed and not (dense or eight) else 0)
    if spec.block:
        return spec, (*a, *b, *codes, *scales)
    shape = (sum(outputs), columns(inputs, sum(one.shape[0] for one in a)))
    weight = torch.zeros(shape, dtype=dtype, device=bases[0].weight.device)
    if packed:
        write_weight(weight, codes, scales, spec._replace(block=states[0].blocksize))
    else:
        weight[:, :inputs].copy_(torch.cat([base.weight.detach() for base in bases]))
    if eight:
        return spec._replace(eight=True), (*a, *b, *fp8_linear.codes_of(weight[:, :inputs]))
    return spec, (*a, *b, weight)

"""A faster frozen vision encoder: all frames of one size in one attention call, patches through a matrix
product.

As transformers ships it, the encoder's attention loops over the frames and reads their lengths back to the host
in each layer. A clip's frames share one size, so their patches are one rectangular batch: the same numbers,
fewer and larger calls. Training and use go through it alike; frames of mixed sizes take the shipped path.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionBlock,
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchEmbed,
    apply_rotary_pos_emb_vision,
)
from transformers.utils.generic import is_flash_attention_requested
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from roadscribe.progress import say


class EqualFrameAttention(Qwen3VLVisionAttention):  # type: ignore[misc]
    """Qwen3-VL's vision attention with one call for ``frames`` sequences of equal length."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        frames: int | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Attend within each frame; ``hidden_states`` is (frames x patches, hidden)."""
        if frames is None:
            return super().forward(  # type: ignore[no-any-return]
                hidden_states, cu_seqlens=cu_seqlens, position_embeddings=position_embeddings, **kwargs
            )
        kwargs.pop("max_seqlen", None)
        total = hidden_states.shape[0]
        query, key, value = self.qkv(hidden_states).view(total, 3, self.num_heads, -1).unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        query, key, value = (
            part.view(frames, total // frames, self.num_heads, -1).transpose(1, 2)
            for part in (query, key, value)
        )
        attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        out, _ = attend(
            self,
            query,
            key,
            value,
            attention_mask=None,
            scaling=self.scaling,
            dropout=0.0,
            is_causal=False,
            **kwargs,
        )
        return self.proj(out.reshape(total, -1))  # type: ignore[no-any-return]


class EqualFrameVision(Qwen3VLVisionModel):  # type: ignore[misc]
    """Qwen3-VL's vision encoder that tells its attention, once per pass, when all frames have one size."""

    def _places(self, grid_thw: torch.Tensor) -> dict[str, torch.Tensor]:
        """Where each patch stands, worked out for one frame and repeated for all (the rule goes frame by frame,
        some dozen small calls each)."""
        first = grid_thw[:1]
        indices, weights = get_vision_interpolation_indices_and_weights(
            first,
            num_grid_per_side=self.num_grid_per_side,
            mode=self.interpolation_mode,
            align_corners=self.interpolation_align_corners,
            spatial_merge_size=self.config.spatial_merge_size,
        )
        places = get_vision_position_ids(first, self.config.spatial_merge_size)
        count, device = len(grid_thw), self.pos_embed.weight.device
        indices, weights, places = (one.to(device, non_blocking=True) for one in (indices, weights, places))
        return {
            "interp_indices": indices.repeat(count, 1),
            "interp_weights": weights.repeat(count, 1),
            "position_ids": places.repeat(count, 1),
        }

    def forward(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        """``hidden_states`` (patches, values) of images; ``grid_thw`` (images, 3) is time, rows, columns."""
        grids = {tuple(grid) for grid in grid_thw.tolist()}
        if len(grids) == 1 and not is_flash_attention_requested(self.config):
            (time, _, _) = next(iter(grids))
            kwargs["frames"] = grid_thw.shape[0] * time
            kwargs |= self._places(grid_thw)
        else:
            grid_thw = grid_thw.to(hidden_states.device)
        return super().forward(hidden_states, grid_thw, **kwargs)


@torch.library.custom_op("roadscribe::linear_gelu", mutates_args=())
def _linear_gelu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """GELU (tanh) of a linear layer of the frozen encoder; on a card within the product itself (cuBLASLt's epilogue),
    which saves a pass over the widest tensor."""
    if x.is_cuda:
        return torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
    return gelu(linear(x, weight, bias), approximate="tanh")


@_linear_gelu.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _block(
    hidden: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    frames: int,
    heads: int,
    eps: float,
    weights: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """One block of the encoder on ``hidden`` (frames x patches, width); weights as `CompiledBlock` lists them."""
    norm1, norm1_bias, qkv, qkv_bias, proj, proj_bias, norm2, norm2_bias, fc1, fc1_bias, fc2, fc2_bias = (
        weights
    )
    total, width = hidden.shape
    read = linear(layer_norm(hidden, (width,), norm1, norm1_bias, eps), qkv, qkv_bias)
    query, key, value = read.view(total, 3, heads, -1).unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
    query, key, value = (
        part.view(frames, total // frames, heads, -1).transpose(1, 2) for part in (query, key, value)
    )
    seen = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(total, -1)
    hidden = hidden + linear(seen, proj, proj_bias)
    inner = _linear_gelu(layer_norm(hidden, (width,), norm2, norm2_bias, eps), fc1, fc1_bias)
    return hidden + linear(inner, fc2, fc2_bias)


_compiled_block = torch.compile(_block, dynamic=None)


class CompiledBlock(Qwen3VLVisionBlock):  # type: ignore[misc]
    """A block of the encoder as one compiled function, the same for all blocks, for frames of one size."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        frames: int | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """``hidden_states`` is (frames x patches, width). Compiled while training: there shapes repeat."""
        if frames is None or not self.training:
            if frames is not None:
                kwargs["frames"] = frames
            return super().forward(  # type: ignore[no-any-return]
                hidden_states, cu_seqlens, position_embeddings=position_embeddings, **kwargs
            )
        linears = (
            self.norm1,
            self.attn.qkv,
            self.attn.proj,
            self.norm2,
            self.mlp.linear_fc1,
            self.mlp.linear_fc2,
        )
        weights = tuple(tensor for one in linears for tensor in (one.weight, one.bias))
        with torch.autocast(hidden_states.device.type, enabled=False):
            return _compiled_block(
                hidden_states, *position_embeddings, frames, self.attn.num_heads, self.norm1.eps, weights
            )


def compile_vision(model: Any) -> None:
    """Compile the blocks of an encoder that `speed_up_vision` made; it costs some seconds at the first pass."""
    visual = model.model.visual
    if visual.config.hidden_act != "gelu_pytorch_tanh":
        say(
            f"compiled vision encoder: off (its activation is {visual.config.hidden_act}, not gelu_pytorch_tanh)"
        )
        return
    for block in visual.blocks:
        block.__class__ = CompiledBlock


class LinearPatchEmbed(Qwen3VLVisionPatchEmbed):  # type: ignore[misc]
    """Qwen3-VL's patch embedding as the matrix product that it is.

    A convolution whose kernel covers a whole patch is several times slower (and 10 to 20 times in torch 2.9,
    pytorch#174051). transformers' own ``fusion_config`` does the same by replacing classes for the whole
    process and spends two seconds per load on it.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(patches, 3 x 2 x 16 x 16) to (patches, hidden)."""
        weight = self.proj.weight.flatten(1)
        return linear(hidden_states.view(-1, weight.shape[1]).to(weight.dtype), weight, self.proj.bias)


def speed_up_vision(model: Any) -> None:
    """Give a loaded Qwen3-VL the vision encoder above: the same parameters under the same names."""
    visual = model.model.visual
    visual.__class__ = EqualFrameVision
    visual.patch_embed.__class__ = LinearPatchEmbed
    for block in visual.blocks:
        block.attn.__class__ = EqualFrameAttention

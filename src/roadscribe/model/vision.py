"""A faster frozen vision tower: all frames of one size in one attention call, patches through a matrix
product.

As transformers ships it, the tower's attention loops over the frames and reads their lengths back to the host
in each layer. A clip's frames share one size, so their patches are one rectangular batch: the same numbers,
fewer and larger calls. Training and use go through it alike; frames of mixed sizes take the shipped path.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchEmbed,
    apply_rotary_pos_emb_vision,
)
from transformers.utils.generic import is_flash_attention_requested


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
    """Qwen3-VL's vision tower that tells its attention, once a pass, when all frames have one size."""

    def forward(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        """``hidden_states`` (patches, values) of images; ``grid_thw`` (images, 3) is time, rows, columns."""
        grids = {tuple(grid) for grid in grid_thw.tolist()}
        if len(grids) == 1 and not is_flash_attention_requested(self.config):
            (time, _, _) = next(iter(grids))
            kwargs["frames"] = grid_thw.shape[0] * time
        return super().forward(hidden_states, grid_thw, **kwargs)


class LinearPatchEmbed(Qwen3VLVisionPatchEmbed):  # type: ignore[misc]
    """Qwen3-VL's patch embedding as the matrix product that it is.

    A convolution whose kernel covers a whole patch is several times slower (and 10 to 20 times in torch 2.9,
    pytorch#174051). transformers' own ``fusion_config`` does the same by replacing classes for the whole
    process and spends two seconds a load on it.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(patches, 3 x 2 x 16 x 16) to (patches, hidden)."""
        weight = self.proj.weight.flatten(1)
        return linear(hidden_states.view(-1, weight.shape[1]).to(weight.dtype), weight, self.proj.bias)


def speed_up_vision(model: Any) -> None:
    """Give a loaded Qwen3-VL the vision tower above: the same parameters under the same names."""
    visual = model.model.visual
    visual.__class__ = EqualFrameVision
    visual.patch_embed.__class__ = LinearPatchEmbed
    for block in visual.blocks:
        block.attn.__class__ = EqualFrameAttention

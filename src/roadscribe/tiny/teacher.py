"""Qwen3-VL's own modules called in Qwen3-VL's order, for clips of one size: fast enough to teach from nothing.

What is the same for every clip (image sizes, positions) is computed once; a test holds the result equal to the
model's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from roadscribe.tiny.lessons import FRAMES
from roadscribe.tiny.pool import HEIGHT, TEXT_TOKENS, WIDTH, Text

PATCH, MERGE = 16, 2


def patchify(frames: torch.Tensor) -> torch.Tensor:
    """uint8 frames (N, H, W, 3) as the rows Qwen3-VL's image processor makes: (N*H*W/256, 1536)."""
    pixels = frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    count, channels, height, width = pixels.shape
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    pixels = pixels.view(count, channels, rows, MERGE, PATCH, columns, MERGE, PATCH)
    pixels = pixels.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block row, block column, in block, channel, y, x
    pixels = pixels.unsqueeze(6).expand(
        -1, -1, -1, -1, -1, -1, 2, -1, -1
    )  # a still image fills both time slots
    return pixels.reshape(count * rows * columns * MERGE * MERGE, channels * 2 * PATCH * PATCH)


def vision_attention(self: Any, hidden: torch.Tensor, *_: Any, **kwargs: Any) -> torch.Tensor:
    """Vision attention of images of one size in a single call; transformers makes one call an image."""
    cos, sin = kwargs["position_embeddings"]  # of one image: (patches, head size)
    images = hidden.shape[0] // cos.shape[0]
    qkv = self.qkv(hidden).view(images, cos.shape[0], 3, self.num_heads, -1)
    query, key, value = qkv.unbind(2)
    query, key = (_turn(x.float(), cos, sin).to(value.dtype) for x in (query, key))
    out = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    mixed: torch.Tensor = self.proj(out.transpose(1, 2).reshape(hidden.shape[0], -1))
    return mixed


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (images, patches, heads, size) by (patches, size)."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos[:, None] + turned * sin[:, None]


class Teacher:
    """Turns clips and texts into the model's inputs and a loss.

    The forward pass is Qwen3-VL's own modules called in Qwen3-VL's order, with what is the same for every clip
    (image sizes, positions) computed once; a test holds it equal to the model's own forward pass.
    """

    def __init__(self, model: Any, processor: Any, device: torch.device, compiled: bool = False) -> None:
        self.model, self.tokenizer, self.device = model, processor.tokenizer, device
        self.visual, self.language = model.model.visual, model.model.language_model
        for block in self.visual.blocks:
            block.attn.forward = vision_attention.__get__(block.attn)
        self.blocks = [*self.visual.blocks]
        self.layers = [*self.language.layers]
        self.patchify: Callable[[torch.Tensor], torch.Tensor] = patchify
        self.fast = (self.blocks, self.layers, self.patchify)
        if compiled:
            self.fast = (
                [torch.compile(block, dynamic=False) for block in self.blocks],
                [torch.compile(layer, dynamic=False) for layer in self.layers],
                torch.compile(patchify, dynamic=False),
            )
        self._grid = torch.tensor([[1, HEIGHT // PATCH, WIDTH // PATCH]], device=device)
        self._positions: dict[int, torch.Tensor] = {}

    def prefix(self, count: int) -> list[int]:
        """Token ids of the opening of a user turn with ``count`` images."""
        visual = (HEIGHT // PATCH // MERGE) * (WIDTH // PATCH // MERGE)
        image = "<|vision_start|>" + "<|image_pad|>" * visual + "<|vision_end|>"
        ids: list[int] = self.tokenizer("<|im_start|>user\n" + image * count)["input_ids"]
        return ids

    def positions(self, count: int) -> torch.Tensor:
        """M-RoPE positions (3, 1, L) behind ``count`` images, long enough for any text."""
        if count not in self._positions:
            ids = torch.tensor([self.prefix(count) + [0] * (TEXT_TOKENS + 64)])
            kinds = (ids == self.model.config.image_token_id).int()
            grid = self._grid.cpu().expand(count, 3)
            found, _ = self.model.model.get_rope_index(
                ids, image_grid_thw=grid, mm_token_type_ids=kinds, attention_mask=torch.ones_like(ids)
            )
            self._positions[count] = found.to(self.device)
        return self._positions[count]

    def loss(self, frames: torch.Tensor, texts: list[Text]) -> torch.Tensor:
        """Mean cross entropy over all answer tokens of clips (B, count, H, W, 3)."""
        fast = frames.shape[1] == FRAMES and self.model.training
        return self.read_loss(self.see(frames, fast), texts, fast)

    def read_loss(self, seen: list[torch.Tensor], texts: list[Text], fast: bool = False) -> torch.Tensor:
        """Mean cross entropy over all answer tokens behind images whose features are ``seen``."""
        size, visual = seen[0].shape[:2]
        prefix = self.prefix(visual * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH))
        # Compiled code wants one length; elsewhere padding would only cost time.
        longest = TEXT_TOKENS if fast else max(len(text.ids) for text in texts)
        length = len(prefix) + longest
        ids = np.full((size, length), self.tokenizer.pad_token_id, np.int64)
        labelled = np.zeros((size, length), bool)
        ids[:, : len(prefix)] = prefix
        for row, text in enumerate(texts):
            ids[row, len(prefix) : len(prefix) + len(text.ids)] = text.ids
            labelled[row, len(prefix) : len(prefix) + len(text.ids)] = text.labelled
        input_ids = torch.from_numpy(ids).to(self.device, non_blocking=True)
        where = torch.from_numpy(np.flatnonzero(labelled[:, 1:].ravel())).to(self.device, non_blocking=True)
        hidden = self.read(input_ids, seen, fast)
        logits = self.model.lm_head(hidden[:, :-1].reshape(size * (length - 1), -1)[where]).float()
        return F.cross_entropy(logits, input_ids[:, 1:].reshape(-1)[where])

    def see(self, frames: torch.Tensor, fast: bool = False) -> list[torch.Tensor]:
        """Visual features of clips (B, count, H, W, 3): merged and DeepStack, each (B, visual tokens, hidden)."""
        blocks, _, cut = self.fast if fast else (self.blocks, self.layers, self.patchify)
        size, count = frames.shape[:2]
        tower = self.visual
        kernel = tower.patch_embed.proj
        hidden = F.linear(cut(frames.flatten(0, 1)), kernel.weight.flatten(1), kernel.bias)
        indices, weights = get_vision_interpolation_indices_and_weights(
            self._grid,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=MERGE,
        )
        place = (tower.pos_embed(indices) * weights[:, :, None]).sum(1)
        hidden = (hidden.view(size * count, -1, hidden.shape[-1]) + place).flatten(0, 1)
        turns = tower.rotary_pos_emb(hidden, get_vision_position_ids(self._grid, MERGE))
        deep: list[torch.Tensor] = []
        for number, block in enumerate(blocks):
            hidden = block(hidden, cu_seqlens=None, position_embeddings=turns)
            if number in tower.deepstack_visual_indexes:
                deep.append(tower.deepstack_merger_list[len(deep)](hidden))
        return [features.view(size, -1, features.shape[-1]) for features in (tower.merger(hidden), *deep)]

    def read(self, input_ids: torch.Tensor, seen: list[torch.Tensor], fast: bool = False) -> torch.Tensor:
        """Last hidden states (B, L, hidden) of texts behind images whose features are ``seen``."""
        layers = self.fast[1] if fast else self.layers
        visual = (input_ids[0] == self.model.config.image_token_id).nonzero().squeeze(1)
        merged, *deep = seen
        embedded = self.language.embed_tokens(input_ids)
        hidden = embedded.index_copy(1, visual, merged.to(embedded.dtype))
        count = merged.shape[1] * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH)
        turns = self.language.rotary_emb(hidden, self.positions(count)[..., : input_ids.shape[1]])
        for number, layer in enumerate(layers):
            hidden = layer(hidden, attention_mask=None, position_embeddings=turns)
            if number < len(deep):
                hidden = hidden.index_add(1, visual, deep[number].to(hidden.dtype))
        last: torch.Tensor = self.language.norm(hidden)
        return last

    def answer(self, seen: list[torch.Tensor], question: str, new_tokens: int = 12) -> list[str]:
        """Greedy answers to one question about every clip that `see` has seen."""
        size, visual = seen[0].shape[:2]
        count = visual * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH)
        asked = self.tokenizer(f"{question}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        ids = torch.tensor([self.prefix(count) + asked] * size, device=self.device)
        start, end = ids.shape[1], self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        while ids.shape[1] < start + new_tokens and not (ids[:, start:] == end).any(1).all():
            ids = torch.cat([ids, self.model.lm_head(self.read(ids, seen)[:, -1:]).argmax(-1)], 1)
        return [answer.split("<|im_end|>")[0] for answer in self.tokenizer.batch_decode(ids[:, start:])]

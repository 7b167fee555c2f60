"""Packed KV cache: keys and values of many sequences of unequal length, and the attention over them.

Each step feeds every sequence one new token or a whole forced stretch. All new tokens lie packed in one row,
so that no linear layer computes padding, and each sequence keeps its own length, so that no cache entry is
padding either. The model's own modules run unchanged: they call ``PackedCache.update`` where they would call
transformers' cache, and `packed_attention` where they would call SDPA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

_NAME = "roadscribe_packed"
_GROWTH = 128


class Prefix(NamedTuple):
    """What a model remembers of one prompt."""

    keys: torch.Tensor
    """(layers, KV heads, tokens, head width)."""
    values: torch.Tensor
    logits: torch.Tensor
    """(vocabulary,), of the token after the prompt."""

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.logits.nbytes


class _Step(NamedTuple):
    """Where the packed tokens of one step belong."""

    slots: torch.Tensor
    """(tokens,): the sequence of each token."""
    places: torch.Tensor
    """(tokens,): its place in that sequence."""
    last: torch.Tensor
    """(sequences,): the packed index of each sequence's last new token."""
    longest: int
    mask: torch.Tensor
    """(sequences, 1, 1, longest): 0 where a last token may look, -inf elsewhere."""
    stretches: list[tuple[int, int, int, torch.Tensor]]
    """Sequence, first packed index and count of the new tokens before its last, and their mask."""


class PackedCache:
    """Keys and values of up to ``rows`` sequences; sequence i of the active ones lies in slot i."""

    def __init__(
        self, text_config: Any, rows: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (
            text_config.num_hidden_layers,
            rows,
            text_config.num_key_value_heads,
            capacity,
            text_config.head_dim,
        )
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths: list[int] = []
        self._step: _Step | None = None

    def begin_prompt(self, tokens: int) -> None:
        """The next forward pass reads one whole prompt of this many tokens as a new sequence."""
        self.lengths.append(tokens)
        self._reserve(tokens)
        self._step = None

    def begin_step(self, counts: Sequence[int]) -> torch.Tensor:
        """The next forward pass reads ``counts[i]`` > 0 new tokens of each sequence i, packed in order.

        Returns:
            (sequences,): the packed index of each sequence's last new token.
        """
        device, dtype = self.keys.device, self.keys.dtype
        slots: list[int] = []
        places: list[int] = []
        last: list[int] = []
        stretches = []
        for slot, count in enumerate(counts):
            past = self.lengths[slot]
            if count > 1:
                allowed = torch.ones(count - 1, past + count - 1, dtype=torch.bool).tril(past)
                stretches.append((slot, len(slots), count - 1, _additive(allowed, dtype).to(device)))
            slots += [slot] * count
            places += range(past, past + count)
            last.append(len(slots) - 1)
            self.lengths[slot] = past + count
        longest = max(self.lengths)
        self._reserve(longest)
        visible = torch.arange(longest)[None, :] < torch.tensor(self.lengths)[:, None]
        ends = torch.tensor(last, device=device)
        self._step = _Step(
            torch.tensor(slots, device=device),
            torch.tensor(places, device=device),
            ends,
            longest,
            _additive(visible, dtype)[:, None, None, :].to(device),
            stretches,
        )
        return ends

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new tokens, (1, KV heads, tokens, head width); the decoder layer calls this."""
        step = self._step
        if step is None:
            slot, tokens = len(self.lengths) - 1, keys.shape[2]
            self.keys[layer, slot, :, :tokens] = keys[0]
            self.values[layer, slot, :, :tokens] = values[0]
        else:
            self.keys[layer][step.slots, :, step.places] = keys[0].transpose(0, 1).to(self.keys.dtype)
            self.values[layer][step.slots, :, step.places] = values[0].transpose(0, 1).to(self.values.dtype)
        return keys, values

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layer: int, scaling: float
    ) -> torch.Tensor:
        """Attention of the packed queries (1, heads, tokens, head width) over their own sequences.

        Returns:
            (1, tokens, heads, head width).
        """
        step = self._step
        _, heads, tokens, width = query.shape
        kv_heads = keys.shape[1]
        group = heads // kv_heads
        if step is None:
            keys, values = (part.repeat_interleave(group, dim=1) for part in (keys, values))
            attended = scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scaling)
            return attended.transpose(1, 2)
        all_keys, all_values = self.keys[layer], self.values[layer]
        out = query.new_empty(tokens, heads, width)
        # The queries that share a KV head stand together as rows of one attention problem.
        ends = query[0, :, step.last].transpose(0, 1).reshape(-1, kv_heads, group, width)
        active = slice(0, len(self.lengths))
        attended = scaled_dot_product_attention(
            ends,
            all_keys[active, :, : step.longest],
            all_values[active, :, : step.longest],
            attn_mask=step.mask,
            scale=scaling,
        )
        out[step.last] = attended.reshape(-1, heads, width)
        for slot, first, count, mask in step.stretches:
            stretch = query[:, :, first : first + count].reshape(1, kv_heads, group * count, width)
            seen = mask.shape[1]
            attended = scaled_dot_product_attention(
                stretch,
                all_keys[slot : slot + 1, :, :seen],
                all_values[slot : slot + 1, :, :seen],
                attn_mask=mask.repeat(group, 1),
                scale=scaling,
            )
            out[first : first + count] = attended.reshape(heads, count, width).transpose(0, 1)
        return out[None]

    def remove(self, slot: int) -> None:
        """Forget the sequence in ``slot``; the last active sequence moves there."""
        final = len(self.lengths) - 1
        if slot != final:
            length = self.lengths[final]
            self.keys[:, slot, :, :length] = self.keys[:, final, :, :length]
            self.values[:, slot, :, :length] = self.values[:, final, :, :length]
            self.lengths[slot] = length
        self.lengths.pop()

    def store(self, logits: torch.Tensor) -> Prefix:
        """A copy of the newest sequence, which has just been read by ``begin_prompt``."""
        newest = (slice(None), len(self.lengths) - 1, slice(None), slice(self.lengths[-1]))
        return Prefix(self.keys[newest].clone(), self.values[newest].clone(), logits)

    def restore(self, prefix: Prefix) -> None:
        """Take a stored prompt as a new sequence."""
        tokens = prefix.keys.shape[2]
        self.begin_prompt(tokens)
        self.keys[:, len(self.lengths) - 1, :, :tokens] = prefix.keys
        self.values[:, len(self.lengths) - 1, :, :tokens] = prefix.values

    def _reserve(self, tokens: int) -> None:
        more = tokens - self.keys.shape[3]
        if more > 0:
            wider = (0, 0, 0, -(-more // _GROWTH) * _GROWTH)
            self.keys = torch.nn.functional.pad(self.keys, wider)
            self.values = torch.nn.functional.pad(self.values, wider)


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, float("-inf"))


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    packed: PackedCache,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface, over a PackedCache that the forward pass was given as ``packed``."""
    return packed.attend(query, key, value, module.layer_idx, scaling), None


AttentionInterface.register(_NAME, packed_attention)


@contextmanager
def packed_language_model(language_model: Any) -> Iterator[None]:
    """Let the language model of a Qwen3-VL attend through `packed_attention` while the block lasts."""
    config = language_model.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before

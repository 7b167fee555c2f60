"""Several answers on one clip as one sequence: the tokens they share once, then a branch for each answer.

A token of a branch sees the shared prefix and what came before it in its own branch, at the positions it
would have in a sample of its own. So every answer token gets the logits it would get there, while frames and
question go through the language model once (tree attention, as in speculative decoding).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from roadscribe.qwen3_vl.processor import IGNORED, MERGE, Sample, encode_text

BRANCHES = "branches"
"""Key of a batch that says which branch each token is on, from the first that is not shared in all of its
sequences; `attend_in_branches` turns it into a mask."""
PREFIX = 0
"""Branch number of a token that all branches share; branches count from 1."""
PADDING = -1
ATTENTION = "branches"
"""Name under which transformers finds `_attend`."""


class _Positions:
    """Qwen3-VL's own rule of M-RoPE positions without a model, so that a worker process can follow it."""

    config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=MERGE))
    get_rope_index = Qwen3VLModel.get_rope_index
    get_vision_position_ids = Qwen3VLModel.get_vision_position_ids


def shared_length(ids: torch.Tensor, answers: Sequence[int]) -> int:
    """How many tokens some samples share from their start, as far as they may be shared.

    The longest common prefix, but never the token before an answer's first: that one predicts it, and must
    be there once for each answer.

    Args:
        ids: (samples, tokens), padded on the right.
        answers: where each sample's answer begins.
    """
    limit = max(0, min(answers) - 1)
    same = (ids[:, :limit] == ids[:1, :limit]).all(0)
    return int(same.int().cumprod(0).sum())


def answer_starts(labels: torch.Tensor) -> list[int]:
    """Where each sample's answer begins; ``labels`` is (samples, tokens), `IGNORED` outside the answer."""
    return [int(start) for start in (labels != IGNORED).int().argmax(1)]


def encode_branches(processor: Any, clips: Sequence[Sequence[Sample]]) -> dict[str, torch.Tensor]:
    """The words of some clips' samples, each clip one sequence, with a place for every visual token.

    Args:
        processor: the base's processor.
        clips: for each clip its samples with answers. All samples of a clip share the tokens up to the last
            visual one (`prefix_sharing.group_rows` sees to it), so the frames are there once.

    Returns:
        Tensors of (clips, tokens), padded on the right, as `encode_text` returns them; ``position_ids``
        (3, clips, tokens); ``image_grid_thw`` (frames, 3); and `BRANCHES` (clips, tokens after the shortest
        shared prefix): the branch, `PREFIX` or `PADDING`. With one sample per clip nothing is shared, and
        there is no `BRANCHES`.

    Raises:
        ValueError: samples of a clip do not share their visual tokens.
    """
    samples = [sample for clip in clips for sample in clip]
    rows = encode_text(processor, samples)
    # Here, where a worker process has the time: on a card the rule would wait for each number it reads.
    rows["position_ids"], _ = _Positions().get_rope_index(
        rows["input_ids"], rows["mm_token_type_ids"], rows["image_grid_thw"], None, rows["attention_mask"]
    )
    if len(samples) == len(clips):
        return rows
    grids = torch.split(rows.pop("image_grid_thw"), [len(sample.images) for sample in samples])
    starts, lengths = answer_starts(rows["labels"]), rows["attention_mask"].sum(1).tolist()
    # A sequence is the places in the flattened rows that it takes, and the branch that each is on.
    places: list[torch.Tensor] = []
    branches: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    first, width = 0, rows["input_ids"].shape[1]
    for clip in clips:
        own = range(first, first + len(clip))
        cut = shared_length(rows["input_ids"][first : own.stop], starts[first : own.stop])
        if len(clip) > 1 and rows["mm_token_type_ids"][first, cut:].any():
            raise ValueError("samples of one clip must share the tokens up to their last visual token")
        parts = [torch.arange(first * width, first * width + cut)]
        parts += [torch.arange(row * width + cut, row * width + lengths[row]) for row in own]
        places.append(torch.cat(parts))
        branches.append(torch.repeat_interleave(torch.tensor([len(part) for part in parts])))
        seen.append(grids[first])
        first = own.stop
    padding = {"input_ids": processor.tokenizer.pad_token_id, "labels": IGNORED}
    batch = {
        name: _stack([tensor.flatten(-2)[..., place] for place in places], padding.get(name, 0))
        for name, tensor in rows.items()
    }
    common = min(int((branch == PREFIX).sum()) for branch in branches)
    batch[BRANCHES] = _stack(branches, PADDING)[:, common:]
    return {**batch, "image_grid_thw": torch.cat(seen)}


def _stack(parts: Sequence[torch.Tensor], padding: int) -> torch.Tensor:
    """Tensors (..., tokens) of different length as one (..., parts, longest), padded on the right."""
    longest = max(part.shape[-1] for part in parts)
    return torch.stack([pad(part, (0, longest - part.shape[-1]), value=padding) for part in parts], dim=-2)


def branch_mask(branches: torch.Tensor, tokens: int) -> torch.Tensor:
    """Which token each token after the shared prefix sees, (clips, 1, tokens after it, tokens), boolean.

    Args:
        branches: `BRANCHES` of a batch.
        tokens: of the whole sequence; those before ``branches`` are shared.
    """
    shared = tokens - branches.shape[1]
    query, key = branches[:, :, None], pad(branches, (shared, 0), value=PREFIX)[:, None, :]
    order = torch.arange(tokens, device=branches.device)
    seen = (order[shared:, None] >= order) & ((key == PREFIX) | (key == query))
    return seen[:, None]


def attend_masked(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attention with a `branch_mask`: the shared prefix through the causal kernel, only the rest masked.

    A kernel computes what a boolean mask hides all the same, so the mask is kept to the branches. All but the
    mask are (clips, heads, tokens, width); keys and values may have fewer heads.
    """
    times = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    shared = query.shape[2] - mask.shape[2]
    prefix = scaled_dot_product_attention(
        query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], is_causal=True, scale=scaling
    )
    rest = scaled_dot_product_attention(query[:, :, shared:], key, value, attn_mask=mask, scale=scaling)
    return torch.cat([prefix, rest], dim=2)


def attend_in_branches(language_model: Any) -> RemovableHandle:
    """Let a Qwen3-VL language model take `BRANCHES` in addition to its inputs; without them nothing changes.

    Args:
        language_model: the ``Qwen3VLTextModel``, transformers' own or `text_model`'s.

    Returns:
        What takes the model back.
    """
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    language_model.config._attn_implementation = ATTENTION

    def give_mask(
        module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        branches = kwargs.pop(BRANCHES, None)
        if branches is not None:
            kwargs["attention_mask"] = branch_mask(branches, kwargs["inputs_embeds"].shape[1])
        return args, kwargs

    handle: RemovableHandle = language_model.register_forward_pre_hook(give_mask, with_kwargs=True)
    return handle


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """transformers' sdpa, or what the mask of a batch with branches asks for; (clips, tokens, heads, width)."""
    if attention_mask is not None and attention_mask.shape[2] < query.shape[2]:
        out = attend_masked(query, key, value, attention_mask, kwargs["scaling"])
        return out.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]

"""The training forward pass of a Qwen3-VL: hidden states at the answers alone, no padding mask, the summed loss."""

from __future__ import annotations

import types
from typing import Any, NotRequired, TypedDict

import torch

from roadscribe.qwen3_vl.chunked_loss import answer_loss, token_loss
from roadscribe.qwen3_vl.text_model import FusedTextModel, at_places


class Placed(TypedDict):
    """Where things stand in a batch, worked out before it goes to the card: no pass has to ask the card for it."""

    grid: list[list[int]]
    """Each frame's time, rows and columns in patches."""
    visual: torch.Tensor
    """Places of the visual tokens among the batch's tokens, row after row."""
    before: torch.Tensor
    """(rows, most tokens of an answer, rounded up): the place in its row of each token that predicts an answer's
    token; short rows repeat their last."""
    counts: torch.Tensor
    """(tokens of all answers): which places of `before`, row after row, count."""
    targets: torch.Tensor
    """(tokens of all answers): the tokens to predict."""
    weights: NotRequired[torch.Tensor]
    """(tokens of all answers): what each of them counts in the loss, where not all count the same."""


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

    ``base(..., answer_labels=labels, answer_weights=weights)`` takes what the model takes, ``base(..., placed=places)``
    what a `Placed` batch holds, and asks the card for nothing on the way. Any other call is as before. The call
    goes through the model's own ``forward``, so that wrappers around it (data parallelism, mixed precision) see it.
    """
    before = base.forward

    def forward(
        self: Any,
        *args: Any,
        answer_labels: torch.Tensor | None = None,
        answer_weights: torch.Tensor | None = None,
        placed: Placed | None = None,
        **kwargs: Any,
    ) -> Any:
        head = self.get_output_embeddings().weight
        if placed is not None:
            hidden = _placed_hidden(self.model, placed, **kwargs)
            before_answers = hidden.flatten(0, 1).index_select(0, placed["counts"])
            shares = placed.get("weights")
            return token_loss(before_answers, placed["targets"], head, weights=shares, compiled=compiled)
        if answer_labels is None:
            return before(*args, **kwargs)
        hidden = self.model(*args, **kwargs).last_hidden_state
        return answer_loss(hidden, answer_labels, head, weights=answer_weights, compiled=compiled)

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

"""Cross-entropy of the answer tokens alone: the head never multiplies a token that carries no loss.

A driving sample has some 2,500 tokens of frames and question and 300 of answer; full logits of a vocabulary
of 150,000 would be most of the memory and a tenth of the time. The head is frozen, so the gradient of the
hidden states is all that is needed, and it is at hand where the loss is computed: chunk by chunk, without
keeping a logit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

from roadscribe.model.encode import IGNORED

CHUNK_BYTES = 2**29
"""Float32 logits of one chunk take about this much."""


class _AnswerLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        """``hidden`` (tokens, width), ``targets`` (tokens,), ``head`` (vocabulary, width): the summed loss."""
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        rows = max(1, CHUNK_BYTES // (4 * head.shape[0]))
        for start in range(0, len(hidden), rows):
            part = hidden[start : start + rows]
            wanted = targets[start : start + rows, None]
            logits = linear(part, head).float()
            normaliser = torch.logsumexp(logits, dim=-1, keepdim=True)
            total += (normaliser - logits.gather(1, wanted)).sum()
            # softmax minus one at the target
            logits.sub_(normaliser).exp_()
            logits.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype))
            torch.mm(logits.to(head.dtype), head, out=gradient[start : start + rows])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of ``hidden``; the head is frozen."""
        (gradient,) = ctx.saved_tensors
        return (gradient.float() * upstream).to(gradient.dtype), None, None


def answer_loss(hidden: torch.Tensor, labels: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy in nats over the labelled tokens, in float32.

    Args:
        hidden: (batch, tokens, width), the language model's last hidden states.
        labels: (batch, tokens), `IGNORED` where no loss is; the label of a token is predicted from the hidden
            state before it.
        head: (vocabulary, width), the frozen head's weight.
    """
    places = (labels[:, 1:] != IGNORED).flatten().nonzero().squeeze(1)
    before = hidden[:, :-1].flatten(0, 1).index_select(0, places)
    targets = labels[:, 1:].flatten().index_select(0, places)
    return token_loss(before, targets, head)


def token_loss(before: torch.Tensor, targets: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy in nats of tokens whose places are known, in float32.

    Args:
        before: (tokens, width), the hidden state before each token.
        targets: (tokens,).
        head: (vocabulary, width), the frozen head's weight.
    """
    with torch.autocast(before.device.type, enabled=False):
        loss: torch.Tensor = _AnswerLoss.apply(before, targets, head)  # type: ignore[no-untyped-call]
    return loss

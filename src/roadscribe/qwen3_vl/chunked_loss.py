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

from roadscribe.qwen3_vl.processor import IGNORED

CHUNK_BYTES = 2**29
"""Float32 logits of one chunk take about this many bytes."""


def _slopes(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss of some tokens and its gradient at their logits, in the logits' type.

    ``logits`` (tokens, vocabulary), ``targets`` (tokens, 1), ``weights`` (tokens, 1) float32 or None for 1.
    """
    wide = logits.float()
    normaliser = torch.logsumexp(wide, dim=-1, keepdim=True)
    losses = normaliser - wide.gather(1, targets)
    loss = losses.sum() if weights is None else (losses * weights).sum()
    # softmax minus one at the target
    wide.sub_(normaliser).exp_()
    wide.scatter_add_(1, targets, torch.full_like(targets, -1, dtype=wide.dtype))
    if weights is not None:
        wide.mul_(weights)
    return loss, wide.to(logits.dtype)


def _slopes_without_copies(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_slopes` in a form that compiles to two passes over the logits and never writes them in float32."""
    wide = logits.float()
    normaliser = torch.logsumexp(wide, dim=-1, keepdim=True)
    losses = normaliser - wide.gather(1, targets)
    hit = torch.arange(logits.shape[1], device=logits.device) == targets
    slopes = (wide - normaliser).exp() - hit.float()
    if weights is None:
        return losses.sum(), slopes.to(logits.dtype)
    return (losses * weights).sum(), (slopes * weights).to(logits.dtype)


_compiled_slopes = torch.compile(_slopes_without_copies, dynamic=None)


class _AnswerLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        head: torch.Tensor,
        compiled: bool,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """``hidden`` (tokens, width), ``targets`` and ``weights`` (tokens,), ``head`` (vocabulary, width): the
        summed loss."""
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        rows = max(1, CHUNK_BYTES // (4 * head.shape[0]))
        for start in range(0, len(hidden), rows):
            part = hidden[start : start + rows]
            logits, wanted = linear(part, head), targets[start : start + rows, None]
            if compiled:
                for one in (logits, wanted):
                    torch._dynamo.maybe_mark_dynamic(one, 0)
            share = None if weights is None else weights[start : start + rows, None]
            if compiled and share is not None:
                torch._dynamo.maybe_mark_dynamic(share, 0)
            loss, slopes = (_compiled_slopes if compiled else _slopes)(logits, wanted, share)
            total += loss
            torch.mm(slopes, head, out=gradient[start : start + rows])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of ``hidden``; the head is frozen."""
        (gradient,) = ctx.saved_tensors
        return (gradient.float() * upstream).to(gradient.dtype), None, None, None, None


def answer_loss(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    head: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    compiled: bool = False,
) -> torch.Tensor:
    """Summed cross-entropy in nats over the labelled tokens, in float32.

    Args:
        hidden: (batch, tokens, width), the language model's last hidden states.
        labels: (batch, tokens), `IGNORED` where no loss is; the label of a token is predicted from the hidden
            state before it.
        head: (vocabulary, width), the frozen head's weight.
        weights: (batch, tokens), what each label counts; None counts every one as 1.
        compiled: compile what turns logits into gradients.
    """
    places = (labels[:, 1:] != IGNORED).flatten().nonzero().squeeze(1)
    before = hidden[:, :-1].flatten(0, 1).index_select(0, places)
    targets = labels[:, 1:].flatten().index_select(0, places)
    shares = None if weights is None else weights[:, 1:].flatten().index_select(0, places)
    return token_loss(before, targets, head, weights=shares, compiled=compiled)


def token_loss(
    before: torch.Tensor,
    targets: torch.Tensor,
    head: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    compiled: bool = False,
) -> torch.Tensor:
    """Summed cross-entropy in nats of tokens whose places are known, in float32.

    Args:
        before: (tokens, width), the hidden state before each token.
        targets: (tokens,).
        head: (vocabulary, width), the frozen head's weight.
        weights: (tokens,), what each token counts; None counts every one as 1.
        compiled: compile what turns logits into gradients.
    """
    with torch.autocast(before.device.type, enabled=False):
        loss: torch.Tensor = _AnswerLoss.apply(before, targets, head, compiled, weights)  # type: ignore[no-untyped-call]
    return loss

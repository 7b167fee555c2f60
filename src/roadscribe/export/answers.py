"""What one model in memory says about the check clips: its reports, and its choice of every next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from roadscribe.clip import Clip
from roadscribe.infer.engine import ReportEngine
from roadscribe.progress import progress, say
from roadscribe.prompts import messages
from roadscribe.qwen3_vl.processor import Sample, encode
from roadscribe.recipe import Infer


class Report(NamedTuple):
    """One answer of a model, as plain values."""

    text: str
    tokens: int
    finished: bool


def write_reports(
    model: Any, processor: Any, infer: Infer, clips: Sequence[Clip], *, whose: str
) -> list[Report]:
    """The model's own report on every clip, greedily, a batch after another; ``whose`` names the model."""
    engine = ReportEngine(model, processor, batch_size=infer.batch_size, max_new_tokens=infer.max_new_tokens)
    reports: list[Report] = []
    say(f"{whose} writes {len(clips)} report{'s' * (len(clips) != 1)}")
    with progress(len(clips), "writing reports") as advance:
        for start in range(0, len(clips), infer.batch_size):
            some = [clip.images() for clip in clips[start : start + infer.batch_size]]
            for answer in engine.generate(some, grammar=infer.grammar):
                reports.append(Report(answer.text, answer.tokens, answer.finished))
            advance(len(some))
    return reports


def next_token_logits(model: Any, processor: Any, clip: Clip, text: str) -> torch.Tensor:
    """Logits (answer tokens, vocabulary) of each token of ``text``, given all before it; CPU, float32."""
    device = next(model.parameters()).device
    answer = [{"role": "assistant", "content": text}]
    batch = encode(processor, [Sample(clip.images(), messages(len(clip.frames)), answer)])
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**{name: tensor.to(device) for name, tensor in batch.items()}, use_cache=False).logits
    chosen: torch.Tensor = logits[0, :-1][(labels[0, 1:] >= 0).to(device)]
    return chosen.float().cpu()


class Choices(NamedTuple):
    """How a model goes on at every place of given texts."""

    top: list[list[int]]
    """For each clip, the most likely token at each place of its text."""
    logits: torch.Tensor
    """(answer tokens, vocabulary) of the first clip's text."""


def choices(model: Any, processor: Any, clips: Sequence[Clip], texts: Sequence[str]) -> Choices:
    """Read each text beside its clip; only the first clip's logits are kept whole, they are large."""
    first: torch.Tensor | None = None
    top = []
    with progress(len(clips), "comparing token by token") as advance:
        for clip, text in zip(clips, texts, strict=True):
            logits = next_token_logits(model, processor, clip, text)
            first = logits if first is None else first
            top.append(logits.argmax(dim=-1).tolist())
            advance()
    assert first is not None  # check clips are never empty
    return Choices(top, first)

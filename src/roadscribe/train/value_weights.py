"""Which tokens of an answer write the JSON's values, and what they count in the loss.

Only places are weighted, never words: whatever stands behind a key counts more, so that no value gains against
another. (Weights on words that carry claims in the prose were tried: they made "A person" likelier than "The".)
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import torch

from roadscribe.qwen3_vl.processor import IGNORED
from roadscribe.report import PARAMETERS

WEIGHTS = "answer_weights"
"""Key of a batch that says what each label counts in the loss."""

_VALUE = re.compile(rf'"(?:{"|".join(PARAMETERS)})": ?(?P<value>"[^"\n]*"|-?\d+|true|false|null)')


def value_places(pieces: list[str]) -> list[bool]:
    """Which of an answer's tokens, given as their texts in order, write a value of the report's JSON."""
    text = "".join(pieces)
    spans = [match.span("value") for match in _VALUE.finditer(text)]
    places, start, number = [], 0, 0
    for piece in pieces:
        end = start + len(piece)
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        places.append(number < len(spans) and spans[number][0] < end)
        start = end
    return places


def value_weights(tokenizer: Any, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """What each label counts: ``weight`` at the JSON's values and 1 elsewhere, scaled to 1 on average.

    Args:
        tokenizer: the base's tokenizer.
        labels: (rows, tokens), `IGNORED` where no loss is.
        weight: of a token that writes a value.

    Returns:
        (rows, tokens), float32; 0 where no loss is.
    """

    @cache
    def text_of(token: int) -> str:
        # A token that ends within a character decodes to a sign for it; only lengths count here.
        return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))

    weights = torch.zeros(labels.shape)
    for row, line in zip(weights, labels, strict=True):
        places = (line != IGNORED).nonzero().squeeze(1)
        found = value_places([text_of(token) for token in line[places].tolist()])
        row[places] = torch.tensor([weight if one else 1.0 for one in found])
    return weights * ((labels != IGNORED).sum() / weights.sum().clamp(min=1.0))

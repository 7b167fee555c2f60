"""Which tokens of an answer decide what it claims, and what they count in the loss.

Only places are weighted, never words: whatever stands behind a key of the JSON, and whatever a sentence begins with.
So no value gains against another. (Weights on words that carry claims were tried: they made "A person" likelier than
"The".)
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import torch

from roadscribe.model.encode import IGNORED
from roadscribe.report import PARAMETERS

WEIGHTS = "answer_weights"
"""Key of a batch that says what each label counts in the loss."""

_VALUE = re.compile(rf'"(?:{"|".join(PARAMETERS)})": ?(?P<claim>"[^"\n]*"|-?\d+|true|false|null)')
_PROSE_LINE = re.compile(r"^(?![ \t*`{}\[\]#])(?:[-+•] )?[^\n]*$", re.MULTILINE)
_OPENING = re.compile(r"(?:^(?:[-+•] )?|[.!?:]\s)(?P<claim>[^\W\d_]+(?: [^\W\d_]+)?)")
"""The first two words of a line, of a sentence, or behind a label."""


def claim_places(pieces: list[str]) -> list[bool]:
    """Which of an answer's tokens decide a claim; the tokens are given as their texts, in order.

    These are the values of the report's JSON, and the first two words of each sentence of its prose, which decide
    what the sentence is about ("A person ...", "No traffic ..."). An answer without the report's JSON has none.
    """
    text = "".join(pieces)
    spans = [match.span("claim") for match in _VALUE.finditer(text)]
    if spans:
        for line in _PROSE_LINE.finditer(text):
            spans += [
                (line.start() + match.start("claim"), line.start() + match.end("claim"))
                for match in _OPENING.finditer(line[0])
            ]
    spans.sort()
    places, start, number = [], 0, 0
    for piece in pieces:
        end = start + len(piece)
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        places.append(number < len(spans) and spans[number][0] < end)
        start = end
    return places


def claim_weights(tokenizer: Any, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """What each label counts: ``weight`` where a claim is decided and 1 elsewhere, scaled to 1 on average.

    Args:
        tokenizer: the base's tokenizer.
        labels: (rows, tokens), `IGNORED` where no loss is.
        weight: of a token that decides a claim.

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
        found = claim_places([text_of(token) for token in line[places].tolist()])
        row[places] = torch.tensor([weight if one else 1.0 for one in found])
    return weights * ((labels != IGNORED).sum() / weights.sum().clamp(min=1.0))

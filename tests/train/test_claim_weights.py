"""Tokens that write the JSON's values may count more in the loss, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoProcessor

from roadscribe.model.encode import IGNORED
from roadscribe.report import PARAMETERS
from roadscribe.tiny import WEIGHTS as TINY
from roadscribe.train.answer_loss import answer_loss
from roadscribe.train.claim_weights import claim_places, claim_weights

REPORT = """\
**Scene Description:**
A city road. No traffic light is in view, 30 meters ahead.

**Driving Parameters (JSON):**
```json
{
  "road_type": "urban",
  "lane_count": 12,
  "pedestrian_on_road": false,
  "ego_vehicle_speed": null
}
```

**Risk Assessment:**
- Nearby Vehicles: The nearest vehicle is 30 meters ahead.
- Stop.
"""


@pytest.fixture(scope="module")
def tokenizer():
    return AutoProcessor.from_pretrained(TINY).tokenizer


def test_values_behind_the_keys_and_the_openings_of_sentences_are_found_and_nothing_else(tokenizer):
    ids = tokenizer(REPORT)["input_ids"]
    pieces = [tokenizer.decode([one]) for one in ids]
    marked = "".join(
        piece if place else "~" for piece, place in zip(pieces, claim_places(pieces), strict=True)
    )
    # The tokenizer may join a quote or a space with what stands beside it.
    found = [part.strip(' ,"\n') for part in marked.split("~") if part.strip(' ,"\n')]
    assert found == [
        *("A city", "No traffic", "urban", "12", "false", "null"),
        *("Nearby Vehicles", "The nearest", "Stop"),
    ]


def test_every_key_counts_and_an_answer_without_json_has_no_such_places():
    every = [f'"{name}": ' for name in PARAMETERS]
    assert claim_places([part for key in every for part in (key, "null")]) == [False, True] * len(every)
    assert claim_places(["A plain answer", " with 12 words"]) == [False, False]


def test_the_weights_are_one_on_average_and_zero_outside_the_answer(tokenizer):
    ids = torch.tensor([[IGNORED] * 5 + tokenizer(REPORT)["input_ids"]])
    weights = claim_weights(tokenizer, ids, 4.0)
    assert weights[0, :5].eq(0).all()
    assert float(weights.sum()) == pytest.approx(float((ids != IGNORED).sum()), rel=1e-5)
    values = sorted(set(weights[0, 5:].tolist()))
    assert len(values) == 2 and values[1] == pytest.approx(4 * values[0], rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_weighted_loss_and_its_gradient_are_those_of_weighted_cross_entropy(rows):
    torch.manual_seed(0)
    hidden = torch.randn(rows, 9, 8, requires_grad=True)
    head = torch.randn(20, 8)
    labels = torch.randint(0, 20, (rows, 9))
    labels[:, :3] = IGNORED
    weights = torch.rand(rows, 9) * 5
    answer_loss(hidden, labels, head, weights=weights).backward()
    ours, hidden.grad = hidden.grad, None
    logits = (hidden[:, :-1] @ head.T).flatten(0, 1)
    each = torch.nn.functional.cross_entropy(
        logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    (each * weights[:, 1:].flatten()).sum().backward()
    assert torch.allclose(ours, hidden.grad, atol=1e-5)
    assert torch.allclose(
        answer_loss(hidden, labels, head), answer_loss(hidden, labels, head, weights=torch.ones(rows, 9))
    )

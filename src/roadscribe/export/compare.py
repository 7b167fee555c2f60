"""How far adapter and merged model agree, from their answers alone: the content of ``comparison.json``.

Two questions are kept apart. *Is the merge right?* The weights must be base + adapter to the last rounding,
and the merged model must compute what the unmerged 16-bit base with its adapter computes, within a stated
tolerance; otherwise export fails. *Does it still answer as evaluated?* The adapter was trained and evaluated
on a 4-bit base, the merged model stands on the 16-bit one, so their reports may differ; how much is
reported, and not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from roadscribe.clip import Clip
from roadscribe.evaluate.evaluate import MAX_TRUTH_GAP_S
from roadscribe.evaluate.predictions import stated_values
from roadscribe.evaluate.scores import Values, correct_flags
from roadscribe.export.answers import Report
from roadscribe.report import PARAMETERS, holds_schema

LOGIT_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}
"""Largest difference of a logit, as a share of the largest logit, between the merged model read back from
disk and the same 16-bit base under its unmerged adapter. The coarsest of the types that weights are stored
and computed in decides: the merge rounds each weight once more, and each product is rounded again. Measured
with the tiny model (6 layers): 2e-4 stored in float16, 1e-2 computed in bfloat16; the room above is for 28
layers and more."""


def tolerance_of(*dtypes: str) -> float:
    """The tolerance where these types are stored and computed in."""
    return max(LOGIT_TOLERANCE[dtype] for dtype in dtypes)


def logit_difference(merged: torch.Tensor, unmerged: torch.Tensor) -> float:
    """Largest difference as a share of the largest logit; NaN where one of them is not finite."""
    return float((merged - unmerged).abs().max() / unmerged.abs().max())


def same_choice(first: Sequence[Sequence[int]], second: Sequence[Sequence[int]]) -> float:
    """Share of the places in the same texts at which two models would go on with the same token."""
    pairs = [pair for a, b in zip(first, second, strict=True) for pair in zip(a, b, strict=True)]
    return round(sum(a == b for a, b in pairs) / max(len(pairs), 1), 6)


def true_values(clip: Clip) -> Values | None:
    """The truth at a clip's last frame, where it is known."""
    truth = clip.evidence.truth
    if truth is None or abs(truth.time_s - clip.now_s) > MAX_TRUTH_GAP_S:
        return None
    return truth.parameters.model_dump()


def compare_reports(
    clips: Sequence[Clip], adapter: Sequence[Report], merged: Sequence[Report]
) -> dict[str, Any]:
    """Agreement of two models' reports on the same clips, and how right both are where the truth is known.

    A value agrees where both state the same one, or neither states any.
    """
    said = [[stated_values(report.text) for report in reports] for reports in (adapter, merged)]
    truths = [true_values(clip) for clip in clips]
    known = [index for index, truth in enumerate(truths) if truth is not None]

    def accuracy(values: Sequence[Values], parameter: str | None = None) -> float | None:
        flags = [correct_flags(values[index], truth) for index in known if (truth := truths[index])]
        right = [flag[parameter] for flag in flags] if parameter else [v for f in flags for v in f.values()]
        return round(sum(right) / len(right), 6) if right else None

    def about(reports: Sequence[Report], values: Sequence[Values]) -> dict[str, Any]:
        return {
            "schema_valid": _share([holds_schema(report.text) for report in reports]),
            "finished": _share([report.finished for report in reports]),
            "mean_accuracy": accuracy(values),
        }

    missing = object()
    return {
        "clips": len(clips),
        "clips_with_truth": len(known),
        "same_text": _share([a.text == b.text for a, b in zip(adapter, merged, strict=True)]),
        "adapter": about(adapter, said[0]),
        "merged": about(merged, said[1]),
        "parameters": {
            name: {
                "agreement": _share(
                    [a.get(name, missing) == b.get(name, missing) for a, b in zip(*said, strict=True)]
                ),
                "adapter_accuracy": accuracy(said[0], name),
                "merged_accuracy": accuracy(said[1], name),
            }
            for name in PARAMETERS
        },
    }


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / len(flags), 6)

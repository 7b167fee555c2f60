"""The stage `evaluate` from folders: clips, an adapter and the dataset it was trained on become a scorecard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadscribe.artifacts import require_complete
from roadscribe.clip import read_clips
from roadscribe.errors import InputError, error_line
from roadscribe.evaluate.evaluate import ReportsEngine, evaluate
from roadscribe.evaluate.scorecard import Scorecard
from roadscribe.recipe import Recipe
from roadscribe.report import DrivingParameters

if TYPE_CHECKING:
    from roadscribe.infer.engine import ReportEngine


class _Engines(Mapping[str, ReportsEngine]):
    """Base and fine-tuned model, loaded when the first of them is asked and not before."""

    def __init__(self, recipe: Recipe, adapter: Path | None) -> None:
        self._recipe, self._adapter = recipe, adapter
        self._loaded: dict[str, ReportsEngine] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(("base",) if self._adapter is None else ("base", "tuned"))

    def __len__(self) -> int:
        return 1 if self._adapter is None else 2

    def __getitem__(self, name: str) -> ReportsEngine:
        if not self._loaded:
            from roadscribe.infer.agreement import AgreeingEngine
            from roadscribe.infer.engine import ReportEngine
            from roadscribe.model.adapter import load_adapter
            from roadscribe.model.load import load_base

            options: dict[str, Any] = {
                "batch_size": self._recipe.infer.batch_size,
                "max_new_tokens": self._recipe.infer.max_new_tokens,
            }
            if self._adapter is None:
                base = load_base(self._recipe.model, max_pixels=self._recipe.footage.max_pixels)
                engines: dict[str, ReportEngine] = {
                    "base": ReportEngine(base.model, base.processor, **options)
                }
            else:
                loaded = load_adapter(self._adapter, dtype=self._recipe.model.dtype)
                tuned = ReportEngine(loaded.model, loaded.processor, **options)
                engines = {"base": tuned.without_adapter(), "tuned": tuned}
            infer = self._recipe.infer
            for model, engine in engines.items():
                agreeing: ReportsEngine = AgreeingEngine(engine, infer.agree_prose)
                self._loaded[model] = agreeing if infer.agree else engine
        return self._loaded[name]


def evaluate_adapter(
    recipe: Recipe,
    clips: Path,
    adapter: Path | None,
    train_dataset: Path | None,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Scorecard:
    """Score an adapter and its base (or a base alone) on clips whose truth is known.

    Args:
        recipe: its sections ``evaluate`` and ``infer``; without an adapter ``model`` and ``footage`` too.
        clips: the held-out clips artifact; their frames must be those of the adapter's contract.
        adapter: what `train` wrote; None scores the recipe's base.
        train_dataset: what `curate` wrote for the training; the majority answers are counted there.
        out: the scorecard's folder.

    Raises:
        InputError: an input is missing, unfinished or does not fit the others, or ``out`` is taken.
    """
    require_complete(clips, "clips", "collect")
    shown = list(read_clips(clips))
    provenance: dict[str, Any] = {}
    if adapter is None:
        provenance["base"] = recipe.model.base
    else:
        from roadscribe.model.adapter import adapter_digest
        from roadscribe.model.contract import read_contract

        require_complete(adapter, "adapter", "train")
        contract = read_contract(adapter)
        provenance["contract"] = contract.model_dump(mode="json")
        provenance["adapter_sha256"] = adapter_digest(adapter)
        for clip in shown:
            if len(clip.frames) != contract.frames:
                raise InputError(
                    f"{clips}: clip {clip.clip_id} has {len(clip.frames)} frames, the adapter {adapter} was trained "
                    f"with {contract.frames}; collect again with --set footage.frames={contract.frames}"
                )
    return evaluate(
        recipe,
        shown,
        _Engines(recipe, adapter),
        out,
        train_parameters=None if train_dataset is None else train_parameters(train_dataset),
        provenance=provenance,
        resume=resume,
        overwrite=overwrite,
    )


def train_parameters(dataset: Path) -> list[DrivingParameters]:
    """The parameters of every report in a dataset's training split; answers to other questions hold none.

    Raises:
        InputError: not a dataset of `curate`, or one that holds no report.
    """
    from roadscribe.curate.saved import load_saved

    require_complete(dataset, "dataset", "curate")
    splits = load_saved(dataset / "dataset", checksums=True)
    if "train" not in splits or "report" not in splits["train"].column_names:
        raise InputError(f"{dataset}: has no train split with reports; leave --train-dataset out")
    reports = [row["report"] for row in splits["train"].select_columns("report") if row["report"]]
    if not reports:
        raise InputError(f"{dataset}: none of its rows holds a report to count; leave --train-dataset out")
    try:
        return [
            DrivingParameters.model_validate(json.loads(report)["driving_parameters"]) for report in reports
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{dataset}: one of its reports cannot be read ({error_line(error)}); curate again"
        ) from error

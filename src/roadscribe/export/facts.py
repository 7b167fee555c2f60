"""What a model card states, gathered from the artifacts: the training run, its data and its scorecard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadscribe import tiny
from roadscribe.artifacts import read_json, require_complete
from roadscribe.errors import InputError
from roadscribe.evaluate.scorecard import Scorecard, read_scorecard
from roadscribe.model.adapter import adapter_digest
from roadscribe.model.contract import VisionContract, read_contract

TRAIN_LOG = "train_log.jsonl"
OTHER_LICENCE = "other"


@dataclass(frozen=True)
class DataFacts:
    """The dataset an adapter was trained on."""

    splits: dict[str, dict[str, Any]]
    """``quality.json``'s: rows, drives and risk of each split."""
    licence: str
    """Of the dataset's card."""


@dataclass(frozen=True)
class TrainingFacts:
    """One finished training run."""

    contract: VisionContract
    recipe: dict[str, Any]
    """The sections that training read, and ``dataset_sha256``."""
    summary: dict[str, Any]
    log: list[dict[str, Any]]
    """A line a logged step."""
    adapter_sha256: str
    """Of the adapter's weights."""


def training_facts(adapter: Path) -> TrainingFacts:
    """Read an adapter's folder. Raises InputError where it is unfinished or not an adapter."""
    manifest = require_complete(adapter, "adapter", "train")
    path = adapter / TRAIN_LOG
    try:
        log = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    except ValueError as error:
        raise InputError(f"{path}: not a training log ({error})") from error
    return TrainingFacts(
        read_contract(adapter), manifest["recipe"], manifest["summary"], log, adapter_digest(adapter)
    )


def scorecard_of(folder: Path, facts: TrainingFacts) -> Scorecard:
    """The scorecard in a folder of `evaluate`, if it is this adapter's.

    Raises:
        InputError: unfinished, not a scorecard, or measured on another adapter.
    """
    require_complete(folder, "scorecard", "evaluate")
    scorecard = read_scorecard(folder / "scorecard.json")
    if scorecard.provenance.get("adapter_sha256") != facts.adapter_sha256:
        raise InputError(
            f"{folder}: is not known to be this adapter's scorecard; measure it with "
            "`roadscribe evaluate CLIPS --adapter ADAPTER --out DIR`"
        )
    return scorecard


def data_facts(dataset: Path, facts: TrainingFacts) -> DataFacts:
    """What `curate` says of the dataset, if it is the one that was trained on.

    Raises:
        InputError: unfinished, not a dataset, or another one than the adapter's.
    """
    from huggingface_hub import DatasetCard

    from roadscribe.model.load import load_processor, resolve_base
    from roadscribe.recipe import Footage, Model
    from roadscribe.train.dataset import check_rows, open_rows

    require_complete(dataset, "dataset", "curate")
    recipe = facts.recipe
    base = resolve_base(Model(**{**recipe["model"], "revision": facts.contract.revision}))
    processor = load_processor(base, facts.contract.max_pixels)
    footage = Footage(**recipe["footage"])
    found = check_rows(open_rows(dataset), processor, footage, recipe["train"]["max_length"])
    if found.sha256 != recipe["dataset_sha256"]:
        raise InputError(f"{dataset}: is not the dataset that this adapter was trained on; give that one")
    quality = read_json(dataset / "quality.json", "the figures of a curated dataset")
    card = DatasetCard.load(dataset / "dataset" / "README.md")
    return DataFacts(quality["splits"], str(card.data.to_dict().get("license", OTHER_LICENCE)))


def is_tiny(contract: VisionContract) -> bool:
    """Whether the model under an adapter is the embedded one, which knows only simulated drives."""
    return contract.base == tiny.NAME


def default_licence(contract: VisionContract) -> str:
    """The licence that a model card states where the user states none; "other" where it is not known.

    Qwen3-VL's dense models and the embedded tiny one are under Apache-2.0.
    """
    known = is_tiny(contract) or (contract.revision and contract.base.startswith("Qwen/Qwen3-VL-"))
    return "apache-2.0" if known else OTHER_LICENCE

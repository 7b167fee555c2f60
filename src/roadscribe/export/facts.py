"""What a model card states, gathered from the artifacts: the training run, its data and its scorecard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from roadscribe import tiny
from roadscribe.artifacts import MANIFEST, read_json, require_complete
from roadscribe.errors import InputError, error_line
from roadscribe.evaluate.scorecard import Scorecard, read_scorecard
from roadscribe.model.adapter import adapter_digest
from roadscribe.model.contract import VisionContract, read_contract

TRAIN_LOG = "train_log.jsonl"
OTHER_LICENCE = "other"


class _Record(BaseModel):
    """What a card reads of a JSON file; the file may hold more."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Batches(_Record):
    batch_size: int
    gradient_accumulation: int
    learning_rate: float
    scheduler: str
    max_length: int


class _Lora(_Record):
    r: int
    alpha: int


class _TrainingRecipe(_Record):
    model: dict[str, Any]
    footage: dict[str, Any]
    lora: _Lora
    train: _Batches
    dataset_sha256: str


class _TrainingSummary(_Record):
    rows: int
    steps: int
    trained_parameters: int
    first_loss: float | None = None
    last_loss: float | None = None


class _Split(_Record):
    rows: int
    drives: int
    risk: dict[str, int]


class _Quality(_Record):
    splits: dict[str, _Split]


def _require_form(form: type[_Record], value: Any, path: Path, verb: str) -> None:
    """Refuse a file whose JSON is not what `roadscribe` wrote, naming the first field that differs.

    Raises:
        InputError: it is damaged.
    """
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise InputError(
            f"{path}: is damaged (`{where}`: {first['msg'].lower()}); make it again with `roadscribe {verb}`"
        ) from error


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
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        log = TypeAdapter(list[dict[str, Any]]).validate_python([json.loads(line) for line in lines])
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a training log ({error_line(error)})") from error
    _require_form(_TrainingRecipe, manifest["recipe"], adapter / MANIFEST, "train")
    _require_form(_TrainingSummary, manifest["summary"], adapter / MANIFEST, "train")
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
    try:
        model = Model(**{**recipe["model"], "revision": facts.contract.revision})
        footage = Footage(**recipe["footage"])
    except (TypeError, ValidationError) as error:
        raise InputError(
            f"the adapter's recipe in its {MANIFEST} is damaged ({error_line(error)})"
        ) from error
    processor = load_processor(resolve_base(model), facts.contract.max_pixels)
    found = check_rows(open_rows(dataset), processor, footage, recipe["train"]["max_length"])
    if found.sha256 != recipe["dataset_sha256"]:
        raise InputError(f"{dataset}: is not the dataset that this adapter was trained on; give that one")
    quality = read_json(dataset / "quality.json", "the figures of a curated dataset")
    _require_form(_Quality, quality, dataset / "quality.json", "curate")
    path = dataset / "dataset" / "README.md"
    try:
        card = DatasetCard.load(path)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: the dataset's card cannot be read ({error_line(error)}); curate again"
        ) from error
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

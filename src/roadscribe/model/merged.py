"""Loads a model that export merged, and holds it against the contract that lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from roadscribe.artifacts import MANIFEST, require_complete
from roadscribe.errors import InputError
from roadscribe.model.contract import CONTRACT, VisionContract, make_contract, read_contract, require_same
from roadscribe.model.load import LoadedBase, load_base
from roadscribe.recipe import Footage, Model

HERE = "."
"""How a merged model's contract names its base: the folder that the contract lies in."""


@dataclass
class LoadedMerged(LoadedBase):
    """A merged model, frozen, with the contract that it was trained under."""

    contract: VisionContract
    merged_from: str
    """The name of the base that the adapter was merged into."""


def is_merged(folder: Path) -> bool:
    """Whether a folder looks like a merged model: a whole model and a contract."""
    return (folder / CONTRACT).is_file() and (folder / "config.json").is_file()


def load_merged(folder: Path, *, device: torch.device | None = None, dtype: str = "auto") -> LoadedMerged:
    """Load what `export` wrote.

    Args:
        folder: the merged model.
        device: where to; None takes the card if there is one.
        dtype: the type to compute in, "auto" or a name, as in the recipe.

    Raises:
        InputError: unfinished, damaged, or not what its contract says.
    """
    manifest = require_complete(folder, "model", "export")
    contract = read_contract(folder)
    section: dict[str, Any] = {"base": str(folder), "quantization": "none", "dtype": dtype}
    loaded = load_base(Model(**section), max_pixels=contract.max_pixels, device=device)
    frames: dict[str, Any] = {
        key: getattr(contract, key) for key in ("frames", "rule", "window_s", "max_pixels")
    }
    here = make_contract(loaded, Footage(**frames), contract.prompt_version)
    require_same(contract, here.model_copy(update={"base": HERE}))
    try:
        merged_from = str(manifest["recipe"]["training"]["model"]["base"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / MANIFEST}: does not say which base it was merged from; export it again"
        ) from error
    return LoadedMerged(
        loaded.model,
        loaded.processor,
        loaded.dtype,
        loaded.device,
        loaded.quantized,
        loaded.base,
        contract=contract,
        merged_from=merged_from,
    )

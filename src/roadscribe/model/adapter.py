"""Saves and loads an adapter with its contract: the base it was trained on, and every key accounted for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import safetensors
import torch
from safetensors.torch import load_file, save

from roadscribe.artifacts import read_json, require_complete, write_bytes, write_json
from roadscribe.errors import InputError, error_line
from roadscribe.model.contract import (
    VisionContract,
    make_contract,
    read_contract,
    require_same,
    save_contract,
)
from roadscribe.model.load import LoadedBase, load_base
from roadscribe.recipe import Footage, Model

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
WEIGHTS_SHA256 = "weights_sha256"
"""Key of a finished adapter's summary: `adapter_digest` when `train` finished it."""


@dataclass
class LoadedAdapter(LoadedBase):
    """A base with its adapter in place (a frozen PEFT model), and the contract it was trained under."""

    contract: VisionContract


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors under the names they have on disk."""
    state: dict[str, torch.Tensor] = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def save_adapter(
    folder: Path, model: Any, contract: VisionContract, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Write the adapter in PEFT's form (safetensors) and its contract.

    ``state``: its tensors under the names of `adapter_state`, where the model holds only a share of each.
    """
    config = model.peft_config["default"].to_dict()
    config |= {
        "base_model_name_or_path": contract.base,
        "revision": contract.revision,
        "inference_mode": True,
    }
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    state = state or adapter_state(model)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write_bytes(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
    write_json(folder / CONFIG, config)
    save_contract(folder, contract)


def load_adapter(
    folder: Path, *, device: torch.device | None = None, dtype: str = "auto", base: str | None = None
) -> LoadedAdapter:
    """Load an adapter that `train` finished, on the base its contract names.

    Args:
        folder: what `train` wrote.
        device: where to; None takes the card if there is one.
        dtype: the type to compute in, "auto" or a name, as in the recipe.
        base: where the base lies now, if not where the contract says; its digest must be the same.

    Raises:
        InputError: unfinished, damaged, a key too many or too few, or another base than in training.
    """
    manifest = require_complete(folder, "adapter", "train")
    loaded = read_adapter(folder, device=device, dtype=dtype, base=base)
    summary = manifest.get("summary")
    recorded = summary.get(WEIGHTS_SHA256) if isinstance(summary, dict) else None
    if recorded is not None and recorded != adapter_digest(folder):
        raise InputError(
            f"{folder / WEIGHTS}: is not what was trained (another SHA-256); copy the adapter again, or train again"
        )
    return loaded


def read_adapter(
    folder: Path, *, device: torch.device | None = None, dtype: str = "auto", base: str | None = None
) -> LoadedAdapter:
    """`load_adapter` without asking whether the folder is complete: `train` reads back what it just wrote."""
    contract = read_contract(folder)
    config = _read_config(folder)
    try:
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{folder / WEIGHTS}: the adapter cannot be read ({error_line(error)}); copy it again, or train again"
        ) from error
    wanted: dict[str, Any] = {
        "base": base or contract.base,
        "revision": contract.revision,
        "quantization": contract.quantization,
        "dtype": dtype,
    }
    loaded = load_base(Model(**wanted), max_pixels=contract.max_pixels, device=device)
    frames: dict[str, Any] = {
        key: getattr(contract, key) for key in ("frames", "rule", "window_s", "max_pixels")
    }
    here = make_contract(loaded, Footage(**frames), contract.prompt_version)
    # Where the base lies may have changed; its digest is compared.
    moved = {"base": contract.base, **({"revision": contract.revision} if base else {})}
    require_same(contract, here.model_copy(update=moved))
    config.inference_mode = False
    # The contract has already held this base against the one in training.
    config.base_model_name_or_path = None
    try:
        model = peft.get_peft_model(loaded.model, config)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise InputError(f"{folder / CONFIG}: does not fit the model ({error_line(error)})") from error
    require_keys(folder / WEIGHTS, state, adapter_state(model))
    peft.set_peft_model_state_dict(model, state)
    model.requires_grad_(False)
    model.eval()
    return LoadedAdapter(
        model, loaded.processor, loaded.dtype, loaded.device, loaded.quantized, loaded.base, contract=contract
    )


def _read_config(folder: Path) -> Any:
    path = folder / CONFIG
    fields = read_json(path, "the configuration of a LoRA adapter")
    if not isinstance(fields, dict):
        raise InputError(f"{path}: holds a {type(fields).__name__}, not the configuration of a LoRA adapter")
    rank, targets = fields.get("r"), fields.get("target_modules")
    if not isinstance(rank, int) or not isinstance(targets, list) or not all(map(_is_text, targets)):
        raise InputError(f"{path}: lacks the rank or the modules of a LoRA adapter; train again")
    try:
        return peft.LoraConfig.from_pretrained(str(folder))
    except Exception as error:  # peft checks few types, so anything may be raised
        raise InputError(f"{path}: not the configuration of a LoRA adapter ({error_line(error)})") from error


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def adapter_digest(folder: Path) -> str:
    """SHA-256 of an adapter's weights file: what a scorecard must have been measured on.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{folder}: its {WEIGHTS} cannot be read ({error.strerror}); train again") from error


def require_keys(path: Path, state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Refuse a file whose tensors are not exactly those that the model has places for.

    Raises:
        InputError: naming the first missing, unexpected or misshapen tensor.
    """
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected:
        found = [
            f"{len(names)} {what} (the first is {names[0]})"
            for what, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise InputError(
            f"{path}: does not fit the model: {' and '.join(found)}; "
            "train again, or use the library versions of its contract"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{path}: {name} is {tuple(state[name].shape)}, the model has {tuple(tensor.shape)}"
            )

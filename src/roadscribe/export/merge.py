"""Export's arithmetic: base weight + scaling · B · A, tensor by tensor, from file to file.

The base is read as it lies on disk, never from the 4-bit copy that training used: merging into that one
changes what the model writes (peft#2321). No model is built; one output file's tensors are in memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import peft
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from roadscribe.artifacts import read_json, write_json
from roadscribe.errors import InputError, WorkError
from roadscribe.model.adapter import WEIGHTS
from roadscribe.progress import progress

SHARD_BYTES = 2 * 10**9
"""A new file is begun beyond this size; it bounds the memory that merging takes."""
INDEX = "model.safetensors.index.json"
_PREFIX = "base_model.model."
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class LoraUpdate(NamedTuple):
    """What one adapted linear adds to its weight: ``scaling`` · ``b`` (out, r) · ``a`` (r, in), in float32."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float

    def delta(self) -> torch.Tensor:
        """The update as a float32 tensor of the weight's shape (out, in)."""
        return (self.b @ self.a) * self.scaling


class WeightFacts(NamedTuple):
    """What the check of merged weights found."""

    tensors: int
    merged: int
    stored_dtype: str
    """Of the merged weights on disk, as of the base's."""
    largest_error: float
    """Largest distance of a merged element from base + update, in roundings of the stored type (at most 1)."""
    rounding_share: float
    """How much of the update the stored type's rounding takes: mean over the tensors of
    |stored - (base + update)| / |update|, in Frobenius norms."""


def read_updates(folder: Path) -> dict[str, LoraUpdate]:
    """The updates of a plain LoRA adapter, by the name of the base's tensor.

    Raises:
        InputError: its files cannot be read, a half is missing, or it is a kind of LoRA whose update is not
            scaling · B · A alone.
    """
    try:
        config = peft.LoraConfig.from_pretrained(str(folder))
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder}: its adapter cannot be read ({str(error).splitlines()[0]})") from error
    odd = [name for name in ("use_dora", "modules_to_save", "alpha_pattern", "rank_pattern", "fan_in_fan_out")
           if getattr(config, name)]  # fmt: skip
    odd += ["bias"] if config.bias != "none" else []
    if odd:
        raise InputError(f"{folder}: {odd[0]} is set; only plain LoRA, as `train` makes it, can be merged")
    scaling = config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)
    updates = {}
    for name, a in state.items():
        module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
        if name.endswith(".lora_A.weight"):
            b = state.get(name.replace(".lora_A.", ".lora_B."))
            if b is None:
                raise InputError(f"{folder}: {name} has no other half; make the adapter again")
            updates[f"{module}.weight"] = LoraUpdate(a.float(), b.float(), scaling)
    if not updates or 2 * len(updates) != len(state):
        raise InputError(f"{folder}: holds tensors that are no LoRA halves; only plain LoRA can be merged")
    return updates


class StoredWeights:
    """The tensors of a model folder by name, read from its safetensors files when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        paths = sorted(folder.glob("*.safetensors"))
        index = folder / INDEX
        if index.exists():
            # A folder may hold weights in a second layout beside those that are loaded.
            named = set(read_json(index, "an index of weights")["weight_map"].values())
            paths = [path for path in paths if path.name in named]
        elif (folder / "model.safetensors").exists():
            paths = [folder / "model.safetensors"]
        if not paths:
            raise InputError(f"{folder}: holds no weights in safetensors; give a base that has them")
        for path in paths:
            try:
                file = self._stack.enter_context(safe_open(path, "pt"))
            except (OSError, SafetensorError) as error:
                raise InputError(f"{path}: cannot be read ({error}); copy the base again") from error
            self._files |= dict.fromkeys(file.keys(), file)

    def __enter__(self) -> StoredWeights:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def names(self) -> list[str]:
        """All names, in the order of the files."""
        return list(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._files[name].get_tensor(name)
        return tensor


def merged_tensor(weight: torch.Tensor, update: LoraUpdate) -> torch.Tensor:
    """base + update, summed in float32 and rounded once to the base's own type.

    Raises:
        ValueError: the update is of another shape, or the base is no plain float tensor.
    """
    delta = update.delta()
    if weight.shape != delta.shape:
        raise ValueError(f"the base has {tuple(weight.shape)}, the adapter's update {tuple(delta.shape)}")
    if weight.dtype not in _FLOATS:
        raise ValueError(f"the base stores it as {weight.dtype}; merging needs a 16-bit or 32-bit base")
    return (weight.float() + delta).to(weight.dtype)


def merge_weights(base: Path, updates: Mapping[str, LoraUpdate], out: Path) -> None:
    """Write the merged weights into ``out``, in files of up to `SHARD_BYTES` with an index where several.

    Files that are there already are whole and stay: a run that was killed goes on behind them.

    Raises:
        InputError: the adapter changes a tensor that the base does not have, or has in another form.
    """
    with StoredWeights(base) as stored:
        absent = sorted(set(updates) - set(stored.names()))
        if absent:
            raise InputError(
                f"{base}: has no tensor {absent[0]} ({len(absent)} of {len(updates)} that the adapter changes "
                "are missing); was the adapter trained on this base?"
            )
        # The tensors are mapped, not read; only their sizes are looked at here.
        plan = split_torch_state_dict_into_shards(
            {name: stored[name] for name in stored.names()}, max_shard_size=SHARD_BYTES
        )
        with progress(len(plan.filename_to_tensors), "merging") as advance:
            for name, tensors in plan.filename_to_tensors.items():
                if not (out / name).exists():
                    _write_shard(out / name, stored, tensors, updates)
                advance(note=name)
        if plan.is_sharded:
            write_json(out / INDEX, {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename})


def _write_shard(
    path: Path, stored: StoredWeights, names: Sequence[str], updates: Mapping[str, LoraUpdate]
) -> None:
    tensors = {}
    for name in names:
        try:
            tensors[name] = merged_tensor(stored[name], updates[name]) if name in updates else stored[name]
        except ValueError as error:
            raise InputError(f"{stored.folder}: {name}: {error}") from error
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(tensors, temporary, metadata={"format": "pt"})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # The library makes it readable for its owner only.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_weights(base: Path, deltas: Mapping[str, torch.Tensor], out: Path) -> WeightFacts:
    """Hold what was written against base + update, read back from disk.

    Args:
        base: the base's folder.
        deltas: the update of each adapted tensor, computed by another path than the merge (PEFT's own).
        out: the merged folder.

    Raises:
        WorkError: a tensor is missing, too many or not what it must be: adapted ones within one rounding of
            the stored type, every other one equal to the last bit.
    """
    with StoredWeights(base) as before, StoredWeights(out) as after:
        odd = sorted(set(before.names()) ^ set(after.names()))
        if odd:
            raise WorkError(f"{out}: {odd[0]} is in one of base and merged model only ({len(odd)} such)")
        errors, shares, dtype = [0.0], [], "none"
        for name in before.names():
            old, new = before[name], after[name]
            if name not in deltas:
                if old.dtype != new.dtype or not torch.equal(old, new):
                    raise WorkError(f"{out}: {name} differs from the base, but no adapter is on it")
                continue
            dtype = str(new.dtype).removeprefix("torch.")
            delta = deltas[name].float().cpu()
            wanted = old.float() + delta
            error = (new.float() - wanted).abs()
            # Half the distance to the next number of the type, and what float32 may lose in another order.
            step = torch.finfo(new.dtype)
            allowed = wanted.abs() * (step.eps / 2) + step.smallest_normal * step.eps + 1e-5 * delta.abs()
            errors.append(float((error / allowed).max()))
            shares.append(float(error.norm() / delta.norm().clamp_min(1e-30)))
            if not errors[-1] <= 1:
                raise WorkError(
                    f"{out}: {name} is not base + adapter (off by up to {float(error.max()):.1e}); "
                    "the merged model must not be used"
                )
    return WeightFacts(
        len(before.names()), len(deltas), dtype, round(max(errors), 3), sum(shares) / max(len(shares), 1)
    )

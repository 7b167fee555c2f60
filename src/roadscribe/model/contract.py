"""The vision contract: what training, evaluation and serving must share for an adapter to mean anything."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
from pydantic import BaseModel, ConfigDict, ValidationError

from roadscribe.artifacts import read_json, write_json
from roadscribe.errors import InputError
from roadscribe.model.load import LoadedBase
from roadscribe.progress import say
from roadscribe.recipe import Footage

CONTRACT = "contract.json"
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
_WHOLE_FILE_BYTES = 256 * 2**20
_IMAGE_SETTINGS = (
    "patch_size",
    "temporal_patch_size",
    "merge_size",
    "image_mean",
    "image_std",
    "do_resize",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "rescale_factor",
)


class VisionContract(BaseModel):
    """Everything between a video file and the model's input that must not change after training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["vision/1"] = "vision/1"
    base: str
    """The name in the recipe: a hub id, a folder, or the shipped model."""
    revision: str | None
    """The hub commit that was loaded; None for a folder."""
    base_sha256: str
    """Of the configuration and the weights (large weight files by their size, head and tail)."""
    quantization: Literal["nf4", "none"]
    frames: int
    rule: str
    window_s: float | None
    max_pixels: int
    prompt_version: str
    template_sha256: str
    """Of the chat template."""
    image_processor_sha256: str
    """Of the image processor's settings."""
    libraries: dict[str, str]
    """Versions; a difference is only warned of."""


def make_contract(loaded: LoadedBase, footage: Footage, prompt_version: str) -> VisionContract:
    """The contract of a loaded base fed with frames of this ``footage`` and asked by this prompt version."""
    settings = loaded.processor.image_processor.to_dict()
    size = loaded.processor.image_processor.size
    image: dict[str, Any] = {key: settings[key] for key in _IMAGE_SETTINGS}
    image |= {"size": [size.shortest_edge, size.longest_edge], "resample": int(settings["resample"])}
    return VisionContract(
        base=loaded.base.name,
        revision=loaded.base.revision,
        base_sha256=base_digest(loaded.base.path_or_id, loaded.base.revision),
        quantization="nf4" if loaded.quantized else "none",
        frames=footage.frames,
        rule=footage.rule,
        window_s=footage.window_s,
        max_pixels=footage.max_pixels,
        prompt_version=prompt_version,
        template_sha256=_digest(loaded.processor.chat_template.encode()),
        image_processor_sha256=_digest(json.dumps(image, sort_keys=True, default=list).encode()),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def base_digest(path_or_id: str, revision: str | None) -> str:
    """A digest of a base's configuration and weights, in time that does not grow with large weight files.

    A weight file up to 256 MiB counts whole, a larger one by its size, first and last MiB.
    """
    folder = Path(path_or_id)
    if not folder.is_dir():
        cached = huggingface_hub.try_to_load_from_cache(path_or_id, "config.json", revision=revision)
        if not isinstance(cached, str):
            raise InputError(f"{path_or_id}: is not in the local cache; load it before asking for its digest")
        folder = Path(cached).parent
    digest = hashlib.sha256()
    for path in sorted(
        [folder / "config.json", *folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    ):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_FILE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(2**20))
                file.seek(-(2**20), 2)
                digest.update(file.read())
    return digest.hexdigest()


def save_contract(folder: Path, contract: VisionContract) -> None:
    """Write ``contract.json`` beside the adapter."""
    write_json(folder / CONTRACT, contract.model_dump(mode="json"))


def read_contract(folder: Path) -> VisionContract:
    """The contract of an adapter's folder.

    Raises:
        InputError: there is none, or it is not of a version that this program knows.
    """
    path = folder / CONTRACT
    try:
        return VisionContract.model_validate(read_json(path, "the vision contract of an adapter"))
    except ValidationError as error:
        first = error.errors()[0]
        where = f"`{'.'.join(map(str, first['loc']))}`: " if first["loc"] else ""
        raise InputError(
            f"{path}: not a vision contract ({where}{first['msg'].lower()}); copy the adapter again, or train again"
        ) from error


def require_same(contract: VisionContract, other: VisionContract) -> None:
    """Refuse to go on where an adapter's contract differs from what it is about to be used with.

    Raises:
        InputError: naming the first field that differs, with both values.
    """
    for field in VisionContract.model_fields:
        ours, theirs = getattr(contract, field), getattr(other, field)
        if field == "libraries":
            changed = [
                f"{name} {ours.get(name)} -> {theirs.get(name)}"
                for name in LIBRARIES
                if ours.get(name) != theirs.get(name)
            ]
            if changed:
                say(f"warning: the adapter was trained with other library versions ({', '.join(changed)})")
        elif ours != theirs:
            raise InputError(
                f"vision contract: `{field}` was {ours!r} in training and is {theirs!r} here; "
                "use what the adapter was trained with, or train again"
            )

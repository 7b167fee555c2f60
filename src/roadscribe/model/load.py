"""Loads a Qwen3-VL base: where it lies, in which type it computes, what is 4-bit, each choice with its
reason.

Train and infer both start here, so that a model in use is loaded exactly like the model in training.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import huggingface_hub
import huggingface_hub.errors
import safetensors
import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from roadscribe import tiny
from roadscribe.choice import Choice
from roadscribe.errors import InputError
from roadscribe.model.dtype import DtypeName, choose_dtype
from roadscribe.progress import say
from roadscribe.qwen3_vl.processor import MIN_PIXELS
from roadscribe.qwen3_vl.vision_tower import speed_up_vision
from roadscribe.recipe import Model

ATTENTION = "sdpa"
"""transformers' name of the attention. One for all devices, so that training and use compute the same."""
UNQUANTISED = (r".*\bvisual", "lm_head")
"""Module patterns that stay as they are. Any list replaces bitsandbytes' default one, so both are named.

transformers matches a pattern at the start of a module's full name, so a bare ``visual`` would let
``model.visual...`` be quantised without a word; hence the regular expression (and
`precision.assert_precision`).
"""


class ResolvedBase(NamedTuple):
    """Where a base model lies. ``revision`` is the commit of a hub id, None for a folder."""

    name: str
    path_or_id: str
    revision: str | None


@dataclass
class LoadedBase:
    """A base in memory, frozen, in evaluation mode, with the processor that feeds it."""

    model: Any
    processor: Any
    dtype: torch.dtype
    device: torch.device
    quantized: bool
    base: ResolvedBase

    @property
    def revision(self) -> str | None:
        """The hub commit that was loaded, None for a folder."""
        return self.base.revision


def resolve_base(model: Model) -> ResolvedBase:
    """Find the base that a recipe names and, for a hub id, the commit that its revision means today.

    Raises:
        InputError: no such folder or hub id, the hub cannot be reached and its cache does not help.
    """
    name = model.base
    if name == tiny.NAME:
        if not (tiny.WEIGHTS / "config.json").exists():
            raise InputError(
                f"{name}: this installation carries no weights ({tiny.WEIGHTS}); install roadscribe again"
            )
        return ResolvedBase(name, str(tiny.WEIGHTS), None)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise InputError(f"{name}: holds no config.json; give the folder of a Qwen3-VL model")
        return ResolvedBase(name, str(folder), None)
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise InputError(f"{name}: no such model folder; give a folder, a hub id (owner/name) or {tiny.NAME}")
    return ResolvedBase(name, name, _resolve_commit(name, model.revision))


def _resolve_commit(hub_id: str, revision: str | None) -> str:
    try:
        info = huggingface_hub.HfApi().model_info(hub_id, revision=revision, timeout=20)
        return cast(str, info.sha)
    except huggingface_hub.errors.RevisionNotFoundError as error:
        raise InputError(f"{hub_id}: has no revision {revision!r} on the hub") from error
    except huggingface_hub.errors.GatedRepoError as error:
        raise InputError(
            f"{hub_id}: is gated; accept its terms on the hub and run `hf auth login`"
        ) from error
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise InputError(f"{hub_id}: no such folder here and no such model on the hub") from error
    except Exception as error:  # httpx, offline mode and proxies each raise their own kind
        cached = huggingface_hub.try_to_load_from_cache(hub_id, "config.json", revision=revision)
        if isinstance(cached, str):
            return Path(cached).parent.name
        raise InputError(
            f"{hub_id}: the hub cannot be reached ({type(error).__name__}) and the local cache has no copy; "
            "give a model folder, or run again with a connection"
        ) from error


def choose_device() -> torch.device:
    """The card if there is one, otherwise the CPU; of several processes on one machine each has its own card.

    torchrun and accelerate tell a process its place in ``LOCAL_RANK``.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    place = os.environ.get("LOCAL_RANK")
    if place is not None:
        torch.cuda.set_device(int(place))
    return torch.device("cuda", torch.cuda.current_device())


def quantisation(dtype: torch.dtype, storage: torch.dtype = torch.uint8) -> BitsAndBytesConfig:
    """NF4 with double quantisation for the language model's linears, and for nothing else.

    ``storage``: what the packed codes are kept as; FSDP shards nothing but floats.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=storage,
        llm_int8_skip_modules=list(UNQUANTISED),
    )


def load_processor(base: ResolvedBase, max_pixels: int) -> Any:
    """The base's processor, told to take frames of up to ``max_pixels`` as they come.

    Footage has already sized the frames to multiples of 32, so here nothing is enlarged (Qwen's own lower
    bound would enlarge small frames) and nothing within the recipe's budget is shrunk.

    Raises:
        InputError: the folder holds no processor of Qwen3-VL.
    """
    try:
        processor = AutoProcessor.from_pretrained(base.path_or_id, revision=base.revision)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{base.name}: its processor cannot be loaded ({_first_line(error)})") from error
    if type(processor).__name__ != "Qwen3VLProcessor":
        raise InputError(f"{base.name}: has a {type(processor).__name__}, not the processor of Qwen3-VL")
    processor.image_processor.size = type(processor.image_processor.size)(
        shortest_edge=MIN_PIXELS, longest_edge=max_pixels
    )
    return processor


def load_base(
    model: Model,
    *,
    max_pixels: int,
    device: torch.device | None = None,
    to_shard: bool = False,
    dtype: DtypeName | None = None,
) -> LoadedBase:
    """Load the base of a recipe for training or use.

    Args:
        model: the recipe's `model` section.
        max_pixels: upper bound of width x height of a frame (the recipe's or the contract's).
        device: where to; None takes the card if there is one.
        to_shard: FSDP will shard it, so packed 4-bit codes are kept as the type of the computation.
        dtype: what to compute in, where that is decided and said already; None decides it here.

    Raises:
        InputError: not there, not a Qwen3-VL, damaged or incomplete weights, a type the device cannot
        compute.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    base = resolve_base(model)
    device = device or choose_device()
    check_config(base)
    if dtype is None:
        dtype, why = dtype_on(device, model)
        say(f"dtype: {dtype} ({why})")
        kernel = "the card's fused kernels" if device.type == "cuda" else "the CPU's fused kernel"
        say(f"attention: {ATTENTION} (ships with torch, uses {kernel}; frames of one size share a call)")
    torch_dtype: torch.dtype = getattr(torch, dtype)
    quantized = model.quantization == "nf4"
    processor = load_processor(base, max_pixels)
    try:
        loaded, info = AutoModelForImageTextToText.from_pretrained(
            base.path_or_id,
            revision=base.revision,
            dtype=torch_dtype,
            device_map={"": device},
            use_safetensors=True,
            attn_implementation=ATTENTION,
            quantization_config=quantisation(torch_dtype, torch_dtype if to_shard else torch.uint8)
            if quantized
            else None,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise InputError(f"{base.name}: its weights cannot be loaded ({_first_line(error)})") from error
    absent = sorted([*info["missing_keys"], *info["mismatched_keys"]])
    if absent:
        raise InputError(
            f"{base.name}: its weights are incomplete ({len(absent)} tensors, the first is {absent[0]})"
        )
    fix_cpu_numerics(loaded)
    speed_up_vision(loaded)
    loaded.requires_grad_(False)
    loaded.eval()
    return LoadedBase(loaded, processor, torch_dtype, device, quantized, base)


def dtype_on(device: torch.device, model: Model) -> Choice[DtypeName]:
    """`choose_dtype` for a device of this machine."""
    on_card = device.type == "cuda"
    card = torch.cuda.get_device_name(device) if on_card else ""
    has_bf16 = on_card and torch.cuda.is_bf16_supported(including_emulation=False)
    return choose_dtype(model.dtype, device.type, card, has_bf16)


def check_config(base: ResolvedBase) -> None:
    """Refuse anything but a Qwen3-VL whose DeepStack features exist.

    Raises:
        InputError: not readable, another architecture, or DeepStack indexes beyond the vision encoder's depth
            (their mergers would never be used; trl#5779).
    """
    try:
        config = AutoConfig.from_pretrained(base.path_or_id, revision=base.revision)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{base.name}: its config.json cannot be read ({_first_line(error)})") from error
    if config.model_type != "qwen3_vl":
        raise InputError(f"{base.name}: is a {config.model_type!r} model, not a Qwen3-VL")
    vision = config.vision_config
    beyond = [index for index in vision.deepstack_visual_indexes if index >= vision.depth]
    if beyond:
        raise InputError(
            f"{base.name}: deepstack_visual_indexes {beyond} lie beyond the vision depth {vision.depth}"
        )


def fix_cpu_numerics(model: torch.nn.Module) -> None:
    """Keep 4-bit linears from repacking themselves for bfloat16 in evaluation mode on some CPUs.

    Otherwise the model in use would compute in another precision than the model that was trained.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__

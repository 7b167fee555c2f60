"""The map of what is 4-bit, what is trained and in which type: printed before training, and asserted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from roadscribe.errors import WorkError

LANGUAGE_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven projections of each layer of Qwen3-VL's language model."""


class MapRow(NamedTuple):
    """Parameters of one group of modules that share a kind and a type; 4-bit weights count as unpacked."""

    group: str
    kind: str
    dtype: str
    parameters: int
    trainable: int


def _group(name: str) -> str:
    """Which part of the model a parameter's full name belongs to."""
    parts = name.split(".")
    part = next((p for p in ("visual", "lm_head", "embed_tokens", "language_model") if p in parts), "other")
    if any(p.startswith("lora_") for p in parts):
        return f"adapters on {part}"
    if part == "language_model":
        return "language linears" if any(p in LANGUAGE_LINEARS for p in parts) else "language norms"
    return part


def _is_4bit(module: torch.nn.Module) -> bool:
    return type(getattr(module, "weight", None)).__name__ == "Params4bit"


def _leaves(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str, torch.nn.Parameter, int]]:
    """Full name, module, type, parameter and its unpacked size; shared parameters once."""
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            packed = type(parameter).__name__ == "Params4bit"
            size = int(module.in_features) * int(module.out_features) if packed else parameter.numel()
            dtype = "nf4" if packed else str(parameter.dtype).removeprefix("torch.")
            yield f"{module_name}.{parameter_name}", module, dtype, parameter, size


def precision_map(model: Any) -> list[MapRow]:
    """Every parameter of the model, summed over groups of modules of one kind and type."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, module, dtype, parameter, size in _leaves(model):
        group = _group(name)
        if tied and group == "embed_tokens":
            group = "embed_tokens = lm_head"
        total = sums.setdefault((group, type(module).__name__, dtype), [0, 0])
        total[0] += size
        total[1] += size if parameter.requires_grad else 0
    return [MapRow(*key, *total) for key, total in sorted(sums.items())]


def render_map(rows: Sequence[MapRow]) -> list[str]:
    """The map as lines of a table, the last one with the share that is trained."""
    everything, trained = sum(row.parameters for row in rows), sum(row.trainable for row in rows)
    base = everything - trained
    cells = [("modules", "kind", "type", "parameters", "trained")]
    cells += [(row.group, row.kind, row.dtype, f"{row.parameters:,}", f"{row.trainable:,}") for row in rows]
    widths = [max(len(cell[column]) for cell in cells) for column in range(5)]
    lines = [
        "  ".join(
            text.ljust(width) if column < 3 else text.rjust(width)
            for column, (text, width) in enumerate(zip(cell, widths, strict=True))
        )
        for cell in cells
    ]
    return [*lines, f"trains {trained:,} parameters, {100 * trained / max(base, 1):.4f} % of the base"]


def assert_precision(model: Any, *, quantized: bool, targets: Sequence[str] = LANGUAGE_LINEARS) -> None:
    """Hold the law: only the language model's linears are 4-bit and carry LoRA, and adapters are float32.

    Args:
        model: a PEFT model around a Qwen3-VL.
        quantized: whether the language model's linears must be 4-bit (otherwise none may be).
        targets: the projections that must carry LoRA.

    Raises:
        WorkError: naming the first module that breaks it.
    """
    linears, adapters = set(), set()
    for name, module in model.named_modules():
        parts = name.split(".")
        if any(part.startswith("lora_") for part in parts):
            if "language_model" not in parts or "visual" in parts:
                raise WorkError(f"{name}: only the language model may carry LoRA")
            adapters.add(name.split(".lora_")[0])
            continue
        if not isinstance(module, torch.nn.Linear):
            continue
        ours = "language_model" in parts and "lm_head" not in parts
        if _is_4bit(module) and not (ours and quantized):
            raise WorkError(
                f"{name}: is 4-bit, but only the language model's linears of a quantised base may be"
            )
        if ours:
            if quantized and not _is_4bit(module):
                raise WorkError(
                    f"{name}: is {module.weight.dtype}, but a quantised base has 4-bit language linears"
                )
            linears.add(name.removesuffix(".base_layer"))
    wanted = {name for name in linears if name.rsplit(".", 1)[-1] in targets}
    if not wanted or wanted != adapters:
        odd = sorted(wanted ^ adapters)
        raise WorkError(
            f"LoRA on {len(adapters)} of {len(wanted)} linears; the first that differs is {odd[:1]}"
        )
    for name, parameter in model.named_parameters():
        adapter = ".lora_" in name
        if adapter and parameter.dtype != torch.float32:
            raise WorkError(f"{name}: adapters must be float32, this one is {parameter.dtype}")
        if parameter.requires_grad and not adapter:
            raise WorkError(f"{name}: would be trained, but only adapters may be")

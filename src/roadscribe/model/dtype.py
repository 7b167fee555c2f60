"""Which type a model computes in on a device."""

from __future__ import annotations

from typing import Literal

from roadscribe.choice import Choice
from roadscribe.errors import InputError

DtypeName = Literal["float32", "bfloat16", "float16"]


def choose_dtype(
    asked: DtypeName | Literal["auto"], device: str, card: str = "", has_bf16: bool = False
) -> Choice[DtypeName]:
    """The type that a model computes in, from the recipe's ``model.dtype`` and what the device can do.

    Args:
        asked: "auto" or the name of a type.
        device: "cuda" or "cpu".
        card: the card's name, for the reason.
        has_bf16: whether the card computes bfloat16 in hardware.

    Raises:
        InputError: the device cannot compute in the type that was asked for.
    """
    if device == "cpu":
        if asked == "float16":
            raise InputError("model.dtype: float16 needs a GPU; use auto or float32 on a CPU")
        if asked == "auto":
            return Choice("float32", "on a CPU, where half precision is slower or missing")
        return Choice(asked, "asked for")
    if asked == "bfloat16" and not has_bf16:
        raise InputError(f"model.dtype: {card} does not compute bfloat16; use auto or float16")
    if asked != "auto":
        return Choice(asked, "asked for")
    if has_bf16:
        return Choice("bfloat16", f"{card} computes it in hardware")
    return Choice("float16", f"{card} is older than Ampere and has no bfloat16")

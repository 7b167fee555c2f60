"""roadscribe-tiny: a real Qwen3-VL of about 9 M parameters that knows only simulated drives.

It stands where a pretrained Qwen3-VL stands on a larger machine, so that the whole street (NF4, LoRA, TRL,
grammar, scorecard) can be walked on a laptop. `build` lays out its parts, `lessons` is what it was taught,
`pretrain` teaches it, `weights/` is the result with its card.
"""

from pathlib import Path

NAME = "roadscribe-tiny"
WEIGHTS = Path(__file__).parent / "weights"
"""The folder that `AutoProcessor` and `AutoModelForImageTextToText` load."""

HONEST_LINE = (
    "roadscribe-tiny knows only simulated drives: "
    "on real footage its reports hold the schema and mean nothing"
)
"""Said wherever the tiny model meets a person."""

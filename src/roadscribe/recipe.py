"""One validated recipe for a whole run: a YAML file plus ``--set section.key=value`` overrides.

Every option a stage reads stands here, with what it does beside it. Unknown keys and wrong types are errors;
the recipe that made an artifact is kept in the artifact.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roadscribe.errors import InputError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Footage(_Section):
    """Which frames of a video become a clip."""

    frames: int = Field(default=10, ge=1, le=64)
    """Images a clip. More see further back and cost visual tokens in proportion."""
    rule: Literal["history", "start"] = "history"
    """`history`: evenly spaced, the last frame at the window's end; `start`: frame i at i/N of the window."""
    window_s: float | None = Field(default=None, gt=0, le=3600)
    """Length of the window in seconds, ending at `end_s`; None takes the whole video."""
    end_s: float | None = Field(default=None, gt=0)
    """The moment the report speaks of, in seconds from the video's start; None is the video's end."""
    max_pixels: int = Field(default=640 * 352, ge=32 * 32, le=4096 * 4096)
    """Upper bound of width x height of a frame; sides are multiples of 32, the aspect is kept."""
    jpeg_quality: int = Field(default=90, ge=50, le=100)
    """Quality of the stored frames."""
    max_file_mb: int = Field(default=4096, ge=1)
    """Files larger than this are refused."""


class Annotate(_Section):
    """Who writes the raw answers."""

    teacher: Literal["simulated"] = "simulated"
    """`simulated` writes from the simulator's truth, with the mess of real teachers mixed in."""
    error_rate: float = Field(default=0.0, ge=0, le=1)
    """Simulated teacher only: the share of answers that carry one wrong value."""
    seed: int = 0


class Curate(_Section):
    """How raw answers become a dataset."""

    test_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows held out as the test split; whole drives, and drives that look alike, stay together."""
    validation_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows held out as the validation split, in the same way."""
    seed: int = 0


class Model(_Section):
    """The base model and how it is loaded."""

    base: str = "roadscribe-tiny"
    """A hub id, a folder, or `roadscribe-tiny`, the model that ships with the package."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    quantization: Literal["nf4", "none"] = "nf4"
    """4-bit NormalFloat with double quantisation on the language model's linears, or 16/32-bit as it is."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Computation type; auto takes bfloat16 where the card has it, float16 on older cards, float32 on a CPU."""


class Lora(_Section):
    """The adapter; only the language model's linears carry it."""

    r: int = Field(default=32, ge=1, le=512)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Train(_Section):
    """Supervised fine-tuning through TRL's SFTTrainer."""

    epochs: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=-1, ge=-1)
    """Stop after this many optimizer steps; -1 lets `epochs` decide."""
    batch_size: int = Field(default=2, ge=1)
    """Clips in one forward pass."""
    gradient_accumulation: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, about a third more time."""
    max_length: int = Field(default=8192, ge=64)
    """Tokens a sample; a longer sample is an error, never cut."""
    save_steps: int = Field(default=50, ge=1)
    """A checkpoint that `--resume` can go on from, every so many steps."""
    logging_steps: int = Field(default=5, ge=1)
    seed: int = 0


class Infer(_Section):
    """How reports are generated; always greedy, so that a report can be made again."""

    grammar: bool = True
    """Admit only the report's text form; without it the model writes what it likes."""
    max_new_tokens: int = Field(default=1024, ge=16, le=8192)
    batch_size: int = Field(default=8, ge=1)


class Evaluate(_Section):
    """What the scorecard measures."""

    controls: tuple[Literal["black", "shuffled", "repeat_last", "swapped"], ...] = ("black", "shuffled")
    """`black`: the same questions with black frames; `shuffled`: the same frames in another order;
    `repeat_last`: the last frame in every place; `swapped`: the frames of another drive."""
    base: bool = True
    """Score the base model without the adapter, too."""
    without_grammar: bool = True
    """Score the fine-tuned model once more without the grammar."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples (of whole drives) behind each interval."""
    seed: int = 0


class Simulate(_Section):
    """The drives of the embedded default."""

    train_drives: int = Field(default=160, ge=1)
    test_drives: int = Field(default=60, ge=1)
    seconds: float = Field(default=4.0, gt=0, le=60)
    fps: int = Field(default=10, ge=2, le=30)
    seed: int = Field(default=0, ge=0, lt=1_000_000)
    """First seed of the run's drives; the tiny base was trained on seeds from 10,000,000 up."""


class Recipe(_Section):
    """Everything a run needs to be made again."""

    footage: Footage = Footage()
    simulate: Simulate = Simulate()
    annotate: Annotate = Annotate()
    curate: Curate = Curate()
    model: Model = Model()
    lora: Lora = Lora()
    train: Train = Train()
    infer: Infer = Infer()
    evaluate: Evaluate = Evaluate()

    def as_json(self, *sections: str) -> dict[str, Any]:
        """The recipe, or only some of its sections, as plain JSON values."""
        return self.model_dump(mode="json", include=set(sections) if sections else None)


def load_recipe(path: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file (or start from the defaults) and apply ``section.key=value`` overrides in order.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named) or a wrong value.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text()) or {}
        except OSError as error:
            raise InputError(f"{path}: cannot read the recipe ({error.strerror})") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
        if not isinstance(values, dict):
            raise InputError(f"{path}: a recipe is a mapping of sections such as `train:`, not a {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path or 'recipe'}: {_explain(error)}") from error


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: write it as section.key=value, for example --set train.epochs=2")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not valid YAML") from error
    if isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 2e-4 as a word
        except ValueError:
            pass
    place = values
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {override}: {key} is not a section of the recipe")
    place[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """The first problem of a recipe as one line with the nearest valid key where a name is unknown."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        section: Any = Recipe
        for part in path[:-1]:
            section = section.model_fields[part].annotation
        known = list(section.model_fields)
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key `{where}`; {hint}{more}"
    return f"`{where}`: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}{more}"

"""One validated recipe for a whole run: a YAML file plus ``--set section.key=value`` overrides.

Every option a stage reads stands here, with what it does beside it. Unknown keys and wrong types are errors;
the recipe that made an artifact is kept in the artifact.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from roadscribe.errors import InputError

MAX_SHOWN_CHARS = 80
"""As much of a wrong value as a message shows."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


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
    ends_at: Literal["time", "label"] = "time"
    """`time`: at `end_s`; `label`: at the moment each video's labels belong to (10 s on BDD100K), so that the
    truth beside a clip is that of its last frame. Videos without one are left out and listed."""
    max_pixels: int = Field(default=640 * 352, ge=32 * 32, le=4096 * 4096)
    """Upper bound of width x height of a frame; sides are multiples of 32, the aspect is kept."""
    jpeg_quality: int = Field(default=90, ge=50, le=100)
    """Quality of the stored frames."""
    max_file_mb: int = Field(default=4096, ge=1)
    """Files larger than this are refused."""

    @model_validator(mode="after")
    def _check_window(self) -> Footage:
        if self.ends_at == "label" and self.end_s is not None:
            raise ValueError("ends_at=label finds the end by itself; leave end_s out")
        if self.ends_at == "label" and self.rule == "start":
            raise ValueError(
                "the rule `start` never shows a window's end, so ends_at=label needs rule=history"
            )
        return self


class Annotate(_Section):
    """Who writes the raw answers, to which questions, and what that may cost."""

    teacher: str = Field(default="simulated", min_length=1, max_length=1000)
    """`simulated` writes from the simulator's truth, with the mess of real teachers mixed in; `https://.../v1`
    is an OpenAI-compatible endpoint; anything else a local model: hub id, model folder or adapter folder."""
    model: str | None = Field(default=None, min_length=1, max_length=400)
    """Endpoint only: the model's name there."""

    report: bool = True
    """Ask for the driving report (the standard prompt)."""
    questions: tuple[str, ...] = Field(default=(), max_length=1000)
    """Questions of your own, each asked about every clip in these very words."""
    questions_file: str | None = Field(default=None, min_length=1)
    """More of them in a file: YAML (a list of texts), or plain text with one question a line."""
    max_questions: int | None = Field(default=None, ge=1)
    """At most so many questions a video, over all its clips; what is left out is listed in left_out.jsonl."""

    max_tokens: int = Field(default=1024, ge=16, le=131_072)
    """New tokens an answer; one that needs more is cut off, kept as it is and marked `length`."""
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Endpoint only: what the endpoint calls that limit; OpenAI's newer models want the second."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Endpoint only: sampling temperature; None leaves it to the endpoint."""
    json_schema: bool = False
    """Endpoint only: ask for the report as JSON by its schema (`response_format`)."""

    concurrency: int = Field(default=8, ge=1, le=1024)
    """Endpoint only, as all below down to the prices: requests under way at once."""
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest wait for one whole answer, in seconds; then the request is tried again."""
    attempts: int = Field(default=6, ge=1, le=100)
    """Requests a question before it becomes a dead letter."""
    backoff_s: float = Field(default=1.0, gt=0, le=600)
    """The n-th retry waits a random time up to this times 2^(n-1), in seconds..."""
    backoff_max_s: float = Field(default=60.0, gt=0, le=3600)
    """...and up to this."""
    retry_after_max_s: float = Field(default=600.0, gt=0, le=86_400)
    """A teacher that asks (`Retry-After`) for a longer wait than this, in seconds, ends the run."""
    give_up_after: int = Field(default=20, ge=1)
    """Dead letters in a row, with no answer between them, that end the run."""
    key_over_http: bool = False
    """Send the API key without encryption to a host that is not this machine."""
    max_requests: int | None = Field(default=None, ge=0)
    """Requests in all, retries and earlier runs of the same artifact included."""
    max_cost: float | None = Field(default=None, ge=0)
    """Money in all, in the unit of the prices; the run ends before a request could exceed it."""
    price_input: float | None = Field(default=None, ge=0)
    """Price of a million input tokens, images included."""
    price_output: float | None = Field(default=None, ge=0)
    """Price of a million output tokens."""
    image_tokens: int = Field(default=1500, ge=1, le=100_000)
    """Upper bound of the input tokens one image costs, for the budget only; see docs/teachers.md."""

    error_rate: float = Field(default=0.0, ge=0, le=1)
    """Simulated teacher only: the share of answers that carry one wrong value."""
    seed: int = 0
    """Simulated teacher only."""


class Curate(_Section):
    """How raw answers become a dataset."""

    test_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows held out as the test split; drives, and drives that look alike, stay together."""
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
    """Computation type; auto: bfloat16 where the card has it, float16 on older cards, float32 on a CPU."""


class Lora(_Section):
    """The adapter; only the language model's linears carry it."""

    r: int = Field(default=32, ge=1, le=512)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


Switch = Literal[True, False, "auto"]
"""A choice that may be left to the run, which says what it took and why."""


class Train(_Section):
    """Supervised fine-tuning through TRL's SFTTrainer."""

    epochs: float = Field(default=1.0, gt=0)
    max_steps: int = Field(default=-1, ge=-1)
    """Stop after this many optimizer steps; -1 lets `epochs` decide."""
    batch_size: int = Field(default=2, ge=1)
    """Clips in one forward pass of each process."""
    gradient_accumulation: int = Field(default=8, ge=1)
    """Passes of each process in one optimizer step, which so sees `batch_size * gradient_accumulation * processes`
    rows: with twice the cards, halve it to learn the same."""
    shared_prefix: bool = True
    """Where several rows ask about one clip, read the clip once for all of them: the same gradients, faster. A
    step keeps about `batch_size * gradient_accumulation` rows, so it takes fewer clips."""
    branch_attention: Literal["auto", "flex", "mask"] = "auto"
    """How answers that share a clip attend: a mask on the answers alone, which auto takes, or FlexAttention."""
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    claim_weight: float = Field(default=1.0, ge=1, le=100)
    """What a token counts in the loss that decides a claim (the JSON's values, the first two words of a sentence)
    against any other; 1 counts all alike. A short run learns the wording first without it (docs/training.md)."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, about a third more time."""
    dense_weights: Switch = "auto"
    """Keep the 4-bit weights dequantised while training: the same numbers, less work, 2 bytes a weight."""
    float8_products: Switch = False
    """Multiply in 8-bit floating point on cards that can (Ada, Hopper and later): twice the speed of the products,
    each factor rounded to about 3 %, so not quite the same function. Two bytes a weight, as dense weights take.
    auto does where it was measured to pay: a 4-bit base, compiled layers, Hopper and later, room for dense weights."""
    keep_features: Switch = "auto"
    """Keep what the frozen vision tower makes of a clip for the next time the clip comes by, on the card or in
    memory, where there is room; auto does where clips come by more than once."""
    compile: Switch = "auto"
    """Compile the layers on a card: about a minute once, then a third faster."""
    workers: int | None = Field(default=None, ge=0, le=64)
    """Processes that decode frames; None takes up to 8 on a card and none on a CPU."""
    max_length: int = Field(default=8192, ge=64)
    """Tokens a sample; a longer sample is an error, never cut."""
    save_steps: int = Field(default=50, ge=1)
    """A checkpoint that `--resume` can go on from, every so many steps."""
    logging_steps: int = Field(default=5, ge=1)
    eval_steps: int = Field(default=0, ge=0)
    """Every so many optimizer steps, and after the last, write reports on held-out clips; 0 never does."""
    eval_clips: int = Field(default=8, ge=1, le=1000)
    """Held-out clips to write about. More make the measure steadier and cost their generation each time."""
    eval_split: Literal["validation", "test"] = "validation"
    """The dataset's split that they come from."""
    eval_grammar: bool = False
    """Write them under the grammar: much faster early on, but then every finished report holds the schema."""
    best_by: Literal["field_accuracy", "schema_then_accuracy"] = "field_accuracy"
    """What makes a step the best: right values, or reports that hold the schema, and then right values."""
    keep: Literal["last", "best"] = "last"
    """Which adapter a run leaves: the last step's, or that of the best step looked at (needs `eval_steps`)."""
    report_to: tuple[str, ...] = ()
    """Boards to log to as well, for example `tensorboard`; a name, or a list of names."""
    read_back: Literal["process", "same"] = "process"
    """Where the finished adapter is read back and compared: a fresh process (ten seconds more), or this one."""
    seed: int = 0

    @field_validator("report_to", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


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

    train_drives: int = Field(default=160, ge=1, le=1_000_000)
    test_drives: int = Field(default=60, ge=1, le=1_000_000)
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


class _Loader(yaml.SafeLoader):
    """YAML as people write recipes: `2e-4` is a number (YAML 1.2), and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"`{name}` stands twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)?(\d|\.\d|\d\.)\d*[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    # PyYAML lets the ValueError of an impossible date through.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error


def load_recipe(path: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file (or start from the defaults) and apply ``section.key=value`` overrides in order.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named) or a wrong value.
    """
    values: Any = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"{path}: cannot read the recipe ({error.strerror}); check the path") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is no text in UTF-8; give a recipe in YAML") from error
        values = _read_yaml(text, str(path)) or {}
        if not isinstance(values, dict):
            kind = type(values).__name__
            raise InputError(f"{path}: a recipe is a mapping of sections such as `train:`, not a {kind}")
        # A section whose every line is a comment reads as null.
        values = {key: {} if value is None else value for key, value in values.items()}
    for override in overrides:
        _apply(values, override)
    try:
        # Strict, through JSON: a word is no number and no truth value, but a list may be a tuple.
        return Recipe.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{path or 'recipe'}: {_explain(error)}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path or 'recipe'}: is no plain mapping ({error}); write lines of `key: value`"
        ) from error


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise InputError(f"--set {override}: write it as section.key=value, for example --set train.epochs=2")
    value = _read_yaml(text, f"--set {override}")
    place = values
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise InputError(f"--set {override}: `{key}` is not a section of the recipe")
    place[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    """The first problem of a recipe as one line with the nearest valid key where a name is unknown."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key `{where}`; {_nearest(path)}{more}"
    given = repr(first["input"])
    if len(given) > MAX_SHOWN_CHARS:
        given = given[:MAX_SHOWN_CHARS] + "..."
    return f"`{where}`: {first['msg'][0].lower()}{first['msg'][1:]}, got {given}{more}"


def _nearest(path: list[str]) -> str:
    """A hint at the key that was meant."""
    section: Any = Recipe
    for part in path[:-1]:
        section = section.model_fields[part].annotation
    known = list(section.model_fields)
    if len(path) == 1:
        for name, field in Recipe.model_fields.items():
            known_there: Any = field.annotation
            if path[0] in known_there.model_fields:
                return f"did you mean `{name}.{path[0]}`?"
    near = difflib.get_close_matches(path[-1], known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"

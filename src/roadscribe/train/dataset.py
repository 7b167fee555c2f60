"""Opens the dataset that `curate` wrote and checks every row before a weight is loaded."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from PIL import Image

from roadscribe.artifacts import MANIFEST, require_complete
from roadscribe.clip import UNREADABLE_IMAGE
from roadscribe.curate.saved import load_saved
from roadscribe.errors import InputError, error_line
from roadscribe.estimate.workload import SampleSize
from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION, messages
from roadscribe.qwen3_vl.live_tokens import control_spellings, control_tokens_in
from roadscribe.qwen3_vl.processor import sample_tokens, visual_tokens
from roadscribe.recipe import Footage

COLUMNS = ("images", "prompt", "completion", "clip_id", "drive_id")
"""What training reads of a dataset; other columns are left alone."""
LISTED = 5
"""Rows named in an error; the rest are counted."""


@dataclass(frozen=True)
class DatasetFacts:
    """What the check of a dataset found: exact token counts, and what identifies its content."""

    tokens: tuple[int, ...]
    """Tokens of each row, question and answer."""
    clips: int
    """Different clips among the rows."""
    keys: tuple[str, ...]
    """`clip_key` of each row."""
    visual_tokens: int
    """Visual tokens of all different clips together."""
    prompt_version: str
    """Of the standard instruction where at least one row asks it: an adapter that learnt further questions beside
    it still answers it. Else ``own-`` and a digest of all questions."""
    sha256: str
    """Of everything training reads."""
    sizes: tuple[SampleSize, ...]
    """Of each row, for the estimate of memory and time."""


def open_rows(
    folder: Path, split: str = "train", also: Sequence[str] = (), *, checksums: bool = False
) -> datasets.Dataset:
    """The rows of one split of a dataset, images as stored (not decoded).

    Args:
        folder: what `curate` wrote, or a folder saved by `DatasetDict.save_to_disk`.
        split: whose rows; a folder without splits is all "train".
        also: columns beyond `COLUMNS`.
        checksums: compare every file with its checksum, which reads all of them once.

    Raises:
        InputError: nothing there, unfinished, damaged, no such split, or a column is missing or holds something else.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make a dataset with `roadscribe curate`")
    if (folder / MANIFEST).exists():
        require_complete(folder, "dataset", "curate")
    place = folder / "dataset" if (folder / "dataset").is_dir() else folder
    splits = load_saved(place, checksums=checksums)
    if split not in splits:
        raise InputError(f"{place}: has no {split} split (only {', '.join(splits) or 'none'})")
    found = splits[split]
    columns = [*COLUMNS, *also]
    absent = [name for name in columns if name not in found.column_names]
    if absent:
        raise InputError(f"{place}: has no column {absent[0]!r}; make the dataset with `roadscribe curate`")
    if len(found) == 0:
        raise InputError(f"{place}: its {split} split is empty")
    rows = found.select_columns(columns)
    try:
        return rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{place}: its column 'images' holds no lists of images ({error_line(error)}); make the dataset with "
            "`roadscribe curate`"
        ) from error


def open_image(stored: dict[str, Any]) -> Image.Image:
    """A stored image with its size known and its pixels not yet decoded."""
    return Image.open(io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"])


def clip_key(images: Sequence[dict[str, Any]]) -> str:
    """What identifies a clip's pixels: a digest of its encoded frames."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes())
    return digest.hexdigest()


def check_rows(rows: datasets.Dataset, processor: Any, footage: Footage, max_length: int) -> DatasetFacts:
    """Count the tokens of every row exactly and hold every row against the recipe.

    Raises:
        InputError: listing rows that are too long or hold control tokens of the tokenizer in their words; or naming
            the first that holds another number of frames or frames beyond the pixel budget, has no answer, or
            images or messages that cannot be read. Nothing is cut or left out.
    """
    spellings = control_spellings(processor)
    tokens: list[int] = []
    measured: list[SampleSize] = []
    keys: list[str] = []
    clips: dict[str, int] = {}
    too_long: list[str] = []
    words_too_long = False
    controlled: list[str] = []
    custom: set[str] = set()
    asks_standard = False
    digest = hashlib.sha256()
    for index, row in enumerate(rows):
        where = f"row {index} (clip {row['clip_id']})"
        sizes, key = _frames(row["images"], where)
        if not sizes:
            raise InputError(
                f"{where}: holds 0 frames, nothing to look at; its answers were curated without clips, so collect "
                "the clips and curate again with --clips"
            )
        if len(sizes) != footage.frames:
            raise InputError(
                f"{where}: holds {len(sizes)} frames, but the recipe says footage.frames={footage.frames}; "
                "use the recipe that the clips were collected with"
            )
        for width, height in sizes:
            if width * height > footage.max_pixels:
                raise InputError(
                    f"{where}: a frame of {width}x{height} pixels is larger than footage.max_pixels="
                    f"{footage.max_pixels}; use the recipe that the clips were collected with"
                )
        for name in ("prompt", "completion"):
            if not _are_messages(row[name]):
                raise InputError(
                    f"{where}: its {name} is no list of chat messages with role and content; make the dataset with "
                    "`roadscribe curate`"
                )
        if not any(turn["content"] for turn in row["completion"]):
            raise InputError(f"{where}: has no answer to learn from")
        live = [
            f"{' and '.join(found)} in its {name}"
            for name, part in (("question", "prompt"), ("answer", "completion"))
            if (found := control_tokens_in(row[part], spellings))
        ]
        if live:
            controlled.append(f"{where}: {', '.join(live)}")
            continue
        try:
            count = sample_tokens(processor, row["prompt"], row["completion"], sizes)
        except (ValueError, InputError) as error:
            raise InputError(f"{where}: {error}") from error
        if count > max_length:
            visual = sum(visual_tokens(*size) for size in sizes)
            words_too_long = words_too_long or count - visual > max_length // 2
            too_long.append(f"{where}: {count} tokens, {visual} of them of its frames")
        tokens.append(count)
        measured.append(sample_size(processor, row["prompt"], sizes, count))
        keys.append(key)
        clips[key] = sum(visual_tokens(*size) for size in sizes)
        prompt = json.dumps(row["prompt"], sort_keys=True)
        if is_standard(row["prompt"], len(sizes)):
            asks_standard = True
        else:
            custom.add(prompt)
        digest.update(
            f"{row['clip_id']}\0{prompt}\0{json.dumps(row['completion'], sort_keys=True)}\0{key}\0".encode()
        )
    if controlled:
        more = f" and {len(controlled) - LISTED} more rows" if len(controlled) > LISTED else ""
        raise InputError(
            f"control tokens of the model in text: {'; '.join(controlled[:LISTED])}{more}; a model does not read them "
            "as text, so take them out, or make the dataset again with `roadscribe curate`"
        )
    if too_long:
        more = f" and {len(too_long) - LISTED} more rows" if len(too_long) > LISTED else ""
        remedy = "collect fewer or smaller frames (footage.frames, footage.max_pixels)"
        if words_too_long:
            remedy = (
                "shorten question and answer (a text in a script that the tokenizer knows little takes most)"
            )
        raise InputError(
            f"longer than train.max_length={max_length}: {'; '.join(too_long[:LISTED])}{more}; "
            f"raise train.max_length, or {remedy}"
        )
    version = PROMPT_VERSION
    if not asks_standard:
        version = "own-" + hashlib.sha256("\n".join(sorted(custom)).encode()).hexdigest()[:12]
    return DatasetFacts(
        tuple(tokens),
        len(clips),
        tuple(keys),
        sum(clips.values()),
        version,
        digest.hexdigest(),
        tuple(measured),
    )


def sample_size(
    processor: Any, prompt: Sequence[dict[str, Any]], sizes: Sequence[tuple[int, int]], tokens: int
) -> SampleSize:
    """The size of a row of ``tokens`` tokens, question and answer; ``sizes`` are its frames' (width, height)."""
    limit = processor.image_processor.size.longest_edge
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    visual = sum(visual_tokens(*size, limit) for size in sizes)
    answer = tokens - sample_tokens(processor, prompt, None, sizes)
    return SampleSize(tokens, visual, answer, len(sizes), width, height)


def _frames(images: Sequence[dict[str, Any]], where: str) -> tuple[list[tuple[int, int]], str]:
    """Width and height of a row's images, from their headers, and the row's `clip_key`."""
    try:
        return [open_image(image).size for image in images], clip_key(images)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{where}: an image is far too large to be a frame ({error_line(error)}); collect the clips again, or "
            "scale it down"
        ) from error
    except UNREADABLE_IMAGE as error:
        raise InputError(
            f"{where}: an image cannot be read ({error_line(error)}); make the dataset again"
        ) from error


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("content"), str | list) for turn in value
    )


def is_standard(prompt: Sequence[dict[str, Any]], frames: int) -> bool:
    """Whether a row asks exactly what `prompts.messages` asks, in either form that datasets keep it in."""
    if len(prompt) != 1 or prompt[0]["role"] != "user":
        return False
    content = prompt[0]["content"]
    if isinstance(content, str):
        return content == INSTRUCTION
    parts = [{key: value for key, value in part.items() if value is not None} for part in content]
    return bool(parts == messages(frames)[0]["content"])

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
from PIL import Image, UnidentifiedImageError

from roadscribe.artifacts import MANIFEST, require_complete
from roadscribe.errors import InputError
from roadscribe.estimate.workload import SampleSize
from roadscribe.model.encode import sample_tokens, visual_tokens
from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION, messages
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


def open_rows(folder: Path, split: str = "train", also: Sequence[str] = ()) -> datasets.Dataset:
    """The rows of one split of a dataset, images as stored (not decoded).

    Args:
        folder: what `curate` wrote, or a folder saved by `DatasetDict.save_to_disk`.
        split: whose rows; a folder without splits is all "train".
        also: columns beyond `COLUMNS`.

    Raises:
        InputError: nothing there, unfinished, no such split, or a column is missing.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make a dataset with `roadscribe curate`")
    if (folder / MANIFEST).exists():
        require_complete(folder, "dataset", "curate")
    datasets.disable_progress_bars()
    place = folder / "dataset" if (folder / "dataset").is_dir() else folder
    try:
        found = datasets.load_from_disk(str(place))
    except Exception as error:  # datasets passes on whatever pyarrow, fsspec or json raise
        raise InputError(f"{place}: not a saved dataset ({str(error).splitlines()[0]})") from error
    splits = found if isinstance(found, datasets.DatasetDict) else {"train": found}
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
    return rows.cast_column("images", datasets.List(datasets.Image(decode=False)))


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
        InputError: listing rows that are too long, hold another number of frames or frames beyond the pixel
            budget, have no answer, or images that cannot be read. Nothing is cut or left out.
    """
    tokens: list[int] = []
    measured: list[SampleSize] = []
    keys: list[str] = []
    clips: dict[str, int] = {}
    too_long: list[str] = []
    custom: set[str] = set()
    asks_standard = False
    digest = hashlib.sha256()
    for index, row in enumerate(rows):
        where = f"row {index} (clip {row['clip_id']})"
        try:
            sizes = [open_image(image).size for image in row["images"]]
            key = clip_key(row["images"])
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{where}: an image cannot be read ({error})") from error
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
        if not any(turn["content"] for turn in row["completion"]):
            raise InputError(f"{where}: has no answer to learn from")
        try:
            count = sample_tokens(processor, row["prompt"], row["completion"], sizes)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        if count > max_length:
            too_long.append(f"{where}: {count} tokens")
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
    if too_long:
        more = f" and {len(too_long) - LISTED} more rows" if len(too_long) > LISTED else ""
        raise InputError(
            f"longer than train.max_length={max_length}: {'; '.join(too_long[:LISTED])}{more}; "
            "raise train.max_length, or collect fewer or smaller frames (footage.frames, footage.max_pixels)"
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


def is_standard(prompt: Sequence[dict[str, Any]], frames: int) -> bool:
    """Whether a row asks exactly what `prompts.messages` asks, in either form that datasets keep it in."""
    if len(prompt) != 1 or prompt[0]["role"] != "user":
        return False
    content = prompt[0]["content"]
    if isinstance(content, str):
        return content == INSTRUCTION
    parts = [{key: value for key, value in part.items() if value is not None} for part in content]
    return bool(parts == messages(frames)[0]["content"])

"""A dataset in the form that `datasets.load_dataset` reads from the hub: Parquet shards and a card that names them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from roadscribe.curate.saved import load_saved
from roadscribe.errors import InputError, error_line
from roadscribe.hub.scrub import leaks
from roadscribe.progress import progress

SHARD_BYTES = 500 * 10**6
"""Of the rows as they lie on disk; the hub's viewer and a broken-off upload both want files of this order."""
ROWS_AT_ONCE = 64
EXIF = b"Exif\0\0"
EXIF_WITHIN = 4096
"""Bytes at a JPEG's beginning in which the metadata segment stands."""


class Shards(NamedTuple):
    """What was written: the files in order, and what the card says of them."""

    files: list[Path]
    info: datasets.DatasetInfo


def write_shards(dataset: Path, out: Path, pattern: re.Pattern[str]) -> Shards:
    """Write every split of a saved `DatasetDict` as Parquet files into ``out``; memory stays that of some rows.

    Raises:
        InputError: not a saved dataset; or a row holds what must not be published (see `scrub`).
    """
    splits = load_saved(dataset, checksums=True)
    files: list[Path] = []
    sizes = []
    out.mkdir(parents=True)
    with progress(sum(len(rows) for rows in splits.values()), "writing Parquet") as advance:
        for split, rows in splits.items():
            stored = sum(Path(file["filename"]).stat().st_size for file in rows.cache_files)
            count = max(1, min(len(rows), -(-stored // SHARD_BYTES)))
            num_bytes = 0
            for number in range(count):
                shard = rows.shard(count, number, contiguous=True)
                check_rows(split, shard, pattern)
                path = out / f"{split}-{number:05d}-of-{count:05d}.parquet"
                num_bytes += shard.to_parquet(str(path))
                files.append(path)
                advance(len(shard), path.name)
            sizes.append(datasets.SplitInfo(name=split, num_bytes=num_bytes, num_examples=len(rows)))
    info = datasets.DatasetInfo(
        features=next(iter(splits.values())).features,
        splits=datasets.SplitDict({size.name: size for size in sizes}),
        download_size=sum(path.stat().st_size for path in files),
        dataset_size=sum(size.num_bytes for size in sizes),
    )
    return Shards(files, info)


def check_rows(split: str, rows: datasets.Dataset, pattern: re.Pattern[str]) -> None:
    """Refuse rows that hold secrets, paths of this machine, or frames that lie elsewhere or carry camera metadata.

    Raises:
        InputError: naming the first such row by its clip.
    """
    for table in rows.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        names = [name for name in table.column_names if name != "images"]
        for row in table.select(names).to_pylist():
            for leak in leaks(json.dumps(row, ensure_ascii=False), pattern):
                raise InputError(
                    f"{split}, clip {row['clip_id']}: holds {leak.what} ({leak.shown}); "
                    "take it out of the raw answers and curate again"
                )
        first = 0
        # Chunk by chunk: together they may be more than Arrow addresses in one.
        for images in table["images"].chunks:
            frames = images.flatten()
            encoded = pc.struct_field(frames, "bytes")
            if encoded.null_count:
                raise InputError(f"{split}: rows point to image files instead of holding them; curate again")
            marked = pc.find_substring(pc.binary_slice(encoded, 0, EXIF_WITHIN), pattern=EXIF)
            place = pc.index(pc.greater_equal(marked, 0), pa.scalar(True)).as_py()
            if place >= 0:
                row_number = first + pc.list_parent_indices(images)[place].as_py()
                raise InputError(
                    f"{split}, clip {table['clip_id'][row_number].as_py()}: a frame carries camera metadata (Exif), "
                    "which may tell where it was taken; collect the clips again"
                )
            first += len(images)


def dataset_readme(path: Path, info: datasets.DatasetInfo, licence: str | None) -> tuple[str, str]:
    """The dataset's card with what the hub needs to load it, and the licence that it states.

    Args:
        path: the card that `curate` wrote, or that someone improved since.
        info: features, splits and sizes.
        licence: an SPDX id that takes the place of the card's.

    Raises:
        InputError: there is no card, or its header is no YAML.
    """
    try:
        card = DatasetCard.load(path)
    except OSError as error:
        raise InputError(f"{path}: no card; curate writes one, so curate again") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: its header cannot be read ({error_line(error)})") from error
    if licence is not None:
        card.data.license = licence
    data_files = [{"split": split, "path": f"data/{split}-*"} for split in info.splits]
    MetadataConfigs({"default": {"data_files": data_files}}).to_dataset_card_data(card.data)
    DatasetInfosDict({"default": info}).to_dataset_card_data(card.data)
    stated: Any = card.data.license
    return str(card), str(stated or "other")

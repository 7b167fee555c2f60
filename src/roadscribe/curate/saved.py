"""Opens a dataset saved by `curate` or by `DatasetDict.save_to_disk`, and says which of its files is damaged.

A stream of Arrow batches that is cut between two batches reads as a shorter one, so every file must carry the mark
that ends a stream; `curate` also records each file's SHA-256.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import datasets
import pyarrow as pa

from roadscribe.artifacts import MANIFEST, read_json
from roadscribe.errors import InputError, error_line

STATE = "state.json"
AGAIN = "copy the dataset again, or make it with `roadscribe curate`"
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The last 8 bytes of an Arrow IPC stream (Arrow columnar format, "IPC Streaming Format")."""


def load_saved(folder: Path, *, checksums: bool = False) -> datasets.DatasetDict:
    """The splits of a saved dataset; a folder without splits is one named "train".

    Args:
        folder: what `DatasetDict.save_to_disk` or `Dataset.save_to_disk` wrote.
        checksums: compare every file with its recorded SHA-256, or where none is recorded validate its values;
            reads everything once.

    Raises:
        InputError: not a saved dataset, or a file of it is damaged (the line names it).
    """
    datasets.disable_progress_bars()
    check_files(folder, checksums=checksums)
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets passes on whatever pyarrow, fsspec or json raise
        raise InputError(
            f"{folder}: not a saved dataset ({error_line(error)}); make one with `roadscribe curate`"
        ) from error
    splits = found if isinstance(found, datasets.DatasetDict) else datasets.DatasetDict({"train": found})
    _require_rows(folder, splits)
    return splits


def _require_rows(folder: Path, splits: datasets.DatasetDict) -> None:
    """Compare splits with the folders that are there and, where `curate` wrote them, with the rows it counted.

    A split that was taken out altogether, or saved again by `datasets`, was changed on purpose.

    Raises:
        InputError: a split's folder is not listed, or a split of `curate` has another number of rows.
    """
    path = folder.parent / MANIFEST
    manifest = read_json(path, "the manifest of a dataset") if path.is_file() else None
    summary = manifest.get("summary") if isinstance(manifest, dict) else None
    counted = summary.get("splits") if isinstance(summary, dict) else None
    for state_file in sorted(folder.glob(f"*/{STATE}")):
        name = state_file.parent.name
        if name not in splits:
            raise InputError(f"{folder}: its list of splits does not name {name}, which is there; {AGAIN}")
        state = read_json(state_file, "the state of a saved dataset")
        by_curate = all("sha256" in file for file in state["_data_files"])
        expected = counted.get(name) if isinstance(counted, dict) and by_curate else None
        if isinstance(expected, int) and len(splits[name]) != expected:
            raise InputError(
                f"{folder}: its {name} split holds {len(splits[name])} rows, and `curate` wrote {expected}; {AGAIN}"
            )


def check_files(folder: Path, *, checksums: bool = False) -> None:
    """Compare the files of a saved dataset with what its state says.

    Raises:
        InputError: a file is missing, empty, cut off or changed.
    """
    for state_file in sorted([*folder.glob(STATE), *folder.glob(f"*/{STATE}")]):
        state = read_json(state_file, "the state of a saved dataset")
        files = state.get("_data_files") if isinstance(state, dict) else None
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise InputError(f"{state_file}: does not list the files of a dataset; make the dataset again")
        for file in files:
            shard = state_file.parent / str(file.get("filename"))
            recorded = file.get("sha256") if checksums else None
            why = changed(shard, recorded) if recorded else damage(shard, values=checksums)
            if why:
                raise InputError(
                    f"{shard}: {why}; copy the dataset again, or make it with `roadscribe curate`"
                )


def damage(shard: Path, *, values: bool = False) -> str | None:
    """What is wrong with a file of Arrow batches, None where nothing is.

    ``values``: look at offsets and texts, too; damaged ones would be read from anywhere in memory.
    """
    try:
        size = shard.stat().st_size
        if size == 0:
            return "is empty"
        with shard.open("rb") as file:
            file.seek(max(0, size - len(END_OF_STREAM)))
            if file.read() != END_OF_STREAM:
                return f"is cut off or damaged (its {size} bytes do not end like an Arrow stream)"
        with pa.memory_map(str(shard)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                if values:
                    batch.validate(full=True)
    except OSError as error:
        return f"cannot be read ({error.strerror or error_line(error)})"
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        return f"is damaged ({error_line(error)})"
    return None


def changed(path: Path, recorded: str) -> str | None:
    """What is wrong with a file whose SHA-256 was recorded when it was written, None where nothing is."""
    try:
        if path.stat().st_size == 0:
            return "is empty"
        if file_sha256(path) != recorded:
            return "is cut off or damaged (its content is not what was written)"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error_line(error)})"
    return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Rows on disk in the form that TRL's SFTTrainer takes for vision prompt-completion data.

``images`` (list of JPEG images, oldest first), ``prompt`` and ``completion`` as conversations whose contents
are plain text: TRL puts one image place for each of ``images`` before the first user text
(`trl.data_utils.prepare_multimodal_messages`), which gives exactly ``prompts.messages(len(images))``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Image, List, Value, disable_progress_bars

from roadscribe.artifacts import read_json, write_json
from roadscribe.clip import BATCH_BYTES, BATCH_ROWS, Clip
from roadscribe.curate.mend import Row
from roadscribe.curate.saved import STATE, file_sha256
from roadscribe.curate.split import SPLITS
from roadscribe.prompts import INSTRUCTION
from roadscribe.report import render

_MESSAGES = List({"role": Value("string"), "content": Value("string")})

FEATURES = Features(
    {
        "images": List(Image()),
        "prompt": _MESSAGES,
        "completion": _MESSAGES,
        "clip_id": Value("string"),
        "drive_id": Value("string"),
        "report": Value("string"),
        "findings": Value("string"),
    }
)
"""``report`` and ``findings`` are JSON; a finding has rule, parameter, before, after, message, evidence.
``report`` is null where another question than the standard one was asked."""

SHARD_BYTES = 500_000_000
"""A new file is begun beyond this size, as `datasets` does."""


def dataset_row(row: Row, drive_id: str, clip: Clip | None) -> dict[str, Any]:
    """One row in the layout of ``FEATURES``; without a clip it holds no images.

    Raises:
        ValueError: the row has neither a report nor an answer to a question of its own.
    """
    if row.report is not None:
        question, answer = INSTRUCTION, render(row.report)
    elif row.question is not None and row.answer is not None:
        question, answer = row.question, row.answer
    else:
        raise ValueError(f"row {row.row} has neither a report nor an answer")
    return {
        "images": [{"bytes": frame, "path": None} for frame in clip.frames] if clip else [],
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
        "clip_id": row.clip_id,
        "drive_id": drive_id,
        "report": row.report.model_dump_json() if row.report else None,
        "findings": json.dumps(
            [finding.model_dump(mode="json") for finding in row.findings], ensure_ascii=False
        ),
    }


class DatasetWriter:
    """Streams rows into Arrow shards and lays them out as `DatasetDict.save_to_disk` would.

    The rows go through memory and disk once: saving a loaded dataset would map all of it and copy it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._schema = FEATURES.arrow_schema
        self._pending: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._streams: dict[str, pa.RecordBatchStreamWriter] = {}
        self._shards: dict[str, list[Path]] = defaultdict(list)
        self._bytes: Counter[str] = Counter()
        self._pending_bytes: Counter[str] = Counter()
        self._digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)

    def __enter__(self) -> DatasetWriter:
        self.folder.mkdir(parents=True)
        return self

    def add(self, split: str, row: Row, drive_id: str, clip: Clip | None) -> None:
        """Add one row to a split."""
        fields = dataset_row(row, drive_id, clip)
        size = sum(len(image["bytes"]) for image in fields["images"])
        if self._pending[split] and self._pending_bytes[split] + size > BATCH_BYTES:
            self._flush(split)
        self._pending[split].append(fields)
        self._pending_bytes[split] += size
        said = f"{fields['prompt'][0]['content']}\0{fields['completion'][0]['content']}"
        self._digests[split].update(f"{row.clip_id}\0{said}\0".encode())
        if len(self._pending[split]) >= BATCH_ROWS:
            self._flush(split)

    def _flush(self, split: str) -> None:
        if self._bytes[split] >= SHARD_BYTES:
            self._streams.pop(split).close()
            self._bytes[split] = 0
        if split not in self._streams:
            shard = self.folder / f"{split}-{len(self._shards[split]):05d}.arrow"
            self._shards[split].append(shard)
            self._streams[split] = pa.ipc.new_stream(str(shard), self._schema)
        batch = pa.RecordBatch.from_pylist(self._pending.pop(split), schema=self._schema)
        self._pending_bytes[split] = 0
        self._bytes[split] += batch.nbytes
        self._streams[split].write_batch(batch)

    def __exit__(self, *_: object) -> None:
        for split in list(self._pending):
            self._flush(split)
        for stream in self._streams.values():
            stream.close()

    def save(self, out: Path) -> None:
        """Lay the splits that hold rows out as a `DatasetDict` in ``out``, after the block has been left.

        The library itself writes the description, for empty splits of the same features; then the shards move
        to their place. The fingerprint, by which `datasets` keeps its caches, is made from the rows.
        """
        disable_progress_bars()
        nothing = Dataset.from_dict({name: [] for name in FEATURES}, features=FEATURES)
        DatasetDict({split: nothing for split in SPLITS if split in self._shards}).save_to_disk(str(out))
        for split, shards in self._shards.items():
            for empty in (out / split).glob("*.arrow"):
                empty.unlink()
            names = [f"data-{number:05d}-of-{len(shards):05d}.arrow" for number in range(len(shards))]
            for shard, name in zip(shards, names, strict=True):
                shard.rename(out / split / name)
            state = read_json(out / split / STATE, "the state of a saved dataset")
            # `datasets` reads the name alone.
            state["_data_files"] = [
                {"filename": name, "sha256": file_sha256(out / split / name)} for name in names
            ]
            state["_fingerprint"] = self._digests[split].hexdigest()[:16]
            write_json(out / split / STATE, state)

"""Rows on disk in the form that TRL's SFTTrainer takes for vision prompt-completion data.

``images`` (list of JPEG images, oldest first), ``prompt`` and ``completion`` as conversations whose contents
are plain text: TRL puts one image place for each of ``images`` before the first user text
(`trl.data_utils.prepare_multimodal_messages`), which gives exactly ``prompts.messages(len(images))``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Image, List, Value, disable_progress_bars

from roadscribe.clip import Clip
from roadscribe.curate.mend import Row
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
"""``report`` and ``findings`` are JSON; a finding has rule, parameter, before, after, message, evidence."""

ROWS_A_BATCH = 16


def dataset_row(row: Row, drive_id: str, clip: Clip | None) -> dict[str, Any]:
    """One row in the layout of ``FEATURES``; without a clip it holds no images."""
    if row.report is None:
        raise ValueError(f"row {row.row} has no report")
    return {
        "images": [{"bytes": frame, "path": None} for frame in clip.frames] if clip else [],
        "prompt": [{"role": "user", "content": INSTRUCTION}],
        "completion": [{"role": "assistant", "content": render(row.report)}],
        "clip_id": row.clip_id,
        "drive_id": drive_id,
        "report": row.report.model_dump_json(),
        "findings": json.dumps(
            [finding.model_dump(mode="json") for finding in row.findings], ensure_ascii=False
        ),
    }


class DatasetWriter:
    """Streams rows into one Arrow file a split, then saves them as a `DatasetDict`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._schema = FEATURES.arrow_schema
        self._pending: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._streams: dict[str, pa.RecordBatchStreamWriter] = {}

    def __enter__(self) -> DatasetWriter:
        self.folder.mkdir(parents=True)
        return self

    def add(self, split: str, row: Row, drive_id: str, clip: Clip | None) -> None:
        """Add one row to a split."""
        self._pending[split].append(dataset_row(row, drive_id, clip))
        if len(self._pending[split]) >= ROWS_A_BATCH:
            self._flush(split)

    def _flush(self, split: str) -> None:
        if split not in self._streams:
            self._streams[split] = pa.ipc.new_stream(str(self.folder / f"{split}.arrow"), self._schema)
        batch = pa.RecordBatch.from_pylist(self._pending.pop(split), schema=self._schema)
        self._streams[split].write_batch(batch)

    def __exit__(self, *_: object) -> None:
        for split in list(self._pending):
            self._flush(split)
        for stream in self._streams.values():
            stream.close()

    def save(self, out: Path) -> None:
        """Write the splits that hold rows as a `DatasetDict` to ``out``."""
        splits = {
            split: Dataset.from_file(str(self.folder / f"{split}.arrow"))
            for split in SPLITS
            if split in self._streams
        }
        disable_progress_bars()
        DatasetDict(splits).save_to_disk(str(out))

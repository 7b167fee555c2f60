"""Rows with large frames are written and read in batches that Arrow can address: bounded by bytes, not by rows."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roadscribe import clip as clips
from roadscribe.clip import BATCH_BYTES, BATCH_ROWS, Clip, Provenance, clips_to_table, read_clips
from roadscribe.curate import dataset
from roadscribe.curate.dataset import DatasetWriter
from roadscribe.curate.mend import Row

SIZES = (100, 900, 50, 3000, 10, 10, 10)
"""Bytes of the frame of each clip."""


def make_clip(number: int, size: int) -> Clip:
    return Clip(
        clip_id=f"clip-{number}",
        drive_id=f"drive-{number}",
        source="test",
        frames=(bytes(size),),
        timestamps_s=(1.0,),
        width=64,
        height=64,
        provenance=Provenance(path=f"{number}.mp4", size_bytes=1, sha256="0" * 64),
    )


CLIPS = [make_clip(number, size) for number, size in enumerate(SIZES)]


def test_sixteen_rows_of_the_bound_stay_below_two_gib() -> None:
    assert BATCH_BYTES <= 2**31 // 4 and BATCH_ROWS == 16


def test_curate_begins_a_new_batch_before_the_bound_is_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCH_BYTES", 1000)
    with DatasetWriter(tmp_path / "work") as writer:
        for number, clip in enumerate(CLIPS):
            row = Row(number, clip.clip_id, "Is it wet?", answer="No.")
            writer.add("train", row, clip.drive_id, clip)
    writer.save(tmp_path / "dataset")
    (shard,) = (tmp_path / "dataset" / "train").glob("*.arrow")
    with pa.ipc.open_stream(shard) as stream:
        assert [batch.num_rows for batch in stream] == [2, 1, 1, 3]
    rows = datasets.load_from_disk(str(tmp_path / "dataset"))["train"]
    assert rows["clip_id"] == [clip.clip_id for clip in CLIPS]


def test_clips_are_read_one_by_one_where_a_row_group_is_larger_than_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clips-00000.parquet"
    pq.write_table(clips_to_table(CLIPS), path, compression="none")
    assert clips._rows_at_once(pq.ParquetFile(path)) == BATCH_ROWS
    monkeypatch.setattr(clips, "BATCH_BYTES", 1000)
    assert clips._rows_at_once(pq.ParquetFile(path)) == 1
    assert list(read_clips(tmp_path)) == CLIPS


def test_a_frame_that_cannot_be_decoded_names_its_clip() -> None:
    with pytest.raises(clips.InputError, match="clip clip-3: its frame 1 cannot be read"):
        CLIPS[3].images()

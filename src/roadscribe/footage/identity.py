"""Tells one clips artifact from another, so that a resumed stage never goes on with other clips than it began with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from roadscribe.clip import clip_shards
from roadscribe.errors import InputError

TELLING = ("clip_id", "drive_id", "source", "timestamps_s", "width", "height", "evidence", "provenance")
"""Columns that tell clips apart; the frames follow from them, and are many times as large."""


def clips_digest(folder: Path) -> str:
    """16 hex digits of a sha256 over everything in a clips artifact but its frames.

    Raises:
        InputError: a shard is no shard of clips.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    digest = hashlib.sha256()
    for shard in clip_shards(folder):
        try:
            for batch in pq.ParquetFile(shard, page_checksum_verification=True).iter_batches(
                columns=list(TELLING)
            ):
                for row in batch.to_pylist():
                    digest.update(repr([row[name] for name in TELLING]).encode())
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"{shard}: not a shard of clips ({why}); make it again with collect") from error
    return digest.hexdigest()[:16]

"""Writes clips as Parquet shards, each of which appears whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

from roadscribe.artifacts import write_bytes
from roadscribe.clip import Clip, clips_to_table
from roadscribe.errors import InputError
from roadscribe.footage.container import reason

SHARD_CLIPS = 64
SHARD_BYTES = 64_000_000
"""A shard is closed at this many clips or bytes of frames, whichever comes first."""

ROWS_AT_ONCE = 16
"""Clips per row group: what a reader must hold in memory."""


class ShardWriter:
    """Clips on their way to the next Parquet file."""

    def __init__(self, out: Path, number: int) -> None:
        self._out, self._number = out, number
        self._clips: list[Clip] = []
        self._bytes = 0

    def add(self, clip: Clip) -> None:
        """Keep a clip; write the shard when it is full."""
        self._clips.append(clip)
        self._bytes += sum(map(len, clip.frames))
        if len(self._clips) >= SHARD_CLIPS or self._bytes >= SHARD_BYTES:
            self.write()

    def write(self) -> None:
        """Write what is kept as one file, whole or not at all."""
        # Here, not above: the worker processes do without it.
        import pyarrow.parquet as pq

        if self._clips:
            buffer = io.BytesIO()
            # Frames are JPEG already; packing them again would only cost time.
            pq.write_table(
                clips_to_table(self._clips),
                buffer,
                row_group_size=ROWS_AT_ONCE,
                compression="none",
                write_page_checksum=True,
            )
            write_bytes(self._out / f"clips-{self._number:05d}.parquet", buffer.getvalue())
            self._number, self._clips, self._bytes = self._number + 1, [], 0


def kept_ids(out: Path) -> set[str]:
    """The ids of the clips that the shards of an earlier run hold.

    Raises:
        InputError: a shard cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept: set[str] = set()
    for shard in out.glob("clips-*.parquet"):
        try:
            kept.update(pq.read_table(shard, columns=["clip_id"])["clip_id"].to_pylist())
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(f"{shard}: not a shard of clips ({reason(error)}); use --overwrite") from error
    return kept

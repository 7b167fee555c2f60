"""How long a large dataset takes to curate and whether memory stays flat.

    python bench/curate_rows.py [--rows 100000] [--frames 3] [--keep FOLDER]

Clips of 400 simulated drives are written under new names until there are enough, each answered by the
simulated teacher with 30 % mistakes (every answer another text). Making them is not counted.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from roadscribe.annotate.mistakes import answer_clip
from roadscribe.artifacts import finish, open_output
from roadscribe.clip import Clip, Provenance, clips_to_table
from roadscribe.curate.curate import curate
from roadscribe.recipe import load_recipe
from roadscribe.simulator import make_drive
from roadscribe.simulator.record import evidence_at

DRIVES = 400
SECONDS = 4.0
SHARD = 1000


def clip_of_seed(seed: int, frames: int) -> Clip:
    """One simulated drive as a clip of ``frames`` JPEG frames."""
    drive = make_drive(seed, SECONDS)
    times = [SECONDS * (number + 1) / frames for number in range(frames)]
    encoded = []
    for time_s in times:
        buffer = io.BytesIO()
        Image.fromarray(drive.frame(time_s)).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    return Clip(
        clip_id=drive.drive_id,
        drive_id=drive.drive_id,
        source="simulator",
        frames=tuple(encoded),
        timestamps_s=tuple(times),
        width=320,
        height=192,
        evidence=evidence_at(drive, SECONDS),
        provenance=Provenance(path=drive.drive_id, size_bytes=0, sha256=""),
    )


def write_inputs(folder: Path, rows: int, frames: int) -> tuple[Path, Path]:
    """A clips and a raw artifact of ``rows`` rows; three clips share a drive."""
    clips, raw = folder / "clips", folder / "raw"
    open_output(clips, "clips", {})
    open_output(raw, "raw", {})
    base = [clip_of_seed(seed, frames) for seed in range(DRIVES)]
    with (raw / "answers.jsonl").open("w") as answers:
        for start in range(0, rows, SHARD):
            numbers = range(start, min(rows, start + SHARD))
            renamed = (_renamed(base[n % DRIVES], n) for n in numbers)
            pq.write_table(clips_to_table(renamed), clips / f"shard-{start:07d}.parquet", row_group_size=64)
            answers.writelines(_record(base[n % DRIVES], n) for n in numbers)
    finish(clips)
    finish(raw)
    return clips, raw


def _renamed(clip: Clip, number: int) -> Clip:
    return clip.model_copy(update={"clip_id": f"clip-{number}", "drive_id": f"drive-{number // 3}"})


def _record(clip: Clip, number: int) -> str:
    answer = answer_clip(clip, error_rate=0.3, seed=number)
    fields = {"key": f"clip-{number}", "clip_id": f"clip-{number}", "text": answer.text, "error": None}
    return json.dumps({**fields, "finish_reason": answer.finish_reason, "usage": None}) + "\n"


def memory_mb(who: int) -> float:
    """Highest resident memory so far in MB (Linux counts it in KB)."""
    return resource.getrusage(who).ru_maxrss / 1024


def measure(folder: Path, rows: int, frames: int) -> Iterator[str]:
    """Lines of the result."""
    clips, raw = write_inputs(folder, rows, frames)
    before = memory_mb(resource.RUSAGE_SELF)
    begun = time.monotonic()
    curate(load_recipe(None, ["curate.test_share=0.1"]), raw, clips, folder / "out")
    took = time.monotonic() - begun
    yield f"{rows} rows of {frames} frames: {took:.0f} s, {rows / took:.0f} rows/s"
    yield f"memory: {before:.0f} MB before, {memory_mb(resource.RUSAGE_SELF):.0f} MB highest"
    yield f"a worker: {memory_mb(resource.RUSAGE_CHILDREN):.0f} MB highest"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep inputs and result in this new folder")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True)
        print(*measure(options.keep, options.rows, options.frames), sep="\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        print(*measure(Path(folder), options.rows, options.frames), sep="\n")


if __name__ == "__main__":
    main()

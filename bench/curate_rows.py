"""How long a large dataset takes to curate and whether memory stays flat.

    python bench/curate_rows.py [--rows 16000 100000] [--frames 3] [--keep FOLDER]

For each number of rows the command `roadscribe curate` runs in a process of its own; its time, start-up
included, and the resident memory of all its processes are measured from outside, along the way and at the
peak. Memory is flat when the peak of the large run is about that of the small one.

The clips are those of 400 simulated drives under new names, each with a last frame of its own (cut out of the
painted one at another place and size, so that the search for look-alikes has as many different frames as
rows), each answered by the simulated teacher with 30 % mistakes, every answer another text. Making them is
not counted; 100,000 rows of 3 frames take about 6 GB of disk while they are curated.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from roadscribe.annotate.mistakes import answer_clip
from roadscribe.artifacts import finish, open_output
from roadscribe.clip import Clip, Provenance, clips_to_table
from roadscribe.progress import progress
from roadscribe.simulator import make_drive
from roadscribe.simulator.record import evidence_at

DRIVES = 400
SECONDS = 4.0
SHARD = 1000
SAMPLE_EVERY_S = 0.5
STEP = re.compile(r"(checking answers|writing rows): (\d+)/\d+,")


# --- inputs ------------------------------------------------------------------------------------------------


def clip_of_seed(seed: int, frames: int) -> Clip:
    """One simulated drive as a clip of ``frames`` JPEG frames."""
    drive = make_drive(seed, SECONDS)
    times = [SECONDS * (number + 1) / frames for number in range(frames)]
    return Clip(
        clip_id=drive.drive_id,
        drive_id=drive.drive_id,
        source="simulator",
        frames=tuple(jpeg(Image.fromarray(drive.frame(time_s))) for time_s in times),
        timestamps_s=tuple(times),
        width=320,
        height=192,
        evidence=evidence_at(drive, SECONDS),
        provenance=Provenance(path=drive.drive_id, size_bytes=0, sha256=""),
    )


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_inputs(folder: Path, base: list[Clip], rows: int) -> tuple[Path, Path]:
    """A clips and a raw artifact of ``rows`` rows; three clips share a drive."""
    clips, raw = folder / "clips", folder / "raw"
    open_output(clips, "clips", {})
    open_output(raw, "raw", {})
    pictures = [clip.images()[-1] for clip in base]
    with (raw / "answers.jsonl").open("w") as answers, progress(rows, "making clips") as advance:
        for start in range(0, rows, SHARD):
            numbers = range(start, min(rows, start + SHARD))
            renamed = (_renamed(base[n % DRIVES], pictures[n % DRIVES], n) for n in numbers)
            pq.write_table(clips_to_table(renamed), clips / f"shard-{start:07d}.parquet", row_group_size=64)
            answers.writelines(_record(base[n % DRIVES], n) for n in numbers)
            advance(len(numbers))
    finish(clips)
    finish(raw)
    return clips, raw


def _renamed(clip: Clip, last: Image.Image, number: int) -> Clip:
    """The clip under another name, its last frame a cut-out of its own."""
    rng = random.Random(number)
    width = rng.randint(160, 320)
    height = width * 3 // 5
    left, top = rng.randint(0, 320 - width), rng.randint(0, 192 - height)
    cut = last.crop((left, top, left + width, top + height)).resize((320, 192))
    frame = jpeg(ImageOps.mirror(cut) if rng.random() < 0.5 else cut)
    names = {"clip_id": f"clip-{number}", "drive_id": f"drive-{number // 3}"}
    return clip.model_copy(update={**names, "frames": (*clip.frames[:-1], frame)})


def _record(clip: Clip, number: int) -> str:
    answer = answer_clip(clip, error_rate=0.3, seed=number)
    fields = {"key": f"clip-{number}", "clip_id": f"clip-{number}", "text": answer.text, "error": None}
    return json.dumps({**fields, "finish_reason": answer.finish_reason, "usage": None}) + "\n"


# --- measuring ---------------------------------------------------------------------------------------------


class Resident(NamedTuple):
    """Resident memory of a command at one moment; pages that its processes share count in each."""

    total_mb: float
    main_mb: float
    """Of the first process, which holds what grows with the rows, if anything does."""
    processes: int


@dataclass
class Memory:
    """Samples a process and its children until it ends."""

    process: psutil.Process
    peak_mb: float = 0
    main_peak_mb: float = 0
    processes: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def now(self) -> Resident:
        """The memory at this moment, also kept if it is the highest."""
        sizes = []
        try:
            for process in (self.process, *self.process.children(recursive=True)):
                sizes.append(process.memory_info().rss / 2**20)
        except psutil.NoSuchProcess:
            pass  # It ended between being listed and being asked.
        found = Resident(sum(sizes), sizes[0] if sizes else 0, len(sizes))
        self.peak_mb = max(self.peak_mb, found.total_mb)
        self.main_peak_mb = max(self.main_peak_mb, found.main_mb)
        self.processes = max(self.processes, found.processes)
        return found

    def watch(self) -> None:
        """Take samples until ``ended`` is set."""
        while not self.ended.wait(SAMPLE_EVERY_S):
            self.now()


def measure(folder: Path, base: list[Clip], rows: int) -> Memory:
    """Curate ``rows`` rows and print time and memory.

    Raises:
        SystemExit: the command failed; what it said is printed.
    """
    clips, raw = write_inputs(folder, base, rows)
    arguments = ["curate", str(raw), "--clips", str(clips), "--out", str(folder / "out")]
    command = [sys.executable, "-m", "roadscribe", *arguments, "--set", "curate.test_share=0.1"]
    print(f"\n{rows:,} rows of {len(base[0].frames)} frames", flush=True)
    begun, used = time.monotonic(), _processor_s()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        memory = Memory(psutil.Process(child.pid))
        watcher = threading.Thread(target=memory.watch, daemon=True)
        watcher.start()
        said = _follow(child, memory, max(1, rows // 10))
        code = child.wait()
        took = time.monotonic() - begun
        memory.ended.set()
        watcher.join()
    if code:
        sys.exit(f"curate ended with {code}:\n" + "".join(said))
    print(
        f"{rows:,} rows: {took:.0f} s, {rows / took:.0f} rows/s, {_processor_s() - used:.0f} s of processor "
        f"time; highest {memory.peak_mb:.0f} MB in {memory.processes} processes together, "
        f"{memory.main_peak_mb:.0f} MB in the first",
        flush=True,
    )
    return memory


def _processor_s() -> float:
    """Processor seconds of all commands that have ended, which hold on a busy machine too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _follow(child: subprocess.Popen[str], memory: Memory, every: int) -> list[str]:
    """Print the memory each time ``every`` more rows are done; returns what the command said."""
    said: list[str] = []
    shown = ("", 0)
    assert child.stderr is not None
    for line in child.stderr:
        said.append(line)
        step = STEP.match(line)
        if step is None:
            continue
        name, done = step.group(1), int(step.group(2))
        if name != shown[0] or done - shown[1] >= every:
            found = memory.now()
            print(
                f"  {name} {done:>9,}: {found.total_mb:6.0f} MB, {found.main_mb:.0f} of them in the first "
                f"of {found.processes} processes",
                flush=True,
            )
            shown = name, done
    return said


def run(folder: Path, options: argparse.Namespace) -> None:
    """All sizes, and how memory grew from the smallest to the largest."""
    base = [clip_of_seed(seed, options.frames) for seed in range(DRIVES)]
    found: list[tuple[int, Memory]] = []
    for rows in sorted(options.rows):
        place = folder / f"rows-{rows}"
        found.append((rows, measure(place, base, rows)))
        if not options.keep:
            shutil.rmtree(place)
    if len(found) > 1:
        (few, small), (many, large) = found[0], found[-1]
        print(
            f"\n{many / few:.1f} times the rows, {large.peak_mb / small.peak_mb:.2f} times the memory "
            f"({small.peak_mb:.0f} → {large.peak_mb:.0f} MB)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[16_000, 100_000])
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="keep inputs and results in this new folder")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True)
        run(options.keep, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options)


if __name__ == "__main__":
    main()

"""The stage `collect`: samples the same frames from every video and keeps them as the clips artifact.

What is known of each video (labels, telemetry) travels with its clip. Videos are decoded by one process a core,
in the order of `find_videos`; clips become Parquet shards that appear whole. The same footage and recipe give the
same files, however often the run was stopped on the way.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from roadscribe.artifacts import MANIFEST, KeyedLog, disk_errors, finish, open_output, write_bytes
from roadscribe.clip import Clip, Evidence, Provenance, clips_to_table
from roadscribe.errors import InputError, WorkError, printable
from roadscribe.footage.evidence import attach, known_about
from roadscribe.footage.images import choose_images, read_images
from roadscribe.footage.packets import file_size, opened, reason
from roadscribe.footage.sampling import SampledFrame, probe, read_frames, sample_times
from roadscribe.footage.sources import SourceVideo, find_videos, real_path
from roadscribe.footage.windows import Asked, window
from roadscribe.progress import progress, say
from roadscribe.recipe import Footage, Recipe

SKIPPED = "skipped.jsonl"
"""The videos that gave no clip, one JSON object a line: ``key`` (clip id), ``path``, ``reason``."""

NOTES = "notes.jsonl"
"""Evidence that is missing or could not be used, one JSON object a line: ``key`` (clip id, or a file's path),
``path``, ``notes``. Not there when there is nothing to say."""

SHARD_CLIPS = 64
SHARD_BYTES = 64_000_000
"""A shard is closed at this many clips or bytes of frames, whichever comes first."""

PARQUET: dict[str, Any] = {"row_group_size": 16, "compression": "none", "write_page_checksum": True}
"""A reader holds one row group in memory; frames are JPEG already; a flipped bit is found by its page's checksum."""

SECONDS_A_FILE, SECONDS_A_MB, SECONDS_TO_START = 0.02, 0.03, 4.0
"""Sampling takes about this long; work shorter than it takes to start processes is done in this one."""


def collect(
    inputs: list[Path],
    out: Path,
    recipe: Recipe,
    *,
    root: Path | None = None,
    telemetry: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Sample every video's frames by ``recipe.footage`` and write them, with what is known, as a clips artifact.

    A file named in ``inputs`` must be a video. A video that turns out damaged, too short or too large is left
    out and listed in ``skipped.jsonl``; evidence that is missing or cannot be used is listed in ``notes.jsonl``.

    Args:
        inputs: videos, folders of videos (BDD100K's among them), ``drives.jsonl`` manifests.
        out: the folder for ``clips-00000.parquet``, ... and ``skipped.jsonl``.
        recipe: its footage section counts.
        root: the folder that the manifests' paths are relative to; their own when not given.
        telemetry: a CSV of time and speed for the one video in ``inputs``.
        resume: go on where an earlier run was stopped.
        overwrite: delete the artifact that ``out`` holds first.

    Returns:
        ``out``.

    Raises:
        InputError: an input is no video or names none, ``out`` holds something else, a CSV's unit is not known,
            or no video gave a clip.
        WorkError: the disk is full, or a decoder process died.
    """
    videos = find_videos(inputs, root)
    _check_named(inputs, recipe.footage)
    _check_apart([*inputs, *(path for path in (root, telemetry) if path)], out)
    videos, file_notes = attach(videos, telemetry)
    with disk_errors(out):
        if open_output(out, "clips", _origin(inputs, videos, recipe), resume=resume, overwrite=overwrite):
            return out
        with KeyedLog(out / SKIPPED) as skipped, _Notes(out) as notes:
            for path, note in file_notes:
                notes.add(printable(path), path, [note])
            clips = _write_clips(videos, out, recipe.footage, skipped, notes)
            reasons = [record["reason"] for record in skipped.records.values()]
        if not clips:
            for name in (SKIPPED, NOTES, MANIFEST):
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()  # which holds nothing else, unless it was the user's own
            several = f"none of the {len(videos)} videos gives a clip; the first: " if len(videos) > 1 else ""
            raise InputError(several + reasons[0])
        drives = len({video.drive_id for video in videos if video.clip_id not in skipped.records})
        noted = {"notes": notes.count} if notes.count else {}
        summary = {"clips": clips, "drives": drives, "videos": len(videos), **noted}
        finish(out, left_out=len(reasons), listed_in=[SKIPPED], **summary)
    if reasons:
        say(
            f"{len(reasons)} of {len(videos)} videos left out, listed in {out / SKIPPED}; first: {reasons[0]}"
        )
    if notes.count:
        say(f"{notes.count} notes on evidence, listed in {out / NOTES}; first: {notes.first}")
    say(f"{clips} clips of {drives} drives; next: roadscribe annotate {out} --out RAW")
    return out


def clip_from_video(
    path: Path,
    footage: Footage,
    *,
    clip_id: str | None = None,
    drive_id: str | None = None,
    source: str = "file",
    evidence: Evidence | None = None,
    asked: Asked = Asked(),
) -> Clip:
    """The clip of one video: the frames at the recipe's moments of its window (`windows.window`), as JPEG.

    Args:
        path: the video.
        footage: which frames.
        clip_id: the file's stem when not given.
        drive_id: the clip id when not given.
        source: where the video is from.
        evidence: what is known about it, on the clock of its presentation times.
        asked: the window that a manifest asks for.

    Raises:
        InputError: as `sampling.probe`, `sampling.read_frames` and `windows.window`.
    """
    known = evidence or Evidence()
    try:
        info = probe(path, max_file_mb=footage.max_file_mb)
        times = sample_times(footage.rule, footage.frames, *window(info, footage, asked, known))
        frames = read_frames(info, times, footage.max_pixels)
        provenance = Provenance(path=printable(path), size_bytes=info.size_bytes, sha256=_sha256(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); copy the file again") from error
    name = clip_id or printable(path.stem)
    return _clip(frames, provenance, footage, name, drive_id or name, source, known)


def clip_from_source(video: SourceVideo, footage: Footage, evidence: Evidence) -> Clip:
    """The clip of what `sources.find_videos` found: a video, a window of one, or a list of images.

    Raises:
        InputError: as `clip_from_video` and `images.choose_images`.
    """
    if video.images:
        return _clip_from_images(video, footage, evidence)
    return clip_from_video(
        video.path,
        footage,
        clip_id=video.clip_id,
        drive_id=video.drive_id,
        source=video.source,
        evidence=evidence,
        asked=Asked(video.start_s, video.end_s),
    )


def _clip_from_images(video: SourceVideo, footage: Footage, evidence: Evidence) -> Clip:
    """The clip of a list of images, by the same rule over their times."""
    asked = Asked(video.start_s, video.end_s)
    chosen = choose_images(video.path, video.timestamps_s, footage, asked, evidence)
    times_s = [video.timestamps_s[place] for place in chosen]
    try:
        frames, provenance = read_images([video.images[place] for place in chosen], times_s, footage)
    except OSError as error:
        raise InputError(f"{video.path}: cannot be read ({reason(error)}); copy the files again") from error
    return _clip(frames, provenance, footage, video.clip_id, video.drive_id, video.source, evidence)


def _clip(
    frames: Sequence[SampledFrame],
    provenance: Provenance,
    footage: Footage,
    clip_id: str,
    drive_id: str,
    source: str,
    evidence: Evidence,
) -> Clip:
    width, height = frames[0].image.size
    return Clip(
        clip_id=clip_id,
        drive_id=drive_id,
        source=source,
        frames=tuple(_jpeg(frame.image, footage.jpeg_quality) for frame in frames),
        timestamps_s=tuple(frame.time_s for frame in frames),
        width=width,
        height=height,
        evidence=evidence,
        provenance=provenance,
    )


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Colour at full resolution: a traffic light far away is a few pixels wide.
    image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_named(inputs: Sequence[Path], footage: Footage) -> None:
    """A file that the user named must be a video: this is cheap to see before any work."""
    for path in inputs:
        if path.is_file() and path.suffix != ".jsonl":
            file_size(path, footage.max_file_mb)
            with opened(path):
                pass


def _check_apart(inputs: Sequence[Path], out: Path) -> None:
    """Footage within the output folder could be deleted by --overwrite."""
    for path in inputs:
        if real_path(path).is_relative_to(real_path(out)):
            raise InputError(f"{path}: lies in the output folder {out}; give another --out")


def _origin(inputs: Sequence[Path], videos: list[SourceVideo], recipe: Recipe) -> dict[str, Any]:
    """What makes these clips: resuming with anything else would mix two artifacts."""
    digest = hashlib.sha256()
    for video in videos:
        line = [printable(video.path), video.clip_id, video.drive_id, video.evidence.model_dump_json()]
        line += [repr((video.start_s, video.end_s, video.images, video.timestamps_s))]
        line += [repr((video.telemetry, video.telemetry_start_s, video.beside))]
        digest.update(json.dumps(line).encode())
    return {
        **recipe.as_json("footage"),
        "inputs": [printable(path) for path in inputs],
        "found": {"videos": len(videos), "sha256": digest.hexdigest()},
    }


# ------------------------------------------------------------------------------------------------ shards


class _Notes:
    """What was said of evidence; its file comes with the first word."""

    def __init__(self, out: Path) -> None:
        self._path = out / NOTES
        self._log = KeyedLog(self._path) if self._path.exists() else None

    def __enter__(self) -> _Notes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    @property
    def count(self) -> int:
        return len(self._log.records) if self._log else 0

    @property
    def first(self) -> str:
        """The first note, for a message."""
        record = next(iter(self._log.records.values())) if self._log else {"path": "", "notes": [""]}
        return f"{record['path']}: {record['notes'][0]}"

    def add(self, key: str, path: Path, notes: Sequence[str]) -> None:
        """Keep the notes on one clip or file; a resumed run has said some already."""
        if not notes:
            return
        self._log = self._log or KeyedLog(self._path)
        if key not in self._log:
            self._log.append(key, path=printable(path), notes=[printable(note) for note in notes])


def _write_clips(
    videos: list[SourceVideo], out: Path, footage: Footage, skipped: KeyedLog, notes: _Notes
) -> int:
    """Sample what is not there yet, in order, and write it shard by shard; the number of clips in all."""
    kept = _kept_ids(out)
    clips = len(kept)
    shard = _Shard(out, len(list(out.glob("clips-*.parquet"))))
    todo = [video for video in videos if video.clip_id not in kept and video.clip_id not in skipped]
    if len(todo) < len(videos):
        say(f"{len(videos) - len(todo)} of {len(videos)} videos are done from the earlier run")
    with progress(len(todo), "sampling frames") as advance:
        for video, (result, said) in _sampled(todo, footage):
            notes.add(video.clip_id, video.path, said)
            if isinstance(result, str):
                skipped.append(video.clip_id, path=printable(video.path), reason=result)
            else:
                clips += 1
                shard.add(result)
            advance(note=video.clip_id)
        shard.write()
    return clips


def _kept_ids(out: Path) -> set[str]:
    """The clips that the shards of an earlier run hold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept: set[str] = set()
    for shard in out.glob("clips-*.parquet"):
        try:
            kept.update(pq.read_table(shard, columns=["clip_id"])["clip_id"].to_pylist())
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(f"{shard}: not a shard of clips ({reason(error)}); use --overwrite") from error
    return kept


class _Shard:
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
            pq.write_table(clips_to_table(self._clips), buffer, **PARQUET)
            write_bytes(self._out / f"clips-{self._number:05d}.parquet", buffer.getvalue())
            self._number, self._clips, self._bytes = self._number + 1, [], 0


# ------------------------------------------------------------------------------------------------ processes


class Sampled(NamedTuple):
    """One video's clip, or why there is none; and what could not be read of its evidence."""

    clip: Clip | str
    notes: list[str]


def _sample(video: SourceVideo, footage: Footage) -> Sampled:
    notes: list[str] = []
    try:
        evidence, notes = known_about(video)
        return Sampled(clip_from_source(video, footage, evidence), notes)
    except InputError as error:
        return Sampled(str(error), notes)


def _sampled(videos: list[SourceVideo], footage: Footage) -> Iterator[tuple[SourceVideo, Sampled]]:
    """Every video with its clip, in order; only as many at a time as keep the cores busy."""
    workers = min(_cores(), len(videos))
    megabytes = sum(video.path.stat().st_size for video in videos if video.path.is_file()) / 1e6
    seconds = SECONDS_A_FILE * len(videos) + SECONDS_A_MB * megabytes
    if workers < 2 or seconds < SECONDS_TO_START:
        for video in videos:
            yield video, _sample(video, footage)
        return
    waiting = iter(videos)
    running: deque[tuple[SourceVideo, Future[Sampled]]] = deque()
    with _processes(workers) as pool:
        try:
            for video in waiting:
                with _ctrl_c_held_back():
                    running.append((video, pool.submit(_sample, video, footage)))
                if len(running) >= 3 * workers:
                    yield running[0][0], running[0][1].result()
                    running.popleft()
            while running:
                yield running[0][0], running[0][1].result()
                running.popleft()
        except BrokenProcessPool as error:
            names = ", ".join(printable(video.path) for video, _ in list(running)[: workers + 1])
            raise WorkError(
                f"a decoder process died on one of {names} (out of memory, or a file that breaks FFmpeg); "
                "move that file away and run again with --resume"
            ) from error


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, whichever way it ends."""
    before = set(active_children())
    # Not forked: this process may hold threads (a bar, a model), and a fork would copy their locks.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        # What they work on is of no use any more; waiting for it would make Ctrl-C slow.
        for process in set(active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C, which reaches the whole group: this one ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed outright cannot end its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

"""Writes simulated drives as H.264 files with a manifest of what is known about each; resumable."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

from roadscribe.artifacts import KeyedLog, disk_errors, write_bytes
from roadscribe.clip import Evidence, Telemetry, Truth
from roadscribe.errors import InputError
from roadscribe.simulator.drive import Drive, make_drive
from roadscribe.simulator.world import HEIGHT, WIDTH

DRIVES_FILE = "drives.jsonl"
GOP_FRAMES = 12
X264 = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}
"""Without `mbtree` the same frames give the same bytes; with it, memory layout shows in the rounding."""
TELEMETRY_HZ = 10


def write_drives(
    seeds: Iterable[int],
    out: Path,
    seconds: float = 4.0,
    fps: float = 10.0,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write one video a seed to ``out/videos`` and one line a video to ``out/drives.jsonl``.

    A video appears whole or not at all and its line follows it, so a run that was stopped goes on where it
    was: seeds that have a file and a line with the same ``seconds`` and ``fps`` are skipped. "Now" is the
    last frame's presentation time; truth and labels belong to it.

    Args:
        seeds: one drive each.
        out: the folder; created when missing.
        seconds: length of each drive; the last frame is shown at the last whole frame time up to it.
        fps: frames a second.
        workers: processes that render.
        progress: called with (videos done, videos in all) after each video.

    Returns:
        The videos' paths in the order of ``seeds``.

    Raises:
        InputError: ``seconds``, ``fps`` or ``workers`` is not positive, or no frame would fit.
        WorkError: the disk is full or cannot be written.
    """
    wanted = list(dict.fromkeys(seeds))
    if seconds <= 0 or fps <= 0 or workers < 1:
        raise InputError(f"seconds ({seconds}), fps ({fps}) and workers ({workers}) must be positive")
    if any(seed < 0 for seed in wanted):
        raise InputError(f"seed {min(wanted)}: seeds are whole numbers from 0")
    paths = [out / "videos" / f"sim-{seed:08d}.mp4" for seed in wanted]
    with disk_errors(out), KeyedLog(out / DRIVES_FILE) as manifest:
        todo = []
        for seed, path in zip(wanted, paths, strict=True):
            line = manifest.records.get(path.stem)
            if not (line and path.is_file() and (line["seconds"], line["fps"]) == (seconds, fps)):
                todo.append((seed, path, seconds, fps))
        done = len(wanted) - len(todo)
        if progress is not None and done:
            progress(done, len(wanted))
        if workers == 1 or len(todo) < 2:
            results: Iterator[tuple[float, str]] = map(_write_drive, todo)
            pool = None
        else:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
            results = pool.map(_write_drive, todo)
        try:
            for (_, path, _, _), (duration, evidence) in zip(todo, results, strict=True):
                manifest.append(
                    path.stem,
                    video=str(path.relative_to(out)),
                    drive_id=path.stem,
                    duration_s=duration,
                    seconds=seconds,
                    fps=fps,
                    evidence=json.loads(evidence),
                )
                done += 1
                if progress is not None:
                    progress(done, len(wanted))
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
    return paths


def _write_drive(task: tuple[int, Path, float, float]) -> tuple[float, str]:
    """Render, encode and store one drive; returns its duration and its Evidence as JSON."""
    seed, path, seconds, fps = task
    drive = make_drive(seed, seconds)
    times = frame_times(seconds, fps)
    write_bytes(path, encode(drive, times, fps))
    return times[-1] + 1 / fps, evidence_at(drive, times[-1]).model_dump_json(exclude_defaults=True)


def frame_times(seconds: float, fps: float) -> list[float]:
    """Presentation times of the frames from 0 to the last whole frame time within ``seconds``."""
    return [number / fps for number in range(int(seconds * fps + 1e-9) + 1)]


def evidence_at(drive: Drive, now_s: float) -> Evidence:
    """What is known of the drive at ``now_s``: labels and truth of that moment, speeds since the start."""
    ticks = [number / TELEMETRY_HZ for number in range(int(now_s * TELEMETRY_HZ + 1e-9) + 1)]
    return Evidence(
        labels=(drive.labels(now_s),),
        telemetry=tuple(Telemetry(time_s=t, speed_mps=round(drive.speed_mps(t), 3)) for t in ticks),
        truth=Truth(time_s=now_s, parameters=drive.truth(now_s)),
    )


def encode(drive: Drive, times: list[float], fps: float) -> bytes:
    """The drive's frames at ``times`` as an H.264 file in memory."""
    buffer = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1001)
    import av  # only recording needs it

    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=X264)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = GOP_FRAMES
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / rate
        for number, time_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(drive.frame(time_s), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()

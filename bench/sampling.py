"""How long ten frames of one 40 s video take: exact seeking against decoding everything.

    python bench/sampling.py            # encodes four videos of 1280x720, 30 fps, about 5 Mbit/s (a minute)
    python bench/sampling.py VIDEO...   # or measures your own

One process and one decoder thread a video, as `collect` works on each core. "probe" reads the packets, "read"
decodes the ten frames of the rule `history` and resizes them; "all" decodes every frame with PyAV and resizes
the same ten. Both give the same pictures, byte for byte, which is checked. Processor milliseconds, best of three.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from roadscribe.footage.sampling import fit_size, probe, read_frames, sample_times, upright

SECONDS, FPS, WIDTH, HEIGHT = 40, 30, 1280, 720
MAX_PIXELS = 640 * 352
FRAMES = 10


def write_video(path: Path, *, gop: int, b_frames: int) -> Path:
    """A moving picture with grain, so that the file has a camera's weight."""
    random = np.random.default_rng(0)
    scene = (
        random.integers(0, 255, (HEIGHT // 8, WIDTH // 2, 3), dtype=np.uint8)
        .repeat(8, axis=0)
        .repeat(8, axis=1)
    )
    grain = random.integers(0, 24, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        settings = {"preset": "veryfast", "x264-params": "scenecut=0"}
        stream = output.add_stream("libx264", rate=FPS, options=settings)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size = 5_000_000, gop
        stream.codec_context.max_b_frames = b_frames
        for number in range(SECONDS * FPS):
            picture = scene[:, 2 * number : 2 * number + WIDTH] // 2 + 64 + grain[number % len(grain)]
            output.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
            )
        output.mux(stream.encode(None))
    return path


def everything(path: Path, times: list[float]) -> list[np.ndarray]:
    """The plain way: decode all frames, keep those that are on screen at the asked times."""
    kept: list[av.VideoFrame] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        begin = last = None
        asked = iter(times)
        moment = next(asked)
        for frame in container.decode(stream):
            begin = frame.time if begin is None else begin
            while last is not None and moment is not None and frame.time - begin > moment + 1e-6:
                kept.append(last)
                moment = next(asked, None)
            last = frame
        kept += [last] * (len(times) - len(kept))
    size = fit_size(kept[0].width, kept[0].height, MAX_PIXELS)
    return [np.asarray(upright(frame, size, None)) for frame in kept]


def best(work: Callable[[], object], runs: int = 3) -> float:
    """Processor milliseconds of the fastest run; a busy machine changes them little."""
    spent = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return 1000 * min(spent)


def measure(path: Path, name: str) -> None:
    """Print one row of the table."""
    info = probe(path)
    times = sample_times("history", FRAMES, 0.0, float(info.times_s[-1]))
    ours = [np.asarray(frame.image) for frame in read_frames(info, times, MAX_PIXELS)]
    if not all(np.array_equal(a, b) for a, b in zip(ours, everything(path, times), strict=True)):
        raise SystemExit(f"{name}: the two ways give different pictures")
    probe_ms = best(lambda: probe(path))
    read_ms = best(lambda: read_frames(info, times, MAX_PIXELS))
    all_ms = best(lambda: everything(path, times), runs=2)
    size_mb = info.size_bytes / 1e6
    print(
        f"{name:32} {size_mb:6.1f} {probe_ms:9.0f} {read_ms:9.0f} {probe_ms + read_ms:9.0f} {all_ms:11.0f} "
        f"{all_ms / (probe_ms + read_ms):7.1f}x",
        flush=True,
    )


def main(videos: list[str]) -> None:
    """Measure the videos that are named, or four that are made here."""
    print(f"{'video':32} {'MB':>6} {'probe ms':>9} {'read ms':>9} {'sum ms':>9} {'all ms':>11} {'faster':>8}")
    for video in videos:
        measure(Path(video), Path(video).name)
    if videos:
        return
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            for b_frames in (0, 2):
                name = f"group of {gop}, {b_frames} B-frames"
                measure(write_video(Path(folder) / "video.mp4", gop=gop, b_frames=b_frames), name)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Written drives are real videos with exact times, and a run that was killed goes on to the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from roadscribe.clip import Evidence
from roadscribe.errors import InputError
from roadscribe.simulator import make_drive, write_drives


def lines(out: Path) -> dict[str, dict[str, Any]]:
    return {
        line["drive_id"]: line for line in map(json.loads, (out / "drives.jsonl").read_text().splitlines())
    }


def test_a_written_video_decodes_to_the_frames_at_their_times(tmp_path: Path) -> None:
    (path,) = write_drives([12], tmp_path, 1.5, 10.0)
    drive, times = make_drive(12, 1.5), []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 320, 192)
        for frame in container.decode(stream):
            times.append(frame.time)
            difference = frame.to_ndarray(format="rgb24").astype(int) - drive.frame(frame.time)
            assert np.abs(difference).mean() < 6
    assert times == pytest.approx([number / 10 for number in range(16)], abs=1e-6)


def test_the_line_of_a_video_holds_truth_labels_and_speeds(tmp_path: Path) -> None:
    (path,) = write_drives([7], tmp_path, 1.5, 10.0)
    line, drive = lines(tmp_path)["sim-00000007"], make_drive(7, 1.5)
    evidence = Evidence.model_validate(line["evidence"])
    assert tmp_path / line["video"] == path
    assert line["duration_s"] == pytest.approx(1.6)
    assert evidence.truth is not None
    assert (evidence.truth.time_s, evidence.truth.parameters) == (1.5, drive.truth(1.5))
    assert evidence.labels == (drive.labels(1.5),)
    for reading in evidence.telemetry:
        assert reading.speed_mps == pytest.approx(drive.speed_mps(reading.time_s), abs=1e-3)
    assert len(evidence.telemetry) == 16


def test_now_is_the_last_frame_even_where_the_length_is_no_whole_number_of_frames(tmp_path: Path) -> None:
    (path,) = write_drives([3], tmp_path, 1.0, 3.7)
    truth = Evidence.model_validate(lines(tmp_path)["sim-00000003"]["evidence"]).truth
    with av.open(str(path)) as container:
        last = [frame.time for frame in container.decode(video=0)][-1]
    assert truth is not None
    assert truth.time_s == pytest.approx(last, abs=1e-3)


def test_a_killed_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom roadscribe.simulator import write_drives\n"
        "out = pathlib.Path(sys.argv[1])\n"
        "write_drives(range(5), out, 1.0, 5.0, progress=lambda n, of: print(n, flush=True))"
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    run = subprocess.Popen([sys.executable, "-c", code, str(killed)], stdout=subprocess.PIPE, env=os.environ)
    assert run.stdout is not None
    run.stdout.readline()
    run.send_signal(signal.SIGKILL)
    run.wait()
    with (killed / "drives.jsonl").open("ab") as file:
        file.write(b'{"key": "sim-00000004", "vid')  # a line that the kill cut off
    assert len(list((killed / "videos").glob("*.mp4"))) < 5
    calls: list[tuple[int, int]] = []
    write_drives(range(5), killed, 1.0, 5.0, progress=lambda done, of: calls.append((done, of)))
    assert calls[0][0] >= 1
    assert calls[-1] == (5, 5)
    write_drives(range(5), whole, 1.0, 5.0)
    assert lines(killed) == lines(whole)
    for path in (whole / "videos").glob("*.mp4"):
        assert (killed / "videos" / path.name).read_bytes() == path.read_bytes()


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert [path.name for path in write_drives([4, 2, 9], one, 0.6, 5.0)] == [
        path.name for path in write_drives([4, 2, 9], two, 0.6, 5.0, workers=2)
    ]
    assert lines(one) == lines(two)


def test_whole_videos_are_left_alone_and_others_made_again(tmp_path: Path) -> None:
    first, second = write_drives([1, 2], tmp_path, 0.6, 5.0)
    before = first.stat().st_mtime_ns
    second.unlink()
    write_drives([1, 2], tmp_path, 0.6, 5.0)
    assert first.stat().st_mtime_ns == before
    assert second.is_file()
    write_drives([1], tmp_path, 0.8, 5.0)
    assert first.stat().st_mtime_ns != before
    assert lines(tmp_path)["sim-00000001"]["seconds"] == 0.8


@pytest.mark.parametrize(
    ("seeds", "seconds", "fps", "workers"), [([1], 0, 5, 1), ([1], 1, 0, 1), ([1], 1, 5, 0), ([-1], 1, 5, 1)]
)
def test_nonsense_is_refused_in_one_line(
    tmp_path: Path, seeds: list[int], seconds: float, fps: float, workers: int
) -> None:
    with pytest.raises(InputError) as caught:
        write_drives(seeds, tmp_path, seconds, fps, workers=workers)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())

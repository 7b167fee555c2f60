"""Claims about the stage `collect`: what it writes, what it leaves out, what a stopped run leaves behind."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from barcode_video import frame_number, noisy_barcode, write_video

from roadscribe.artifacts import read_json, require_complete
from roadscribe.clip import Evidence, Telemetry, read_clips
from roadscribe.errors import InputError, WorkError
from roadscribe.footage import shards, workers
from roadscribe.footage.collect import collect
from roadscribe.footage.make_clip import clip_from_video
from roadscribe.footage.sampling import probe
from roadscribe.footage.windows import window
from roadscribe.recipe import Footage, Recipe, load_recipe


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["footage.frames=3", "footage.max_pixels=24576", *overrides])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def problem(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(InputError) as caught:
        collect(*arguments, **keywords)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture(scope="session")
def seven_drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven videos of 20 to 26 frames at 10 frames a second, the third one broken."""
    folder = tmp_path_factory.mktemp("footage")
    for number in range(7):
        write_video(folder / f"drive-{number}.mp4", frames=20 + number, fps=10, size=(160, 96))
    (folder / "drive-2.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_CLIPS", 2)


def test_every_video_becomes_a_clip_that_says_where_it_is_from(seven_drives: Path, tmp_path: Path) -> None:
    out = collect([seven_drives], tmp_path / "clips", recipe())
    manifest = require_complete(out, "clips", "collect")
    assert manifest["summary"] == {
        "clips": 6,
        "drives": 6,
        "videos": 7,
        "left_out": 1,
        "listed_in": ["skipped.jsonl"],
    }
    assert manifest["recipe"]["footage"]["frames"] == 3

    clips = list(read_clips(out))
    assert [clip.clip_id for clip in clips] == [f"drive-{number}" for number in (0, 1, 3, 4, 5, 6)]
    for clip in clips:
        number = int(clip.clip_id[-1])
        last = 19 + number
        assert clip.timestamps_s == pytest.approx([0.0, (last // 2) / 10, last / 10])
        assert [frame_number(image) for image in clip.images()] == [0, last // 2, last]
        assert {image.size for image in clip.images()} == {(clip.width, clip.height)} == {(160, 96)}
        content = (seven_drives / f"{clip.clip_id}.mp4").read_bytes()
        assert clip.provenance.path == str(seven_drives / f"{clip.clip_id}.mp4")
        assert clip.provenance.size_bytes == len(content)
        assert clip.provenance.sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_left_out_is_listed_with_its_reason(
    seven_drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = collect([seven_drives], tmp_path / "clips", recipe("footage.end_s=2.2"))
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    reasons = {line["key"]: line["reason"] for line in skipped}
    assert list(reasons) == ["drive-0", "drive-1", "drive-2"]
    assert "lasts 2.00 s, shorter than footage.end_s=2.2" in reasons["drive-0"]
    assert "cannot be read as a video" in reasons["drive-2"]
    assert skipped[0]["path"] == str(seven_drives / "drive-0.mp4")
    assert "3 of 7 videos left out" in capsys.readouterr().err


def test_the_same_footage_gives_the_same_bytes_in_one_process_or_several(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    one = collect([seven_drives], tmp_path / "one", recipe())
    monkeypatch.setattr(workers, "SECONDS_TO_START", 0.0)
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    several = collect([seven_drives], tmp_path / "several", recipe())
    assert sorted(contents(one)) == [
        "artifact.json",
        "clips-00000.parquet",
        "clips-00001.parquet",
        "clips-00002.parquet",
        "skipped.jsonl",
    ]
    assert contents(one) == contents(several)


STOPPED = """
import os, signal, sys
from pathlib import Path
from roadscribe import artifacts
from roadscribe.footage import shards, workers
from roadscribe.footage.collect import collect
from roadscribe.recipe import load_recipe
shards.SHARD_CLIPS = 2
workers.SECONDS_TO_START = float(sys.argv[4])
renames = 0
replace = Path.replace
def replace_or_die(self, target):
    global renames
    renames += str(target).endswith(".parquet")
    if renames > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = replace_or_die
recipe = load_recipe(None, ["footage.frames=3", "footage.max_pixels=24576"])
if __name__ == "__main__":
    collect([Path(sys.argv[1])], Path(sys.argv[2]), recipe)
"""


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_killed_run_resumes_to_the_files_of_an_undisturbed_one(
    seven_drives: Path, tmp_path: Path, small_shards: None, written: int
) -> None:
    whole = collect([seven_drives], tmp_path / "whole", recipe())
    out = tmp_path / "stopped"
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    run = subprocess.run([sys.executable, script, seven_drives, out, str(written), "1e9"], check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(list(out.glob("*.parquet"))) == written
    assert list(out.glob(".*.tmp"))
    with pytest.raises(InputError, match="is unfinished"):
        require_complete(out, "clips", "collect")
    assert "--resume to go on" in problem([seven_drives], out, recipe())

    collect([seven_drives], out, recipe(), resume=True)
    assert contents(out) == contents(whole)
    collect([seven_drives], out, recipe(), resume=True)
    assert contents(out) == contents(whole)


def processes(mark: str) -> list[str]:
    """The command lines of all processes that were started with this word in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def wait_for(happens: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happens()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_a_run_that_is_stopped(tmp_path: Path, how: signal.Signals) -> None:
    """Killed outright, or by Ctrl-C, which the terminal sends to the workers as well."""
    footage = tmp_path / "footage"
    footage.mkdir()
    first = write_video(footage / "0.mp4", frames=200, gop=250, size=(320, 192), picture=noisy_barcode)
    for number in range(1, 100):
        shutil.copyfile(first, footage / f"{number}.mp4")
    script = tmp_path / "run.py"
    script.write_text(STOPPED)
    mark = f"STOPPED_RUN={tmp_path}"
    run = subprocess.Popen(
        [sys.executable, str(script), str(footage), str(tmp_path / "out"), "99", "0"],
        env={**os.environ, "STOPPED_RUN": str(tmp_path)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for(lambda: sum("spawn_main" in line for line in processes(mark)) >= 2)
    if how == signal.SIGINT:
        os.killpg(run.pid, signal.SIGINT)
    else:
        run.kill()
    _, said = run.communicate(timeout=60)
    assert run.returncode == -how
    assert wait_for(lambda: not processes(mark))
    if how == signal.SIGINT:
        assert said.count("Traceback") == 1  # the command line turns this one into exit code 130
    assert read_json(tmp_path / "out/artifact.json", "a manifest")["complete"] is False


def test_ctrl_c_leaves_nothing_that_passes_for_whole(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    sample = workers.sample

    def interrupted(video: Any, footage: Footage) -> Any:
        if video.clip_id == "drive-4":
            raise KeyboardInterrupt
        return sample(video, footage)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "sample", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect([seven_drives], tmp_path / "out", recipe())
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(InputError, match="is unfinished"):
        require_complete(tmp_path / "out", "clips", "collect")
    collect([seven_drives], tmp_path / "out", recipe(), resume=True)
    assert contents(tmp_path / "out") == contents(collect([seven_drives], tmp_path / "whole", recipe()))


def test_a_full_disk_is_one_clear_error_and_can_be_resumed(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        write = shards.write_bytes
        patch.setattr(
            shards, "write_bytes", lambda path, content: full() if "1" in path.name else write(path, content)
        )
        with pytest.raises(WorkError, match="the disk is full"):
            collect([seven_drives], out, recipe())
    assert [path.name for path in out.glob("*.parquet")] == ["clips-00000.parquet"]
    collect([seven_drives], out, recipe(), resume=True)
    assert contents(out) == contents(collect([seven_drives], tmp_path / "whole", recipe()))


def test_a_file_that_kills_its_decoder_costs_its_own_clip_only(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS_TO_START", 0.0)
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    monkeypatch.setattr(workers, "sample", _die_on_three)
    monkeypatch.setattr(workers, "_send_sample", _send_or_die)
    out = collect([seven_drives], tmp_path / "out", recipe())
    assert [clip.clip_id for clip in read_clips(out)] == [f"drive-{number}" for number in (0, 1, 4, 5, 6)]
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["key"] for line in skipped] == ["drive-2", "drive-3"]
    assert "drive-3.mp4: its decoder process ended by SIGSEGV, twice" in skipped[1]["reason"]


def test_where_every_process_dies_the_run_ends_with_one_line(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS_TO_START", 0.0)
    monkeypatch.setattr(workers, "DEATHS_IN_A_ROW", 2)
    monkeypatch.setattr(workers, "_cores", lambda: 2)
    monkeypatch.setattr(workers, "sample", _die)
    monkeypatch.setattr(workers, "_send_sample", _die)
    with pytest.raises(WorkError, match=r"2 decoder processes died one after the other.*was killed, twice"):
        collect([seven_drives], tmp_path / "out", recipe())


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_on_three(video: Any, footage: Any) -> Any:
    if video.clip_id == "drive-3":
        os.kill(os.getpid(), signal.SIGSEGV)
    return workers.sample(video, footage)


def _send_or_die(connection: Any, video: Any, footage: Any) -> None:
    connection.send(_die_on_three(video, footage))


def test_resuming_with_another_recipe_or_other_footage_is_refused(seven_drives: Path, tmp_path: Path) -> None:
    out = collect([seven_drives], tmp_path / "out", recipe())
    assert "footage.frames: 3 then, 4 now" in problem(
        [seven_drives], out, recipe("footage.frames=4"), resume=True
    )
    assert "made by another recipe" in problem([seven_drives / "drive-0.mp4"], out, recipe(), resume=True)
    before = contents(out)
    assert "already holds an artifact of kind 'clips'" in problem([seven_drives], out, recipe())
    assert contents(out) == before
    collect([seven_drives / "drive-0.mp4"], out, recipe(), overwrite=True)
    assert read_json(out / "artifact.json", "")["summary"]["clips"] == 1


def test_a_file_that_is_named_alone_must_be_a_video(seven_drives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bad = seven_drives / "drive-2.mp4"
    shutil.copyfile(bad, tmp_path / "copy.mp4")
    assert "drive-2.mp4: cannot be read as a video" in problem([bad], out, recipe())
    assert "none of the 2 videos gives a clip" in problem([bad, tmp_path / "copy.mp4"], out, recipe())
    assert "no such file" in problem([seven_drives / "none.mp4"], out, recipe())
    assert not out.exists()
    short = "drive-0.mp4: lasts 2.00 s, shorter than footage.end_s=9"
    assert short in problem([seven_drives / "drive-0.mp4"], out, recipe("footage.end_s=9"))
    assert not out.exists()


def test_when_no_video_gives_a_clip_that_is_an_error(seven_drives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "none of the 7 videos gives a clip; the first: " in problem(
        [seven_drives], out, recipe("footage.end_s=60")
    )
    assert not out.exists()


def test_footage_inside_the_output_folder_is_refused(seven_drives: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/a.mp4", frames=5)
    assert "lies in the output folder" in problem([tmp_path / "videos"], tmp_path, recipe())
    assert "lies in the output folder" in problem([tmp_path / "videos"], tmp_path / "videos", recipe())


def test_known_facts_stay_with_their_clip(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=31, fps=10, ticks=range(50, 81))
    evidence = Evidence(
        telemetry=(Telemetry(time_s=3.0, speed_mps=8.0), Telemetry(time_s=2.0, speed_mps=7.5))
    )
    row = {"video": "a.mp4", "drive_id": "ride", "evidence": evidence.model_dump(mode="json")}
    (tmp_path / "drives.jsonl").write_text(json.dumps(row))
    (clip,) = read_clips(collect([tmp_path], tmp_path / "out", recipe("footage.window_s=1")))
    assert clip.evidence == evidence
    assert (clip.drive_id, clip.source) == ("ride", "manifest")
    assert clip.timestamps_s == pytest.approx([2.0, 2.5, 3.0])
    assert clip.now_s == pytest.approx(3.0)


def test_relative_paths_do_not_leak_the_machine(
    seven_drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(seven_drives)
    out = collect([Path("drive-0.mp4")], tmp_path / "out", recipe())
    (clip,) = read_clips(out)
    assert clip.provenance.path == "drive-0.mp4"
    assert str(seven_drives).encode() not in b"".join(contents(out).values())


class TestWindow:
    """A video of 40 frames at 10 frames a second: the last one is shown at 3.9 s and ends at 4.0 s."""

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_video(tmp_path_factory.mktemp("window") / "a.mp4", frames=40, fps=10, size=(160, 96))

    @pytest.mark.parametrize(
        ("overrides", "expected"),
        [
            ([], (0.0, 3.9)),
            (["footage.rule=start"], (0.0, 4.0)),
            (["footage.end_s=2.5"], (0.0, 2.5)),
            (["footage.end_s=4"], (0.0, 4.0)),
            (["footage.end_s=2.5", "footage.window_s=1.5"], (1.0, 2.5)),
            (["footage.end_s=2.5", "footage.window_s=2.5"], (0.0, 2.5)),
            (["footage.window_s=1.5"], (2.4, 3.9)),
            (["footage.window_s=4"], (0.0, 3.9)),
            (["footage.window_s=1", "footage.rule=start"], (3.0, 4.0)),
        ],
    )
    def test_window(self, path: Path, overrides: list[str], expected: tuple[float, float]) -> None:
        assert window(probe(path), recipe(*overrides).footage) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [
            (["footage.end_s=4.1"], "lasts 4.00 s, shorter than footage.end_s=4.1"),
            (["footage.window_s=5"], "lasts 4.00 s, too short for footage.window_s=5"),
            (["footage.end_s=2", "footage.window_s=2.5"], "too short for footage.window_s=2.5 up to 2 s"),
        ],
    )
    def test_a_video_that_is_too_short_says_so(self, path: Path, overrides: list[str], said: str) -> None:
        with pytest.raises(InputError, match=said.replace(".", r"\.")):
            window(probe(path), recipe(*overrides).footage)

    def test_the_original_projects_rule(self, path: Path) -> None:
        clip = clip_from_video(path, recipe("footage.rule=start", "footage.frames=10").footage)
        assert clip.timestamps_s == pytest.approx([0.4 * number for number in range(10)])
        assert [frame_number(image) for image in clip.images()] == list(range(0, 40, 4))

    def test_the_end_of_a_file_that_lost_its_end_is_not_asked_for(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", frames=100, fps=10, picture=noisy_barcode)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError, match=r"is cut short: 10\.0 s are announced"):
            clip_from_video(path, recipe().footage)
        with pytest.raises(InputError, match=r"shorter than footage\.end_s=9"):
            clip_from_video(path, recipe("footage.end_s=9").footage)
        clip = clip_from_video(path, recipe("footage.end_s=2").footage)
        assert [frame_number(image) for image in clip.images()] == [0, 10, 20]


def test_a_video_described_by_itself_has_a_plain_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "my drive.mp4", frames=9, fps=10, ticks=range(9), tick_s=Fraction(1, 10))
    clip = clip_from_video(path, Footage(frames=2))
    assert (clip.clip_id, clip.drive_id, clip.source) == ("my drive", "my drive", "file")
    assert [frame_number(image) for image in clip.images()] == [0, 8]
    with pytest.raises(InputError, match=r"more than footage\.max_file_mb"):
        (tmp_path / "big.mp4").touch()
        os.truncate(tmp_path / "big.mp4", 2_000_000)
        clip_from_video(tmp_path / "big.mp4", Footage(max_file_mb=1))

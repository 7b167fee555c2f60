"""The command line keeps its promises: answers at once, one line for a mistake, the right exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from in_process import Ran, roadscribe

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def one_line(result: Ran) -> str:
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("roadscribe: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_help_imports_none_of_the_heavy_libraries():
    code = (
        "import sys\nsys.argv = ['roadscribe', '--help']\nfrom roadscribe.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow', 'av', 'PIL', 'pydantic'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for verb in ("demo", "collect", "annotate", "curate", "train", "evaluate", "describe", "doctor"):
        assert verb in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "train"),
        (["collect"], "footage"),
        (["collect", "missing.mp4", "--out", "clips"], "missing.mp4"),
        (["collect", "empty", "--out", "clips"], "empty"),
        (["collect", "text.mp4", "--out", "clips"], "text.mp4"),
        (["describe", "missing.mp4"], "missing.mp4"),
        (["describe", "text.mp4"], "text.mp4"),
        (["annotate", "nowhere", "--out", "raw"], "nowhere"),
        (["curate", "nowhere", "--out", "dataset"], "nowhere"),
        (["train", "nowhere", "--out", "adapter"], "nowhere"),
        (["evaluate", "nowhere", "--out", "scorecard"], "nowhere"),
        (["export", "nowhere", "--out", "model"], "nowhere"),
        (["publish", "nowhere", "--to", "anna/drives"], "nowhere"),
        (["demo", "--out", "demo", "--set", "train.epoch=2"], "epochs"),
        (["demo", "--out", "demo", "--set", "train.epochs=many"], "train.epochs"),
        (["demo", "--out", "demo", "--set", "train.epochs"], "section.key=value"),
        (["demo", "--out", "demo", "--recipe", "no.yaml"], "no.yaml"),
        (["demo", "--out", "demo", "--recipe", "broken.yaml"], "broken.yaml"),
        (["demo", "--out", "text.mp4"], "text.mp4"),
        (["demo", "--out", "taken"], "taken"),
        (["demo", "--out", "taken", "--overwrite"], "taken"),
        (["simulate", "--drives", "0", "--out", "drives"], "drives"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_leaves_nothing_behind(tmp_path, arguments, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "broken.yaml").write_text("train: [1, 2")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious.txt").write_text("keep me")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    result = roadscribe(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert says in one_line(result)
    assert result.stdout == ""
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


INTERRUPTED = """
import os, signal
from contextlib import contextmanager
from importlib import import_module
from roadscribe.cli import main
stage = import_module("roadscribe.simulator.simulate")
shown = stage.progress
@contextmanager
def interrupted(*arguments):
    with shown(*arguments) as advance:
        done = 0
        def interrupt(number):
            nonlocal done
            done += number
            if 3 <= done < 12:
                os.killpg(0, signal.SIGINT)
            advance(number)
        yield interrupt
stage.progress = interrupted
main()
"""
"""`roadscribe` whose process group meets Ctrl-C when three drives are recorded."""


def test_ctrl_c_ends_with_130_and_resume_goes_on_to_the_same_files(tmp_path):
    out, whole = tmp_path / "drives", tmp_path / "whole"
    arguments = ["simulate", "--drives", "12", "--set", "simulate.seconds=2"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments, "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "roadscribe: interrupted" in errors
    assert json.loads((out / "artifact.json").read_text())["complete"] is False
    assert roadscribe(*arguments, "--out", out).returncode == 2
    assert roadscribe(*arguments, "--out", out, "--resume").returncode == 0
    assert roadscribe(*arguments, "--out", whole).returncode == 0
    names = sorted(path.relative_to(whole) for path in whole.rglob("*.*"))
    assert names == sorted(path.relative_to(out) for path in out.rglob("*.*"))
    assert all((whole / name).read_bytes() == (out / name).read_bytes() for name in names)


def test_an_error_that_looks_like_ctrl_d_is_no_interruption(monkeypatch, tmp_path):
    def ends_early(*_: object, **__: object) -> None:
        raise EOFError("ran out of input")

    monkeypatch.setattr("roadscribe.simulator.simulate.simulate", ends_early)
    result = roadscribe("simulate", "--out", tmp_path / "drives")
    assert result.returncode == 1
    assert "ended too early (ran out of input)" in one_line(result)


def test_an_error_of_the_file_system_is_one_line_that_names_the_file(monkeypatch, tmp_path):
    def vanished(*_: object, **__: object) -> None:
        (tmp_path / "gone").read_bytes()

    monkeypatch.setattr("roadscribe.simulator.simulate.simulate", vanished)
    result = roadscribe("simulate", "--out", tmp_path / "drives")
    assert result.returncode == 1
    assert one_line(result) == f"roadscribe: {tmp_path / 'gone'}: No such file or directory"


def test_the_version_is_printed():
    result = roadscribe("--version")
    assert result.returncode == 0
    assert result.stdout == f"roadscribe {version('roadscribe')}\n"


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/full").exists(), reason="needs root to mount a tiny disk"
)
def test_a_full_disk_is_one_line_and_exit_code_1(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        result = roadscribe("simulate", "--drives", "8", "--out", disk / "drives")
        assert result.returncode == 1, result.stderr
        assert "full" in one_line(result)
        assert json.loads((disk / "drives" / "artifact.json").read_text())["complete"] is False
    finally:
        subprocess.run(["umount", disk], check=True)


def test_real_footage_is_described_and_the_tiny_model_says_what_it_is(tmp_path):
    videos = sorted((SHARED / "videos").glob("*.mp4"))[:1]
    if not videos:
        pytest.skip("the real footage is not on this machine")
    result = roadscribe(
        "describe",
        *videos,
        "--json",
        "--set",
        "footage.frames=4",
        "--set",
        "footage.max_pixels=61440",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "only simulated drives" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["video"] for line in lines] == [str(video) for video in videos]
    for line in lines:
        assert set(line["report"]) == {"scene_description", "driving_parameters", "risk_assessment"}
        assert len(line["report"]["driving_parameters"]) == 12
        assert len(line["frames"]) == 4
        assert "only simulated drives" in line["notice"]

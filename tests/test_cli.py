"""The command line keeps its promises: answers at once, one line for a mistake, the right exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "roadscribe"]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
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
    result = run(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert says in one_line(result)
    assert result.stdout == ""
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_ctrl_c_ends_with_130_and_resume_goes_on_to_the_same_files(tmp_path):
    out, whole = tmp_path / "drives", tmp_path / "whole"
    arguments = ["simulate", "--drives", "30", "--set", "simulate.seconds=2"]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--out", str(out)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(out.glob("videos/*.mp4"))) < 3:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "roadscribe: interrupted" in errors
    assert json.loads((out / "artifact.json").read_text())["complete"] is False
    assert run(*arguments, "--out", out).returncode == 2
    assert run(*arguments, "--out", out, "--resume").returncode == 0
    assert run(*arguments, "--out", whole).returncode == 0
    names = sorted(path.relative_to(whole) for path in whole.rglob("*.*"))
    assert names == sorted(path.relative_to(out) for path in out.rglob("*.*"))
    assert all((whole / name).read_bytes() == (out / name).read_bytes() for name in names)


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
        result = run("simulate", "--drives", "8", "--out", disk / "drives")
        assert result.returncode == 1, result.stderr
        assert "full" in one_line(result)
        assert json.loads((disk / "drives" / "artifact.json").read_text())["complete"] is False
    finally:
        subprocess.run(["umount", disk], check=True)


def test_real_footage_is_described_and_the_tiny_model_says_what_it_is(tmp_path):
    videos = sorted((SHARED / "videos").glob("*.mp4"))[:1]
    if not videos:
        pytest.skip("the real footage is not on this machine")
    result = run(
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

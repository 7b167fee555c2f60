"""Every verb ends alike when it left something out: done is 0 with a count, `--strict` makes it 1, nothing is 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from in_process import Ran, roadscribe
from roadscribe.annotate.book import TeacherAnswer
from roadscribe.annotate.mistakes import answer_clip
from roadscribe.clip import read_clips
from roadscribe.simulator import write_drives

SMALL = ("--set", "footage.frames=2", "--set", "footage.max_pixels=6144")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated drives with their truth, the same video without it, and a file that is no video."""
    folder = tmp_path_factory.mktemp("footage")
    first, _ = write_drives(range(2), folder / "drives", seconds=1.0)
    shutil.copy(first, folder / "unknown.mp4")
    (folder / "damaged.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def clips(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with a truth and one without."""
    out = tmp_path_factory.mktemp("clips") / "clips"
    done = roadscribe("collect", footage / "drives", footage / "unknown.mp4", "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr
    return out


def one_line(ran: Ran) -> str:
    """The one line that says why a command did not end with 0."""
    assert "Traceback" not in ran.stderr
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("roadscribe: ")]
    return line


def left_out(out: Path, listed_in: str, *command: object, number: int = 1) -> None:
    """Hold one verb, whose command leaves out ``number`` inputs, to the rule.

    Args:
        out: a folder that does not exist; the command writes below it.
        listed_in: the file of the output folder that lists what was left out.
        command: without ``--out``.
    """
    listed = out / "a" / listed_in
    done = roadscribe(*command, "--out", out / "a", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["left_out"], printed["listed_in"]) == (number, [listed_in])
    assert any(str(number) in line and str(listed) in line for line in done.stderr.splitlines()), done.stderr
    assert listed.read_text().strip()

    again = roadscribe(*command, "--out", out / "a", "--resume")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, str(out / "a"))
    said = f"{number} left out, listed in {listed}"
    assert f"{out / 'a'}: already complete; {said}" in again.stderr

    strict = roadscribe(*command, "--out", out / "b", "--strict")
    assert strict.returncode == 1
    assert one_line(strict).startswith(f"roadscribe: {number} left out, listed in {out / 'b' / listed_in};")
    assert strict.stdout.splitlines()[-1] == str(out / "b")
    assert json.loads((out / "b" / "artifact.json").read_text())["complete"] is True


def nothing_left_out(out: Path, *command: object) -> None:
    done = roadscribe(*command, "--out", out, "--strict", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["left_out"] == 0
    assert "listed_in" not in json.loads(done.stdout)


def test_collect(footage: Path, tmp_path: Path) -> None:
    good, bad = footage / "unknown.mp4", footage / "damaged.mp4"
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (good, bad):
        shutil.copy(path, folder)
    left_out(tmp_path / "out", "skipped.jsonl", "collect", folder, *SMALL)
    nothing_left_out(tmp_path / "whole", "collect", good, *SMALL)
    (folder / good.name).unlink()
    none = roadscribe("collect", folder, "--out", tmp_path / "none", *SMALL)
    assert (none.returncode, none.stdout) == (2, "")
    assert "damaged.mp4" in one_line(none)


def test_collect_says_how_many_clips_there_are_and_what_comes_next(footage: Path, tmp_path: Path) -> None:
    done = roadscribe("collect", footage / "drives", "--out", tmp_path / "clips", *SMALL)
    assert done.stderr.splitlines()[-1] == (
        f"2 clips in {tmp_path / 'clips'}; next: roadscribe annotate {tmp_path / 'clips'} --out raw"
    )


def test_annotate(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(asks: Sequence[Any]) -> list[TeacherAnswer]:
        return [TeacherAnswer("Yes, the road is wet.", "stop") for _ in asks]

    monkeypatch.setattr("roadscribe.infer.teacher.open_teacher", lambda recipe, clips: (answers, 4))
    questions = tmp_path / "questions.txt"
    questions.write_text("Is the road wet?\nWhere does the road go?\n")
    command = ["annotate", clips, "--teacher", "local-model", "--questions", questions]
    command += ["--set", "annotate.report=false"]
    left_out(tmp_path / "out", "left_out.jsonl", *command, "--set", "annotate.max_questions=1", number=3)
    nothing_left_out(tmp_path / "whole", *command)


def test_import(tmp_path: Path) -> None:
    question = "Give Scene Description, Driving Parameters (JSON) and Risk Assessment."
    entries = [
        {"video_id": "a.mp4", "QA": {"q": question, "a": "**Scene Description:** A road."}},
        {"video_id": "b.mp4", "QA": {"q": question, "a": " "}},
    ]
    for name, content in (("some", entries), ("good", entries[:1]), ("bad", entries[1:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    left_out(tmp_path / "out", "skipped.jsonl", "import", tmp_path / "some.json")
    nothing_left_out(tmp_path / "whole", "import", tmp_path / "good.json")
    none = roadscribe("import", tmp_path / "bad.json", "--out", tmp_path / "none")
    assert (none.returncode, none.stdout) == (2, "")
    assert "has no answer" in one_line(none)


def reports(clips: Path) -> dict[str, str]:
    """A true report of every clip whose truth is known."""
    known = [clip for clip in read_clips(clips) if clip.evidence.truth]
    return {clip.clip_id: answer_clip(clip, error_rate=0, seed=0).text for clip in known}


def test_curate(clips: Path, tmp_path: Path) -> None:
    question = "Give Scene Description, Driving Parameters (JSON) and Risk Assessment."
    texts = {**reports(clips), "unknown": "I see nothing of a road here."}
    entries = [{"video_id": name, "QA": {"q": question, "a": text}} for name, text in texts.items()]
    for name, content in (("some", entries), ("good", entries[:2]), ("bad", entries[2:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    options = ("--clips", clips, "--set", "curate.test_share=0", "--set", "curate.validation_share=0")
    left_out(tmp_path / "out", "quarantine.jsonl", "curate", tmp_path / "some.json", *options)
    nothing_left_out(tmp_path / "whole", "curate", tmp_path / "good.json", *options)
    # The input was read and answers the clips; that none of it holds is what the work showed.
    none = roadscribe("curate", tmp_path / "bad.json", *options, "--out", tmp_path / "none")
    assert (none.returncode, none.stdout) == (1, "")
    assert "quarantine.jsonl" in one_line(none)
    assert (tmp_path / "none" / "quarantine.jsonl").read_text().count("\n") == 1


class Written(NamedTuple):
    text: str
    tokens: int = 7
    finished: bool = True
    seconds: float = 0.1


class Engine:
    """Writes the same report for every clip."""

    def __init__(self, text: str) -> None:
        self._text = text

    def generate(self, clips_frames: Sequence[Any], *, grammar: bool) -> list[Written]:
        return [Written(self._text) for _ in clips_frames]


def test_evaluate(clips: Path, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = next(iter(reports(clips).values()))
    monkeypatch.setattr("roadscribe.evaluate.adapter._Engines", lambda *_: {"base": Engine(text)})
    options = ["--set", "evaluate.controls=[]", "--set", "evaluate.resamples=100"]
    left_out(tmp_path / "out", "scorecard.json", "evaluate", clips, *options)
    assert roadscribe("collect", footage / "drives", "--out", tmp_path / "known", *SMALL).returncode == 0
    nothing_left_out(tmp_path / "whole", "evaluate", tmp_path / "known", *options)
    assert roadscribe("collect", footage / "unknown.mp4", "--out", tmp_path / "no", *SMALL).returncode == 0
    none = roadscribe("evaluate", tmp_path / "no", "--out", tmp_path / "none", *options)
    assert (none.returncode, none.stdout) == (2, "")
    assert "no truth is known" in one_line(none)


def test_describe(footage: Path, tiny_folder: Path, tmp_path: Path) -> None:
    good, bad, missing = footage / "unknown.mp4", footage / "damaged.mp4", footage / "missing.mp4"
    command = ["--model", tiny_folder, *SMALL, "--set", "infer.max_new_tokens=16"]
    done = roadscribe("describe", bad, good, missing, *command, "--json")
    assert done.returncode == 0, done.stderr
    lines = {Path(line["video"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {bad.name, good.name, missing.name}
    assert "error" not in lines[good.name] and "text" in lines[good.name]
    for path in (bad, missing):
        assert set(lines[path.name]) == {"video", "error"}
        assert lines[path.name]["error"] in done.stderr
    assert done.stderr.splitlines()[-1] == "2 of 3 videos could not be described, as said above"

    strict = roadscribe("describe", bad, good, *command, "--strict")
    assert strict.returncode == 1
    assert one_line(strict).startswith("roadscribe: 1 of 2 videos could not be described;")
    assert str(good) in strict.stdout and str(bad) not in strict.stdout
    assert roadscribe("describe", good, *command, "--strict").returncode == 0

    none = roadscribe("describe", bad, missing, *command)
    assert (none.returncode, none.stdout) == (2, "")
    assert one_line(none).startswith("roadscribe: none of the 2 videos could be described")
    alone = roadscribe("describe", bad, *command, "--json")
    assert (alone.returncode, alone.stdout) == (2, "")
    assert bad.name in one_line(alone)


@pytest.mark.parametrize(
    ("verb", "can_leave_out"),
    [
        *((verb, True) for verb in ("collect", "annotate", "import", "curate", "evaluate", "describe")),
        *((verb, False) for verb in ("demo", "simulate", "plan", "train", "export", "publish", "doctor")),
    ],
)
def test_strict_is_an_option_of_the_verbs_that_can_leave_something_out(
    verb: str, can_leave_out: bool
) -> None:
    shown = roadscribe(verb, "--help")
    assert shown.returncode == 0
    assert ("--strict" in shown.stdout) == can_leave_out

"""Claims about which videos are found, what they are called, and which drive they belong to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.clip import Evidence, FrameLabels, Telemetry
from roadscribe.errors import InputError
from roadscribe.footage.sources import find_videos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def write_manifest(folder: Path, *rows: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "drives.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def problem(*inputs: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_videos(inputs)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    return message


def test_a_folder_gives_its_videos_and_those_below_in_one_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.mp4",
        "a.MOV",
        "notes.txt",
        "day/z.mkv",
        "day/night/y.webm",
        ".hidden.mp4",
        ".trash/x.mp4",
    )
    videos = find_videos([tmp_path])
    assert [video.path.relative_to(tmp_path).as_posix() for video in videos] == [
        "a.MOV",
        "b.mp4",
        "day/night/y.webm",
        "day/z.mkv",
    ]
    assert [video.clip_id for video in videos] == ["a", "b", "y", "z"]
    assert [video.drive_id for video in videos] == ["a", "b", "y", "z"]
    assert {video.source for video in videos} == {"folder"}


def test_clips_that_bdd100k_cut_from_one_drive_share_it(tmp_path: Path) -> None:
    touch(tmp_path, "train/0000f77c-6257be58.mov", "val/0000f77c-cb820c98.mov", "val/00a0f008-3c67908e.mov")
    touch(tmp_path, "val/night-0000f77c.mov")
    drives = {video.clip_id: video.drive_id for video in find_videos([tmp_path])}
    assert drives == {
        "0000f77c-6257be58": "0000f77c",
        "0000f77c-cb820c98": "0000f77c",
        "00a0f008-3c67908e": "00a0f008",
        "night-0000f77c": "night-0000f77c",
    }


def test_files_of_one_name_are_called_by_as_much_of_their_path_as_tells_them_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/monday/front.mp4", "one/tuesday/front.mp4", "one/rear.mp4")
    assert {v.clip_id for v in find_videos([tmp_path / "one"])} == {"monday/front", "tuesday/front", "rear"}

    touch(tmp_path, "two/rear.mp4", "three/rear.mp4")
    videos = find_videos([tmp_path / "two", tmp_path / "three"])
    assert [(v.clip_id, v.drive_id) for v in videos] == [
        ("two/rear", "two/rear"),
        ("three/rear", "three/rear"),
    ]

    touch(tmp_path, "four/a.mp4", "four/a.mov")
    videos = find_videos([tmp_path / "four"])
    assert [(v.clip_id, v.drive_id) for v in videos] == [("four/a.mov", "four/a"), ("four/a.mp4", "four/a")]

    touch(tmp_path, "x/cam/a.mp4", "y/cam/a.mp4")
    videos = find_videos([tmp_path / "x/cam", tmp_path / "y/cam"])
    assert [v.clip_id for v in videos] == ["cam/a.mp4~1", "cam/a.mp4~2"]


def test_a_video_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "c.mp4").symlink_to(tmp_path / "a.mp4")
    videos = find_videos([tmp_path / "b.mp4", tmp_path, tmp_path / "a.mp4"])
    assert [video.path.name for video in videos] == ["b.mp4", "a.mp4"]


def test_paths_stay_as_the_user_gave_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "videos/a.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_videos([Path("videos")])[0].path == Path("videos/a.mp4")
    assert find_videos([Path("videos/a.mp4")])[0].path == Path("videos/a.mp4")
    monkeypatch.chdir(tmp_path / "videos")
    assert find_videos([Path()])[0].path == Path("a.mp4")


def test_linked_folders_are_entered_but_not_for_ever(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.mp4", "videos/b.mp4")
    (tmp_path / "videos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos/loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos/self.mp4").symlink_to("self.mp4")
    names = [video.path.name for video in find_videos([tmp_path / "videos"])]
    assert names == ["b.mp4", "a.mp4", "self.mp4"]


def test_a_manifest_brings_drives_and_evidence(tmp_path: Path) -> None:
    evidence = Evidence(
        labels=(FrameLabels(time_s=4.0, weather="rainy"),), telemetry=(Telemetry(time_s=4.0, speed_mps=13.9),)
    )
    touch(tmp_path, "videos/a.mp4", "videos/b.mp4", "videos/stray.mp4")
    manifest = write_manifest(
        tmp_path,
        {"video": "videos/b.mp4"},
        {
            "video": "videos/a.mp4",
            "drive_id": "ride 7",
            "evidence": evidence.model_dump(mode="json"),
            "fps": 10,
        },
    )
    for given_path in (tmp_path, manifest):
        a, b = find_videos([given_path])
        assert (a.path, a.clip_id, a.drive_id, a.source) == (
            tmp_path / "videos/a.mp4",
            "a",
            "ride 7",
            "manifest",
        )
        assert a.evidence == evidence
        assert (b.drive_id, b.evidence) == ("b", Evidence())


def test_manifests_below_a_folder_are_read_too(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.mp4", "train/unnamed.mp4", "test/b.mp4", "loose.mp4")
    write_manifest(tmp_path / "train", {"video": "a.mp4"})
    write_manifest(tmp_path / "test", {"video": "b.mp4"})
    assert [video.clip_id for video in find_videos([tmp_path])] == ["loose", "b", "a"]


def test_a_later_line_on_a_video_replaces_an_earlier_one(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"video": "a.mp4", "drive_id": "old"}, {"video": "a.mp4", "drive_id": "new"})
    assert [video.drive_id for video in find_videos([tmp_path])] == ["new"]


def test_what_the_simulator_records_is_found_with_its_truth(tmp_path: Path) -> None:
    from roadscribe.simulator.record import write_drives

    write_drives([7], tmp_path / "drives", seconds=1.0, fps=5)
    (video,) = find_videos([tmp_path / "drives"])
    assert video.source == "simulator"
    assert video.evidence.truth is not None
    assert video.evidence.truth.time_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    "video", ["../a.mp4", "/etc/passwd", "videos/../../a.mp4", "link/a.mp4", ".", "a\x00.mp4", "sub/../a.mp4"]
)
def test_a_manifest_reaches_no_file_outside_its_folder(tmp_path: Path, video: str) -> None:
    touch(tmp_path, "a.mp4", "inside/videos/b.mp4")
    (tmp_path / "inside/link").symlink_to(tmp_path)
    write_manifest(tmp_path / "inside", {"video": video})
    assert "drives.jsonl:1: `video`" in problem(tmp_path / "inside")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("not json", "drives.jsonl:2: Invalid JSON"),
        ('{"video": "a.mp4"', "drives.jsonl:2: Invalid JSON"),
        ([1], "drives.jsonl:2: Input should be an object"),
        ({"drive_id": "a"}, "drives.jsonl:2: video: Field required"),
        ({"video": ""}, "drives.jsonl:2: video: String should have at least 1 character"),
        ({"video": 3}, "drives.jsonl:2: video: Input should be a valid string"),
        ({"video": "a.mp4", "evidnce": {}}, "unknown key `evidnce`; did you mean `evidence`?"),
        ({"video": "a.mp4", "drive": "x"}, "unknown key `drive`; did you mean `drive_id`?"),
        ({"video": "a.mp4", "evidence": {"labels": [{"time_s": "now"}]}}, "evidence.labels.0.time_s"),
        ({"video": "a.mp4", "evidence": {"speed": 3}}, "evidence.speed: Extra inputs are not permitted"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, row: Any, said: str) -> None:
    write_manifest(tmp_path, {"video": "b.mp4"}, row)
    assert said in problem(tmp_path)


@settings(deadline=None)
@given(
    line=st.binary(max_size=60).filter(lambda line: line.strip() and b"\n" not in line and b"\r" not in line)
)
def test_any_bytes_in_a_manifest_are_a_video_or_one_clear_line(
    line: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / "drives.jsonl").write_bytes(line)
    try:
        assert find_videos([folder])
    except InputError as error:
        assert len(str(error).splitlines()) == 1


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    assert "no such file or folder" in problem(tmp_path / "none")
    assert "holds no videos" in problem(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/notes.txt").touch()
    assert "holds no videos" in problem(tmp_path)
    write_manifest(tmp_path / "empty")
    assert "names no videos" in problem(tmp_path / "empty")
    assert "no such file" in problem(tmp_path / "none.jsonl")


def test_an_unfinished_recording_run_is_not_taken_for_whole(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"video": "a.mp4"})
    (tmp_path / "artifact.json").write_text('{"kind": "drives", "complete": false}')
    assert "is unfinished" in problem(tmp_path)


def test_what_the_stages_made_is_no_footage(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "run/clips/frame.mp4")
    (tmp_path / "run/clips/artifact.json").write_text('{"kind": "clips", "complete": true}')
    assert [video.clip_id for video in find_videos([tmp_path])] == ["a"]


def test_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9\n.mp4")).touch()
    (video,) = find_videos([tmp_path])
    assert video.clip_id == r"caf\xe9\n"
    assert video.path.exists()

"""Claims about manifests: windows of one video, lists of images, ids, and paths that stay in their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barcode_video import barcode, frame_number, write_video
from PIL import Image

from roadscribe.clip import Clip, Evidence, FrameLabels, read_clips
from roadscribe.errors import InputError
from roadscribe.footage.collect import collect
from roadscribe.footage.sources import find_videos
from roadscribe.footage.windows import window_overrides
from roadscribe.recipe import Recipe, load_recipe


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["footage.frames=3", "footage.max_pixels=24576", *overrides])


def write_manifest(folder: Path, *rows: Any, name: str = "drives.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def put_images(
    folder: Path, numbers: range, suffix: str = ".png", size: tuple[int, int] = (160, 96)
) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(barcode(number, *size)).save(folder / f"{number}{suffix}")
    return [f"{number}{suffix}" for number in numbers]


def clips_of(folder: Path, out: Path, *overrides: str, root: Path | None = None) -> dict[str, Clip]:
    collect([folder], out, recipe(*overrides), root=root)
    return {clip.clip_id: clip for clip in read_clips(out)}


def shown(clip: Clip) -> list[int]:
    return [frame_number(image) for image in clip.images()]


def problem(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        find_videos([path], **options)
    return str(caught.value)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of 40 frames at 10 frames a second."""
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "a.mp4", frames=40, fps=10, size=(160, 96))
    return folder


# ------------------------------------------------------------------------------------------------ windows


def test_several_lines_on_one_video_are_several_clips(footage: Path, tmp_path: Path) -> None:
    rows = [
        {"video": "a.mp4", "clip_id": "start", "start_s": 0, "end_s": 1},
        {"video": "a.mp4", "clip_id": "turn", "start_s": 1, "end_s": 2.5, "drive_id": "ride"},
        {"video": "a.mp4", "clip_id": "rest", "start_s": 2.5},
        {"video": "a.mp4", "clip_id": "to 2", "end_s": 2},
        {"video": "a.mp4", "clip_id": "all"},
    ]
    manifest = write_manifest(tmp_path, *rows, name="windows.jsonl")
    clips = clips_of(manifest, tmp_path / "out", root=footage)
    assert {name: shown(clip) for name, clip in clips.items()} == {
        "start": [0, 5, 10],
        "turn": [10, 17, 25],
        "rest": [25, 32, 39],
        "to 2": [0, 10, 20],
        "all": [0, 19, 39],
    }
    assert clips["turn"].now_s == pytest.approx(2.5)
    assert [clip.drive_id for clip in clips.values()] == ["a", "ride", "a", "a", "a"]


def test_windows_without_an_id_are_called_by_their_times(tmp_path: Path) -> None:
    write_manifest(
        tmp_path,
        {"video": "a.mp4", "start_s": 0, "end_s": 1.5},
        {"video": "a.mp4", "start_s": 1.5},
        {"video": "a.mp4"},
        {"video": "b.mp4", "end_s": 2},
        {"video": "c.mp4", "clip_id": "b"},
    )
    videos = find_videos([tmp_path])
    assert [video.clip_id for video in videos] == ["a@0-1.5s", "a@1.5-s", "a", "b~2", "b"]
    assert [video.drive_id for video in videos] == ["a", "a", "a", "b", "c"]


def test_a_later_line_on_the_same_window_replaces_an_earlier_one(tmp_path: Path) -> None:
    row = {"video": "a.mp4", "clip_id": "x", "start_s": 0, "end_s": 1}
    write_manifest(tmp_path, {**row, "drive_id": "old"}, {**row, "drive_id": "new"})
    assert [video.drive_id for video in find_videos([tmp_path])] == ["new"]


def test_one_id_for_two_clips_is_an_error(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"video": "a.mp4", "clip_id": "x"}, {"video": "b.mp4", "clip_id": "x"})
    assert "drives.jsonl:2: `clip_id` 'x' names another clip at" in problem(tmp_path)
    write_manifest(
        tmp_path, {"video": "a.mp4", "clip_id": "x"}, {"video": "a.mp4", "clip_id": "x", "end_s": 3}
    )
    assert "give each clip an id of its own" in problem(tmp_path)
    write_manifest(tmp_path / "one", {"video": "a.mp4", "clip_id": "x"})
    write_manifest(tmp_path / "two", {"video": "b.mp4", "clip_id": "x"})
    with pytest.raises(InputError, match="`clip_id` 'x' names another clip at"):
        find_videos([tmp_path / "one", tmp_path / "two"])


def test_a_line_goes_before_the_recipe(footage: Path, tmp_path: Path) -> None:
    labels = Evidence(labels=(FrameLabels(time_s=3.0, weather="clear"),)).model_dump(mode="json")
    manifest = write_manifest(
        tmp_path,
        {"video": "a.mp4", "clip_id": "own", "end_s": 2, "evidence": labels},
        {"video": "a.mp4", "clip_id": "label", "evidence": labels},
        {"video": "a.mp4", "clip_id": "from 1", "start_s": 1, "evidence": labels},
        {"video": "a.mp4", "clip_id": "none"},
    )
    clips = clips_of(
        manifest, tmp_path / "out", "footage.ends_at=label", "footage.window_s=0.5", root=footage
    )
    assert {name: (clip.timestamps_s[0], clip.now_s) for name, clip in clips.items()} == {
        "own": pytest.approx((1.5, 2.0)),
        "label": pytest.approx((2.5, 3.0)),
        "from 1": pytest.approx((1.0, 3.0)),
    }
    assert clips["own"].evidence.labels[0].time_s == 3.0
    assert "no labelled moment" in (tmp_path / "out/skipped.jsonl").read_text()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"end_s": 9}, "lasts 4.00 s, shorter than its window's end_s=9; mend the manifest"),
        ({"start_s": 9}, "its window begins at 9 s, after its end at 3.9 s"),
    ],
)
def test_a_window_that_the_video_does_not_have_is_listed(
    footage: Path, tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    manifest = write_manifest(tmp_path, {"video": "a.mp4", "clip_id": "x", **row})
    with pytest.raises(InputError) as caught:
        collect([manifest], tmp_path / "out", recipe(), root=footage)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"video": "a.mp4", "start_s": 3, "end_s": 2}, "end_s lies before"),
        ({"video": "a.mp4", "start_s": -1}, "start_s lies before the video"),
        ({"video": "a.mp4", "images": ["1.jpg"], "timestamps_s": [0]}, "give `video` or `images`, not both"),
        ({"images": ["1.jpg"]}, "1 images but 0 timestamps_s"),
        ({"images": ["1.jpg", "2.jpg"], "timestamps_s": [1, 1]}, "timestamps_s must increase"),
        ({"images": [], "timestamps_s": []}, "video: Field required"),
        ({"images": ["../1.jpg"], "timestamps_s": [0]}, "`images` leads out of the folder"),
        ({"video": "a.mp4", "telemetry": "/etc/passwd"}, "`telemetry` leads out of the folder"),
        ({"video": "a.mp4", "clip_id": ""}, "clip_id: String should have at least 1 character"),
        ({"video": "a.mp4", "end": 3}, "did you mean `end_s`?"),
        ({"video": "a.mp4", "start_ms": 3}, "did you mean `start_s`?"),
        ({"image": ["1.jpg"]}, "did you mean `images`?"),
        (
            {"video": "a.mp4", "telemetry": "a.csv", "evidence": {"telemetry": [{"time_s": 0}]}},
            "give `telemetry` or evidence.telemetry, not both",
        ),
    ],
)
def test_a_line_that_contradicts_itself_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    write_manifest(tmp_path, row)
    assert "drives.jsonl:1: " in problem(tmp_path)
    assert said in problem(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "drives.jsonl").write_text(
        '{"video": "a.mp4"}\r\n{"video": "b.mp4"}\r\n', encoding="utf-8-sig"
    )
    assert [video.clip_id for video in find_videos([tmp_path])] == ["a", "b"]


def test_a_manifest_in_utf16_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "drives.jsonl").write_text('{"video": "a.mp4"}\n', encoding="utf-16")
    assert "save it as UTF-8" in problem(tmp_path)


def test_paths_start_at_the_root_that_is_given(footage: Path, tmp_path: Path) -> None:
    (footage / "logs").mkdir(exist_ok=True)
    (footage / "logs/a.csv").write_text("time_s,speed_mps\n3.9,7\n")
    manifest = write_manifest(
        tmp_path / "made", {"video": "a.mp4", "telemetry": "logs/a.csv"}, name="rows.jsonl"
    )
    (clip,) = clips_of(manifest, tmp_path / "out", root=footage).values()
    assert clip.evidence.telemetry[0].speed_mps == 7
    write_manifest(tmp_path / "made", {"video": "../a.mp4"}, name="rows.jsonl")
    assert "`video` leads out of the folder" in problem(manifest, root=footage)
    assert "no such folder" in problem(manifest, root=tmp_path / "nowhere")
    assert "none of the inputs is a manifest" in problem(footage / "a.mp4", root=footage)


def test_a_csv_may_say_when_the_video_began(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("epoch_s,speed_mps\n1600000010,7\n")
    (tmp_path / "a.mp4").symlink_to(tmp_path / "video.mp4")
    (tmp_path / "video.mp4").write_bytes((footage / "a.mp4").read_bytes())
    write_manifest(
        tmp_path, {"video": "video.mp4", "telemetry": "log.csv", "telemetry_start_s": 1600000007.0}
    )
    (clip,) = clips_of(tmp_path, tmp_path.parent / f"{tmp_path.name}-out").values()
    assert clip.evidence.telemetry[0].time_s == pytest.approx(3.0)


# ------------------------------------------------------------------------------------------------ images


def test_listed_images_become_a_clip_by_the_rule_of_videos(tmp_path: Path) -> None:
    names = put_images(tmp_path / "cam/scene1", range(9), ".jpg")
    images = [f"cam/scene1/{name}" for name in names]
    row = {"images": images, "timestamps_s": [100 + n / 2 for n in range(9)]}
    labels = Evidence(labels=(FrameLabels(time_s=102.0, weather="clear"),)).model_dump(mode="json")
    write_manifest(
        tmp_path,
        {**row, "clip_id": "all"},
        {**row, "clip_id": "window", "start_s": 101, "end_s": 103},
        {**row, "clip_id": "up to", "end_s": 103.2},
        {"images": images[:3], "timestamps_s": [0.0, 3.0, 3.5], "clip_id": "three"},
    )
    clips = clips_of(tmp_path, tmp_path / "out")
    assert {name: shown(clip) for name, clip in clips.items()} == {
        "all": [0, 4, 8],
        "window": [2, 4, 6],
        "up to": [0, 3, 6],
        "three": [0, 1, 2],  # exactly these, however they are spaced
    }
    assert clips["all"].timestamps_s == (100, 102, 104)
    assert clips["all"].drive_id == "cam/scene1"
    assert (clips["all"].width, clips["all"].height) == (160, 96)
    assert clips["all"].provenance.path == str(tmp_path / "cam/scene1/8.jpg")
    write_manifest(tmp_path, {**row, "clip_id": "label", "evidence": labels})
    (clip,) = clips_of(tmp_path, tmp_path / "out2", *window_overrides("label")).values()
    assert (shown(clip), clip.now_s) == ([0, 2, 4], 102)


def test_images_are_resized_to_the_budget_and_stand_upright(tmp_path: Path) -> None:
    put_images(tmp_path, range(3), ".png", (640, 360))
    turned = Image.fromarray(np.rot90(barcode(5, 640, 360)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    images = ["0.png", "1.png", "turned.jpg"]
    write_manifest(tmp_path, {"images": images, "timestamps_s": [0, 1, 2], "clip_id": "x"})
    (clip,) = clips_of(tmp_path, tmp_path / "out").values()
    assert shown(clip) == [0, 1, 5]
    assert clip.width * clip.height <= 24576
    assert {image.size for image in clip.images()} == {(clip.width, clip.height)}


def test_lists_that_give_no_clip_are_listed_with_the_reason(tmp_path: Path) -> None:
    images = put_images(tmp_path, range(4))
    put_images(tmp_path / "other", range(1), size=(96, 160))
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    times = [0, 1, 2]
    write_manifest(
        tmp_path,
        {"images": images[:3], "timestamps_s": times, "clip_id": "good"},
        {"images": images[:2], "timestamps_s": times[:2], "clip_id": "few"},
        {"images": images, "timestamps_s": [0, 1, 2, 3], "clip_id": "few in window", "start_s": 2},
        {"images": [*images[:2], "other/0.png"], "timestamps_s": times, "clip_id": "another size"},
        {"images": [*images[:2], "broken.png"], "timestamps_s": times, "clip_id": "broken"},
        {"images": [*images[:2], "text.png"], "timestamps_s": times, "clip_id": "text"},
        {"images": [*images[:2], "none.png"], "timestamps_s": times, "clip_id": "missing"},
        {"images": images[:3], "timestamps_s": times, "clip_id": "too late", "end_s": 9},
    )
    assert list(clips_of(tmp_path, tmp_path / "out")) == ["good"]
    lines = [json.loads(line) for line in (tmp_path / "out/skipped.jsonl").read_text().splitlines()]
    reasons = {line["key"]: line["reason"] for line in lines}
    assert (
        "2 images in the window, fewer than footage.frames=3; list more, or set footage.frames=2"
        in reasons["few"]
    )
    assert "2 images in the window" in reasons["few in window"]
    assert "96x160 pixels, the first image 160x96" in reasons["another size"]
    assert "cannot be read as an image" in reasons["broken"]
    assert "cannot be read as an image" in reasons["text"]
    assert "no such file" in reasons["missing"]
    assert "ends at" in reasons["too late"] or "lasts" in reasons["too late"]


def test_lists_without_ids_never_share_one(tmp_path: Path) -> None:
    rows = [{"images": ["1.png", "9.png"], "timestamps_s": [0, t]} for t in (1, 2)]
    write_manifest(tmp_path / "scene", *rows)
    videos = find_videos([tmp_path / "scene"])
    assert [video.clip_id for video in videos] == ["9", "9~2"]
    assert [video.drive_id for video in videos] == ["scene", "scene"]

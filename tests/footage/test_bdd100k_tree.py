"""Claims about BDD100K as people unpack it: every video finds its labels and info, and what is missing is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bdd100k_standin import LANE, box, image_record, info_record, list_record, put_json, put_video

from roadscribe.clip import Clip, read_clips
from roadscribe.curate.now import evidence_now
from roadscribe.errors import InputError
from roadscribe.footage import bdd100k_tree, evidence
from roadscribe.footage.collect import collect
from roadscribe.footage.evidence import attach, known_about
from roadscribe.footage.sources import SourceVideo, find_videos
from roadscribe.footage.windows import window_overrides
from roadscribe.recipe import Recipe, load_recipe

A, B, C = "0000f77c-6257be58", "0000f77c-cb820c98", "00a0f008-3c67908e"


def recipe(window: str, *overrides: str) -> Recipe:
    return load_recipe(
        None, ["footage.frames=3", "footage.max_pixels=24576", *overrides, *window_overrides(window)]
    )


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def known(*inputs: Path) -> dict[str, tuple[list[str], list[float], str, list[str]]]:
    """For each video: categories of its boxes, times of its telemetry, its drive, and the notes."""
    found = {}
    for video in attach(find_videos(inputs)).videos:
        about, notes = known_about(video)
        boxes = [item.category for labels in about.labels for item in labels.boxes]
        found[video.clip_id] = (boxes, [item.time_s for item in about.telemetry], video.drive_id, notes)
    return found


def listed(folder: Path, name: str) -> dict[str, list[str]]:
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return {line["key"]: line.get("notes", [line.get("reason")]) for line in lines}


@pytest.mark.parametrize(
    ("videos", "labels", "info", "given"),
    [
        ("videos/train", "labels/det_20/det_train.json", "info/100k/train", "."),
        ("videos/train", "labels/bdd100k_labels_images_train.json", "info/train", "."),
        ("bdd100k/videos/train", "bdd100k/labels/det_20/det_train.json", "bdd100k/info/100k/train", "."),
        (
            "bdd100k/videos/train",
            "bdd100k/labels/det_20/det_train.json",
            "bdd100k/info/100k/train",
            "bdd100k",
        ),
        ("videos/train", "labels/det_20/det_train.json", "info/100k/train", "videos"),
        ("videos/100k/train", "labels/det_20/det_train.json", "info/100k/train", "videos/100k/train"),
        ("Videos/train", "Labels/det_train.JSON", "Info/train", "Videos"),
        (
            "a_videos/bdd100k/videos/train",
            "b_labels/bdd100k/labels/det_train.json",
            "c/bdd100k/info/train",
            ".",
        ),
        ("videos/train", "bdd100k_labels_images_train.json", "info", "."),
        ("train", "labels/labels.json", "info", "."),
    ],
)
def test_the_tree_is_found_however_it_was_unpacked(
    tmp_path: Path, videos: str, labels: str, info: str, given: str
) -> None:
    touch(tmp_path / videos / f"{A}.MOV")
    put_json(tmp_path / labels, [list_record(A, [box("car")])])
    put_json(tmp_path / info / f"{A}.json", info_record())
    boxes, times, drive, notes = known(tmp_path / given)[A]
    assert boxes == ["car"]
    assert times == [float(second) for second in range(12)]
    assert (drive, notes) == ("ride-1", [])


def test_one_video_by_its_name_finds_its_labels_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = touch(tmp_path / "bdd100k/videos/train" / f"{A}.mov")
    put_json(tmp_path / f"bdd100k/labels/100k/train/{A}.json", image_record(A, [box("bus")]))
    assert known(video)[A][0] == ["bus"]
    monkeypatch.chdir(tmp_path / "bdd100k/videos")
    assert known(Path("train"))[A][0] == ["bus"]
    assert known(Path())[A][0] == ["bus"]
    (file,) = attach(find_videos([Path("train")])).videos[0].beside.labels
    assert not file.path.is_absolute()


def test_both_label_formats_and_a_byte_order_mark(tmp_path: Path) -> None:
    for stem in (A, B, C):
        touch(tmp_path / f"videos/train/{stem}.mov")
    put_json(tmp_path / "labels/det_20/det_train.json", [list_record(A, [box("pedestrian")])], bom=True)
    put_json(tmp_path / f"labels/100k/train/{B}.json", image_record(B, [box("person"), LANE]), bom=True)
    put_json(
        tmp_path / "labels/det_20/det_val.json", {"config": None, "frames": [list_record(C, [box("bus")])]}
    )
    found = known(tmp_path)
    assert [found[stem][0] for stem in (A, B, C)] == [["person"], ["person"], ["bus"]]


def test_of_two_generations_the_newer_boxes_count(tmp_path: Path) -> None:
    touch(tmp_path / f"videos/{A}.mov")
    put_json(tmp_path / "labels/bdd100k_labels_images_train.json", [list_record(A, [box("car"), box("car")])])
    put_json(tmp_path / "labels/det_20/det_train.json", [list_record(A, [box("motorcycle")])])
    put_json(tmp_path / f"labels/100k/train/{A}.json", image_record(A, [box("bus")]))
    assert known(tmp_path)[A][0] == ["motor"]


def test_labels_of_other_tasks_prove_no_absence(tmp_path: Path) -> None:
    """Lanes, masks and tracking name no traffic lights; taken for labels, they would deny that there is one."""
    touch(tmp_path / f"videos/{A}.mov")
    tracked = {"name": f"{A}-0000001.jpg", "videoName": A, "frameIndex": 0, "labels": [box("car")]}
    put_json(tmp_path / f"labels/box_track_20/train/{A}.json", [tracked])
    put_json(tmp_path / "labels/lane/polygons/lane_train.json", [list_record(A, [LANE])])
    put_json(tmp_path / "labels/my_lanes.json", [list_record(A, [LANE])])
    attached = attach(find_videos([tmp_path]))
    about, _ = known_about(attached.videos[0])
    (labels,) = about.labels
    assert (labels.weather, labels.boxes, labels.image_width) == ("rainy", None, None)
    assert {path.name: note for path, note in attached.notes} == {
        "box_track_20": "not read: tracking boxes name no traffic lights",
        "lane": "not read: lanes are not used",
    }


def test_the_drive_is_the_ride_and_a_clip_without_info_joins_its_other_half(tmp_path: Path) -> None:
    d, e = "00a0f008-00000000", "11111111-00000000"
    for stem in (A, B, C, d, e):
        touch(tmp_path / f"videos/{stem}.mov")
    put_json(tmp_path / f"info/{A}.json", info_record("ride-A"))
    put_json(tmp_path / f"info/{C}.json", info_record(None))
    put_json(tmp_path / f"info/{d}.json", info_record(" "))
    drives = {stem: drive for stem, (_, _, drive, _) in known(tmp_path).items()}
    assert drives == {A: "ride-A", B: "ride-A", C: "00a0f008", d: "00a0f008", e: "11111111"}


def test_clips_with_its_files_beside_them_are_bdd100ks_and_others_are_not(tmp_path: Path) -> None:
    for stem in (A, B, C):
        touch(tmp_path / f"videos/{stem}.mov")
    put_json(tmp_path / f"info/{A}.json", info_record("ride-A"))
    put_json(tmp_path / f"labels/{B}.json", image_record(B, [box("car")]))
    sources = {video.path.stem: video.source for video in attach(find_videos([tmp_path])).videos}
    assert sources == {A: "bdd100k", B: "bdd100k", C: "folder"}


def test_what_is_missing_or_garbled_is_noted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    stems = [A, B, C, "11111111-00000000"]
    for stem in stems:
        put_video(tmp_path / f"videos/{stem}.mov")
    records = [list_record(stem, [box("car")]) for stem in (A, B)]
    damaged = json.dumps([*records, list_record(C)])[:-40]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/det_train.json").write_text(damaged)
    (tmp_path / "labels/coco.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "labels/empty.json").touch()
    put_json(tmp_path / "labels/labels_of_others.json", [list_record("99999999-00000000")])
    put_json(tmp_path / f"labels/100k/{C}.json", {"name": C, "attributes": None, "frames": []})
    put_json(tmp_path / f"info/{A}.json", info_record())
    (tmp_path / f"info/{B}.json").write_bytes(b"\xff\xfe{")
    put_json(tmp_path / f"info/{C}.json", info_record(startTime=None))

    out = collect([tmp_path], tmp_path.parent / "out", recipe("end:10"))
    clips = {clip.clip_id: clip for clip in read_clips(out)}
    assert list(clips) == stems
    assert [len(clips[stem].evidence.labels) for stem in stems] == [1, 1, 0, 0]
    assert [len(clips[stem].evidence.telemetry) for stem in stems] == [12, 0, 0, 0]
    notes = listed(out, "notes.jsonl")
    assert "images before it are used" in " ".join(notes[str(tmp_path / "labels/det_train.json")])
    assert "no labels in BDD100K's formats" in notes[str(tmp_path / "labels/coco.json")][0]
    assert A not in notes
    assert notes[B] == [f"{B}.json: cannot be read ({notes[B][0].partition('(')[2]}"]
    assert any("no startTime" in note for note in notes[C])
    assert notes[stems[3]] == [
        "no info file: no speed is known",
        "no label: nothing is known of its frames",
    ]
    summary = json.loads((out / "artifact.json").read_text())["summary"]
    assert (summary["clips"], summary["left_out"], summary["notes"]) == (4, 0, len(notes))


def test_a_tree_without_anything_beside_is_plain_footage(tmp_path: Path) -> None:
    put_video(tmp_path / "videos/a.mov")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.1 0.1")
    out = collect([tmp_path / "videos"], tmp_path / "out", recipe("whole"))
    assert not (out / "notes.jsonl").exists()


def test_a_list_is_read_once_and_the_rest_one_record_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = [f"{number:08x}-00000000" for number in range(30)]
    for stem in stems[:10]:
        touch(tmp_path / f"videos/{stem}.mov")
    put_json(tmp_path / "labels/det_train.json", [list_record(stem, [box("car")]) for stem in stems])
    for stem in stems[10:]:
        put_json(tmp_path / f"labels/100k/{stem}.json", image_record(stem))
    opened: list[str] = []
    stream = bdd100k_tree.stream_items
    monkeypatch.setattr(
        bdd100k_tree, "stream_items", lambda path, key: opened.append(path.name) or stream(path, key)
    )
    lengths: list[int] = []
    read = evidence.read_item
    monkeypatch.setattr(
        evidence, "read_item", lambda path, place: lengths.append(place.length) or read(path, place)
    )
    assert all(boxes == ["car"] for boxes, *_ in known(tmp_path).values())
    assert opened == ["det_train.json"]
    assert len(lengths) == 10
    assert max(lengths) < (tmp_path / "labels/det_train.json").stat().st_size / 25


# ------------------------------------------------------------------------------------------------ the window


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 12 s: one labelled at 10 s, one at 4 s, one not at all."""
    root = tmp_path_factory.mktemp("bdd100k")
    for stem in (A, B, C):
        put_video(root / f"videos/train/{stem}.mov")
    light = box("traffic light", 700, 100, 720, 150, trafficLightColor="R")
    records = [list_record(A, [box("car"), light]), {**list_record(B, [box("bus")]), "timestamp": 4000}]
    put_json(root / "labels/det_20/det_train.json", records)
    put_json(root / f"info/100k/train/{A}.json", info_record("ride", speed=10.0))
    return root


def clips_by(street: Path, out: Path, window: str) -> dict[str, Clip]:
    collect([street], out, recipe(window))
    return {clip.clip_id: clip for clip in read_clips(out)}


def test_a_window_up_to_the_label_has_its_truth_at_the_last_frame(street: Path, tmp_path: Path) -> None:
    clips = clips_by(street, tmp_path / "out", "label")
    assert {stem: clip.timestamps_s for stem, clip in clips.items()} == {
        A: pytest.approx((0.0, 5.0, 10.0)),
        B: pytest.approx((0.0, 2.0, 4.0)),
    }
    now = evidence_now(clips[A])
    assert now.boxes_known
    assert now.labels is not None
    assert [item.light_color for item in now.boxes(frozenset({"traffic light"}))] == ["red"]
    assert now.labels.weather == "rainy"
    assert now.speed_kmh == pytest.approx(11.0 * 3.6)
    assert now.course_change_deg == pytest.approx(0)
    assert evidence_now(clips[B]).boxes(frozenset({"bus"}))
    (left_out,) = listed(tmp_path / "out", "skipped.jsonl").items()
    assert left_out[0] == C
    assert "has no labelled moment to end at; give its labels, or use --window whole" in left_out[1][0]


def test_a_label_proves_nothing_about_a_clip_that_ends_later(street: Path, tmp_path: Path) -> None:
    clips = clips_by(street, tmp_path / "out", "whole")
    assert [clip.now_s for clip in clips.values()] == [pytest.approx(11.75)] * 3
    # The evidence stays with the clip, at its own time; it is only not shown as "now".
    assert [labels.time_s for labels in clips[A].evidence.labels] == [10.0]
    assert not evidence_now(clips[A]).boxes_known
    assert evidence_now(clips[A]).labels is None


def test_a_window_up_to_a_second_is_the_same_for_all(street: Path, tmp_path: Path) -> None:
    clips = clips_by(street, tmp_path / "out", "end:10")
    assert [clip.now_s for clip in clips.values()] == [pytest.approx(10.0)] * 3
    assert [evidence_now(clips[stem]).labels is not None for stem in (A, B, C)] == [True, False, False]
    assert clips[A].drive_id == clips[B].drive_id == "ride"


def test_a_label_beyond_the_end_of_its_video_is_said(street: Path, tmp_path: Path) -> None:
    put_video(tmp_path / f"videos/{A}.mov")
    put_json(tmp_path / "labels/a.json", [{**list_record(A), "timestamp": 15000}])
    with pytest.raises(InputError, match=r"lasts 12\.00 s, shorter than its labelled moment 15 s"):
        collect([tmp_path / "videos"], tmp_path / "out", recipe("label"))


def test_a_stopped_run_resumes_to_the_same_notes(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roadscribe.footage import workers

    whole = collect([street], tmp_path / "whole", recipe("whole"))
    sample = workers.sample

    def interrupted(video: SourceVideo, footage: object) -> object:
        if video.clip_id == C:
            raise KeyboardInterrupt
        return sample(video, footage)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(workers, "sample", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect([street], tmp_path / "out", recipe("whole"))
    collect([street], tmp_path / "out", recipe("whole"), resume=True)
    for name in ("notes.jsonl", "artifact.json", "clips-00000.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_other_labels_are_other_clips_for_a_resumed_run(street: Path, tmp_path: Path) -> None:
    put_video(tmp_path / f"videos/{A}.mov")
    put_json(tmp_path / "labels/a.json", [list_record(A, [box("car")])])
    collect([tmp_path / "videos"], tmp_path / "out", recipe("label"))
    put_json(tmp_path / "labels/a.json", [list_record(A, [box("car"), box("bus")])])
    with pytest.raises(InputError, match="made by another recipe"):
        collect([tmp_path / "videos"], tmp_path / "out", recipe("label"), resume=True)

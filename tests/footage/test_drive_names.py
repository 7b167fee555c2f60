"""Claims about which files are one drive by their names: cameras that ran side by side, chapters of one recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from roadscribe.footage.sources import find_videos


def drives(tmp_path: Path, *names: str) -> list[str]:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    of = {video.path: video.drive_id for video in find_videos([tmp_path])}
    return [of[tmp_path / name] for name in names]


@pytest.mark.parametrize(
    ("names", "drive"),
    [
        (["20240101_120000_NF.mp4", "20240101_120000_NR.mp4"], "20240101_120000"),
        (["20240101_120000_EF.mp4", "20240101_120000_EI.mp4"], "20240101_120000"),
        (["2024_0101_120000_0001F.MP4", "2024_0101_120000_0001R.MP4"], "2024_0101_120000"),
        (["20240101120000_000123F.MP4", "20240101120000_000124R.MP4"], "20240101120000"),
        (["REC_2024_01_01_12_00_00_F.MP4", "REC_2024_01_01_12_00_00_R.MP4"], "REC_2024_01_01_12_00_00"),
        (["240101_120000_001_FH.MP4", "240101_120000_001_RH.MP4"], "240101_120000"),
        (["NO20240101-120000-000001F.MP4", "NO20240101-120000-000001B.MP4"], "NO20240101-120000"),
        (["2024-01-01_12-00-00-front.mp4", "2024-01-01_12-00-00-left_repeater.mp4"], "2024-01-01_12-00-00"),
        (["GH010123.MP4", "GH020123.MP4", "GH030123.MP4"], "GH0123"),
        (["GOPR0123.MP4", "GP010123.MP4", "GP020123.MP4"], "GOPR0123"),
        (["GX010001.MP4", "gx020001.mp4"], "GX0001"),
        (["trip_F.mp4", "trip_R.mp4"], "trip"),
        (["trip-front.mp4", "trip-rear.mp4"], "trip"),
        (["front/0007.mp4", "rear/0007.mp4"], "0007"),
        (["Movie_F/20240101_120000_0001F.MP4", "Movie_R/20240101_120000_0002R.MP4"], "20240101_120000"),
    ],
)
def test_cameras_and_chapters_of_one_recording_are_one_drive(
    tmp_path: Path, names: list[str], drive: str
) -> None:
    assert drives(tmp_path, *names) == [drive] * len(names)


def test_a_part_that_is_given_alone_has_the_same_drive(tmp_path: Path) -> None:
    assert drives(tmp_path, "20240101_120000_NR.mp4", "GX020007.MP4") == ["20240101_120000", "GX0007"]


@pytest.mark.parametrize(
    "names",
    [
        ["20240101_120000_NF.mp4", "20240101_120100_NF.mp4"],
        ["GH010123.MP4", "GH010124.MP4"],
        ["GH010123.MP4", "GX010123.MP4"],
        ["one/GH010123.MP4", "two/GH020123.MP4"],
        ["one/20240101_120000_NF.mp4", "two/20240101_120000_NR.mp4"],
        ["one/trip_F.mp4", "two/trip_R.mp4"],
        ["plan_F.mp4", "plan_G.mp4"],
        ["a_F.mp4", "b_R.mp4"],
        ["front/a.mp4", "rear/b.mp4"],
        ["monday/0001.mp4", "tuesday/0001.mp4"],
        ["0000f77c-6257be58.mov", "00a0f008-6257be58.mov"],
        ["GH0101234.MP4", "GH0201234.MP4"],
    ],
)
def test_other_names_stay_drives_of_their_own(tmp_path: Path, names: list[str]) -> None:
    assert len(set(drives(tmp_path, *names))) == len(names)


def test_a_camera_letter_without_its_partner_is_part_of_the_name(tmp_path: Path) -> None:
    assert drives(tmp_path, "plan_F.mp4", "rear.mp4") == ["plan_F", "rear"]


def test_a_manifest_s_drive_goes_before_the_names(tmp_path: Path) -> None:
    lines = ['{"video": "trip_F.mp4", "drive_id": "one"}', '{"video": "trip_R.mp4", "drive_id": "two"}']
    (tmp_path / "drives.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [video.drive_id for video in find_videos([tmp_path])] == ["one", "two"]

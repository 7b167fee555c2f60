"""Claims about odd files: where a player shows pictures so do we; what goes wrong costs one clip, with a reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from barcode_video import frame_number, noisy_barcode, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_files import add_gps_track, box, write_flv, write_raw, write_two_tracks
from PIL import Image

from roadscribe.artifacts import require_complete
from roadscribe.clip import read_clips
from roadscribe.errors import InputError
from roadscribe.footage import make_clip, packets
from roadscribe.footage.collect import collect
from roadscribe.footage.sampling import probe, read_frames
from roadscribe.footage.sources import find_videos
from roadscribe.recipe import Recipe, load_recipe

SHARED = Path(__file__).resolve().parents[2] / "../shared/data/videos"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["footage.frames=3", "footage.max_pixels=24576", *overrides])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def notes(out: Path) -> dict[str, str]:
    return {line["key"]: "; ".join(line["notes"]) for line in lines(out / "notes.jsonl")}


class TestStreamsThatComeLate:
    @pytest.mark.parametrize("announced", [True, False])
    def test_sound_that_starts_late_leaves_the_pictures_as_they_are(
        self, tmp_path: Path, announced: bool
    ) -> None:
        path = write_flv(tmp_path / "a.flv", sound_from_s=8, announced=announced)
        info = probe(path)
        assert info.times_s == pytest.approx(np.arange(120) / 10, abs=1e-3)
        assert info.damage is None
        frames = read_frames(info, [0.0, 5.0, 9.0, 11.9], 24576)
        assert [frame_number(frame.image) for frame in frames] == [0, 50, 90, 119]

    def test_a_folder_with_such_a_file_gives_all_its_clips(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write_flv(tmp_path / "in/late.flv", sound_from_s=8, announced=False)
        write_video(tmp_path / "in/plain.mp4", frames=10, fps=10, size=(160, 96))
        out = collect([tmp_path / "in"], tmp_path / "out", recipe())
        assert [clip.clip_id for clip in read_clips(out)] == ["late", "plain"]
        assert lines(out / "skipped.jsonl") == []


RAISED = [
    IndexError("list index out of range"), ValueError("odd value"), MemoryError(), OSError(5, "Input/output error"),
    RecursionError("maximum recursion depth exceeded"), KeyError("x"), TypeError("not a number"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), ZeroDivisionError("division by zero"),
    av.error.UnknownError(1, "Unknown error occurred"), AssertionError(),
]  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["read_packets", "read_frames"])
def test_whatever_a_decoder_raises_costs_one_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, place: str
) -> None:
    from roadscribe.footage import sampling

    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(tmp_path / "in" / name, frames=5, fps=10, size=(64, 64))
    module = sampling if place == "read_packets" else make_clip
    real: Callable[..., Any] = getattr(module, place)

    def broken(source: Any, *arguments: Any) -> Any:
        if Path(getattr(source, "path", source)).name == "b.mp4":
            raise error
        return real(source, *arguments)

    monkeypatch.setattr(module, place, broken)
    out = collect([tmp_path / "in"], tmp_path / "out", recipe())
    assert [clip.clip_id for clip in read_clips(out)] == ["a", "c"]
    (line,) = lines(out / "skipped.jsonl")
    assert line["reason"].startswith(f"{tmp_path / 'in/b.mp4'}: ")
    assert len(line["reason"].splitlines()) == 1
    if not isinstance(error, (MemoryError, AssertionError)):
        assert (getattr(error, "strerror", None) or str(error)) in line["reason"]


def test_an_error_while_packets_are_read_leaves_the_frames_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=40, fps=10, size=(64, 64))
    whole = packets.numbered

    def cut(found: Any, first: int = 0) -> Any:
        for number, packet in whole(found, first):
            if number == 30:
                raise ValueError("odd packet")
            yield number, packet

    with monkeypatch.context() as patch:
        patch.setattr(packets, "numbered", cut)
        info = probe(path)
    assert info.damage == "cannot be read to its end (odd packet): its frames can be read up to 3.0 of 4.0 s"
    assert frame_number(read_frames(info, [2.9], 24576)[0].image) == 29


class TestDamagedFiles:
    def test_a_cut_file_says_how_far_it_reaches(self, tmp_path: Path) -> None:
        layout: dict[str, Any] = {"frames": 100, "fps": 10, "picture": noisy_barcode}
        for name, options in (("a.mkv", {}), ("a.mp4", {"movflags": "faststart"})):
            path = write_video(tmp_path / name, container=options, **layout)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            info = probe(path)
            assert info.damage is not None
            assert re.fullmatch(
                r"is cut short(: 10\.0 s are announced, its frames can be read up to (4|5)\.\d s"
                r"| within a frame: its frames can be read up to (4|5)\.\d of 10\.0 s)",
                info.damage,
            )
            assert f"up to {info.duration_s:.1f} " in info.damage
            out = collect([path], tmp_path / f"{name} clips", recipe("footage.end_s=2"))
            assert info.damage in notes(out)["a"]

    def test_a_bad_file_among_named_ones_is_left_out(self, tmp_path: Path) -> None:
        good = write_video(tmp_path / "good.mp4", frames=5, fps=10, size=(64, 64))
        bad = tmp_path / "bad.mp4"
        bad.write_bytes(os.urandom(2000))
        out = collect([bad, good], tmp_path / "out", recipe())
        assert [clip.clip_id for clip in read_clips(out)] == ["good"]
        assert [line["key"] for line in lines(out / "skipped.jsonl")] == ["bad"]
        with pytest.raises(InputError, match=r"bad\.mp4: "):
            collect([bad], tmp_path / "out2", recipe())

    def test_a_bad_window_or_image_costs_its_own_clip(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", frames=20, fps=10, size=(64, 64))
        Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
        (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
        rows = [
            {"video": "a.mp4", "end_s": 1},
            {"video": "a.mp4", "end_s": 9},
            {"images": ["1.png", "1.png", "2.png"], "timestamps_s": [0, 1, 2], "clip_id": "list"},
        ]
        (tmp_path / "drives.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        out = collect([tmp_path], tmp_path / "out", recipe())
        assert [clip.clip_id for clip in read_clips(out)] == ["a@-1s"]
        reasons = {line["key"]: line["reason"] for line in lines(out / "skipped.jsonl")}
        assert "shorter than its window's end_s=9" in reasons["a@-9s"]
        assert "2.png: cannot be read as an image" in reasons["list"]


class TestWhatIsReadToo:
    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("a.h264", "libx264", {"x264-params": "bframes=2:b-adapt=0"}),
            ("a.264", "libx264", {}),
            ("a.hevc", "libx265", {"x265-params": "log-level=none:bframes=2"}),
            ("a.mjpeg", "mjpeg", {}),
        ],
    )
    def test_raw_streams_are_read_at_the_recipes_rate(
        self, tmp_path: Path, name: str, codec: str, options: dict[str, str]
    ) -> None:
        (tmp_path / "in").mkdir()
        write_raw(tmp_path / "in" / name, codec, **options)
        out = collect([tmp_path / "in"], tmp_path / "out", recipe("footage.raw_fps=15"))
        (clip,) = read_clips(out)
        assert clip.timestamps_s == pytest.approx([0, 14 / 15, 29 / 15])
        assert [frame_number(image) for image in clip.images()] == [0, 14, 29]
        assert "raw codec stream without times: 15 frames per second are assumed" in notes(out)["a"]

    def test_a_gif_is_read_with_its_own_times(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write_video(
            tmp_path / "in/a.gif", frames=20, fps=10, codec="gif", pixel_format="rgb8", size=(200, 112)
        )
        out = collect([tmp_path / "in"], tmp_path / "out", recipe())
        (clip,) = read_clips(out)
        assert clip.timestamps_s == pytest.approx([0, 0.9, 1.9])
        assert [frame_number(image) for image in clip.images()] == [0, 9, 19]

    def test_a_second_track_and_gps_are_noted(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write_two_tracks(tmp_path / "in/two.mp4")
        for name, entry in (("gopro.mp4", b"gpmd"), ("camm.mp4", b"camm")):
            add_gps_track(write_video(tmp_path / "in" / name, frames=5, size=(64, 64)), entry)
        novatek = write_video(tmp_path / "in/novatek.mp4", frames=5, size=(64, 64))
        novatek.write_bytes(novatek.read_bytes() + box(b"free", b"GPS " + bytes(60)))
        write_video(tmp_path / "in/plain.mp4", frames=5, size=(64, 64), sound_s=1)
        out = collect([tmp_path / "in"], tmp_path / "out", recipe())
        said = notes(out)
        assert said.pop("two").startswith("holds a second video track (320x192) that is not read")
        assert "GPS and sensors (GoPro) that is not read yet" in said.pop("gopro")
        assert "camera motion and GPS (CAMM)" in said.pop("camm")
        assert "holds GPS (a box of the camera)" in said.pop("novatek")
        assert not said

    @pytest.mark.parametrize(
        "layout", ["gray10le", "gray12le", "gray16le", "gray", "yuv420p12le", "gbrp16le", "ya8"]
    )
    def test_pictures_of_any_depth_keep_their_brightness(self, tmp_path: Path, layout: str) -> None:
        path = tmp_path / "a.mkv"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 256, 64, layout
            ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
            frame = av.VideoFrame.from_ndarray(np.dstack([ramp] * 3), format="rgb24")
            frame.pts = 0
            output.mux(stream.encode(frame.reformat(format=layout, dst_color_range="JPEG")))
            output.mux(stream.encode(None))
        seen = np.asarray(read_frames(path, [0.0], 256 * 64)[0].image).astype(int)
        if layout == "yuv420p12le":  # its range is not said, so it is taken as video's
            assert (np.diff(seen[32, 20:236, 1]) >= 0).all()
        else:
            assert np.abs(seen[32] - np.arange(256)[:, None]).max() <= 2


class TestGrayImages:
    @pytest.mark.parametrize(
        ("bits", "said"), [(16, None), (12, "stay below 4096: taken as 12-bit"), (10, "taken as 10-bit")]
    )
    def test_gray_of_many_bits_is_scaled_to_its_range(
        self, tmp_path: Path, bits: int, said: str | None
    ) -> None:
        ramp = np.tile(np.linspace(0, 2**bits - 1, 256), (64, 1)).round().astype(np.uint16)
        for number in range(3):
            Image.fromarray(ramp).save(tmp_path / f"{number}.png")
        row = {"images": ["0.png", "1.png", "2.png"], "timestamps_s": [0, 1, 2], "clip_id": "list"}
        (tmp_path / "drives.jsonl").write_text(json.dumps(row), encoding="utf-8")
        out = collect([tmp_path], tmp_path / "out", recipe())
        (clip,) = read_clips(out)
        seen = np.asarray(clip.images()[0]).astype(int)
        assert np.abs(seen[32] - np.arange(256)[:, None]).max() <= 3
        assert (said in notes(out)["list"]) if said else not (out / "notes.jsonl").exists()

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
    def test_other_modes_keep_their_brightness(self, tmp_path: Path, mode: str) -> None:
        name = "a.jpg" if mode == "CMYK" else "a.png"
        ramp = np.tile(np.where(np.arange(256) < 128, 0, 255).astype(np.uint8), (64, 1))
        Image.fromarray(np.dstack([ramp] * 3)).convert(mode).save(tmp_path / name)
        row = {"images": [name] * 3, "timestamps_s": [0, 1, 2], "clip_id": "list"}
        (tmp_path / "drives.jsonl").write_text(json.dumps(row), encoding="utf-8")
        (clip,) = read_clips(collect([tmp_path], tmp_path / "out", recipe()))
        seen = np.asarray(clip.images()[0]).astype(int)
        assert (seen[32, :110] < 12).all()
        assert (seen[32, 146:] > 243).all()


class TestPassedOver:
    def test_what_is_not_read_is_listed_by_kind_with_its_reason(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "card"
        (folder / "sub").mkdir(parents=True)
        write_video(folder / "a.mp4", frames=5, fps=10, size=(64, 64))
        (folder / "a.csv").write_text("time_s,speed_mps\n0,1\n", encoding="utf-8")
        for name in (
            "a.insv", "b.360", "sub/c.jpg", "sub/d.PNG", "a.lrv", "a.thm", "a.srt", "a.gpx", "x.csv", "song.mp3",
            "old.zip", "readme.txt", "b.mp4.part", "sub/list.m3u8", ".DS_Store", ".hidden.mp4", "Thumbs.db", "e.dav",
        ):  # fmt: skip
            (folder / name).write_bytes(b"x")
        for number in range(1000):
            (folder / f"sub/{number}.jpg").touch()
        out = collect([folder], tmp_path / "out", recipe())
        said = {key.removeprefix("passed over: "): note for key, note in notes(out).items()}
        assert {kind: note.split(" passed over: ")[0] for kind, note in said.items()} == {
            "360-degree recordings": "2 360-degree recordings (.360, .insv)",
            "GPS logs and subtitles": "2 GPS logs and subtitles (.gpx, .srt)",
            "archives": "1 archives (.zip)",
            "other files": "1 other files (.txt)",
            "other video formats": "1 other video formats (.dav)",
            "pictures": "1002 pictures (.jpg, .png)",
            "playlists": "1 playlists (.m3u8)",
            "small copies": "2 small copies (.lrv, .thm)",
            "sound": "1 sound (.mp3)",
            "tables": "1 tables (.csv)",
            "unfinished copies": "1 unfinished copies (.part)",
        }
        assert require_complete(out, "clips", "collect")["summary"]["passed_over"] == 1015
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("passed over: ")]
        assert len(told) == 1
        assert "1002 pictures (.jpg, .png)" in told[0]

    def test_videos_that_a_manifest_does_not_name_are_listed(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for name in ("a.mp4", "stray.mp4"):
            write_video(tmp_path / "in" / name, frames=5, fps=10, size=(64, 64))
        (tmp_path / "in/drives.jsonl").write_text('{"video": "a.mp4"}', encoding="utf-8")
        out = collect([tmp_path / "in"], tmp_path / "out", recipe())
        (note,) = lines(out / "notes.jsonl")
        assert note["path"].endswith("stray.mp4")
        assert (
            "1 unnamed videos (.mp4) passed over: videos that the folder's drives.jsonl" in note["notes"][0]
        )

    def test_a_folder_without_a_video_says_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "a.insv").touch()
        with pytest.raises(InputError, match=r"holds no videos .*; it holds 1 360-degree recordings"):
            find_videos([tmp_path])

    def test_a_360_degree_recording_named_by_hand_is_read_and_noted(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=5, fps=10, size=(64, 64)).rename(tmp_path / "a.360")
        out = collect([path], tmp_path / "out", recipe())
        assert "no driver's view" in notes(out)["a"]

    def test_clips_and_the_next_step_are_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write_video(tmp_path / "a.mp4", frames=5, fps=10, size=(64, 64))
        out = collect([path], tmp_path / "out", recipe())
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"1 clip in {out}; next: roadscribe annotate {out} --out raw"


class TestNames:
    COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))

    def test_a_name_in_another_unicode_form_is_the_same_name(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write_video(tmp_path / f"in/{self.DECOMPOSED}.mp4", frames=5, fps=10, size=(64, 64))
        (tmp_path / f"in/{self.COMPOSED}.csv").write_text("time_s,speed_mps\n0,1\n", encoding="utf-8")
        (clip,) = read_clips(collect([tmp_path / "in"], tmp_path / "out", recipe()))
        assert (clip.clip_id, clip.drive_id) == (self.COMPOSED, self.COMPOSED)
        assert len(clip.evidence.telemetry) == 1

    def test_a_manifest_finds_files_in_another_form_and_of_windows(self, tmp_path: Path) -> None:
        (tmp_path / f"in/{self.DECOMPOSED}").mkdir(parents=True)
        write_video(tmp_path / f"in/{self.DECOMPOSED}/a.mp4", frames=5, fps=10, size=(64, 64))
        shutil.copyfile(tmp_path / f"in/{self.DECOMPOSED}/a.mp4", tmp_path / "in/b.mp4")
        rows = [{"video": f"{self.COMPOSED}\\a.mp4"}, {"video": "b.mp4", "clip_id": self.DECOMPOSED}]
        (tmp_path / "in/drives.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        out = collect([tmp_path / "in"], tmp_path / "out", recipe())
        assert [clip.clip_id for clip in read_clips(out)] == [self.COMPOSED, "a"]
        assert not (out / "notes.jsonl").exists()

    @pytest.mark.parametrize("name", ["C:\\cam\\1.mp4", "d:/cam/1.mp4", "\\\\server\\cam\\1.mp4"])
    def test_a_drive_of_windows_is_refused_in_clear_words(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "drives.jsonl").write_text(json.dumps({"video": name}), encoding="utf-8")
        with pytest.raises(InputError, match="names a drive or a share of Windows"):
            find_videos([tmp_path])

    @pytest.mark.parametrize("name", ["..\\a.mp4", "cam\\..\\..\\a.mp4"])
    def test_backslashes_lead_no_further_than_slashes(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "a.mp4").touch()
        (tmp_path / "in/drives.jsonl").write_text(json.dumps({"video": name}), encoding="utf-8")
        with pytest.raises(InputError, match="leads out of the folder"):
            find_videos([tmp_path / "in"])


WHOLE: dict[str, dict[str, Any]] = {
    "a.mp4": {"b_frames": 2},
    "first.mp4": {"container": {"movflags": "faststart"}},
    "a.ts": {},
    "a.mkv": {"b_frames": 2},
    "a.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "a.gif": {"codec": "gif", "pixel_format": "rgb8"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    found = {
        name: write_video(folder / name, frames=12, fps=10, size=(64, 64), gop=4, **layout).read_bytes()
        for name, layout in WHOLE.items()
    }
    found["a.flv"] = write_flv(folder / "a.flv", frames=20, sound_from_s=1).read_bytes()
    found["a.h264"] = write_raw(folder / "a.h264", "libx264", frames=12).read_bytes()
    return found


@settings(deadline=None, max_examples=120)
@given(
    name=st.sampled_from([*WHOLE, "a.flv", "a.h264"]),
    cut=st.none() | st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=12),
    dropped=st.none() | st.tuples(st.floats(0, 1), st.integers(1, 400)),
)
def test_bytes_that_are_cut_or_flipped_give_frames_or_a_reason(
    whole: dict[str, bytes],
    name: str,
    cut: float | None,
    flips: list[tuple[float, int]],
    dropped: tuple[float, int] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    content = bytearray(whole[name])
    for place, change in flips:
        content[int(place * len(content))] ^= change
    if dropped:
        del content[int(dropped[0] * len(content)) :][: dropped[1]]
    if cut is not None:
        del content[int(cut * len(content)) :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / name).write_bytes(content)
    (folder / "good.gif").write_bytes(whole["a.gif"])
    out = collect([folder], folder / "out", recipe())
    clips = {clip.clip_id: clip for clip in read_clips(out)}
    reasons = {line["key"]: line["reason"] for line in lines(out / "skipped.jsonl")}
    assert set(clips) | set(reasons) == {Path(name).stem, "good"}
    assert not set(clips) & set(reasons)
    assert "good" in clips
    for clip in clips.values():
        assert len(clip.images()) == 3
        assert list(clip.timestamps_s) == sorted(clip.timestamps_s)
    for reason in reasons.values():
        assert reason.startswith(f"{folder / name}: ")
        assert len(reason.splitlines()) == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real videos are not here")
@pytest.mark.parametrize("name", ["udacity_vehdet_test_video", "cosmos_reason1_sample"])
def test_damaged_real_footage_gives_frames_or_a_reason(tmp_path: Path, name: str) -> None:
    content = (SHARED / f"{name}.mp4").read_bytes()
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 20):
            damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / f"in/{number}.mp4").write_bytes(
            damaged[: len(damaged) if number % 2 else number * 50_000 + 100]
        )
    (tmp_path / "in/whole.mp4").write_bytes(content)
    out = collect([tmp_path / "in"], tmp_path / "out", recipe())
    clips = {clip.clip_id for clip in read_clips(out)}
    assert len(clips) + len(lines(out / "skipped.jsonl")) == 13
    assert "whole" in clips

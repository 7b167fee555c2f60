"""Claims about which frames of a video are returned, on real files whose frames say which ones they are."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from barcode_video import barcode, frame_number, noisy_barcode, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.footage import container as container_module
from roadscribe.footage import packets, sampling
from roadscribe.footage.sampling import fit_size, probe, read_frames, sample_times

SHARED = Path(__file__).resolve().parents[2] / "../shared/data/videos"
PIXELS = 640 * 352

UNEVEN = list(accumulate([5, 1, 9, 2, 40, 3, 120, 1, 1, 7] * 6))
"""Presentation times in 1/600 s as a phone writes them in changing light."""

LAYOUTS: dict[str, dict[str, Any]] = {
    "even, short groups.mp4": {"gop": 12},
    "even, one group.mp4": {"gop": 250},
    "b-frames.mp4": {"gop": 250, "b_frames": 3, "options": {"b-pyramid": "normal"}},
    "b-frames, short groups.mov": {"b_frames": 3},
    "uneven.mp4": {"ticks": UNEVEN, "tick_s": Fraction(1, 600)},
    "uneven, b-frames.mov": {"ticks": UNEVEN, "tick_s": Fraction(1, 600), "b_frames": 3},
    "uneven, b-frames.mkv": {"ticks": UNEVEN, "tick_s": Fraction(1, 1000), "b_frames": 3},
    "starts late.mp4": {"ticks": range(300, 360), "b_frames": 2},
    "starts late.ts": {"ticks": range(300, 360), "b_frames": 2},
    "starts before zero.mkv": {"ticks": range(-7, 53), "fps": 25},
    "open groups.ts": {"b_frames": 3, "options": {"x264-params": "open-gop=1:b-adapt=0"}},
    "open groups.mkv": {"b_frames": 3, "fps": 25, "options": {"x264-params": "open-gop=1:b-adapt=0"}},
    "gradual refresh.mkv": {"gop": 15, "fps": 25, "options": {"x264-params": "intra-refresh=1"}},
    "fragmented.mp4": {"b_frames": 2, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "no presentation times.avi": {},
    "no presentation times, b-frames.avi": {"b_frames": 3, "options": {"x264-params": "b-adapt=0"}},
    "mpeg-4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "program stream.mpg": {"codec": "mpeg2video", "fps": 25, "b_frames": 2},
    "hevc.mp4": {"codec": "libx265", "b_frames": 3, "options": {"x265-params": "log-level=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "fps": 25},
    "ten bits.mp4": {"pixel_format": "yuv420p10le"},
}


def numbers(path: Path | sampling.VideoInfo, times: Sequence[float]) -> list[int]:
    return [frame_number(frame.image) for frame in read_frames(path, times, PIXELS)]


def problem(path: Path, times: Sequence[float] = (0.0,)) -> str:
    with pytest.raises(InputError) as caught:
        read_frames(path, times, PIXELS)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    return message


class TestAskedFramesAreReturned:
    @pytest.mark.parametrize("name", LAYOUTS)
    def test_the_frame_on_screen_at_a_moment_is_the_one_returned(self, tmp_path: Path, name: str) -> None:
        layout = LAYOUTS[name]
        path = write_video(tmp_path / name, **layout)
        ticks = layout.get("ticks", range(60))
        tick_s = layout.get("tick_s", Fraction(1, layout.get("fps", 30)))
        shown_s = [float((tick - ticks[0]) * tick_s) for tick in ticks]
        info = probe(path)
        assert info.times_s == pytest.approx(shown_s, abs=1e-9)
        assert info.damage is None

        order = [59, 3, 30, 31, 29, 3, 0, 12, 11, 47]
        frames = read_frames(info, [shown_s[n] for n in order], PIXELS)
        assert [frame_number(frame.image) for frame in frames] == order
        assert [frame.time_s for frame in frames] == pytest.approx([shown_s[n] for n in order], abs=1e-9)

        halfway = [(shown_s[n] + shown_s[n + 1]) / 2 for n in (0, 17, 58)]
        assert numbers(info, halfway) == [0, 17, 58]
        assert numbers(info, shown_s) == list(range(60))

    def test_milliseconds_of_matroska_are_its_real_times(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mkv", fps=30, frames=10)
        frames = read_frames(path, [2 / 30, 0.067], PIXELS)
        assert [(frame_number(frame.image), frame.time_s) for frame in frames] == [(1, 0.033), (2, 0.067)]

    def test_an_edit_list_hides_frames_as_players_do(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", ticks=range(-7, 53))
        info = probe(path)
        assert len(info.times_s) == 53
        assert numbers(info, [0.0, 1.0, info.duration_s]) == [7, 37, 59]

    def test_pictures_equal_those_of_decoding_everything(self, tmp_path: Path) -> None:
        """Leaving out what no other picture leans on must not change one pixel."""
        options = {"b-pyramid": "normal", "refs": "4", "x264-params": "weightb=1:open-gop=1"}
        path = write_video(tmp_path / "a.mp4", gop=25, b_frames=4, options=options, picture=noisy_barcode)
        with av.open(str(path)) as container:
            everything = [
                sampling.upright(frame, (192, 96), None)
                for frame in container.decode(container.streams.video[0])
            ]
        info = probe(path)
        wanted = [2, 7, 8, 24, 25, 26, 41, 59]
        frames = read_frames(info, [info.times_s[n] for n in wanted], 192 * 96)
        for number, frame in zip(wanted, frames, strict=True):
            assert np.array_equal(np.asarray(frame.image), np.asarray(everything[number])), number

    def test_a_decoder_that_goes_takes_no_numbers_from_another(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=30, b_frames=4, gop=15)

        def pictures(opened: tuple[Any, Any], stop: int) -> list[Any]:
            container, stream = opened
            found = []
            for number, packet in packets.numbered(container.demux(stream)):
                found += stream.codec_context.decode(packet)
                if number == stop:
                    break
            return found

        with container_module.opened(path, strict=True) as first:
            held = pictures(first, 12)
            assert len(held) > 4
            with container_module.opened(path, strict=True) as second:
                beginning = pictures(second, 12)
                held.clear()
                first[0].close()
                first[1].codec_context.flush_buffers()
                rest = second[1].codec_context.decode(None)
                came_from = [packets.number_of(frame) for frame in (*beginning, *rest)]
        assert sorted(came_from) == list(range(13))

    def test_frames_repeat_only_where_moments_share_a_frame(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=10, fps=4)
        times = sample_times("history", 10, 0.0, 2.25)
        assert numbers(path, times) == list(range(10))
        assert numbers(path, [0.3, 0.4, 0.49, 0.5]) == [1, 1, 1, 2]

    def test_a_recording_cut_out_of_a_stream_starts_at_its_first_whole_picture(self, tmp_path: Path) -> None:
        whole = write_video(tmp_path / "whole.ts", gop=20, b_frames=2, picture=noisy_barcode)
        content = whole.read_bytes()
        # The first packets (of 188 bytes) tell what the stream holds; the cut falls within a group.
        (tmp_path / "cut.ts").write_bytes(content[: 188 * 3] + content[len(content) // 188 // 2 * 188 :])
        info = probe(tmp_path / "cut.ts")
        assert info.times_s[0] == 0
        seen = numbers(info, list(info.times_s))
        assert seen == list(range(seen[0], 60))
        assert seen[0] > 20

    def test_misleading_keyframe_marks_cost_time_but_give_no_wrong_frame(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", gop=250)
        info = probe(path)
        info.packets.keys[:] = range(60)
        assert numbers(info, [0.5, 1.0, 1.9]) == [15, 30, 57]

    def test_two_frames_of_one_moment_are_told_apart_by_their_order(self, tmp_path: Path) -> None:
        ticks = [0, 40, 80, 80, 120, 160]
        path = write_video(tmp_path / "a.mkv", frames=6, ticks=ticks, tick_s=Fraction(1, 1000), gop=1)
        assert numbers(path, [0.04, 0.08, 0.12]) == [1, 3, 4]

    def test_no_group_of_pictures_is_decoded_twice(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", gop=12, frames=60, options={"x264-params": "scenecut=0"})
        info = probe(path)
        assert info.packets.keys == [0, 12, 24, 36, 48]
        assert sampling._stretches(info.packets, [55, 1, 3, 14, 20]) == [(0, 3), (12, 20), (48, 55)]

    def test_a_picture_shown_before_its_keyframe_is_decoded_from_the_one_before(self) -> None:
        stored = packets.Packets(keys=[0, 4], order=[0, 1, 2, 3, 5, 4, 6, 7])
        assert sampling._stretches(stored, [6]) == [(4, 6)]
        assert sampling._stretches(stored, [5]) == [(0, 5)]
        assert sampling._stretches(stored, [5, 7]) == [(0, 7)]

    def test_a_file_that_is_not_seekable_is_read_from_its_start(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "live.mkv", fps=25, frames=250, container={"live": "1"})
        assert numbers(path, [0.0, 6.0, 9.96]) == [0, 150, 249]


class TestShape:
    @pytest.mark.parametrize("rotation", [90, 180, 270])
    def test_a_rotated_recording_comes_out_upright(self, tmp_path: Path, rotation: int) -> None:
        size = (200, 112)

        def lying(number: int, width: int, height: int) -> np.ndarray:
            """What the sensor saw: the upright picture turned back."""
            upright = barcode(number, *(size[::-1] if rotation % 180 else size))
            return np.ascontiguousarray(np.rot90(upright, -rotation // 90))

        path = write_video(tmp_path / "a.mp4", frames=12, size=size, rotation=rotation, picture=lying)
        info = probe(path)
        assert (info.width, info.height) == ((112, 200) if rotation % 180 else (200, 112))
        frame = read_frames(info, [0.2], PIXELS)[0].image
        assert frame.size == ((128, 224) if rotation % 180 else (224, 128))
        assert frame_number(frame) == 6

    def test_pixels_that_are_not_square_are_stretched_back(self, tmp_path: Path) -> None:
        def wide(stream: Any) -> None:
            stream.codec_context.sample_aspect_ratio = Fraction(16, 11)

        info = probe(write_video(tmp_path / "a.mp4", frames=3, size=(176, 144), prepare=wide))
        assert (info.width, info.height) == (256, 144)

    @pytest.mark.parametrize("size", [(202, 114), (322, 182), (64, 360), (34, 34)])
    def test_odd_sizes_keep_their_whole_picture(self, tmp_path: Path, size: tuple[int, int]) -> None:
        frame = read_frames(write_video(tmp_path / "a.mp4", frames=4, size=size), [0.1], PIXELS)[0].image
        assert frame.width % 32 == frame.height % 32 == 0
        assert frame_number(frame) == 3

    def test_colours_come_back_as_they_went_in(self, tmp_path: Path) -> None:
        colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]

        def patches(_number: int, width: int, height: int) -> np.ndarray:
            return np.repeat([np.repeat(np.array(colours, np.uint8), width // 6, axis=0)], height, axis=0)

        for name, matrix, full in [("bt709", 1, False), ("bt601", 6, False), ("full", 5, True)]:
            path = tmp_path / f"{name}.mp4"
            with av.open(str(path), "w") as output:
                stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
                stream.width, stream.height, stream.pix_fmt = 192, 96, "yuvj444p" if full else "yuv444p"
                stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
                picture = av.VideoFrame.from_ndarray(patches(0, 192, 96), format="rgb24").reformat(
                    format=stream.pix_fmt,
                    dst_colorspace="ITU709" if matrix == 1 else "ITU601",
                    dst_color_range="JPEG" if full else "MPEG",
                )
                output.mux(stream.encode(picture))
                output.mux(stream.encode(None))
            seen = np.asarray(read_frames(path, [0.0], 192 * 96)[0].image)[48, 16::32]
            assert np.abs(seen.astype(int) - np.array(colours)).max() <= 6, name

    def test_a_camera_that_changes_its_picture_size_midway_is_refused(self, tmp_path: Path) -> None:
        parts = [write_video(tmp_path / f"{n}.ts", frames=30, size=(200 + 40 * n, 112)) for n in (0, 1)]
        joined = tmp_path / "joined.ts"
        joined.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
        assert "run backwards" in problem(joined)


class TestMoments:
    @settings(deadline=None)
    @given(st.sampled_from(["history", "start"]), st.integers(1, 64), st.floats(0, 3600), st.floats(0, 3600))
    def test_moments_are_evenly_spread_within_the_window(
        self, rule: Any, count: int, start_s: float, length_s: float
    ) -> None:
        end_s = start_s + length_s
        times = sample_times(rule, count, start_s, end_s)
        assert len(times) == count
        assert times == sorted(times)
        assert start_s <= times[0] <= times[-1] <= end_s
        steps = np.diff(times)
        assert np.allclose(steps, steps[0] if count > 1 else 0, atol=1e-9 * (1 + end_s))
        if rule == "history":
            assert times[-1] == end_s
        elif length_s > 1e-6:
            assert times[0] == start_s
            assert times[-1] < end_s

    def test_the_rules_in_numbers(self) -> None:
        assert sample_times("history", 5, 6.0, 10.0) == [6.0, 7.0, 8.0, 9.0, 10.0]
        assert sample_times("history", 1, 6.0, 10.0) == [10.0]
        assert sample_times("start", 4, 6.0, 10.0) == [6.0, 7.0, 8.0, 9.0]

    @settings(deadline=None)
    @given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1024, 400_000))
    def test_a_size_is_a_multiple_of_32_within_the_budget(self, width: int, height: int, pixels: int) -> None:
        fitted = fit_size(width, height, pixels)
        assert fitted[0] % 32 == fitted[1] % 32 == 0
        assert min(fitted) >= 32
        assert fitted[0] * fitted[1] <= pixels

    @settings(deadline=None)
    @given(st.integers(640, 4000), st.integers(360, 4000))
    def test_common_pictures_are_hardly_stretched(self, width: int, height: int) -> None:
        if 1 / 2.4 <= width / height <= 2.4:
            fitted = fit_size(width, height, PIXELS)
            assert abs(math.log(fitted[0] / fitted[1] * height / width)) < 0.07
            assert fitted[0] * fitted[1] > 0.6 * min(PIXELS, width * height)

    @pytest.mark.parametrize(
        ("source", "fitted"),
        [
            ((640, 360), (640, 352)),
            ((1280, 720), (640, 352)),
            ((1920, 1080), (640, 352)),
            ((1440, 1080), (512, 384)),
            ((1080, 1920), (352, 640)),
            ((320, 192), (320, 192)),
            ((3, 5), (32, 64)),
            ((9000, 10), (7040, 32)),
        ],
    )
    def test_sizes_in_numbers(self, source: tuple[int, int], fitted: tuple[int, int]) -> None:
        assert fit_size(*source, PIXELS) == fitted


class TestBadFiles:
    def test_cut_off_before_its_index(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        assert "without its index, as a recording that was cut off" in problem(path)

    def test_what_is_left_of_a_cut_file_is_exact_and_the_cut_is_known(self, tmp_path: Path) -> None:
        layout = {"frames": 300, "picture": noisy_barcode, "size": (100, 64)}
        index_first = write_video(tmp_path / "a.mp4", container={"movflags": "faststart"}, **layout)
        matroska = write_video(tmp_path / "b.mkv", sound_s=10, **layout)
        for path in (index_first, matroska):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            info = probe(path)
            assert info.damage is not None
            assert "is cut short" in info.damage
            assert info.duration_s < 9
            last = len(info.times_s) - 1
            assert numbers(info, [0.0, float(info.times_s[-1])]) == [0, last]

    def test_sound_that_outlasts_the_pictures_is_no_damage(self, tmp_path: Path) -> None:
        assert probe(write_video(tmp_path / "a.mkv", frames=60, sound_s=9)).damage is None
        assert probe(write_video(tmp_path / "a.mp4", frames=60, sound_s=9)).damage is None

    def test_a_damaged_frame_is_refused_and_the_others_are_still_given(self, tmp_path: Path) -> None:
        settings = {"x264-params": "scenecut=0"}
        path = write_video(tmp_path / "a.mp4", frames=48, gop=12, picture=noisy_barcode, options=settings)
        content = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            at = [packet.pos for packet in container.demux(video=0) if packet.size][30]
        content[at + 100 : at + 300] = np.random.default_rng(0).bytes(200)
        path.write_bytes(content)
        assert numbers(path, [0.1, 29 / 30, 36 / 30]) == [3, 29, 36]
        assert "is damaged near 1.0 s" in problem(path, [30 / 30])
        assert "is damaged near 1.0 s" in problem(path, [33 / 30])

    def test_things_that_are_no_video(self, tmp_path: Path) -> None:
        words = tmp_path / "words.mp4"
        words.write_text("not a video\n" * 100)
        assert "cannot be read as a video" in problem(words)
        picture = tmp_path / "picture.mp4"
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        assert "is a PNG picture, not a video" in problem(picture)
        sound = tmp_path / "sound.m4a"
        with av.open(str(sound), "w") as output:
            stream = output.add_stream("aac", rate=8000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, 0
            output.mux(stream.encode(silence))
            output.mux(stream.encode(None))
        assert "holds only sound" in problem(sound)
        assert "is a folder" in problem(tmp_path)
        empty = tmp_path / "empty.mp4"
        empty.touch()
        assert "is empty (0 bytes)" in problem(empty)

    def test_a_container_without_frames(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", container={"movflags": "frag_keyframe+empty_moov"})
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"moof") - 4])
        assert "holds no frames" in problem(path)

    def test_a_playlist_opens_no_other_file_and_no_address(self, tmp_path: Path) -> None:
        write_video(tmp_path / "secret.ts")
        playlist = tmp_path / "playlist.mp4"
        playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n")
        assert "cannot be read as a video" in problem(playlist)
        playlist.write_text("ffconcat version 1.0\nfile secret.ts\n")
        assert "cannot be read as a video" in problem(playlist)

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        assert "no such file" in problem(tmp_path / "none.mp4")
        link = tmp_path / "link.mp4"
        link.symlink_to(tmp_path / "nowhere.mp4")
        assert "is a link to a file that is not there" in problem(link)
        assert "File name too long" in problem(tmp_path / ("x" * 300))

    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.mp4")
        assert "is not a regular file" in problem(tmp_path / "pipe.mp4")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4")
        path.chmod(0)
        assert "Permission denied" in problem(path)

    def test_a_small_file_that_claims_a_huge_picture(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.gif", frames=3, codec="gif", pixel_format="rgb8")
        content = bytearray(path.read_bytes())
        content[6:10] = b"\xff\xff\xff\xff"
        path.write_bytes(content)
        assert "can be decoded" in problem(path)

    def test_pictures_beyond_8k_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_video(tmp_path / "a.mp4")
        monkeypatch.setattr(container_module, "MAX_SOURCE_PIXELS", 200 * 112 - 1)
        assert "200x112 pixels, more than 8K" in problem(path)

    def test_a_file_over_the_limit(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        with path.open("wb") as file:
            file.truncate(5_000_001)
        with pytest.raises(InputError, match=r"has 6 MB, more than footage\.max_file_mb=5"):
            probe(path, max_file_mb=5)

    def test_a_moment_after_the_end(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4")
        assert numbers(path, [2.0]) == [59]
        assert "ends after 2.00 s, so it has no frame at 2.10 s" in problem(path, [0.0, 2.1])

    def test_a_video_of_one_frame(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.mp4", frames=1)
        assert numbers(path, [0.0, 0.0, 0.0]) == [0, 0, 0]

    @pytest.mark.parametrize(
        "name",
        [
            "with space.mp4",
            "straße 🚗.mp4",
            "two\nlines.mp4",
            "-dash.mp4",
            "a:b|c.mp4",
            "%d.mp4",
            "http:a.mp4",
        ],
    )
    def test_any_file_name_will_do(self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        write_video(tmp_path / "plain.mp4").rename(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert numbers(Path(name), [1.0]) == [30]
        (tmp_path / name).write_bytes(b"broken")
        problem(Path(name))

    def test_a_file_name_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
        write_video(tmp_path / "plain.mp4").rename(path)
        assert numbers(path, [1.0]) == [30]
        path.write_bytes(b"broken")
        assert r"caf\xe9.mp4" in problem(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real videos are not here")
@pytest.mark.parametrize(
    "name", ["udacity_solidWhiteRight", "udacity_vehdet_test_video", "cosmos_reason1_sample"]
)
def test_ten_frames_of_real_footage_equal_those_of_decoding_everything(name: str) -> None:
    path = SHARED / f"{name}.mp4"
    info = probe(path)
    times = sample_times("history", 10, 0.0, float(info.times_s[-1]))
    frames = read_frames(info, times, PIXELS)
    assert len({frame.time_s for frame in frames}) == 10
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = {float(frame.pts * stream.time_base): frame for frame in container.decode(stream)}
    begin = min(decoded)
    for frame in frames:
        nearest = min(decoded, key=lambda time: abs(time - begin - frame.time_s))
        assert abs(nearest - begin - frame.time_s) < 1e-6
        expected = sampling.upright(decoded[nearest], frame.image.size, None)
        assert np.array_equal(np.asarray(frame.image), np.asarray(expected))

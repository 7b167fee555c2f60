"""Claims about a CSV beside a video: units are read from the header, never guessed, and bad rows are listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from barcode_video import write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.clip import read_clips
from roadscribe.curate.now import evidence_now
from roadscribe.errors import InputError
from roadscribe.footage.collect import collect
from roadscribe.footage.telemetry_csv import NoTelemetry, check_telemetry, read_telemetry
from roadscribe.recipe import load_recipe

RECIPE = load_recipe(None, ["footage.frames=2", "footage.max_pixels=24576"])


def table(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "speed", "mps"),
    [
        ("speed_mps", 10, 10), ("speed_kmh", 36, 10), ("speed_mph", 10, 4.4704), ("Speed (km/h)", 72, 20),
        ("Speed [m/s]", 3, 3), ("speedKmh", 36, 10), ("gps_speed_kph", 36, 10), ("vehicle speed km/h", 36, 10),
        ("velocity_m_s", 2, 2), ("v_mps", 2, 2), ("speed_knots", 10, 5.14444), ('"speed_kmh"', 36, 10),
        ("ego_speed_meters_per_second", 4, 4), ("SPEED_KMH", 36, 10), ("speed_miles_per_hour", 10, 4.4704),
    ],
)  # fmt: skip
def test_speed_units_come_from_the_header(tmp_path: Path, header: str, speed: float, mps: float) -> None:
    (reading,), notes = read_telemetry(table(tmp_path, f"time_s,{header}\n1.5,{speed}\n"))
    assert (reading.time_s, reading.speed_mps) == (1.5, pytest.approx(mps, rel=1e-4))
    assert notes == ()


@pytest.mark.parametrize(
    ("header", "cell", "time_s"),
    [
        ("time_s", "2.5", 2.5), ("timestamp_ms", "2500", 2.5), ("t_s", "2.5", 2.5), ("Time (s)", "2.5", 2.5),
        ("timestamp_us", "2500000", 2.5), ("elapsed_seconds", "2.5", 2.5), ("seconds", "2.5", 2.5),
        ("time_ns", "2500000000", 2.5), ("video_time_ms", "2500", 2.5), ("Timestamp [µs]", "2500000", 2.5),
    ],
)  # fmt: skip
def test_time_units_come_from_the_header(tmp_path: Path, header: str, cell: str, time_s: float) -> None:
    (reading,), _ = read_telemetry(table(tmp_path, f"{header},speed_mps\n{cell},1\n"))
    assert reading.time_s == pytest.approx(time_s)


def test_course_and_position(tmp_path: Path) -> None:
    text = "time_s,speed_mps,course,lat,lon\n0,1,90,40.5,-74.25\n"
    (reading,), _ = read_telemetry(table(tmp_path, text))
    assert (reading.course_deg, reading.latitude, reading.longitude) == (90, 40.5, -74.25)
    (reading,), _ = read_telemetry(table(tmp_path, "time_s,heading_rad\n0,3.14159265\n"))
    assert (reading.course_deg, reading.speed_mps) == (pytest.approx(180), None)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("time_s,speed", "column `speed`: its unit is not said; name it speed_mps, speed_kmh, speed_mph"),
        (
            "time_s,speed_furlongs",
            "column `speed_furlongs`: the unit 'furlongs' is not known; name it speed_mps",
        ),
        ("time,speed_mps", "column `time`: its unit is not said; name it time_s, time_ms, epoch_s"),
        ("timestamp,speed_mps", "column `timestamp`: its unit is not said"),
        ("time_s,course_turns", "column `course_turns`: the unit 'turns' is not known; name it course_deg"),
        ("time_s,gps_speed_mps,obd_speed_kmh", "2 columns of speed (gps_speed_mps, obd_speed_kmh); keep one"),
    ],
)
def test_an_unknown_unit_is_an_error_that_says_what_to_name_the_column(
    tmp_path: Path, header: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_telemetry(table(tmp_path, f"{header}\n0,1,2\n"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "header",
    ["frame,x,y,w,h", "time_s,label", "speed_kmh,gear", "", "time_s,speed_limit_kmh", "time_s,battery_v"],
)
def test_a_table_of_something_else_is_no_telemetry(tmp_path: Path, header: str) -> None:
    with pytest.raises(NoTelemetry):
        check_telemetry(table(tmp_path, f"{header}\n"))


def test_rows_without_numbers_are_listed(tmp_path: Path) -> None:
    text = "time_s,speed_kmh\n0,0\n1,18\n\nnan,5\n2,NaN\n3,36\n4,inf\n5\n6,-1\n,7\n7,x\n8,1_0\n"
    telemetry, notes = read_telemetry(table(tmp_path, text))
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [(0, 0), (1, 5), (3, 10)]
    assert notes == (
        "a.csv: line 9 with fewer cells than the header, what is missing taken as unknown",
        "a.csv: lines 5, 11 without a time left out",
        "a.csv: line 10 with a speed below zero, taken as unknown",
        "a.csv: lines 6, 8, 9, 10, 12 and 1 more without a number beside the time left out",
    )


def test_a_clock_that_was_restarted_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, "time_s,speed_kmh\n0,1\n5,2\n0,3\n5,4\n")
    with pytest.raises(
        InputError, match=r"a\.csv:4: the time falls from 5 s \(line 3\) to 0 s, as where a clock"
    ):
        read_telemetry(path)


def test_rows_that_are_swapped_within_a_second_are_put_in_order_and_said(tmp_path: Path) -> None:
    telemetry, notes = read_telemetry(table(tmp_path, "time_s,speed_mps\n0,1\n0.2,3\n0.1,2\n0.2,9\n"))
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [(0, 1), (0.1, 2), (0.2, 3)]
    assert notes == (
        "a.csv: line 4 earlier than a row above by at most 1 s, put in order",
        "a.csv: line 5 with the time of a row before left out",
    )


def test_rows_are_compared_with_the_header(tmp_path: Path) -> None:
    telemetry, notes = read_telemetry(table(tmp_path, "time_s,speed_mps\n0,1\n1,5,2\n2,3,\n3,4\n"))
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [(0, 1), (2, 3), (3, 4)]
    assert notes == ("a.csv: line 3 with more cells than the header left out",)
    with pytest.raises(InputError, match=r"a\.csv:2: has 4 cells, the header 2 columns.*decimal commas"):
        read_telemetry(table(tmp_path, "time_s,speed_kmh\n0,5,36,2\n1,5,37,2\n"))
    telemetry, notes = read_telemetry(table(tmp_path, "time_s,course,speed_mps\n0,9,1\n1,9\n2,9,3\n3,1"))
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [(0, 1), (1, None), (2, 3)]
    assert notes == (
        "a.csv: line 5 at the file's end with fewer cells than the header, left out",
        "a.csv: line 3 with fewer cells than the header, what is missing taken as unknown",
    )


@pytest.mark.parametrize(
    ("text", "readings", "said"),
    [
        ("time_s\tspeed_mps\n0,5\t1,25\n1,0\t1,000\n", [(0.5, 1.25), (1, 1)], None),
        ("time_s;speed_mps\n0.5;1\n1.5;1,000\n", [(0.5, 1), (1.5, 1000)], "`1,000` is read as 1000"),
        (
            "time_ms;speed_kmh\n1.000;36,0\n2.000;72,5\n",
            [(1, 10), (2, 72.5 / 3.6)],
            "`1.000` is read as 1000",
        ),
        (
            "time_s\tspeed_mps\n1.000\t36\n",
            [(1, 36)],
            "`1.000` is read as 1 (its numbers have a decimal point)",
        ),
        ("time_s,speed_mps\n1.000,36\n", [(1, 36)], None),
        ('time_s,speed_mps\n"0,5","1,5"\n', [(0.5, 1.5)], None),
        ("time_ms;speed_mps\n1,234.5;2\n", [(1.2345, 2)], None),
        ("time_ms;speed_mps\n1.234,5;2\n", [(1.2345, 2)], None),
    ],
)
def test_a_tables_own_cells_say_what_a_comma_is(
    tmp_path: Path, text: str, readings: list[tuple[float, float]], said: str | None
) -> None:
    telemetry, notes = read_telemetry(table(tmp_path, text))
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [pytest.approx(pair) for pair in readings]
    assert (said in notes[0]) if said else notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time_s;speed_kmh\n1;1,000\n", "`1,000` may be 1000 or 1"),
        ("time_s\tspeed_kmh\n1\t36,000\n", "`36,000` may be 36000 or 36"),
        ("time_s;speed_kmh\n1.000;36\n", "`1.000` may be 1000 or 1"),
        ("time_s;speed_kmh\n0,5;36.5\n", "`0,5` has a decimal comma, `36.5` a decimal point"),
    ],
)
def test_a_number_that_may_be_two_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_telemetry(table(tmp_path, text))
    assert said in str(caught.value)
    assert "without groups of thousands" in str(caught.value)


ISO = "timestamp,speed_mps\n2024-01-31T12:00:00.5Z,1\n2024-01-31 13:00:01+01:00,2\n"


def test_dates_become_the_videos_time_where_its_start_is_known(tmp_path: Path) -> None:
    telemetry, notes = read_telemetry(table(tmp_path, ISO), start_epoch_s=1706702400)
    assert [(item.time_s, item.speed_mps) for item in telemetry] == [(0.5, 1), (1, 2)]
    assert notes == ()
    check_telemetry(table(tmp_path, ISO))
    with pytest.raises(InputError) as caught:
        read_telemetry(table(tmp_path, ISO))
    assert "a.csv:2: `2024-01-31T12:00:00.5Z` is a date, and it is not known when the video begins" in str(
        caught.value
    )
    assert '"telemetry_start_s": 1706702400.500' in str(caught.value)


def test_a_date_without_a_zone_is_no_moment(tmp_path: Path) -> None:
    text = "{},speed_mps\n2024-01-31T12:00:00,1\n"
    with pytest.raises(InputError, match="has no time zone; write it with Z"):
        read_telemetry(table(tmp_path, text.format("datetime")), start_epoch_s=1706702400)
    telemetry, _ = read_telemetry(table(tmp_path, text.format("utc_time")), start_epoch_s=1706702399)
    assert telemetry[0].time_s == 1
    with pytest.raises(InputError, match="`12:00:00` is a time of day without a date"):
        check_telemetry(table(tmp_path, "time,speed_mps\n12:00:00,1\n"))


def test_a_manifest_says_when_a_video_with_dates_begins(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=20, fps=10, size=(160, 96))
    table(tmp_path, ISO)
    row = '{"video": "a.mp4", "telemetry": "a.csv", "telemetry_start_s": 1706702400}'
    (tmp_path / "drives.jsonl").write_text(row, encoding="utf-8")
    (clip,) = read_clips(collect([tmp_path], tmp_path / "out", RECIPE))
    assert [item.time_s for item in clip.evidence.telemetry] == [0.5, 1]


def test_a_reading_with_a_course_is_kept_where_its_speed_is_missing(tmp_path: Path) -> None:
    (reading,), notes = read_telemetry(table(tmp_path, "time_s,speed_kmh,course_deg\n1,nan,45\n"))
    assert (reading.speed_mps, reading.course_deg, notes) == (None, 45, ())


def test_times_since_1970_become_the_videos_only_where_the_header_says_so(tmp_path: Path) -> None:
    rows = "1600000000000,18\n1600000001000,36\n"
    path = table(tmp_path, "timestamp_ms,speed_kmh\n" + rows)
    with pytest.raises(
        InputError, match="which no video does; if they count from 1970, call the column epoch_s"
    ):
        read_telemetry(path)
    path = table(tmp_path, "epoch_ms,speed_kmh\n" + rows)
    telemetry, notes = read_telemetry(path)
    assert [item.time_s for item in telemetry] == [0, 1]
    assert notes == ("a.csv: times count from the first reading, 1600000000.000 s after 1970",)
    telemetry, notes = read_telemetry(path, start_epoch_s=1599999990)
    assert [item.time_s for item in telemetry] == [10, 11]
    assert notes == ()
    both = table(tmp_path, "unix_time_s,time_s,speed_kmh\n1600000001,4,36\n")
    assert read_telemetry(both).telemetry[0].time_s == 4


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftime_s,speed_kmh\r\n1,36\r\n",
        "time_s\tspeed_kmh\n1\t36\n".encode("utf-16"),
        b"time_s;speed_kmh\n1,0;36,0\n",
        "# logger 3\n# é\n\ntime_s,speed_kmh\n1,36\n".encode(),
        b'"time_s","speed_kmh"\n"1","36"\n',
        b"time_s|speed_kmh|note\n1|36|a,b,c\n",
        "\ufefftime_s,speed_kmh\n1,36\n".encode("utf-16-be"),
    ],
)
def test_what_spreadsheets_and_loggers_write(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    (reading,), notes = read_telemetry(path)
    assert (reading.time_s, reading.speed_mps, notes) == (1, pytest.approx(10), ())


def test_what_bytes_were_taken_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for encoding, name in (("latin-1", "Latin-1"), ("utf-16-le", "UTF-16")):
        path.write_bytes("Zeit time [µs],speed_kmh\n1000000,36\n".replace("Zeit ", "").encode(encoding))
        (reading,), notes = read_telemetry(path)
        assert (reading.time_s, reading.speed_mps) == (1, pytest.approx(10))
        assert notes == (f"a.csv: is not in UTF-8: read as {name}",)


CELLS = st.sampled_from(
    ["0", "1", "2.5", "3,5", "1,000", "1.000", "1.234,5", '"4,5"', "-1", "", "x", "nan", "1_0", "9e3", "12:00",
     "2024-01-31T12:00:00Z"]
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    header=st.sampled_from(
        ["time_s,speed_kmh", "time_s;speed_mps", "epoch_ms\tspeed_mph\tcourse", "time,speed_kmh"]
    ),
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6),
    start=st.none() | st.just(1706702400.0),
)
def test_every_row_of_a_table_is_a_reading_or_is_listed(
    header: str, rows: list[list[str]], start: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    delimiter = next(char for char in ",;\t" if char in header)
    lines = [header, *(delimiter.join(cells) for cells in rows)]
    path = table(tmp_path_factory.mktemp("csv"), "\n".join(lines) + "\n")
    try:
        telemetry, notes = read_telemetry(path, start_epoch_s=start)
    except (InputError, NoTelemetry) as error:
        assert len(str(error).splitlines()) == 1
        return
    assert [item.time_s for item in telemetry] == sorted({item.time_s for item in telemetry})
    listed = sum(_lines_in(note) for note in notes if note.endswith("left out"))
    written = sum(bool(line.replace(delimiter, "").replace('""', "").strip()) for line in lines[1:])
    assert len(telemetry) + listed == written


def _lines_in(note: str) -> int:
    found = re.match(r"a\.csv: lines? (\d+(?:, \d+)*)(?: and (\d+) more)?", note)
    assert found
    return len(found[1].split(",")) + int(found[2] or 0)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=80) | st.text(alphabet='time_s,speed_kmh\n\r";0123456789.-', max_size=80))
def test_any_bytes_are_a_table_or_one_clear_line(
    content: bytes | str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        read_telemetry(path)
    except NoTelemetry:
        pass
    except InputError as error:
        assert len(str(error).splitlines()) == 1


def test_a_csv_called_like_its_video_travels_with_the_clip(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(tmp_path / name, frames=20, fps=10, size=(160, 96))
    table(tmp_path, "time_s,speed_kmh\n0,18\n1,36\n2,54\n2,\n", "a.CSV")
    table(tmp_path, "frame,x,y\n1,2,3\n", "b.csv")
    out = collect([tmp_path], tmp_path / "out", RECIPE)
    a, b, c = read_clips(out)
    assert evidence_now(a).speed_kmh == pytest.approx(52.2)
    assert b.evidence.telemetry == c.evidence.telemetry == ()
    notes = (out / "notes.jsonl").read_text()
    assert "a.CSV: line 5 without a number beside the time left out" in notes
    assert "has no column of time" in notes


@pytest.mark.parametrize("speed", ["999", "1e9"])
def test_a_speed_that_no_car_has_is_noted_when_it_is_collected_and_is_no_evidence(
    tmp_path: Path, speed: str
) -> None:
    write_video(tmp_path / "a.mp4", frames=20, fps=10, size=(160, 96))
    table(tmp_path, f"time_s,speed_kmh\n0,18\n1,{speed}\n1.9,{speed}\n2,{speed}\n", "a.csv")
    out = collect([tmp_path], tmp_path / "out", RECIPE)
    (clip,) = read_clips(out)
    assert evidence_now(clip).speed_kmh is None
    assert "3 of 4 speeds are implausible" in (out / "notes.jsonl").read_text(encoding="utf-8")


def test_a_csv_that_cannot_be_read_does_not_end_the_run(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=5, fps=10, size=(160, 96))
    (tmp_path / "a.csv").mkdir()
    out = collect([tmp_path], tmp_path / "out", RECIPE)
    assert len(list(read_clips(out))) == 1
    assert "cannot be read; not used as telemetry" in (out / "notes.jsonl").read_text(encoding="utf-8")


def test_a_csv_named_by_hand_belongs_to_one_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames=20, fps=10, size=(160, 96))
    log = table(tmp_path, "time_s,speed_mps\n1.8,5\n", "log.csv")
    out = collect([tmp_path / "a.mp4"], tmp_path / "out", RECIPE, telemetry=log)
    (clip,) = read_clips(out)
    assert evidence_now(clip).speed_kmh == pytest.approx(18)
    with pytest.raises(InputError, match="belongs to one video, 2 are given"):
        collect([tmp_path], tmp_path / "out2", RECIPE, telemetry=log)
    for broken, said in (
        (table(tmp_path, "x,y\n", "x.csv"), "has no column of time"),
        (tmp_path / "no.csv", "no such"),
    ):
        with pytest.raises(InputError, match=said):
            collect([tmp_path / "a.mp4"], tmp_path / "out2", RECIPE, telemetry=broken)


def test_a_unit_that_is_not_known_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=5, fps=10, size=(160, 96))
    table(tmp_path, "time_s,speed\n0,1\n")
    with pytest.raises(InputError, match="column `speed`: its unit is not said"):
        collect([tmp_path], tmp_path / "out", RECIPE)
    assert not (tmp_path / "out").exists()

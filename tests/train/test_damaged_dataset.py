"""A dataset whose files were cut, emptied or changed is one line that names the file, never a shorter dataset."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from roadscribe.curate.saved import END_OF_STREAM, STATE, file_sha256
from roadscribe.errors import InputError
from roadscribe.recipe import Footage
from roadscribe.train.dataset import check_rows, open_rows
from training_rows import make_row, save_rows

FOOTAGE = Footage(frames=2, max_pixels=6144)
SHARD = "train/data-00000-of-00001.arrow"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three rows whose state holds its file's SHA-256, as `curate` leaves it."""
    folder = save_rows(
        tmp_path_factory.mktemp("recorded") / "dataset", [make_row(index) for index in range(3)]
    )
    record(folder)
    return folder


def record(folder: Path) -> None:
    state = json.loads((folder / "train" / STATE).read_text())
    for file in state["_data_files"]:
        file["sha256"] = file_sha256(folder / "train" / file["filename"])
    (folder / "train" / STATE).write_text(json.dumps(state))


def copy(folder: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(folder, to))


@pytest.mark.parametrize(
    ("keep", "why"), [(0, "is empty"), (5000, "is cut off or damaged"), (-len(END_OF_STREAM), "is cut off")]
)
@pytest.mark.parametrize("checksums", [True, False])
def test_an_empty_or_cut_file_is_named(
    eight_rows: Path, tmp_path: Path, keep: int, why: str, checksums: bool
) -> None:
    """The last case is a stream cut after its last batch, which Arrow itself reads without a word."""
    folder = copy(eight_rows, tmp_path / "cut")
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[:keep])
    with pytest.raises(InputError) as caught:
        open_rows(folder, checksums=checksums)
    assert str(caught.value).startswith(str(folder / SHARD)) and why in str(caught.value)
    assert "roadscribe curate" in str(caught.value)


def test_a_missing_file_and_a_damaged_state_are_named(eight_rows: Path, tmp_path: Path) -> None:
    folder = copy(eight_rows, tmp_path / "damaged")
    (folder / SHARD).unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001\.arrow: cannot be read \(No such file"):
        open_rows(folder)
    (folder / "train" / STATE).write_text("[]")
    with pytest.raises(InputError, match=r"state\.json: does not list the files"):
        open_rows(folder)
    (folder / "train" / STATE).write_text('{"_data')
    with pytest.raises(InputError, match=r"state\.json: not valid JSON"):
        open_rows(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([SHARD, SHARD, f"train/{STATE}", "train/dataset_info.json", "dataset_dict.json"]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    cut=st.booleans(),
)
@example(name=SHARD, place=0.5, bit=0, cut=False)
def test_no_cut_and_no_flipped_bit_changes_what_is_learned(
    recorded: Path, tmp_path: Path, tiny_processor: Any, name: str, place: float, bit: int, cut: bool
) -> None:
    folder = copy(recorded, tmp_path / "fuzzed")
    content = bytearray((folder / name).read_bytes())
    where = int(place * len(content))
    if cut:
        del content[where:]
    else:
        content[where] ^= 1 << bit
    (folder / name).write_bytes(content)
    try:
        facts = check_rows(open_rows(folder, checksums=True), tiny_processor, FOOTAGE, 8192)
    except InputError as error:
        assert "\n" not in str(error)
        return
    undamaged = check_rows(open_rows(recorded), tiny_processor, FOOTAGE, 8192)
    assert facts == undamaged


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_without_a_recorded_checksum_ends_in_one_line_or_in_other_rows(
    eight_rows: Path, tmp_path: Path, tiny_processor: Any, place: float, bit: int
) -> None:
    folder = copy(eight_rows, tmp_path / "fuzzed")
    content = bytearray((folder / SHARD).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (folder / SHARD).write_bytes(content)
    try:
        facts = check_rows(open_rows(folder, checksums=True), tiny_processor, FOOTAGE, 8192)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(facts.tokens) == 8


def huge_png() -> bytes:
    """A PNG of a few bytes whose header says 30000 x 30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_an_oversized_picture_is_named_by_its_row_and_its_pixels(tmp_path: Path, tiny_processor: Any) -> None:
    row = make_row(1)
    row["images"][1] = {"bytes": huge_png(), "path": None}
    rows = open_rows(save_rows(tmp_path / "dataset", [make_row(0), row]))
    with pytest.raises(
        InputError,
        match=r"row 1 \(clip clip-1\): an image is far too large to be a frame \(.*900000000 pixels",
    ):
        check_rows(rows, tiny_processor, FOOTAGE, 8192)


def test_a_long_text_in_another_script_is_counted_as_words_and_the_advice_is_about_words(
    tmp_path: Path, tiny_processor: Any
) -> None:
    text = "前方有一辆白色轿车，距离大约二十米，道路两旁有树木。" * 40
    row = make_row(0, completion=[{"role": "assistant", "content": text}])
    rows = open_rows(save_rows(tmp_path / "dataset", [row]))
    check_rows(rows, tiny_processor, FOOTAGE, 8192)
    with pytest.raises(InputError) as caught:
        check_rows(rows, tiny_processor, FOOTAGE, 1024)
    assert "12 of them of its frames" in str(caught.value)
    assert "shorten question and answer" in str(caught.value)
    assert "fewer or smaller frames" not in str(caught.value)


def test_a_picture_of_any_format_that_pillow_cannot_take_is_one_line(
    tmp_path: Path, tiny_processor: Any
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (96, 64)).save(file, "TIFF")
    row = make_row(0)
    row["images"][0] = {"bytes": file.getvalue()[:20], "path": None}
    rows = open_rows(save_rows(tmp_path / "dataset", [row]))
    with pytest.raises(InputError, match=r"row 0 \(clip clip-0\): an image cannot be read"):
        check_rows(rows, tiny_processor, FOOTAGE, 8192)

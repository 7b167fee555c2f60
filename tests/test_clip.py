"""Claims about clips on disk: what is written is read back, by us and by Hugging Face's datasets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from roadscribe.clip import (
    Box,
    Clip,
    Evidence,
    FrameLabels,
    Provenance,
    Telemetry,
    Truth,
    clip_schema,
    clips_to_table,
    read_clips,
)
from roadscribe.errors import InputError
from roadscribe.report import DrivingParameters

PARAMETERS = DrivingParameters(
    road_type="urban",
    lane_count=None,
    ego_lane_position="middle",
    traffic_light_state="red",
    pedestrian_on_road=True,
    closest_vehicle_distance=12,
    ego_vehicle_speed=0,
    road_curvature="straight",
    weather="rainy",
    visibility="moderate",
    traffic_density="low",
    risk_factor="high",
)


def jpeg(shade: int, size: tuple[int, int] = (64, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def make_clip(number: int = 0, **changes: object) -> Clip:
    values: dict[str, object] = {
        "clip_id": f"clip {number}",
        "drive_id": "drive",
        "source": "folder",
        "frames": (jpeg(10 * number), jpeg(10 * number + 5)),
        "timestamps_s": (0.5, 1.0),
        "width": 64,
        "height": 32,
        "provenance": Provenance(path="videos/straße 🚗.mp4", size_bytes=10, sha256="ab" * 32),
    }
    return Clip.model_validate({**values, **changes})


def write_shard(folder: Path, clips: list[Clip], name: str = "clips-00000.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(clips_to_table(clips), folder / name, row_group_size=2)
    return folder / name


times = st.floats(0, 1e6, allow_nan=False)
evidence = st.builds(
    Evidence,
    labels=st.lists(
        st.builds(
            FrameLabels,
            time_s=times,
            weather=st.none() | st.text(max_size=8),
            boxes=st.lists(
                st.builds(Box, category=st.text(max_size=8), x1=times, y1=times, x2=times, y2=times)
            ).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    telemetry=st.lists(st.builds(Telemetry, time_s=times, speed_mps=st.none() | times), max_size=3).map(
        tuple
    ),
    truth=st.none() | st.builds(Truth, time_s=times, parameters=st.just(PARAMETERS)),
)


@settings(max_examples=25, deadline=None)
@given(known=evidence, name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_clip_comes_back_from_disk_as_it_was(
    known: Evidence, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("clips")
    clip = make_clip(clip_id=name, evidence=known)
    write_shard(folder, [clip])
    assert list(read_clips(folder)) == [clip]


def test_clips_come_in_the_order_of_their_shards(tmp_path: Path) -> None:
    clips = [make_clip(number) for number in range(7)]
    write_shard(tmp_path, clips[4:], "clips-00001.parquet")
    write_shard(tmp_path, clips[:4], "clips-00000.parquet")
    assert list(read_clips(tmp_path)) == clips
    assert [image.size for image in clips[0].images()] == [(64, 32), (64, 32)]
    assert clips[0].now_s == 1.0


def test_hugging_face_datasets_shows_the_frames_as_pictures(tmp_path: Path) -> None:
    import datasets

    path = write_shard(tmp_path / "clips", [make_clip(number) for number in range(3)])
    rows = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"), keep_in_memory=True
    )
    assert rows.column_names == clip_schema().names
    row = rows[2]
    assert row["clip_id"] == "clip 2"
    assert row["timestamps_s"] == [0.5, 1.0]
    assert [picture.size for picture in row["frames"]] == [(64, 32), (64, 32)]
    assert abs(int(np.asarray(row["frames"][1])[5, 5, 0]) - 25) <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": ()},
        {"timestamps_s": (0.5,)},
        {"timestamps_s": (1.0, 0.5)},
        {"timestamps_s": (0.5, float("nan"))},
        {"width": 0},
        {"clip_id": ""},
        {"more": 1},
        {"evidence": {"telemetry": [{"time_s": 1.0, "speed_mps": -1.0}]}},
        {"evidence": {"telemetry": [{"time_s": float("inf")}]}},
    ],
)
def test_a_clip_that_contradicts_itself_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_clip(**changes)


def test_frames_of_the_same_moment_are_allowed() -> None:
    assert make_clip(timestamps_s=(1.0, 1.0)).now_s == 1.0


def damage_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[-len(content) // 4 :])


def drop_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["evidence"]), path)


def break_evidence(path: Path) -> None:
    table = pq.read_table(path)
    column = pa.array(['{"labels": 3}'] * len(table))
    pq.write_table(table.set_column(table.schema.names.index("evidence"), "evidence", column), path)


def empty_frames(path: Path) -> None:
    table = pq.read_table(path)
    column = pa.nulls(len(table), clip_schema().field("frames").type)
    pq.write_table(table.set_column(table.schema.names.index("frames"), "frames", column), path)


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"PAR1 no"), damage_tail, drop_column, break_evidence, empty_frames],
)
def test_a_shard_that_is_none_is_named_in_one_line(tmp_path: Path, spoil: object) -> None:
    path = write_shard(tmp_path, [make_clip(number) for number in range(5)])
    assert callable(spoil)
    spoil(path)
    with pytest.raises(InputError, match=r"clips-00000\.parquet: not a shard of clips") as caught:
        list(read_clips(tmp_path))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_a_folder_without_clips_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make them with `roadscribe collect`"):
        list(read_clips(tmp_path))
    with pytest.raises(InputError, match="no such folder"):
        list(read_clips(tmp_path / "none"))

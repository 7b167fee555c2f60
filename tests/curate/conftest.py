"""Simulated clips with drawn frames for the curate tests, made without a video in between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from roadscribe.annotate.annotate import annotate
from roadscribe.artifacts import finish, open_output
from roadscribe.clip import Clip, Provenance, clips_to_table
from roadscribe.recipe import load_recipe
from roadscribe.simulator import make_drive
from roadscribe.simulator.record import evidence_at


def clip_of_seed(seed: int) -> Clip:
    """Two frames of one simulated drive, the second at its last moment."""
    drive = make_drive(seed, 4.0)
    frames = []
    for time_s in (3.5, 4.0):
        buffer = io.BytesIO()
        Image.fromarray(drive.frame(time_s)).save(buffer, "JPEG", quality=80)
        frames.append(buffer.getvalue())
    return Clip(
        clip_id=f"{drive.drive_id}@4",
        drive_id=drive.drive_id,
        source="simulator",
        frames=tuple(frames),
        timestamps_s=(3.5, 4.0),
        width=320,
        height=192,
        evidence=evidence_at(drive, 4.0),
        provenance=Provenance(path=f"videos/{drive.drive_id}.mp4", size_bytes=1, sha256="0" * 64),
    )


def write_clips(folder: Path, clips: Iterable[Clip]) -> Path:
    open_output(folder, "clips", {})
    pq.write_table(clips_to_table(clips), folder / "shard-00000.parquet")
    finish(folder)
    return folder


@pytest.fixture(scope="session")
def simulated_clips() -> list[Clip]:
    return [clip_of_seed(seed) for seed in range(700, 760)]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory, simulated_clips: list[Clip]) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips") / "clips", simulated_clips)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    """Answers to all clips, half of them with a mistake."""
    recipe = load_recipe(None, ["annotate.error_rate=0.5", "annotate.seed=4"])
    return annotate(recipe, clips, tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture(scope="session")
def make_clips() -> Callable[[Path, Iterable[Clip]], Path]:
    return write_clips

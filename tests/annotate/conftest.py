"""Simulated clips for the annotate tests, made without a video in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roadscribe.clip import Clip, Provenance
from roadscribe.simulator import make_drive
from roadscribe.simulator.record import evidence_at


def clip_of_seed(seed: int) -> Clip:
    """The last moment of one simulated drive; the frame itself does not matter to a simulated teacher."""
    drive = make_drive(seed, 4.0)
    return Clip(
        clip_id=f"{drive.drive_id}@4",
        drive_id=drive.drive_id,
        source="simulator",
        frames=(b"frame",),
        timestamps_s=(4.0,),
        width=320,
        height=192,
        evidence=evidence_at(drive, 4.0),
        provenance=Provenance(path=f"videos/{drive.drive_id}.mp4", size_bytes=1, sha256="0" * 64),
    )


@pytest.fixture(scope="session")
def simulated_clip() -> Callable[[int], Clip]:
    return clip_of_seed


@pytest.fixture(scope="session")
def simulated_clips() -> list[Clip]:
    return [clip_of_seed(seed) for seed in range(500, 580)]

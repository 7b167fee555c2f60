"""Clips whose frames name themselves by colour, and an engine that looks its answers up in a table."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from roadscribe.clip import Clip, Evidence, Provenance, Truth
from roadscribe.report import VOCABULARY, DrivingParameters, DrivingReport, render


def parameters(seed: int, **fixed: object) -> DrivingParameters:
    """Twelve values drawn by seed, a few of them given."""
    rng = random.Random(seed)
    values = {
        **{name: rng.choice(words) for name, words in VOCABULARY.items()},
        "lane_count": rng.randint(1, 5),
        "pedestrian_on_road": rng.random() < 0.5,
        "closest_vehicle_distance": rng.choice([None, rng.randint(2, 80)]),
        "ego_vehicle_speed": rng.randint(0, 130),
    }
    return DrivingParameters.model_validate({**values, **fixed})


def report(truth: DrivingParameters, **changed: object) -> str:
    """A report in its text form that states ``truth``, with some values changed."""
    values = DrivingParameters.model_validate({**truth.model_dump(), **changed})
    return render(
        DrivingReport(
            scene_description="A road.", driving_parameters=values, risk_assessment=("Keep your distance.",)
        )
    )


def clips(
    count: int,
    *,
    frames: int = 4,
    clips_a_drive: int = 1,
    truth: Callable[[int], DrivingParameters] = parameters,
) -> list[Clip]:
    """``count`` (at most 60) clips; red tells the clip, green the frame."""
    return [
        Clip(
            clip_id=f"drive-{index // clips_a_drive}@{index}",
            drive_id=f"drive-{index // clips_a_drive}",
            source="test",
            frames=tuple(_jpeg((4 * index + 10, 15 * frame + 10, 0)) for frame in range(frames)),
            timestamps_s=tuple(float(frame) for frame in range(frames)),
            width=32,
            height=32,
            evidence=Evidence(truth=Truth(time_s=frames - 1.0, parameters=truth(index))),
            provenance=Provenance(path="drive.mp4", size_bytes=1, sha256="0" * 64),
        )
        for index in range(count)
    ]


def _jpeg(color: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(out, "JPEG", quality=95)
    return out.getvalue()


def true_parameters(clip: Clip) -> DrivingParameters:
    assert clip.evidence.truth is not None
    return clip.evidence.truth.parameters


@dataclass
class Written:
    text: str
    tokens: int = 100
    finished: bool = True
    seconds: float = 0.01


class TableEngine:
    """Answers ``table(clip index or None for black frames, order of frames, grammar)``; counts its clips."""

    def __init__(self, table: Callable[[int | None, list[int], bool], str]) -> None:
        self.table = table
        self.asked = 0

    def generate(self, clips_frames: Sequence[Sequence[Image.Image]], *, grammar: bool) -> list[Written]:
        answers = []
        for frames in clips_frames:
            self.asked += 1
            colors = [frame.getpixel((8, 8)) for frame in frames]
            clip = None if max(colors[0]) < 5 else round((colors[-1][0] - 10) / 4)
            answers.append(
                Written(self.table(clip, [round((color[1] - 10) / 15) for color in colors], grammar))
            )
        return answers

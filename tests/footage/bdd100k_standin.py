"""Small trees in the forms in which BDD100K is unpacked, with real (tiny) videos and labels of both generations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from barcode_video import write_video

START_MS = 1_503_828_163_000
FPS = 4


@cache
def twelve_seconds() -> Path:
    """One video of 12 s at 4 frames a second, to be copied."""
    return write_video(Path(mkdtemp()) / "video.mov", frames=12 * FPS, fps=FPS, size=(160, 96))


def put_video(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(twelve_seconds(), path)


def put_json(path: Path, value: Any, *, bom: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8-sig" if bom else "utf-8")
    return path


def box(
    category: str, x1: float = 600, y1: float = 300, x2: float = 680, y2: float = 400, **attributes: Any
) -> Any:
    return {
        "id": 1,
        "category": category,
        "attributes": {"occluded": False, "truncated": False, "trafficLightColor": "none", **attributes},
        "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
    }


LANE = {
    "id": 9,
    "category": "lane/single white",
    "poly2d": [[[0, 1, "L"]]],
    "attributes": {"laneStyle": "solid"},
}
STREET = {"weather": "rainy", "scene": "city street", "timeofday": "night"}


def list_record(stem: str, labels: Any = (), attributes: Any = STREET, **more: Any) -> dict[str, Any]:
    """An image of a Scalabel list, as in ``bdd100k_labels_images_train.json`` and ``det_train.json``."""
    labels = list(labels) if isinstance(labels, tuple) else labels
    return {"name": f"{stem}.jpg", "attributes": attributes, "timestamp": 10000, "labels": labels, **more}


def image_record(stem: str, objects: Iterable[Any] = (), attributes: Any = STREET) -> dict[str, Any]:
    """One image's own file, as in ``labels/100k/train``."""
    frames = [{"timestamp": 10000, "objects": list(objects)}]
    return {"name": stem, "attributes": attributes, "frames": frames}


def info_record(
    ride: str | None = "ride-1", speed: float = 12.5, course: float = 90.0, **more: Any
) -> dict[str, Any]:
    """An info file with a reading a second; the speed rises by 0.1 m/s in each."""
    locations = [
        {
            "latitude": 40.7 + second / 1e5,
            "longitude": -74.0,
            "speed": speed + second / 10,
            "course": course,
            "timestamp": START_MS + 1000 * second,
        }
        for second in range(12)
    ]
    return {
        "rideID": ride,
        "startTime": START_MS,
        "endTime": START_MS + 12_000,
        "gyro": [{"x": 0.1, "y": 0.0, "z": 0.0, "timestamp": START_MS}],
        "accelerometer": [{"x": 0.1, "y": 9.8, "z": 0.0, "timestamp": START_MS}],
        "timelapse": False,
        "locations": locations,
        **more,
    }

"""What the importer tests share: files as they are published, in miniature, and what an import made of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

DRIVELM_SAMPLE = Path(__file__).resolve().parents[3] / "../shared/data/drivelm/train_sample.json"

BDDX_SLOTS = 15
BDDX_HEADER = ["Input.Video"] + [
    f"Answer.{number}{name}"
    for number in range(1, BDDX_SLOTS + 1)
    for name in ("start", "end", "action", "justification")
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answers(raw: Path) -> list[tuple[str, str | None, str]]:
    """(clip, question, answer) of every raw answer."""
    return [(line["clip_id"], line["question"], line["text"]) for line in lines(raw / "answers.jsonl")]


def left_out(raw: Path) -> list[tuple[int, str, str]]:
    return [(line["row"], line["entry"], line["reason"]) for line in lines(raw / "skipped.jsonl")]


def write_bddx(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    """Rows of a video and its actions' cells, filled up to the published file's width."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(BDDX_HEADER)
        writer.writerows([*row, *[""] * (len(BDDX_HEADER) - len(row))] for row in rows)
    return path


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def front(moment_s: float) -> str:
    """A front camera's picture as DriveLM names it."""
    return f"../nuscenes/samples/CAM_FRONT/n008-x__CAM_FRONT__{round(1.5e15 + moment_s * 1e6)}.jpg"


def key_frame(moment_s: float, **kinds: Sequence[tuple[str, str]]) -> dict[str, Any]:
    questions = {kind: [{"Q": q, "A": a, "C": None} for q, a in pairs] for kind, pairs in kinds.items()}
    return {"key_object_infos": {}, "QA": questions, "image_paths": {"CAM_FRONT": front(moment_s)}}


def scenes(**frames: Mapping[str, Any]) -> dict[str, Any]:
    return {"s1": {"scene_description": "", "key_frames": frames}}

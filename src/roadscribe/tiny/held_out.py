"""The tiny base's held-out figures: plain questions about drives that no lesson showed."""

from __future__ import annotations

import random
import re

import numpy as np
import torch

from roadscribe.report import DrivingParameters
from roadscribe.simulator import make_drive
from roadscribe.tiny.lessons import _QUESTIONS, HELD_OUT_SEED, say
from roadscribe.tiny.pool import clip_times
from roadscribe.tiny.teacher import Teacher


def right(parameter: str, answer: str, truth: DrivingParameters) -> bool:
    """Whether an answer in words is right; numbers within max(5 km/h, 15 %) or max(5 m, 25 %)."""
    value = getattr(truth, parameter)
    limits = {"ego_vehicle_speed": 0.15, "closest_vehicle_distance": 0.25}
    if parameter in limits and value is not None:
        number = re.match(r"\d+", answer)
        return number is not None and abs(int(number.group()) - value) <= max(5, limits[parameter] * value)
    return answer == say(parameter, value)


@torch.no_grad()
def held_out(teacher: Teacher, clips: int, batch: int, controls: bool = True) -> dict[str, dict[str, float]]:
    """Share of right answers on drives the lessons never showed, and the majority class's share.

    ``controls`` asks about black and about shuffled images, too.
    """
    rng = random.Random(1)
    frames, truths = [], []
    for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + clips):
        drive = make_drive(seed)
        times = clip_times(drive.seconds - 0.1 * rng.random())
        frames.append(torch.from_numpy(np.stack([drive.frame(t) for t in times])))
        truths.append(drive.truth(times[-1]))
    stack = torch.stack(frames)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    shown = {"seen": stack}
    if controls:
        shown |= {"black": torch.zeros_like(stack), "shuffled": stack[:, order]}
    table: dict[str, dict[str, float]] = {
        parameter: dict.fromkeys((*shown, "majority"), 0.0) for parameter in _QUESTIONS
    }
    for name, images in shown.items():
        for start in range(0, clips, batch):
            seen = teacher.see(images[start : start + batch].to(teacher.device))
            for parameter, questions in _QUESTIONS.items():
                answers = teacher.answer(seen, questions[0])
                for answer, truth in zip(answers, truths[start : start + batch], strict=True):
                    table[parameter][name] += right(parameter, answer, truth) / clips
    for parameter, row in table.items():
        said = {say(parameter, getattr(truth, parameter)) for truth in truths}
        row["majority"] = max(sum(right(parameter, answer, t) for t in truths) / clips for answer in said)
    names = list(next(iter(table.values())))
    table["mean"] = {name: sum(row[name] for row in table.values()) / len(table) for name in names}
    return table


def held_out_with(
    teacher: Teacher, clips: int, batch: int, controls: bool = True
) -> dict[str, dict[str, float]]:
    """`held_out` in the mode of use."""
    teacher.model.eval()
    with torch.autocast(teacher.device.type, torch.bfloat16, enabled=teacher.device.type == "cuda"):
        table = held_out(teacher, clips, batch, controls)
    teacher.model.train()
    return table


def print_table(table: dict[str, dict[str, float]]) -> None:
    """The held-out figures, a line a parameter."""
    for name, row in table.items():
        print(
            f"  {name:26s}" + "  ".join(f"{key} {value * 100:5.1f}" for key, value in row.items()), flush=True
        )

"""Where the time of a training step goes on a card: kernels by name, and what the card waited for.

    python bench/profile_step.py --base FOLDER --set train.compile=true

`FOLDER` as in `bench/train.py`, whose rows and trainer these are. Some steps warm up; the next are profiled.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PrinterCallback, TrainerCallback

from roadscribe.recipe import load_recipe
from train import Watch, make_rows, ours

ON_THE_CARD = {"kernel", "gpu_memcpy", "gpu_memset"}
ON_THE_HOST = {"cpu_op", "cuda_runtime", "cuda_driver"}


class Profiled(TrainerCallback):  # type: ignore[misc]
    """Profiles the steps after ``warm``, without the checkpoint after the last; torch warns of what waits for the
    card in the step before them."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.profile = profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.warm - 1:
            torch.cuda.set_sync_debug_mode("warn")
        if state.global_step == self.warm:
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
            self.profile.start()
        if state.global_step == state.max_steps:
            torch.cuda.synchronize()
            self.profile.stop()


def gaps_of(events: list[dict[str, Any]], least_us: float) -> tuple[float, float, list[tuple[float, float]]]:
    """Microseconds from the first to the last kernel, those without any, and the longest pauses (end, length)."""
    spans = sorted((one["ts"], one["ts"] + one["dur"]) for one in events if one.get("cat") in ON_THE_CARD)
    end, idle, gaps = spans[0][0], 0.0, []
    for start, stop in spans:
        if start > end:
            idle += start - end
            if start - end >= least_us:
                gaps.append((start, start - end))
        end = max(end, stop)
    return end - spans[0][0], idle, sorted(gaps, key=lambda gap: -gap[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--answers", type=int, default=1)
    parser.add_argument("--warm", type=int, default=12, help="steps before those that are profiled")
    parser.add_argument("--steps", type=int, default=4, help="steps that are profiled")
    parser.add_argument(
        "--rows", type=int, help="fewer than the steps take: features are kept, if there is room"
    )
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], help="recipe overrides")
    options = parser.parse_args()
    count = options.warm + options.steps
    recipe = load_recipe(
        None,
        [
            f"model.base={options.base}",
            "footage.frames=10",
            f"footage.max_pixels={640 * 352}",
            f"train.max_steps={count}",
            f"train.logging_steps={count}",
            "train.save_steps=100000",
            f"train.batch_size={options.batch}",
            f"train.gradient_accumulation={options.answers}",
            "train.gradient_checkpointing=false",
            "train.fp8_matmul=auto",
            *options.set,
        ],
    )
    rows = make_rows(
        options.rows or count * options.batch * options.answers, 10, 640, 352, 350, options.answers
    )
    watched = Profiled(options.warm)
    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(recipe, rows, Path(folder))
        trainer.remove_callback(PrinterCallback)
        watch = Watch(trainer)
        trainer.add_callback(watched)
        trainer.train()
        trace = Path(folder) / "trace.json"
        watched.profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    print("seconds a step:", [round(one, 3) for one in watch.seconds()])
    averages = watched.profile.key_averages()
    kernels = [one for one in averages if one.device_type.name == "CUDA" and one.self_device_time_total > 0]
    kernels.sort(key=lambda one: -one.self_device_time_total)
    total = sum(one.self_device_time_total for one in kernels) / 1e3 / options.steps
    print(f"kernels: {total:.1f} ms a step")
    for one in kernels[: options.top]:
        each = one.self_device_time_total / 1e3 / options.steps
        print(f"  {each:7.2f} ms {one.count / options.steps:7.1f} x  {one.key[:120]}")
    whole, idle, gaps = gaps_of(events, 100)
    print(
        f"{whole / 1e3 / options.steps:.1f} ms from first to last, idle {idle / 1e3 / options.steps:.1f} ms"
    )
    host = [one for one in events if one.get("cat") in ON_THE_HOST and "dur" in one]
    for start, length in gaps[:20]:
        within = sorted(
            (one for one in host if one["ts"] < start <= one["ts"] + one["dur"]), key=lambda one: one["dur"]
        )
        print(f"  waited {length / 1e3:6.2f} ms for {[one['name'][:48] for one in within[:3]]}")
    calls, spent = Counter[str](), Counter[str]()
    for one in host:
        if one["cat"] != "cpu_op":
            calls[one["name"]] += 1
            spent[one["name"]] += one["dur"]
    for name, us in spent.most_common(8):
        print(f"  {us / 1e3 / options.steps:7.2f} ms {calls[name] / options.steps:7.1f} x  {name}")


if __name__ == "__main__":
    warnings.simplefilter("once")
    main()

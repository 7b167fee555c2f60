"""Teaches roadscribe-tiny from nothing, seeing and writing together: one command, simulated drives only.

    torchrun --nproc-per-node 4 -m roadscribe.tiny.pretrain --out DIR --compile    # four cards, some 15 minutes
    python -m roadscribe.tiny.pretrain --out DIR --smoke                           # a CPU, to see that it runs

Worker processes render drives (never the same twice) into a pool on the device; the training loop draws clips from
it and learns the answers of `lessons`: short ones, long prose, and strings of random pieces to repeat, all in one
schedule. A few clips are shown black with their true answers, so that a model which cannot see answers with the
prior instead of something arbitrary. With several cards each has a pool and a share of the seeds of its own, and
their gradients are averaged.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from roadscribe.tiny import build
from roadscribe.tiny.card import write_card
from roadscribe.tiny.held_out import held_out_with, print_table
from roadscribe.tiny.lessons import FIRST_SEED
from roadscribe.tiny.pool import TALK_SHARES, TALKS, Chunk, Clips, Pool
from roadscribe.tiny.teacher import Teacher

BLACK_SHARE = 0.04
LOOK_STEPS = 100
"""Steps between two lines of the log."""


def deepstack_movement(model: Any, start: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative change of every DeepStack merger weight since ``start``; a merger off the path would show 0."""
    now = dict(model.named_parameters())
    return {name: float((now[name].detach().cpu() - old).norm() / old.norm()) for name, old in start.items()}


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 2 % of the steps, then constant, then a linear fall to 0 over the last 45 %."""
    return peak * min(1.0, (step + 1) / max(1, 0.02 * steps), (steps - step) / (0.45 * steps))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train roadscribe-tiny on simulated drives.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--base", type=Path, help="go on from this model's weights instead of random ones")
    parser.add_argument(
        "--tokenizer", type=Path, help="folder whose processor to keep; default: train a tokenizer"
    )
    parser.add_argument("--steps", type=int, default=14_000)
    parser.add_argument("--batch", type=int, default=128, help="clips per step and process")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--pool", type=int, default=24_000, help="clips kept on the device (1.1 MB each)")
    parser.add_argument("--workers", type=int, default=14, help="rendering processes of each process")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="first seed of the lessons")
    parser.add_argument("--held-out", type=int, default=400, help="clips behind the held-out figures")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--minutes", type=float, help="set --steps so that training ends in this time")
    parser.add_argument("--resume", action="store_true", help="go on from the state that --out holds")
    parser.add_argument("--smoke", action="store_true", help="a few small steps, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.steps, arguments.batch, arguments.pool, arguments.workers = 6, 2, 32, 2
        arguments.held_out = 2
    if arguments.seed < FIRST_SEED:
        sys.exit(f"--seed must be at least {FIRST_SEED}: lower seeds are kept for evaluation")
    train(arguments)


def _processor(options: argparse.Namespace, first: bool) -> tuple[Any, Tokenizer]:
    """The tokenizer and the processor in ``--out``, made by the first process and read by the others."""
    if first:
        folder = options.tokenizer or options.base
        if folder:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = build.train_tokenizer(build.corpus())
        build.build_processor(options.out, tokenizer)
    if dist.is_initialized():
        dist.barrier()
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(options.out), tokenizer


def train(options: argparse.Namespace) -> None:
    """Train, measure on held-out drives, save in float16 with the figures and the card beside the weights."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    processor, tokenizer = _processor(options, rank == 0)
    if options.base:
        from transformers import Qwen3VLForConditionalGeneration

        model = Qwen3VLForConditionalGeneration.from_pretrained(options.base, dtype=torch.float32)
    else:
        model = build.build_model(tokenizer)
    model.to(device).train()
    mergers = {
        n: p.detach().cpu().clone() for n, p in model.named_parameters() if "deepstack" in n and p.dim() == 2
    }
    teacher = Teacher(model, processor, device, options.compile)
    parameters = list(model.parameters())
    # One buffer holds all gradients, so that averaging and clipping are one operation each.
    gradients = torch.zeros(sum(p.numel() for p in parameters), device=device)
    for parameter, part in zip(
        parameters, torch.split(gradients, [p.numel() for p in parameters]), strict=True
    ):
        parameter.grad = part.view_as(parameter)
    optimizer = torch.optim.AdamW(
        parameters, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.05, fused=device.type == "cuda"
    )
    step, steps, state = 0, options.steps, out / "state.pt"
    if options.resume and state.exists():
        kept = torch.load(state, map_location=device)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        step, steps = kept["step"], kept["steps"]
    first_seed = options.seed + step * world * options.batch  # behind all that was rendered before
    loader: DataLoader[Chunk] = DataLoader(
        Clips(str(out / "tokenizer.json"), first_seed, rank, world),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4,
    )
    pool = Pool(loader, options.pool, device)
    # Which talk comes next is the same for all processes: no card waits for another's slower step.
    rng, shared = np.random.default_rng(options.seed + rank), np.random.default_rng([options.seed, step])
    begin = time.time()
    while len(pool.texts) < min(2048, options.pool):
        pool.refill()
        time.sleep(0.2)
    if rank == 0:
        print(f"{len(pool.texts)} clips rendered in {time.time() - begin:.0f} s; training starts", flush=True)
    started = last = time.time()
    total = torch.zeros(len(TALKS), 2, device=device)
    begun = step
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, options.lr)
        talk = int(shared.choice(len(TALKS), p=TALK_SHARES))
        frames, texts = pool.batch(options.batch, talk, rng)
        black = torch.from_numpy(rng.random(options.batch) < BLACK_SHARE).to(device)
        frames = frames * ~black.view(-1, 1, 1, 1, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = teacher.loss(frames, texts)
        loss.backward()  # type: ignore[no-untyped-call]
        if world > 1:
            dist.all_reduce(gradients)
            gradients /= world
        gradients *= (1.0 / gradients.norm().clamp(min=1e-6)).clamp(max=1.0)
        optimizer.step()
        gradients.zero_()
        total[talk, 0] += loss.detach()
        total[talk, 1] += 1
        step += 1
        if step % 4 == 0:
            pool.refill()
        if step % LOOK_STEPS == 0 or step == steps:
            seconds, last = time.time() - last, time.time()
            elapsed = time.time() - started
            if options.minutes and step - begun == 3 * LOOK_STEPS:
                steps = _steps_in_time(
                    step, options.minutes * 60 - elapsed, seconds / LOOK_STEPS, world, device
                )
            if rank == 0:
                means = [f"{a / b:.3f}" if b else "-" for a, b in total.tolist()]
                print(
                    f"step {step}/{steps} loss by talk {' '.join(means)} {seconds / LOOK_STEPS * 1000:.0f} ms/step "
                    f"{pool.rendered * world} clips rendered, {elapsed:.0f} s",
                    flush=True,
                )
            total.zero_()
        if step % 2000 == 0 and rank == 0:
            kept = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "steps": steps,
            }
            torch.save(kept, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
    minutes = (time.time() - started) / 60
    if rank == 0:
        run = {
            "what": "seeing and words together, all weights",
            "steps": step,
            "batch": options.batch * world,
            "learning_rate": options.lr,
            "first_seed": options.seed,
            "clips_rendered": pool.rendered * world,
            "minutes": round(minutes, 1),
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "devices": world,
        }
        before = json.loads((options.base / "training.json").read_text())["runs"] if options.base else []
        facts = {"parameters": sum(p.numel() for p in parameters), "runs": [*before, run]}
        _finish(teacher, out, facts, mergers, options.held_out)
    if world > 1:
        dist.destroy_process_group()


def _steps_in_time(step: int, seconds: float, pace: float, world: int, device: torch.device) -> int:
    """How many steps fit ``seconds`` more at ``pace`` seconds each; all processes take the first one's answer."""
    steps = torch.tensor([step + max(1, int(seconds / pace))], device=device)
    if world > 1:
        dist.broadcast(steps, 0)
    return int(steps)


def _finish(
    teacher: Teacher, out: Path, facts: dict[str, Any], mergers: dict[str, torch.Tensor], clips: int
) -> None:
    """Save the weights, then measure and write the card.

    Exits with a message if a DeepStack merger did not move.
    """
    model = teacher.model
    moved = deepstack_movement(model, mergers)
    weights = copy.deepcopy(model).half()
    weights.save_pretrained(out)
    figures = held_out_with(teacher, clips, min(200, clips))
    print_table(figures)
    facts |= {
        "held_out_drives": clips,
        "held_out": figures,
        "deepstack_change": {name: round(value, 3) for name, value in moved.items()},
    }
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    write_card(out)
    print(json.dumps({k: v for k, v in facts.items() if k != "held_out"}, indent=1), flush=True)
    if any(math.isclose(value, 0.0, abs_tol=1e-6) for value in moved.values()):
        sys.exit("a DeepStack merger was not trained")


if __name__ == "__main__":
    main()

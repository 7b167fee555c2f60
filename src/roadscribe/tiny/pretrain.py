"""Teaches roadscribe-tiny from nothing: one command, simulated drives only.

    python -m roadscribe.tiny.pretrain --out DIR            # a CUDA machine, about 20 minutes on one H200
    python -m roadscribe.tiny.pretrain --out DIR --smoke    # a CPU, to see that it runs

Worker processes render drives (never the same twice) into a pool on the device; the training loop draws clips
from it and asks every question of `lessons` about each. A few clips are shown black with their true answers, so
that a model which cannot see answers with the prior instead of something arbitrary.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from roadscribe.report import DrivingParameters
from roadscribe.simulator import make_drive
from roadscribe.tiny import build
from roadscribe.tiny.lessons import (
    _QUESTIONS,
    FIRST_SEED,
    FRAMES,
    HELD_OUT_SEED,
    SPACING_S,
    Lesson,
    lessons,
    say,
)

HEIGHT, WIDTH = 192, 320
PATCH, MERGE = 16, 2
FRAME_COUNTS = (6, 6, 6, 6, 3, 1)
"""One text a clip for each entry; 6 is what the demo uses."""
TEXT_TOKENS = 416
"""Room for questions and answers; whole lessons that do not fit are left out of that text."""
BLACK_SHARE = 0.04
CHUNK = 8


@dataclass
class Text:
    """Token ids of a conversation after its images, and which of them are answers."""

    ids: np.ndarray
    labelled: np.ndarray


@dataclass
class Chunk:
    """Some rendered clips: (clips, FRAMES, HEIGHT, WIDTH, 3) uint8, and a text a clip and frame count."""

    frames: torch.Tensor
    texts: list[list[Text]]


def encode_lessons(encode: Callable[[str], list[int]], asked: list[Lesson]) -> Text:
    """The conversation in Qwen's chat form, from the first question (behind the images) to the last answer."""
    ids: list[int] = []
    labelled: list[bool] = []
    for number, lesson in enumerate(asked):
        opening = "" if number == 0 else "\n<|im_start|>user\n"
        question = encode(f"{opening}{lesson.question}<|im_end|>\n<|im_start|>assistant\n")
        answer = encode(f"{lesson.answer}<|im_end|>")
        if len(ids) + len(question) + len(answer) > TEXT_TOKENS:
            break
        ids += question + answer
        labelled += [False] * len(question) + [True] * len(answer)
    return Text(np.array(ids, np.int64), np.array(labelled))


def clip_times(now_s: float) -> tuple[float, ...]:
    """The times of a clip's images, the last one at ``now_s``."""
    return tuple(now_s - SPACING_S * (FRAMES - 1 - i) for i in range(FRAMES))


class Clips(IterableDataset[Chunk]):
    """Endless rendered clips; each worker walks its own seeds."""

    def __init__(self, tokenizer_file: str, first_seed: int) -> None:
        self.tokenizer_file = tokenizer_file
        self.first_seed = first_seed

    def __iter__(self) -> Iterator[Chunk]:
        torch.set_num_threads(1)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        tokenizer = Tokenizer.from_file(self.tokenizer_file)
        encode = lru_cache(100_000)(lambda text: tokenizer.encode(text).ids)
        seed = self.first_seed + worker
        while True:
            frames, texts = [], []
            for _ in range(CHUNK):
                clip_frames, clip_texts = self._clip(encode, seed)
                frames.append(clip_frames)
                texts.append(clip_texts)
                seed += workers
            yield Chunk(torch.from_numpy(np.stack(frames)), texts)

    def _clip(self, encode: Callable[[str], list[int]], seed: int) -> tuple[np.ndarray, list[Text]]:
        rng = random.Random(seed)
        drive = make_drive(seed)
        shortest = SPACING_S * (FRAMES - 1)
        end = (
            drive.seconds - 0.1 * rng.random() if rng.random() < 0.6 else rng.uniform(shortest, drive.seconds)
        )
        times = clip_times(end)
        quality = rng.randint(60, 95) if rng.random() < 0.7 else None
        frames = np.stack([_through_jpeg(drive.frame(t), quality) for t in times])
        texts = [encode_lessons(encode, lessons(drive, times[-count:], rng)) for count in FRAME_COUNTS]
        return frames, texts


def _through_jpeg(frame: np.ndarray, quality: int | None) -> np.ndarray:
    """Footage is compressed; the lessons are seen through the same kind of loss."""
    if quality is None:
        return frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def patchify(frames: torch.Tensor) -> torch.Tensor:
    """uint8 frames (N, H, W, 3) as the rows Qwen3-VL's image processor makes: (N*H*W/256, 1536)."""
    pixels = frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    count, channels, height, width = pixels.shape
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    pixels = pixels.view(count, channels, rows, MERGE, PATCH, columns, MERGE, PATCH)
    pixels = pixels.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block row, block column, in block, channel, y, x
    pixels = pixels.unsqueeze(6).expand(
        -1, -1, -1, -1, -1, -1, 2, -1, -1
    )  # a still image fills both time slots
    return pixels.reshape(count * rows * columns * MERGE * MERGE, channels * 2 * PATCH * PATCH)


def vision_attention(self: Any, hidden: torch.Tensor, *_: Any, **kwargs: Any) -> torch.Tensor:
    """Vision attention of images of one size in a single call; transformers makes one call an image."""
    cos, sin = kwargs["position_embeddings"]  # of one image: (patches, head size)
    images = hidden.shape[0] // cos.shape[0]
    qkv = self.qkv(hidden).view(images, cos.shape[0], 3, self.num_heads, -1)
    query, key, value = qkv.unbind(2)
    query, key = (_turn(x.float(), cos, sin).to(value.dtype) for x in (query, key))
    out = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    mixed: torch.Tensor = self.proj(out.transpose(1, 2).reshape(hidden.shape[0], -1))
    return mixed


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (images, patches, heads, size) by (patches, size)."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos[:, None] + turned * sin[:, None]


@dataclass
class Pool:
    """A ring of clips on the device, filled by worker processes while training draws from it."""

    loader: DataLoader[Chunk]
    size: int
    device: torch.device
    texts: list[list[Text]] = field(default_factory=list)
    rendered: int = 0

    def __post_init__(self) -> None:
        self.frames = torch.empty(self.size, FRAMES, HEIGHT, WIDTH, 3, dtype=torch.uint8, device=self.device)
        self._waiting: list[Chunk] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._pull, daemon=True).start()

    def _pull(self) -> None:
        for chunk in self.loader:
            while len(self._waiting) > 400:
                time.sleep(0.05)
            with self._lock:
                self._waiting.append(chunk)

    def refill(self) -> None:
        """Move what the workers have finished into the ring."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for chunk in waiting:
            for i, texts in enumerate(chunk.texts):
                slot = self.rendered % self.size
                self.frames[slot].copy_(chunk.frames[i], non_blocking=True)
                if slot < len(self.texts):
                    self.texts[slot] = texts
                else:
                    self.texts.append(texts)
                self.rendered += 1

    def batch(self, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[Text]]:
        """Frames (size, count, H, W, 3) and one text each; every clip of a batch has the same frame count."""
        choice = int(rng.integers(len(FRAME_COUNTS)))
        picks = rng.integers(len(self.texts), size=size)
        frames = self.frames[torch.from_numpy(picks).to(self.device), -FRAME_COUNTS[choice] :]
        return frames, [self.texts[i][choice] for i in picks]


class Teacher:
    """Turns clips and texts into the model's inputs and a loss.

    The forward pass is Qwen3-VL's own modules called in Qwen3-VL's order, with what is the same for every clip
    (image sizes, positions) computed once; a test holds it equal to the model's own forward pass.
    """

    def __init__(self, model: Any, processor: Any, device: torch.device, compiled: bool = False) -> None:
        self.model, self.tokenizer, self.device = model, processor.tokenizer, device
        self.visual, self.language = model.model.visual, model.model.language_model
        for block in self.visual.blocks:
            block.attn.forward = vision_attention.__get__(block.attn)
        self.blocks = [*self.visual.blocks]
        self.layers = [*self.language.layers]
        self.patchify: Callable[[torch.Tensor], torch.Tensor] = patchify
        self.fast = (self.blocks, self.layers, self.patchify)
        if compiled:
            self.fast = (
                [torch.compile(block, dynamic=False) for block in self.blocks],
                [torch.compile(layer, dynamic=False) for layer in self.layers],
                torch.compile(patchify, dynamic=False),
            )
        self._grid = torch.tensor([[1, HEIGHT // PATCH, WIDTH // PATCH]], device=device)
        self._positions: dict[int, torch.Tensor] = {}

    def prefix(self, count: int) -> list[int]:
        """Token ids of the opening of a user turn with ``count`` images."""
        visual = (HEIGHT // PATCH // MERGE) * (WIDTH // PATCH // MERGE)
        image = "<|vision_start|>" + "<|image_pad|>" * visual + "<|vision_end|>"
        ids: list[int] = self.tokenizer("<|im_start|>user\n" + image * count)["input_ids"]
        return ids

    def positions(self, count: int) -> torch.Tensor:
        """M-RoPE positions (3, 1, L) behind ``count`` images, long enough for any text."""
        if count not in self._positions:
            ids = torch.tensor([self.prefix(count) + [0] * (TEXT_TOKENS + 64)])
            kinds = (ids == self.model.config.image_token_id).int()
            grid = self._grid.cpu().expand(count, 3)
            found, _ = self.model.model.get_rope_index(
                ids, image_grid_thw=grid, mm_token_type_ids=kinds, attention_mask=torch.ones_like(ids)
            )
            self._positions[count] = found.to(self.device)
        return self._positions[count]

    def loss(self, frames: torch.Tensor, texts: list[Text]) -> torch.Tensor:
        """Mean cross entropy over all answer tokens of clips (B, count, H, W, 3)."""
        fast = frames.shape[1] == FRAMES and self.model.training
        return self.read_loss(self.see(frames, fast), texts, fast)

    def read_loss(self, seen: list[torch.Tensor], texts: list[Text], fast: bool = False) -> torch.Tensor:
        """Mean cross entropy over all answer tokens behind images whose features are ``seen``."""
        size, visual = seen[0].shape[:2]
        prefix = self.prefix(visual * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH))
        # Compiled code wants one length; elsewhere padding would only cost time.
        longest = TEXT_TOKENS if fast else max(len(text.ids) for text in texts)
        length = len(prefix) + longest
        ids = np.full((size, length), self.tokenizer.pad_token_id, np.int64)
        labelled = np.zeros((size, length), bool)
        ids[:, : len(prefix)] = prefix
        for row, text in enumerate(texts):
            ids[row, len(prefix) : len(prefix) + len(text.ids)] = text.ids
            labelled[row, len(prefix) : len(prefix) + len(text.ids)] = text.labelled
        input_ids = torch.from_numpy(ids).to(self.device, non_blocking=True)
        where = torch.from_numpy(np.flatnonzero(labelled[:, 1:].ravel())).to(self.device, non_blocking=True)
        hidden = self.read(input_ids, seen, fast)
        logits = self.model.lm_head(hidden[:, :-1].reshape(size * (length - 1), -1)[where]).float()
        return F.cross_entropy(logits, input_ids[:, 1:].reshape(-1)[where])

    def see(self, frames: torch.Tensor, fast: bool = False) -> list[torch.Tensor]:
        """Visual features of clips (B, count, H, W, 3): merged and DeepStack, each (B, visual tokens, hidden)."""
        blocks, _, cut = self.fast if fast else (self.blocks, self.layers, self.patchify)
        size, count = frames.shape[:2]
        tower = self.visual
        kernel = tower.patch_embed.proj
        hidden = F.linear(cut(frames.flatten(0, 1)), kernel.weight.flatten(1), kernel.bias)
        indices, weights = get_vision_interpolation_indices_and_weights(
            self._grid,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=MERGE,
        )
        place = (tower.pos_embed(indices) * weights[:, :, None]).sum(1)
        hidden = (hidden.view(size * count, -1, hidden.shape[-1]) + place).flatten(0, 1)
        turns = tower.rotary_pos_emb(hidden, get_vision_position_ids(self._grid, MERGE))
        deep: list[torch.Tensor] = []
        for number, block in enumerate(blocks):
            hidden = block(hidden, cu_seqlens=None, position_embeddings=turns)
            if number in tower.deepstack_visual_indexes:
                deep.append(tower.deepstack_merger_list[len(deep)](hidden))
        return [features.view(size, -1, features.shape[-1]) for features in (tower.merger(hidden), *deep)]

    def read(self, input_ids: torch.Tensor, seen: list[torch.Tensor], fast: bool = False) -> torch.Tensor:
        """Last hidden states (B, L, hidden) of texts behind images whose features are ``seen``."""
        layers = self.fast[1] if fast else self.layers
        visual = (input_ids[0] == self.model.config.image_token_id).nonzero().squeeze(1)
        merged, *deep = seen
        embedded = self.language.embed_tokens(input_ids)
        hidden = embedded.index_copy(1, visual, merged.to(embedded.dtype))
        count = merged.shape[1] * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH)
        turns = self.language.rotary_emb(hidden, self.positions(count)[..., : input_ids.shape[1]])
        for number, layer in enumerate(layers):
            hidden = layer(hidden, attention_mask=None, position_embeddings=turns)
            if number < len(deep):
                hidden = hidden.index_add(1, visual, deep[number].to(hidden.dtype))
        last: torch.Tensor = self.language.norm(hidden)
        return last

    def answer(self, seen: list[torch.Tensor], question: str, new_tokens: int = 12) -> list[str]:
        """Greedy answers to one question about every clip that `see` has seen."""
        size, visual = seen[0].shape[:2]
        count = visual * MERGE * MERGE * PATCH * PATCH // (HEIGHT * WIDTH)
        asked = self.tokenizer(f"{question}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        ids = torch.tensor([self.prefix(count) + asked] * size, device=self.device)
        start, end = ids.shape[1], self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        while ids.shape[1] < start + new_tokens and not (ids[:, start:] == end).any(1).all():
            ids = torch.cat([ids, self.model.lm_head(self.read(ids, seen)[:, -1:]).argmax(-1)], 1)
        return [answer.split("<|im_end|>")[0] for answer in self.tokenizer.batch_decode(ids[:, start:])]


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


def deepstack_movement(model: Any, start: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative change of every DeepStack merger weight since ``start``; a merger off the path would show 0."""
    now = dict(model.named_parameters())
    return {name: float((now[name].detach().cpu() - old).norm() / old.norm()) for name, old in start.items()}


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 2 % of the steps, then constant, then a linear fall to 0 over the last 40 %."""
    return peak * min(1.0, (step + 1) / max(1, 0.02 * steps), (steps - step) / (0.4 * steps))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train roadscribe-tiny on simulated drives.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--base", type=Path, help="go on from this model's weights instead of random ones")
    parser.add_argument(
        "--tokenizer", type=Path, help="folder whose processor to keep; default: train a tokenizer"
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--pool", type=int, default=60_000, help="clips kept on the device (1.1 MB each)")
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="first seed of the lessons")
    parser.add_argument("--held-out", type=int, default=512, help="clips behind the held-out figures")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--minutes", type=float, help="shorten --steps so that training ends in this time")
    parser.add_argument("--smoke", action="store_true", help="a few small steps, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.steps, arguments.batch, arguments.pool, arguments.workers = 6, 2, 32, 2
        arguments.held_out = 2
    if arguments.seed < FIRST_SEED:
        sys.exit(f"--seed must be at least {FIRST_SEED}: lower seeds are kept for evaluation")
    train(arguments)


def train(options: argparse.Namespace) -> None:
    """Train, measure on held-out drives, save in float16 with the figures beside the weights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    processor_folder = options.tokenizer or options.base
    if processor_folder:
        tokenizer = Tokenizer.from_file(str(processor_folder / "tokenizer.json"))
    else:
        tokenizer = build.train_tokenizer(build.corpus())
    processor = build.build_processor(out, tokenizer)
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
    loader: DataLoader[Chunk] = DataLoader(
        Clips(str(out / "tokenizer.json"), options.seed),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4,
    )
    pool = Pool(loader, options.pool, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, betas=(0.9, 0.98), weight_decay=0.05, fused=device.type == "cuda"
    )
    rng = np.random.default_rng(options.seed)
    begin = time.time()
    while len(pool.texts) < min(2048, options.pool):
        pool.refill()
        time.sleep(0.2)
    print(f"{len(pool.texts)} clips rendered in {time.time() - begin:.0f} s; training starts", flush=True)
    started, last, steps, step = time.time(), time.time(), options.steps, 0
    total = torch.zeros((), device=device)
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, options.lr)
        frames, texts = pool.batch(options.batch, rng)
        black = torch.from_numpy(rng.random(options.batch) < BLACK_SHARE).to(device)
        frames = frames * ~black.view(-1, 1, 1, 1, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = teacher.loss(frames, texts)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.detach()
        step += 1
        if step % 4 == 0:
            pool.refill()
        if step % 100 == 0 or step == steps:
            seconds, last = time.time() - last, time.time()
            elapsed = time.time() - started
            if options.minutes and step == 200:
                steps = min(steps, step + int((options.minutes * 60 - elapsed) / (seconds / 100)))
            shown = 100 if step % 100 == 0 else step % 100
            print(
                f"step {step}/{steps} loss {total.item() / shown:.4f} {seconds / shown * 1000:.0f} ms/step "
                f"{pool.rendered} clips rendered, {elapsed:.0f} s",
                flush=True,
            )
            total.zero_()
        if step % 2000 == 0:
            print_table(held_out_with(teacher, 256, 128))
    minutes = (time.time() - started) / 60
    figures = held_out_with(teacher, options.held_out, min(128, options.held_out))
    print_table(figures)
    moved = deepstack_movement(model, mergers)
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": step,
        "batch": options.batch,
        "learning_rate": options.lr,
        "first_seed": options.seed,
        "clips_rendered": pool.rendered,
        "minutes": round(minutes, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "continued_from": str(options.base.name) if options.base else None,
        "held_out_drives": options.held_out,
        "held_out": figures,
        "deepstack_change": {name: round(value, 3) for name, value in moved.items()},
    }
    model.half().save_pretrained(out)
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps({k: v for k, v in facts.items() if k != "held_out"}, indent=1), flush=True)
    if any(math.isclose(value, 0.0, abs_tol=1e-6) for value in moved.values()):
        sys.exit("a DeepStack merger was not trained")


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


if __name__ == "__main__":
    main()

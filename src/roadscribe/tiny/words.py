"""The second half of the tiny base's schooling: its language model learns to use every word it can write.

    python -m roadscribe.tiny.words --base DIR --out DIR        # about 25 minutes on two cores

The first half (`pretrain`) teaches seeing, with answers of a few words, so most pieces of the vocabulary were
never written. Here the vision tower is frozen and the language model hears longer captions, goes on answering the
earlier questions, and repeats strings of random pieces, which gives every piece an embedding of its own. No
report, no JSON and no parameter key occurs here either.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from roadscribe.simulator import make_drive
from roadscribe.tiny import build
from roadscribe.tiny.card import write_card
from roadscribe.tiny.lessons import FIRST_SEED, Drive, Lesson, lessons, story, telegram
from roadscribe.tiny.pretrain import (
    Teacher,
    Text,
    clip_times,
    deepstack_movement,
    encode_lessons,
    held_out_with,
    print_table,
)

WORDS_SEED = FIRST_SEED + 5_000_000
"""Seeds of this half's drives start here, behind those of the first half."""
LENGTHS = (1, 1, 1, 2, 2, 3, 5, 8, 14)
"""Pieces in a string to repeat; short ones come first to be learned, long ones teach to keep the place."""
STRINGS = 6
"""Strings to repeat in one conversation."""


def conversation(drive: Drive, times: tuple[float, ...], rng: random.Random) -> list[Lesson]:
    """Captions in prose and in catchwords among questions, in random order."""
    truth = drive.truth(times[-1])
    asked = rng.sample(lessons(drive, times, rng), 8)
    asked += [story(truth, drive.labels(times[-1]).time_of_day, rng), telegram(truth, rng)]
    rng.shuffle(asked)
    return asked


def repeat(encode: Callable[[str], list[int]], pieces: list[int], rng: random.Random) -> Text:
    """A few turns of ``Repeat: ...`` with random pieces of the vocabulary and the same pieces as the answer."""
    ids: list[int] = []
    labelled: list[bool] = []
    for _ in range(STRINGS):
        chosen = rng.choices(pieces, k=rng.choice(LENGTHS))
        asked = [
            *encode("<|im_start|>user\nRepeat: "),
            *chosen,
            *encode("<|im_end|>\n<|im_start|>assistant\n"),
        ]
        answer = [*chosen, *encode("<|im_end|>")]
        line = encode("\n")
        ids += [*asked, *answer, *line]
        labelled += [False] * len(asked) + [True] * len(answer) + [False] * len(line)
    return Text(np.array(ids, np.int64), np.array(labelled))


def unwritten(encode: Callable[[str], list[int]], vocabulary: int, drives: int = 300) -> torch.Tensor:
    """The pieces that the first half never used, by going through a sample of its lessons."""
    rng = random.Random(0)
    used: set[int] = set()
    for seed in range(FIRST_SEED, FIRST_SEED + drives):
        used.update(encode_lessons(encode, lessons(make_drive(seed), clip_times(4.0), rng)).ids.tolist())
    return torch.tensor([piece for piece in range(vocabulary) if piece not in used])


@torch.no_grad()
def set_apart(embedding: torch.Tensor, pieces: torch.Tensor, seed: int) -> None:
    """Give ``pieces`` fresh random rows of ``embedding`` (vocabulary, hidden), like those of the other pieces.

    Rows that were never a target have all been pushed the same way (their cosine is 0.998 after the first
    half), so nothing could tell them apart and an adapter, which leaves the embedding alone, could never write
    them.
    """
    known = torch.ones(len(embedding), dtype=torch.bool)
    known[pieces] = False
    rows = embedding[known]
    noise = torch.randn(len(pieces), embedding.shape[1], generator=torch.Generator().manual_seed(seed))
    embedding[pieces] = (rows.mean(0).cpu() + noise * rows.std().item()).to(embedding)


def text_loss(teacher: Teacher, texts: list[Text]) -> torch.Tensor:
    """Mean cross entropy over the answers of texts without images."""
    length = max(len(text.ids) for text in texts)
    ids = torch.full((len(texts), length), teacher.tokenizer.pad_token_id)
    labelled = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.from_numpy(text.ids)
        labelled[row, : len(text.ids)] = torch.from_numpy(text.labelled)
    ids, labelled = ids.to(teacher.device), labelled.to(teacher.device)
    hidden = teacher.model.model.language_model(input_ids=ids, use_cache=False).last_hidden_state
    where = labelled[:, 1:]
    return F.cross_entropy(teacher.model.lm_head(hidden[:, :-1][where]).float(), ids[:, 1:][where])


def train(options: argparse.Namespace) -> None:
    """Train the language model, then save it with the facts of both halves."""
    from transformers import Qwen3VLForConditionalGeneration

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(options.base / "tokenizer.json"))
    processor = build.build_processor(out, tokenizer)
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.base, dtype=torch.float32).to(device)
    mergers = {
        n: p.detach().cpu().clone() for n, p in model.named_parameters() if "deepstack" in n and p.dim() == 2
    }
    model.requires_grad_(False)
    model.model.language_model.requires_grad_(True)
    model.lm_head.requires_grad_(True)
    teacher = Teacher(model, processor, device)
    encode = lru_cache(100_000)(lambda text: tokenizer.encode(text).ids)
    special = {tokenizer.token_to_id(token) for token in build.SPECIAL_TOKENS}
    pieces = [piece for piece in range(tokenizer.get_vocab_size()) if piece not in special]
    new = torch.tensor(
        [p for p in unwritten(encode, tokenizer.get_vocab_size()).tolist() if p not in special]
    )
    set_apart(model.get_input_embeddings().weight, new, options.seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(options.seed)
    pool: list[tuple[list[torch.Tensor], list[Text]]] = []
    seed, step, steps, started = options.seed, 0, options.steps, time.time()
    seen_loss = said_loss = 0.0
    while step < steps:
        for _ in range(24 if not pool else 1):
            drive = make_drive(seed)
            times = clip_times(drive.seconds - 0.1 * rng.random())
            frames = torch.from_numpy(np.stack([drive.frame(t) for t in times]))[None].to(device)
            if rng.random() < 0.04:
                frames = torch.zeros_like(frames)
            with torch.no_grad():
                features = teacher.see(frames)
            pool.append(
                (features, [encode_lessons(encode, conversation(drive, times, rng)) for _ in range(4)])
            )
            seed += 1
        pool = pool[-400:]
        rate = options.lr * min(1.0, (step + 1) / 50, (steps - step) / (0.5 * steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = [rng.choice(pool[-24:] if rng.random() < 0.3 else pool) for _ in range(options.batch)]
        features = [torch.cat([clip[0][i] for clip in chosen]) for i in range(len(chosen[0][0]))]
        shown = teacher.read_loss(features, [rng.choice(clip[1]) for clip in chosen])
        said = text_loss(teacher, [repeat(encode, pieces, rng) for _ in range(options.repeats)])
        (shown + said).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen_loss, said_loss = seen_loss + shown.item(), said_loss + said.item()
        step += 1
        elapsed = time.time() - started
        if options.minutes and step == 40:
            steps = min(steps, int(options.minutes * 60 / elapsed * step))
        if step % 20 == 0 or step == steps:
            print(
                f"step {step}/{steps} captions and answers {seen_loss / 20:.3f} repeating {said_loss / 20:.3f} "
                f"{elapsed / step:.2f} s/step",
                flush=True,
            )
            seen_loss = said_loss = 0.0
    minutes = (time.time() - started) / 60
    first = json.loads((options.base / "training.json").read_text())
    model.half().save_pretrained(out)
    model.float()
    figures = held_out_with(teacher, options.held_out, min(32, options.held_out), controls=False)
    print_table(figures)
    facts = {
        "steps": step,
        "clips_a_step": options.batch,
        "strings_a_step": options.repeats,
        "learning_rate": options.lr,
        "first_seed": options.seed,
        "clips_rendered": seed - options.seed,
        "minutes": round(minutes, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "held_out_drives": options.held_out,
        "held_out": figures,
        "pieces_set_apart": len(new),
        "vision_tower_change": max(deepstack_movement(model, mergers).values()),
    }
    (out / "training.json").write_text(json.dumps({**first, "words": facts}, indent=2) + "\n")
    write_card(out)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description="Teach roadscribe-tiny its words; the vision tower is frozen."
    )
    parser.add_argument("--base", type=Path, required=True, help="what roadscribe.tiny.pretrain wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=3, help="clips a step")
    parser.add_argument("--repeats", type=int, default=8, help="conversations of strings to repeat, a step")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=WORDS_SEED, help="first seed of the drives")
    parser.add_argument("--held-out", type=int, default=60, help="clips behind the held-out figures")
    parser.add_argument("--minutes", type=float, help="shorten --steps so that training ends in this time")
    options = parser.parse_args()
    if options.seed < FIRST_SEED:
        sys.exit(f"--seed must be at least {FIRST_SEED}: lower seeds are kept for evaluation")
    train(options)


if __name__ == "__main__":
    main()

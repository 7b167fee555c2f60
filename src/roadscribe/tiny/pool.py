"""Rendered clips with their conversations, made by worker processes and kept on the device for training."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from roadscribe.clip import FrameLabels
from roadscribe.report import DrivingParameters
from roadscribe.simulator import make_drive
from roadscribe.tiny import build
from roadscribe.tiny.lessons import FRAMES, SPACING_S, Drive, Lesson, lessons, prose

HEIGHT, WIDTH = 192, 320
TALKS = (
    (6, lessons),
    (6, lessons),
    (6, lessons),
    (6, prose),
    (6, prose),
    (6, prose),
    (3, lessons),
    (1, prose),
)
"""One text per clip for each entry: how many of the images it sees, and what is talked about; the demo shows 6."""
TALK_SHARES = (0.15, 0.15, 0.15, 0.16, 0.16, 0.16, 0.035, 0.035)
"""How often a batch takes each of them."""
TEXT_TOKENS = 544
"""Room for questions and answers, about as much as instruction and report take; whole lessons that do not fit are
left out of that text."""
LENGTHS = (1, 1, 1, 1, 2, 2, 3, 5, 9)
"""Pieces in a string to repeat: short ones are learned first, long ones teach to keep the place."""
CHUNK = 8


class Remembered:
    """A drive whose truth and labels are worked out once per moment, however many texts ask for them."""

    def __init__(self, drive: Drive) -> None:
        self.speed_mps = drive.speed_mps
        self._truth = lru_cache(None)(drive.truth)
        self._labels = lru_cache(None)(drive.labels)

    def truth(self, time_s: float) -> DrivingParameters:
        return self._truth(time_s)

    def labels(self, time_s: float) -> FrameLabels:
        return self._labels(time_s)


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


Turn = tuple[list[int], list[int]]
"""Token ids of a question and of its answer."""


def repetitions(encode: Callable[[str], list[int]], pieces: list[int], rng: random.Random) -> list[Turn]:
    """A few turns of ``Repeat: ...`` with random pieces of the vocabulary and the same pieces as the answer.

    They give every piece an embedding of its own: one that was never a target could not be told from the others,
    and an adapter, which leaves the embedding alone, could never write it.
    """
    turns = []
    for _ in range(rng.choice((0, 1, 2, 3, 4))):
        chosen = rng.choices(pieces, k=rng.choice(LENGTHS))
        turns.append(([*encode("Repeat: "), *chosen], chosen))
    return turns


def encode_lessons(
    encode: Callable[[str], list[int]], asked: list[Lesson], more: list[Turn], rng: random.Random
) -> Text:
    """The conversation in Qwen's chat form, from the first question (behind the images) to the last answer.

    ``more`` are further turns, already encoded; they come in between at random.
    """
    turns: list[Turn] = [(encode(lesson.question), encode(lesson.answer)) for lesson in asked]
    for turn in more:
        turns.insert(rng.randrange(len(turns) + 1), turn)
    opening, middle, end = (
        encode("\n<|im_start|>user\n"),
        encode("<|im_end|>\n<|im_start|>assistant\n"),
        encode("<|im_end|>"),
    )
    ids: list[int] = []
    labelled: list[bool] = []
    for question, answer in turns:
        question = [*(opening if ids else ()), *question, *middle]
        answer = [*answer, *end]
        if len(ids) + len(question) + len(answer) > TEXT_TOKENS:
            continue
        ids += question + answer
        labelled += [False] * len(question) + [True] * len(answer)
    return Text(np.array(ids, np.int64), np.array(labelled))


def clip_times(now_s: float) -> tuple[float, ...]:
    """The times of a clip's images, the last one at ``now_s``."""
    return tuple(now_s - SPACING_S * (FRAMES - 1 - i) for i in range(FRAMES))


class Clips(IterableDataset[Chunk]):
    """Endless rendered clips; each worker walks its own seeds."""

    def __init__(self, tokenizer_file: str, first_seed: int, share: int = 0, shares: int = 1) -> None:
        """Clips of the seeds ``share`` of ``shares`` processes walks, each with its own workers."""
        self.tokenizer_file = tokenizer_file
        self.first_seed = first_seed
        self.share, self.shares = share, shares

    def __iter__(self) -> Iterator[Chunk]:
        torch.set_num_threads(1)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        tokenizer = Tokenizer.from_file(self.tokenizer_file)
        encode = lru_cache(20_000)(lambda text: tokenizer.encode(text).ids)
        special = {tokenizer.token_to_id(token) for token in build.SPECIAL_TOKENS}
        self.pieces = [piece for piece in range(tokenizer.get_vocab_size()) if piece not in special]
        worker, workers = self.share * workers + worker, self.shares * workers
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
        known = Remembered(drive)
        quality = rng.randint(60, 95) if rng.random() < 0.7 else None
        frames = np.stack([_through_jpeg(drive.frame(t), quality) for t in times])
        texts = [
            encode_lessons(
                encode, asked(known, times[-count:], rng), repetitions(encode, self.pieces, rng), rng
            )
            for count, asked in TALKS
        ]
        return frames, texts


def _through_jpeg(frame: np.ndarray, quality: int | None) -> np.ndarray:
    """Footage is compressed; the lessons are seen through the same kind of loss."""
    if quality is None:
        return frame
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


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

    def batch(self, size: int, talk: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[Text]]:
        """Frames (size, count, H, W, 3) of clips drawn at random, and the text number ``talk`` of each."""
        picks = rng.integers(len(self.texts), size=size)
        frames = self.frames[torch.from_numpy(picks).to(self.device), -TALKS[talk][0] :]
        return frames, [self.texts[i][talk] for i in picks]

"""How fast reports are written: transformers' ``generate`` against the engine, step by step.

    uv run python bench/infer.py [--base roadscribe-tiny] [--clips 16] [--frames 6] [--batch 16]

Every way writes the same reports: the next token of a given report is pushed to the top of the logits, so
that an untrained model does the work of a trained one. The base is NF4 under a fresh LoRA adapter of rank 32,
as after training. Wall time means something only on a machine that does nothing else; processor seconds
(OMP_NUM_THREADS=1) hold anywhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import LogitsProcessor, LogitsProcessorList

from roadscribe.infer.engine import FrameFeatures, ReportEngine, frame_digest
from roadscribe.infer.grammar import ReportGrammar
from roadscribe.infer.lru_cache import LRUCache
from roadscribe.model.load import load_base
from roadscribe.prompts import messages
from roadscribe.qwen3_vl.processor import Sample, encode
from roadscribe.recipe import Lora, Model
from roadscribe.report import VOCABULARY, DrivingParameters, DrivingReport, render

PUSH = 1e4


def make_report(index: int) -> str:
    """A report of ordinary length, different for each index."""
    words: dict[str, Any] = {key: options[index % len(options)] for key, options in VOCABULARY.items()}
    return render(
        DrivingReport(
            scene_description="A road with two lanes in the late afternoon. "
            + "A car is ahead. " * (1 + index % 4)
            + "The light is green.",
            driving_parameters=DrivingParameters(
                lane_count=1 + index % 5,
                pedestrian_on_road=index % 3 == 0,
                closest_vehicle_distance=10 + 7 * index % 150,
                ego_vehicle_speed=None if index % 5 == 0 else 20 + 3 * index % 100,
                **words,
            ),
            risk_assessment=("The car ahead may brake; keep a gap of 2 s.",) * (1 + index % 3),
        )
    )


class Script(LogitsProcessor):  # type: ignore[misc]
    """Pushes the next token of each row's report to the top, for ``generate``."""

    def __init__(self, scripts: Sequence[Sequence[int]], prompt: int, pad: int) -> None:
        self.scripts, self.prompt, self.pad = scripts, prompt, pad

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        place = input_ids.shape[1] - self.prompt
        for row, script in enumerate(self.scripts):
            scores[row, script[place] if place < len(script) else self.pad] += PUSH
        return scores


class ScriptedEngine(ReportEngine):
    """Pushes the next token of each clip's report to the top, for the engine."""

    scripts: dict[tuple[bytes, ...], list[int]]

    def _sample(self, sequences: Any, logits: torch.Tensor) -> None:
        for row, sequence in enumerate(sequences):
            logits[row, self.scripts[sequence.question.frames][len(sequence.tokens)]] += PUSH
        super()._sample(sequences, logits)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--base", default="roadscribe-tiny")
    options.add_argument("--clips", type=int, default=16)
    options.add_argument("--frames", type=int, default=6)
    options.add_argument("--size", default="320x192")
    options.add_argument("--batch", type=int, default=16)
    chosen = options.parse_args()
    width, height = (int(side) for side in chosen.size.split("x"))
    rng = np.random.default_rng(0)
    clips = [
        [
            Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
            for _ in range(chosen.frames)
        ]
        for _ in range(chosen.clips)
    ]
    loaded = load_base(Model(base=chosen.base), max_pixels=width * height)
    adapted = get_peft_model(loaded.model, LoraConfig(r=32, target_modules=list(Lora().targets))).eval()
    tokenizer, stop = loaded.processor.tokenizer, loaded.processor.tokenizer.eos_token_id
    scripts = [
        tokenizer(make_report(i), add_special_tokens=False)["input_ids"] + [stop] for i in range(len(clips))
    ]
    tokens = sum(map(len, scripts))

    started = time.perf_counter()
    ReportGrammar(tokenizer, loaded.model.lm_head.weight.shape[0], [stop])
    print(f"grammar compiled in {time.perf_counter() - started:.3f} s, {len(tokenizer)} tokens of vocabulary")

    def generate() -> None:
        for first in range(0, len(clips), chosen.batch):
            some = slice(first, first + chosen.batch)
            inputs = encode(loaded.processor, [Sample(clip, messages(len(clip))) for clip in clips[some]])
            inputs = {key: value.to(loaded.device) for key, value in inputs.items()}
            prompt = inputs["input_ids"].shape[1]
            script = LogitsProcessorList([Script(scripts[some], prompt, tokenizer.pad_token_id)])
            with torch.inference_mode():
                adapted.generate(**inputs, max_new_tokens=1024, do_sample=False, logits_processor=script)

    frames: LRUCache[FrameFeatures] = LRUCache(2**30)

    def engine(dense: bool | None, features: LRUCache[FrameFeatures] | None = None) -> ScriptedEngine:
        made = ScriptedEngine(
            adapted, loaded.processor, batch_size=chosen.batch, dense=dense, features=features
        )
        made.scripts = {}
        for clip, script in zip(clips, scripts, strict=True):
            made.scripts[tuple(map(frame_digest, clip))] = script
        return made

    def ask(made: ScriptedEngine, **how: bool) -> Callable[[], None]:
        def run() -> None:
            answers = made.generate(clips, **how)
            assert [list(answer.token_ids) for answer in answers] == scripts

        return run

    first, second = engine(None, frames), engine(None, frames)
    ways: list[tuple[str, Callable[[], None]]] = [
        ("transformers generate", generate),
        ("engine, no grammar, 4-bit and LoRA modules", ask(engine(False), grammar=False)),
        ("engine, no grammar, dense weights", ask(engine(None), grammar=False)),
        ("engine, grammar, token by token", ask(engine(None), jump_forward=False)),
        ("engine, grammar, jump-forward", ask(first)),
        ("the same by another engine, frames known", ask(second, grammar=True)),
        ("without the grammar again, prompts known", ask(second, grammar=False)),
    ]
    print(
        f"{len(clips)} clips of {chosen.frames} frames, {tokens / len(clips):.0f} tokens a report, "
        f"batches of {chosen.batch}, {torch.get_num_threads()} threads\n"
    )
    print(f"{'':<52}{'s':>8}{'ms/report':>11}{'tokens/s':>10}{'tokens/CPU s':>14}")
    for name, way in ways:
        started, worked = time.perf_counter(), time.process_time()
        way()
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        rates = f"{1000 * seconds / len(clips):11.0f}{tokens / seconds:10.0f}{tokens / work:14.0f}"
        print(f"{name:<52}{seconds:8.2f}{rates}", flush=True)


if __name__ == "__main__":
    main()

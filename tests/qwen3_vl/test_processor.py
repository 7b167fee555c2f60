"""What the model reads: exact counts before an image is opened, one encoding for training and use."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roadscribe.model.load import ResolvedBase, load_processor
from roadscribe.prompts import INSTRUCTION, messages
from roadscribe.qwen3_vl.processor import (
    IGNORED,
    MERGE,
    MIN_PIXELS,
    Sample,
    encode,
    processed_size,
    sample_tokens,
    visual_tokens,
)

MAX_PIXELS = 64 * 96


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    return load_processor(ResolvedBase("tiny", str(tiny_folder), None), MAX_PIXELS)


def frames(count: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8)) for _ in range(count)]


ANSWER = [{"role": "assistant", "content": "**Scene Description:**\nall is calm\n"}]
SHORT = [{"role": "assistant", "content": "calm"}]
PLAIN = [{"role": "user", "content": INSTRUCTION}]


def samples() -> list[Sample]:
    """Two samples of different length and frame size, one prompt in each form that a dataset may keep."""
    return [
        Sample(frames(3), PLAIN, ANSWER),
        Sample(frames(2, (64, 64), seed=1), messages(2), SHORT),
    ]


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([1024, 6144, 61440, 640 * 352, None]))
def test_visual_tokens_from_the_size_alone_are_those_of_the_processor(
    processor: Any, width: int, height: int, max_pixels: int | None
) -> None:
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError, match="200 times"):
            visual_tokens(width, height, max_pixels)
        return
    sized = copy.copy(processor.image_processor)
    sized.size = type(sized.size)(shortest_edge=MIN_PIXELS, longest_edge=max_pixels or 10**9)
    assert (
        visual_tokens(width, height, max_pixels)
        == sized.get_number_of_image_patches(height, width) / MERGE**2
    )


def test_the_figures_of_common_frames() -> None:
    assert processed_size(640, 360) == (640, 352)
    assert visual_tokens(640, 360) == 220
    assert visual_tokens(1280, 720) == 880


def test_a_frame_within_the_budget_is_never_resized(processor: Any) -> None:
    # Qwen's own bounds would enlarge a frame below 256 x 256.
    batch = encode(processor, [Sample(frames(1, (96, 64)), PLAIN)])
    assert batch["image_grid_thw"].tolist() == [[1, 4, 6]]


def test_counted_tokens_are_the_encoded_tokens(processor: Any) -> None:
    for sample in samples():
        sizes = [frame.size for frame in sample.images]
        batch = encode(processor, [sample])
        assert (
            sample_tokens(processor, sample.prompt, sample.completion, sizes) == batch["input_ids"].shape[1]
        )
        question = encode(processor, [sample._replace(completion=None)])
        assert sample_tokens(processor, sample.prompt, None, sizes) == question["input_ids"].shape[1]


def test_training_and_use_read_the_same_clip_token_for_token_and_pixel_for_pixel(processor: Any) -> None:
    for sample in samples():
        training = encode(processor, [sample])
        use = encode(processor, [sample._replace(completion=None)])
        question = use["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            assert torch.equal(training[name][:, :question], use[name])
        assert torch.equal(training["pixel_values"], use["pixel_values"])
        assert torch.equal(training["image_grid_thw"], use["image_grid_thw"])
        assert (training["labels"][:, :question] == IGNORED).all()
        assert (training["labels"][:, question:] != IGNORED).all()


def test_use_reads_what_the_official_processor_would_make(processor: Any) -> None:
    both = [sample._replace(completion=None) for sample in samples()]
    texts = [
        processor.apply_chat_template(
            messages(len(sample.images)), tokenize=False, add_generation_prompt=True
        )
        for sample in both
    ]
    official = processor(
        images=[list(sample.images) for sample in both],
        text=texts,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    ours = encode(processor, both)
    assert set(ours) == set(official)
    for name in official:
        assert torch.equal(ours[name], official[name]), name


def test_training_reads_what_the_collator_of_trl_would_make(processor: Any) -> None:
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    theirs = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)(
        [
            {
                "images": list(sample.images),
                "prompt": list(sample.prompt),
                "completion": list(sample.completion or ()),
            }
            for sample in samples()
        ]
    )
    ours = encode(processor, samples())
    assert set(ours) == set(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_the_loss_is_on_the_answer_and_its_end_and_on_nothing_else(processor: Any) -> None:
    batch = encode(processor, samples())
    for row, answer in enumerate((ANSWER, SHORT)):
        labels = batch["labels"][row]
        learned = labels[labels != IGNORED]
        assert processor.tokenizer.decode(learned) == answer[0]["content"] + "<|im_end|>\n"
        assert torch.equal(learned, batch["input_ids"][row][labels != IGNORED])
        padding = batch["attention_mask"][row] == 0
        assert (labels[padding] == IGNORED).all()


def test_a_prompt_with_too_few_image_places_is_refused(processor: Any) -> None:
    with pytest.raises(ValueError, match="1 image places in the prompt, but 3 frames"):
        encode(processor, [Sample(frames(3), messages(1), ANSWER)])


def test_questions_and_answers_are_not_mixed(processor: Any) -> None:
    with pytest.raises(ValueError, match="all hold"):
        encode(processor, [samples()[0], samples()[1]._replace(completion=None)])

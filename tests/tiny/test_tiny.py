"""roadscribe-tiny is a real Qwen3-VL, is small, was taught no report, and was not shown what it is scored on."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trl
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from roadscribe.prompts import messages
from roadscribe.recipe import Simulate
from roadscribe.report import PARAMETERS
from roadscribe.simulator import make_drive
from roadscribe.simulator.simulate import FIRST_TEST_SEED
from roadscribe.tiny import WEIGHTS
from roadscribe.tiny.lessons import FIRST_SEED, FRAMES, HELD_OUT_SEED, lessons, prose
from roadscribe.tiny.pool import TEXT_TOKENS, Remembered, clip_times, encode_lessons, repetitions
from roadscribe.tiny.sentences import fact, other_value
from roadscribe.tiny.teacher import Teacher, patchify


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(WEIGHTS)


@pytest.fixture(scope="module")
def model():
    return AutoModelForImageTextToText.from_pretrained(WEIGHTS, dtype=torch.float32).eval()


def test_it_is_a_qwen3_vl_of_at_most_15_million_parameters_in_at_most_20_megabytes(model, processor):
    assert type(model) is Qwen3VLForConditionalGeneration
    assert type(processor) is Qwen3VLProcessor
    assert 5e6 <= model.num_parameters() <= 15e6
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*")) <= 20e6


def test_the_chat_template_writes_what_trls_qwen3_vl_template_writes(processor):
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_vl.jinja").read_text()
    answer = {"role": "assistant", "content": "**Scene Description:**\nA road."}
    conversations = [
        messages(6),
        [*messages(1), answer],
        [*messages(10), {"role": "assistant", "content": [{"type": "text", "text": "A road."}]}],
        [{"role": "system", "content": "Be brief."}, *messages(2), answer],
        [{"role": "user", "content": "Hello"}],
    ]
    for conversation in conversations:
        for prompt in (True, False):
            ours = processor.apply_chat_template(conversation, add_generation_prompt=prompt)
            theirs = processor.apply_chat_template(
                conversation, add_generation_prompt=prompt, chat_template=template
            )
            assert ours == theirs


def test_a_frame_is_never_enlarged_behind_the_recipes_back(processor):
    for size in ((320, 192), (32, 32), (640, 352)):
        grid = processor.image_processor([Image.new("RGB", size)], return_tensors="pt")["image_grid_thw"][0]
        assert (int(grid[2]) * 16, int(grid[1]) * 16) == size


def test_the_lessons_hold_no_report_no_json_and_no_parameter_key():
    rng = random.Random(3)
    keys = [key for key in PARAMETERS if "_" in key]
    for seed in range(FIRST_SEED, FIRST_SEED + 30):
        drive = make_drive(seed)
        for lesson in [*lessons(drive, clip_times(4.0), rng), *prose(drive, clip_times(4.0), rng)]:
            text = f"{lesson.question} {lesson.answer}"
            assert not re.search(r"[{}*`#\"]", text)
            assert not any(key in text for key in keys)
            assert "Scene Description" not in text and "Risk Assessment" not in text


def test_the_lessons_seeds_are_none_of_those_that_are_scored():
    fields = Simulate.model_fields
    assert any(getattr(bound, "lt", None) == FIRST_TEST_SEED for bound in fields["seed"].metadata)
    # A run's training seeds end where its held-out seeds begin, FIRST_TEST_SEED later.
    for drives in ("train_drives", "test_drives"):
        assert any(getattr(bound, "le", None) == FIRST_TEST_SEED for bound in fields[drives].metadata)
    assert FIRST_TEST_SEED + 1_000_000 + 1_000_000 <= HELD_OUT_SEED < FIRST_SEED


def test_the_card_says_how_it_was_made_and_the_deepstack_mergers_were_trained(model):
    facts = json.loads((WEIGHTS / "training.json").read_text())
    assert facts["parameters"] == model.num_parameters()
    assert facts["runs"]
    for run in facts["runs"]:
        assert run["steps"] > 0 and run["first_seed"] >= FIRST_SEED
    assert len(facts["deepstack_change"]) == 2 * len(model.config.vision_config.deepstack_visual_indexes)
    assert all(change > 0.05 for change in facts["deepstack_change"].values())
    assert set(PARAMETERS) <= set(facts["held_out"])
    card = (WEIGHTS / "README.md").read_text()
    for run in facts["runs"]:
        assert f"{run['clips_rendered']:,}" in card and f"{run['steps']:,}" in card
    assert "only simulated drives" in card


def test_the_deepstack_features_reach_the_answer(model, processor):
    frames = [Image.fromarray(make_drive(5).frame(t)) for t in clip_times(4.0)]
    text = processor.apply_chat_template(messages(FRAMES), add_generation_prompt=True)
    batch = processor(text=[text], images=frames, return_tensors="pt")
    with torch.no_grad():
        whole = model(**batch).logits[0, -1]
        for merger in model.model.visual.deepstack_merger_list:
            kept = merger.linear_fc2.weight.clone()
            merger.linear_fc2.weight.zero_()
            without = model(**batch).logits[0, -1]
            merger.linear_fc2.weight.copy_(kept)
            assert not torch.allclose(whole, without, atol=1e-2)


def test_the_training_code_sees_what_the_processor_and_the_model_see(processor):
    model = AutoModelForImageTextToText.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    drive = make_drive(7)
    frames = np.stack([drive.frame(t) for t in clip_times(4.0)])
    chat = [{"role": "user", "content": [*[{"type": "image"}] * FRAMES, {"type": "text", "text": "Hello"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    batch = processor(text=[text], images=[Image.fromarray(frame) for frame in frames], return_tensors="pt")
    assert torch.allclose(patchify(torch.from_numpy(frames)), batch["pixel_values"], atol=1e-6)
    with torch.no_grad():
        expected = model.model(**batch).last_hidden_state
        teacher = Teacher(model, processor, torch.device("cpu"))
        found = teacher.read(batch["input_ids"], teacher.see(torch.from_numpy(frames)[None]))
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def test_a_long_answer_says_nothing_that_the_short_answers_deny():
    from roadscribe.answers.prose import sentences

    rng = random.Random(5)
    for seed in range(FIRST_SEED, FIRST_SEED + 20):
        drive = make_drive(seed)
        truth = drive.truth(4.0)
        for lesson in prose(drive, clip_times(4.0), rng):
            if lesson.topic not in ("story", "warning", "caption"):
                continue
            said = list(sentences(lesson.answer))
            person = [one for one in said if re.search(r"person|[Nn]obody|[Ss]omebody", one)]
            denied = [one for one in person if re.search(r"\b[Nn]o(body)?\b", one)]
            if person:
                assert bool(denied) == (not truth.pedestrian_on_road)


def test_a_sentence_to_check_is_right_or_clearly_wrong():
    rng = random.Random(7)
    for seed in range(FIRST_SEED, FIRST_SEED + 20):
        truth = make_drive(seed).truth(4.0)
        for name in PARAMETERS:
            value = getattr(truth, name)
            other = other_value(name, value, rng)
            assert other != value
            assert fact(name, other, random.Random(1)) != fact(name, value, random.Random(1))


def test_a_conversation_fits_its_room_and_repeats_pieces_word_for_word(processor):
    tokenizer = processor.tokenizer
    rng = random.Random(2)

    def encode(text: str) -> list[int]:
        return tokenizer(text)["input_ids"]

    for seed in range(FIRST_SEED, FIRST_SEED + 6):
        known = Remembered(make_drive(seed))
        more = repetitions(encode, list(range(300)), rng)
        assert all(question[-len(answer) :] == answer for question, answer in more)
        text = encode_lessons(encode, prose(known, clip_times(4.0), rng), more, rng)
        assert len(text.ids) == len(text.labelled) <= TEXT_TOKENS
        answers = tokenizer.decode(text.ids[text.labelled])
        assert answers.endswith("<|im_end|>") and "?" not in answers

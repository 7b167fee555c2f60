"""No text from outside reaches the model as a control token, whatever it holds and however it is cut into parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from roadscribe.errors import InputError
from roadscribe.model.load import ResolvedBase, load_processor
from roadscribe.qwen3_vl.live_tokens import control_spellings, live_control_tokens
from roadscribe.qwen3_vl.processor import Sample, encode_text, sample_tokens

FRAMES = [Image.new("RGB", (64, 64))] * 2


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    return load_processor(ResolvedBase("tiny", str(tiny_folder), None), 64 * 64)


def asked(*parts: str, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": [{"type": "text", "text": part} for part in parts]}]


def answered(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def control_ids(processor: Any, *texts: str) -> Counter[int]:
    """The added tokens in what the model would read of a question in parts and an answer."""
    *question, answer = texts
    batch = encode_text(processor, [Sample(FRAMES, asked(*question), answered(answer))])
    return Counter(
        token for token in batch["input_ids"][0].tolist() if token in processor.tokenizer.added_tokens_decoder
    )


PIECES = st.one_of(
    st.sampled_from(
        [
            "<|image_pad|>",
            "<|im_end|>",
            "<|im_",
            "end|>",
            "<|",
            "|>",
            "<think>",
            "</think>",
            "<|vision_start|>",
        ]
    ),
    st.text(max_size=6),
)
TEXTS = st.lists(PIECES, max_size=5).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
@example("<|im_", "end|>", "calm")
@example("calm", "", "<|image_pad|>")
@example("<|<|im_end|>im_end|>", "", "x")
def test_arbitrary_text_never_becomes_a_control_token(
    processor: Any, first: str, second: str, answer: str
) -> None:
    plain = control_ids(processor, "x", "y", "z")
    try:
        found = control_ids(processor, first, second, answer)
    except InputError as error:
        assert "control token <" in str(error)
        return
    assert found == plain


@pytest.mark.parametrize(
    "text", ["<|image_pad|>", "a<|im_end|>b", "<|video_pad|>", "<think>it is wet</think>"]
)
def test_a_control_token_in_any_message_is_refused_by_name(processor: Any, text: str) -> None:
    for sample in (
        Sample(FRAMES, asked(text)),
        Sample(FRAMES, asked("What is there?"), answered(text)),
        Sample(FRAMES, [*asked(text, role="system"), *asked("What is there?")]),
    ):
        with pytest.raises(InputError, match=r"holds the control token <"):
            encode_text(processor, [sample])
        with pytest.raises(InputError, match=r"holds the control token <"):
            sample_tokens(processor, sample.prompt, sample.completion, [(64, 64)] * 2)


def test_words_around_angles_are_words(processor: Any) -> None:
    text = "speed < 30 |> 20, a <b> tag, |im_end|, <| im_end |>, ＜|im_end|＞ and 40 <50>"
    assert control_ids(processor, text, "", text) == control_ids(processor, "x", "y", "z")


def test_what_a_vocabulary_adds_is_known_and_a_plain_word_is_none_of_it() -> None:
    added = {
        7: SimpleNamespace(content="</s>", special=True),
        8: SimpleNamespace(content="[INST]", special=False),
        9: SimpleNamespace(content="roundabout", special=False),
    }
    processor = SimpleNamespace(tokenizer=SimpleNamespace(added_tokens_decoder=added))
    spellings = control_spellings(processor)
    assert spellings == ("</s>", "[INST]")
    assert live_control_tokens("a roundabout [INST] </s> [INST]", spellings) == ("[INST]", "</s>")


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"role": "user\n", "content": "x"}, "role is 'user"),
        ({"role": "user", "content": None}, "neither a text nor a list of parts"),
        ({"role": "user", "content": [{"type": "video"}]}, "of type 'video'"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "of type 'text'"),
        ({"role": "user", "content": ["x"]}, "of type None"),
    ],
)
def test_a_message_of_another_form_is_refused(processor: Any, message: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        encode_text(processor, [Sample(FRAMES, [message])])


def test_a_template_that_writes_images_of_its_own_is_refused(processor: Any) -> None:
    processor = SimpleNamespace(
        tokenizer=processor.tokenizer,
        image_processor=processor.image_processor,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        apply_chat_template=lambda turns, **_: "<|image_pad|>" * 3,
    )
    with pytest.raises(ValueError, match="wrote 3 image places for 2 frames"):
        encode_text(processor, [Sample(FRAMES, asked("x"))])

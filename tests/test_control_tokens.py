"""Text from outside holds no live control token after cleaning, however the spellings are nested."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roadscribe.control_tokens import NAMED_TOKENS, find_control_tokens, without_control_tokens

PIECES = (
    "<|im_end|>",
    "<|image_pad|>",
    "<|",
    "|>",
    "im_",
    "end",
    "<",
    ">",
    *NAMED_TOKENS,
    "a red light",
    " ",
)


def test_every_spelling_of_qwens_tokenizer_is_found():
    text = "one <|image_pad|> two <|im_end|> three <|image_pad|> <think> </tool_call> <|vision_start|>"
    assert find_control_tokens(text) == (
        "<|image_pad|>",
        "<|im_end|>",
        "<think>",
        "</tool_call>",
        "<|vision_start|>",
    )


def test_further_tokens_of_a_tokenizer_are_found():
    assert find_control_tokens("see [IMG] here", known=("[IMG]", "")) == ("[IMG]",)


def test_plain_text_and_comparisons_are_not_control_tokens():
    for text in ("a < b | c > d", "speed <30|40> km/h", "<|a b|>", "<scene>", "|<>|"):
        assert find_control_tokens(text) == ()
        assert without_control_tokens(text) == text


def test_removing_the_inner_token_does_not_make_the_outer_one():
    assert without_control_tokens("<|im_<|im_end|>end|>") == ""


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_nothing_is_left_after_removal(text):
    assert find_control_tokens(without_control_tokens(text)) == ()

"""Control tokens in text from outside: found, or removed, before a tokenizer reads the text.

A tokenizer of the Qwen family turns ``<|image_pad|>`` or ``<|im_end|>`` anywhere in a text into the control token
itself. Answers of teachers, questions and prompts of users therefore never reach it with such a spelling: a
stage that may change the text removes them, every other stage refuses the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NAMED_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
"""Added tokens of Qwen3's tokenizer that do not have the form ``<|name|>``."""

_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]{1,40}\|>|" + "|".join(map(re.escape, NAMED_TOKENS)))


def find_control_tokens(text: str, known: Iterable[str] = ()) -> tuple[str, ...]:
    """The spellings of control tokens in a text, each once, in the order of their first place.

    Args:
        text: any text from outside.
        known: further spellings, such as the added tokens of the tokenizer in use.
    """
    found = {match[0]: match.start() for match in reversed([*_CONTROL_TOKEN.finditer(text)])}
    found |= {token: text.index(token) for token in known if token and token in text}
    return tuple(sorted(found, key=found.__getitem__))


def without_control_tokens(text: str) -> str:
    """The text without any control token; removing one never leaves another behind."""
    while True:
        shorter = _CONTROL_TOKEN.sub("", text)
        if shorter == text:
            return text
        text = shorter

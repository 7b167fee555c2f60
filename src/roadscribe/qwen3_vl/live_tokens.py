"""Control tokens that a text from outside would turn into: none may reach a tokenizer live.

A tokenizer reads its added tokens anywhere in a text. A dataset's answer that holds ``<|image_pad|>`` would add an
image without pixels, a question that holds ``<|im_end|>`` would end the user's turn. What a chat template itself
writes around the messages is not looked at here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roadscribe.control_tokens import find_control_tokens
from roadscribe.errors import InputError

Message = Mapping[str, Any]

BRACKETS = (("<", ">"), ("[", "]"))
"""What the spelling of an added token begins and ends with where it is a marker, not a word."""


def control_spellings(processor: Any) -> tuple[str, ...]:
    """The spellings that a processor's tokenizer reads as control tokens, wherever they stand.

    Of its added tokens those that are special or spelled like a marker (``<think>``, ``[INST]``); a plain word
    that somebody added to a vocabulary is a word.
    """
    tokens = processor.tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in tokens if token.special or _is_marker(token.content))


def _is_marker(content: str) -> bool:
    return any(
        content.startswith(start) and content.endswith(end) and len(content) > 2 for start, end in BRACKETS
    )


def live_control_tokens(text: str, spellings: Iterable[str]) -> tuple[str, ...]:
    """The control tokens that a tokenizer would read in a text, each once, in the order of their first place.

    Args:
        text: any text from outside.
        spellings: of the tokenizer in use (`control_spellings`); the generic ones count in any case.
    """
    spellings = tuple(spellings)
    found = find_control_tokens(text, spellings)
    if not found and not unicodedata.is_normalized("NFC", text):
        # Qwen's tokenizer normalises before it looks for some of its tokens.
        found = find_control_tokens(unicodedata.normalize("NFC", text), spellings)
    return found


def outside_texts(messages: Sequence[Message]) -> list[str]:
    """The stretches of text that chat messages bring along: roles, and contents as a template joins their parts.

    Text parts that follow each other count as one text: ``<|im_`` and ``end|>`` make a token together.
    """
    texts: list[str] = []
    for message in messages:
        texts.append(str(message.get("role")))
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, Sequence):
            joined = [""]
            for part in content:
                text = part.get("text") if isinstance(part, Mapping) else None
                if isinstance(text, str):
                    joined[-1] += text
                else:
                    joined.append("")
            texts += joined
    return texts


def control_tokens_in(messages: Sequence[Message], spellings: Iterable[str]) -> tuple[str, ...]:
    """The control tokens that the texts of some chat messages hold live, each once."""
    spellings = tuple(spellings)
    found = (live_control_tokens(text, spellings) for text in outside_texts(messages))
    return tuple(dict.fromkeys(token for tokens in found for token in tokens))


def refuse_control_tokens(text: str, what: str, spellings: Iterable[str] = ()) -> None:
    """Refuse a user's text that holds a control token.

    Args:
        text: such as a question.
        what: how an error names it, such as ``annotate.questions: 'Is it wet?'``.
        spellings: of the tokenizer in use, where one is known.

    Raises:
        InputError: naming the token.
    """
    found = live_control_tokens(text, spellings)
    if found:
        raise InputError(
            f"{what} holds the control token {found[0]}, which a model does not read as text; take it out"
        )

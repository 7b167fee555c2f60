"""How an answer ended, by a server's ``finish_reason``: whole, cut off, or failed.

One table for the annotate stage, which decides what is kept, and for curate, which reads what older runs kept.
Only a natural stop is whole; a word that is not in the table counts as cut off.
"""

from __future__ import annotations

import re
from typing import Any, Literal

Ending = Literal["whole", "cut", "failed", "unknown"]
"""whole: the model stopped by itself; cut: a limit of length ended it; failed: the server or a filter ended it, or
the model asked for something else than to answer; unknown: a word that is not in the table."""

WHOLE = {
    "stop": "OpenAI, Mistral, Ollama, vLLM, llama.cpp; Gemini's STOP",
    "end_turn": "Anthropic, Bedrock",
    "stop_sequence": "Anthropic, text-generation-inference; OpenAI calls the same `stop`",
    "eos": "Together",
    "eos_token": "text-generation-inference",
    "complete": "Cohere's COMPLETE",
    "completed": "status of OpenAI's Responses",
}
"""Words of a natural end, and who uses them."""

CUT = {
    "length": "OpenAI and most others",
    "max_tokens": "Anthropic; Gemini's and Cohere's MAX_TOKENS",
    "max_output_tokens": "OpenAI's Responses",
    "max_completion_tokens": "gateways that pass the option's name on",
    "max_new_tokens": "gateways that pass the option's name on",
    "max_length": "gateways that pass the option's name on",
    "model_length": "Mistral: the model's context is full",
    "model_context_window_exceeded": "Anthropic: the model's context is full",
    "error_limit": "Cohere: the model's context is full",
}
"""Words of a limit of length, and who uses them."""

FAILED = {
    "content_filter": "OpenAI, Azure",
    "content_filtered": "Bedrock",
    "guardrail_intervened": "Bedrock",
    "refusal": "Anthropic",
    "sensitive": "Zhipu",
    "error_toxic": "Cohere",
    "safety": "Gemini",
    "image_safety": "Gemini",
    "recitation": "Gemini",
    "language": "Gemini",
    "blocklist": "Gemini",
    "prohibited_content": "Gemini",
    "spii": "Gemini",
    "other": "Gemini",
    "malformed_function_call": "Gemini",
    "unexpected_tool_call": "Gemini",
    "error": "OpenRouter, Mistral, Cohere's ERROR",
    "abort": "vLLM, SGLang",
    "cancelled": "gateways",
    "canceled": "gateways",
    "user_cancel": "Cohere",
    "timeout": "gateways",
    "insufficient_system_resource": "DeepSeek",
    "network_error": "Zhipu",
    "tool_calls": "OpenAI",
    "function_call": "OpenAI, deprecated",
    "tool_use": "Anthropic",
    "tool_call": "Cohere's TOOL_CALL",
}
"""Words of a filter, a failing server or a call of a tool, and who uses them."""

PASSING = frozenset(
    ("error", "abort", "cancelled", "canceled", "timeout", "insufficient_system_resource", "network_error")
)
"""Failures of a server that the same request may not meet again."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def finish_word(finish_reason: Any) -> str:
    """A finish reason in the table's spelling: lower case with underscores, without a namespace before it.

    None and an empty text, where a server names no reason, are "stop".
    """
    if finish_reason is None or finish_reason == "":
        return "stop"
    text = _CAMEL.sub("_", str(finish_reason)).strip().lower()
    word = re.sub(r"[\s-]+", "_", text.rpartition(".")[2]).removeprefix("finish_reason_")
    return "stop" if word in ("none", "null", "") else word


def ending_of(finish_reason: Any) -> Ending:
    """What a finish reason says about an answer."""
    word = finish_word(finish_reason)
    if word in WHOLE:
        return "whole"
    if word in CUT:
        return "cut"
    return "failed" if word in FAILED else "unknown"


def may_pass(finish_reason: Any) -> bool:
    """Whether the same request may end well when it is sent again."""
    return finish_word(finish_reason) in PASSING

"""What came instead of an answer: reasoning, a call of a tool, a refusal, a filter's verdict, nothing.

Such a response is a dead letter, not an answer: `--retry-dead` asks the question again, with a larger
``annotate.max_tokens`` if the run is resumed with one.
"""

from __future__ import annotations

from typing import Any

from roadscribe.annotate.trouble import Trouble, shorten
from roadscribe.answers.clean_text import clean_free_text
from roadscribe.answers.endings import ending_of, finish_word, may_pass
from roadscribe.answers.markers import has_words
from roadscribe.report_text import parse_answer

EMPTY_RUN = 5
"""So many responses without an answer, and none with one, end a run."""
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Where servers put reasoning beside the content: DeepSeek and vLLM, OpenRouter and Ollama."""


def is_no_answer(text: str, finish_reason: Any, *, report: bool) -> str:
    """Why a text is no answer at all; "" where it is one, if only a cut one.

    Args:
        text: what the teacher wrote.
        finish_reason: how it ended, in the server's words.
        report: whether the driving report was asked for.
    """
    if ending_of(finish_reason) == "failed":
        return f"it was ended by {finish_word(finish_reason)!r}"
    if not has_words(text):
        return "it holds no text"
    if report:
        parsed = parse_answer(text)
        return "" if has_words(parsed.text) else parsed.problem or "it holds no text beside its markers"
    cleaned = clean_free_text(text)
    return "" if has_words(cleaned.text) else cleaned.problem or "it holds no text beside its markers"


def trouble_without_text(
    why: str,
    message: dict[str, Any],
    finish_reason: Any,
    *,
    max_tokens: int | None,
    usage: dict[str, int] | None = None,
) -> Trouble:
    """A response without an answer as trouble, with what came instead.

    Args:
        why: what `is_no_answer` says.
        message: the message of the response; empty where there is only a text.
        finish_reason: how it ended, in the server's words.
        max_tokens: the limit of new tokens, for advice where it ended the answer.
        usage: the tokens that the teacher counted.
    """
    came = _instead(message)
    reason = f"no answer: {why}" + (f"; instead came {came}" if came else "")
    if ending_of(finish_reason) == "cut":
        limit = "" if max_tokens is None else f" of {max_tokens} tokens"
        reason += f"; the limit{limit} ended it, raise annotate.max_tokens"
    again = may_pass(finish_reason)
    return Trouble("no answer", reason, again=again, billed=True, usage=usage, textless=True)


def _instead(message: dict[str, Any]) -> str:
    """What a message holds beside its content, in words; "" for nothing."""
    came: list[str] = []
    for field in _REASONING_FIELDS:
        value = message.get(field)
        if value:
            came.append(
                f"{len(value if isinstance(value, str) else str(value))} characters of reasoning ({field})"
            )
            break
    content = message.get("content")
    if isinstance(content, list):
        kinds = dict.fromkeys(str(part.get("type")) for part in content if isinstance(part, dict))
        others = [kind for kind in kinds if kind not in ("text", "output_text")]
        came += [f"parts of kind {', '.join(others)[:80]}"] if others else []
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    if isinstance(calls, list) and calls:
        names = [_name_of(call) for call in calls]
        came.append(
            f"a call of a tool ({', '.join(name for name in names if name)[:80] or 'without a name'})"
        )
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        came.append(f"a refusal ({shorten(message['refusal'])[:120]})")
    return " and ".join(came)


def _name_of(call: Any) -> str:
    if not isinstance(call, dict):
        return ""
    function = call.get("function", call)
    return str(function.get("name") or "") if isinstance(function, dict) else ""

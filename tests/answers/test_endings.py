"""Only a natural stop is a good ending; every other word is cut off, failed or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from roadscribe.answers.endings import CUT, FAILED, PASSING, WHOLE, ending_of, finish_word, may_pass


@pytest.mark.parametrize(
    ("finish_reason", "ending"),
    [
        ("stop", "whole"),
        ("STOP", "whole"),
        (None, "whole"),
        ("", "whole"),
        ("null", "whole"),
        ("end_turn", "whole"),
        ("endTurn", "whole"),
        ("stop_sequence", "whole"),
        ("eos_token", "whole"),
        ("COMPLETE", "whole"),
        ("FinishReason.STOP", "whole"),
        ("length", "cut"),
        ("MAX_TOKENS", "cut"),
        ("max_tokens", "cut"),
        ("model_context_window_exceeded", "cut"),
        ("content_filter", "failed"),
        ("content-filter", "failed"),
        ("SAFETY", "failed"),
        ("error", "failed"),
        ("abort", "failed"),
        ("tool_calls", "failed"),
        ("refusal", "failed"),
        ("FINISH_REASON_UNSPECIFIED", "unknown"),
        ("half past nine", "unknown"),
        (0, "unknown"),
        ({"type": "stop"}, "unknown"),
    ],
)
def test_a_finish_reason_has_one_ending(finish_reason: Any, ending: str) -> None:
    assert ending_of(finish_reason) == ending


def test_the_tables_hold_their_own_spelling_and_share_no_word() -> None:
    words = [*WHOLE, *CUT, *FAILED]
    assert len(words) == len(set(words)) and all(finish_word(word) == word for word in words)
    assert set(FAILED) >= PASSING and may_pass("ERROR") and not may_pass("content_filter")

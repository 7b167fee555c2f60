"""What a failed request means: try it again (and when), give up on the question, or end the run.

Everything here decides and touches nothing; the endpoint raises `Trouble`, the runner acts on it.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from roadscribe.errors import InputError, RoadscribeError, WorkError, printable

MAX_REASON_CHARS = 300

AGAIN = frozenset({408, 409, 425, 429})
"""Client errors that pass (RFC 9110, 6585, 8470); beside them all of 5xx."""
NOBODY_IS_SERVED = frozenset({401, 402, 403, 404, 405, 407, 421, 426, 451})
"""Errors that the next request would meet just the same: the key, the purse, the address."""
MAYBE_BILLED = frozenset({408, 502, 504, 522, 524})
"""A gateway lost patience; the model behind it may have answered."""
OUT_OF_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""OpenAI's error codes for an account that cannot pay; they come as 429 or 400."""


class Trouble(Exception):
    """A request without an answer."""

    def __init__(
        self,
        label: str,
        reason: str,
        *,
        again: bool = False,
        wait_s: float | None = None,
        billed: bool = False,
        ends_run: RoadscribeError | None = None,
        usage: dict[str, int] | None = None,
        textless: bool = False,
    ) -> None:
        """
        Args:
            label: the kind of trouble in two or three words.
            reason: one line that says what happened.
            again: whether another request may succeed.
            wait_s: how long the teacher asks to wait before that, in seconds.
            billed: whether the teacher may have done the work, so that the budget must count it.
            ends_run: why no other question would fare better.
            usage: the tokens that the teacher counted, where a response came.
            textless: whether a response came that holds no answer.
        """
        super().__init__(reason)
        self.label, self.reason, self.again, self.wait_s = label, reason, again, wait_s
        self.billed, self.ends_run = billed, ends_run
        self.usage, self.textless = usage, textless


def trouble_of_status(
    status: int, headers: Mapping[str, str], body: str, *, where: str, key_name: str | None, now: datetime
) -> Trouble:
    """What an HTTP status other than success means.

    Args:
        status: the status code.
        headers: the response's headers, in lower case or case-insensitive.
        body: its text.
        where: the endpoint's address, for messages.
        key_name: the environment variable that the API key came from; None: no key was sent.
        now: the present, for a ``Retry-After`` that is a date.
    """
    label = f"HTTP {status}"
    code, message = error_of(body)
    reason = f"{label}: {message}" if message else label
    if 300 <= status < 400:
        # Frames and key are not carried to an address that nobody named.
        place = headers.get("location", "elsewhere")[:200]
        moved = f"{where}: redirects to {place}; give that address as --teacher if you trust it"
        return Trouble(label, reason, ends_run=InputError(moved))
    if code in OUT_OF_MONEY or status == 402:
        purse = f"{where}: the account cannot pay ({reason}); top it up, then run with --resume"
        return Trouble(label, reason, ends_run=WorkError(purse))
    if status in NOBODY_IS_SERVED:
        return Trouble(label, reason, ends_run=InputError(f"{where}: {reason}; {_remedy(status, key_name)}"))
    if status in AGAIN or status >= 500:
        wait_s = retry_after(headers.get("retry-after"), now)
        return Trouble(label, reason, again=True, wait_s=wait_s, billed=status in MAYBE_BILLED)
    return Trouble(label, reason)


def _remedy(status: int, key_name: str | None) -> str:
    if status in (401, 403) and key_name is None:
        return "no API key was sent; set ROADSCRIBE_API_KEY"
    if status == 401:
        return f"check the API key in {key_name}"
    if status == 403:
        return f"the API key in {key_name} may not use this model; check --model"
    return "check --teacher (its path often ends in /v1) and --model"


def error_of(body: str) -> tuple[str | None, str]:
    """(code, message) of an error's body: OpenAI's form, the forms of other servers, or plain text."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None, shorten(body)
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        found = found["error"]
    if not isinstance(found, dict):
        return None, shorten(body)
    code = found.get("code")
    message = next((found[key] for key in ("message", "error", "detail", "msg") if found.get(key)), body)
    return code if isinstance(code, str) else None, shorten(
        message if isinstance(message, str) else json.dumps(message)
    )


def shorten(text: str) -> str:
    """A text as one line that a terminal can show, of some `MAX_REASON_CHARS` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= MAX_REASON_CHARS else f"{line[:MAX_REASON_CHARS]}..."


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a ``Retry-After`` header, a number or an HTTP date (RFC 9110, 10.2.3).

    None where there is no header or none that can be read; never negative.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        # "-0000" makes a date without a zone; HTTP dates are in UTC.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def backoff(attempt: int, base_s: float, longest_s: float, rng: random.Random) -> float:
    """Seconds to wait after the ``attempt``-th failure (from 1): exponential, with full jitter.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    # Doubling forty times is longer than any limit, and 2**attempt stays a float.
    return rng.uniform(0.0, min(longest_s, base_s * 2.0 ** min(attempt - 1, 40)))


def pause(trouble: Trouble, attempt: int, base_s: float, longest_s: float, rng: random.Random) -> float:
    """Seconds until the next try; what the teacher asks for is kept, and a little is added so that not all return
    at once."""
    if trouble.wait_s is None:
        return backoff(attempt, base_s, longest_s, rng)
    return trouble.wait_s + rng.uniform(0.0, min(base_s, longest_s))

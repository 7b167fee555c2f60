"""What a failure means: again, never again, or no use for anybody."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.annotate.trouble import Trouble, backoff, pause, retry_after, shorten, trouble_of_status
from roadscribe.errors import InputError, WorkError

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)


def trouble(
    status: int, body: str = "", key_name: str | None = "ROADSCRIBE_API_KEY", **headers: str
) -> Trouble:
    return trouble_of_status(
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body,
        where="https://host/v1",
        key_name=key_name,
        now=NOW,
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(days=3), usegmt=True), 0.0),
        ("Tue, 03 Nov 2026 12:00:05 -0000", 5.0),
        ("-4", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_header_can_break_the_run(header: str) -> None:
    seconds = retry_after(header, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(1, 10_000), st.floats(0.01, 600), st.floats(0.01, 3600), st.integers())
def test_the_wait_grows_with_full_jitter_up_to_its_limit(
    attempt: int, base: float, longest: float, seed: int
) -> None:
    assert (
        0
        <= backoff(attempt, base, longest, random.Random(seed))
        <= min(longest, base * 2.0 ** (attempt - 1) if attempt < 40 else longest)
    )


def test_waits_of_many_workers_are_spread_out() -> None:
    rng = random.Random(0)
    waits = [backoff(4, 1.0, 60.0, rng) for _ in range(400)]
    assert min(waits) < 1 and max(waits) > 7


def test_what_a_teacher_asks_for_is_waited_at_least() -> None:
    rng = random.Random(0)
    asked = trouble(429, retry_after="30")
    waits = [pause(asked, attempt, 1.0, 60.0, rng) for attempt in range(1, 50)]
    assert min(waits) >= 30 and max(waits) <= 31 and len(set(waits)) > 10


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(status: int) -> None:
    found = trouble(status)
    assert found.again and found.ends_run is None and f"{status}" in found.reason


@pytest.mark.parametrize("status", [400, 406, 413, 415, 422])
def test_what_the_teacher_will_not_take_is_dead_at_once(status: int) -> None:
    found = trouble(status, '{"error": {"message": "too many images"}}')
    assert not found.again and found.ends_run is None and "too many images" in found.reason


@pytest.mark.parametrize(
    ("status", "key_name", "says"),
    [
        (401, "OPENAI_API_KEY", "OPENAI_API_KEY"),
        (401, None, "set ROADSCRIBE_API_KEY"),
        (403, "OPENAI_API_KEY", "--model"),
        (404, "OPENAI_API_KEY", "--model"),
        (405, None, "/v1"),
    ],
)
def test_what_every_request_would_meet_ends_the_run(status: int, key_name: str | None, says: str) -> None:
    found = trouble(status, key_name=key_name)
    assert isinstance(found.ends_run, InputError) and says in str(found.ends_run)


@pytest.mark.parametrize("status", [429, 400, 403])
def test_an_empty_account_ends_the_run(status: int) -> None:
    found = trouble(status, '{"error": {"message": "no credit", "code": "insufficient_quota"}}')
    assert isinstance(found.ends_run, WorkError) and "no credit" in str(found.ends_run)


def test_a_redirect_names_where_it_leads_and_is_not_followed() -> None:
    found = trouble(308, location="https://elsewhere/v1")
    assert isinstance(found.ends_run, InputError) and "https://elsewhere/v1" in str(found.ends_run)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"message": "full"}}', "full"),
        ('{"error": "full"}', "full"),
        ('{"detail": "full"}', "full"),
        ('{"detail": [{"msg": "full"}]}', '[{"msg": "full"}]'),
        ('{"message": "full"}', "full"),
        ("[1]", "[1]"),
        ("<html>full</html>", "<html>full</html>"),
        ("", ""),
    ],
)
def test_the_message_is_found_in_every_servers_form(body: str, message: str) -> None:
    assert trouble(400, body).reason == (f"HTTP 400: {message}" if message else "HTTP 400")


def test_a_message_is_one_short_line_that_a_terminal_can_show() -> None:
    line = shorten("\x1b[2J\ud800 line\nline " + "x" * 5000)
    assert line.isprintable() and len(line) < 400
    line.encode()

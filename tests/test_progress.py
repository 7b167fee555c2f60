"""Claims about what a person sees on stderr while a stage works."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from roadscribe import progress as module
from roadscribe.progress import clock, progress, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\n  two\tthree")
    captured = capsys.readouterr()
    assert captured.err == "one two three\n"
    assert captured.out == ""


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    log = io.StringIO()
    with progress(40, "sampling [frames]", stream=log) as advance:
        for number in range(40):
            now_s += 0.5
            advance(note=f"video {number}")
    assert log.getvalue().splitlines() == [
        "sampling [frames]: 10/40, 2.0/s, 15 s left, video 9",
        "sampling [frames]: 20/40, 2.0/s, 10 s left, video 19",
        "sampling [frames]: 30/40, 2.0/s, 5.0 s left, video 29",
        "sampling [frames]: 40 done in 20 s, 2.0/s",
    ]


def test_slow_work_counts_seconds_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    log = io.StringIO()
    with progress(100, "training", stream=log) as advance:
        now_s = 90.0
        advance(2)
    assert log.getvalue().splitlines()[0] == "training: 2/100, 45.0 s each, 1:13:30 left"


def test_what_an_earlier_run_did_counts_but_not_towards_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    log = io.StringIO()
    with progress(100, "training", already=90, stream=log) as advance:
        for _ in range(10):
            now_s += 6.0
            advance()
    lines = log.getvalue().splitlines()
    assert lines[0] == "training: 91/100, 6.0 s each, 54 s left"
    assert lines[-1] == "training: 100 done, 10 of them in 1:00, 6.0 s each"


def test_by_note_a_log_gets_a_line_a_note_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    log = io.StringIO()
    with progress(4, "training", by_note=True, stream=log) as advance:
        for step in (1, 2, 3, 4):
            now_s += 60.0
            advance(1, "an old note")
            if step % 2 == 0:
                advance(0, f"loss {step}")
    assert log.getvalue().splitlines() == [
        "training: 2/4, 60.0 s each, 2:00 left, loss 2",
        "training: 4/4, 60.0 s each, 0.0 s left, loss 4",
        "training: 4 done in 4:00, 60.0 s each",
    ]


def test_work_that_breaks_off_is_not_called_done() -> None:
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt), progress(5, "sampling", stream=log) as advance:
        advance(2)
        raise KeyboardInterrupt
    assert re.fullmatch(r"sampling: stopped at 2/5 after 0\.0 s, [\d.]+/s\n", log.getvalue())


def test_nothing_to_do_is_no_division_by_zero() -> None:
    log = io.StringIO()
    with progress(0, "sampling", stream=log):
        pass
    assert log.getvalue() == "sampling: 0 done in 0.0 s\n"


def test_a_terminal_gets_a_bar_and_the_same_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with progress(3, "sampling [x]", stream=terminal) as advance:
        for _ in range(3):
            advance(note="a [b].mp4")
    shown = terminal.getvalue()
    assert "━" in shown
    assert "sampling [x]" in shown
    assert "a [b].mp4" in shown
    assert re.search(r"sampling \[x\]: 3 done in 0\.\d s, [\d.]+/s\n$", shown)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with progress(1, "sampling", stream=terminal) as advance:
        advance()
    assert re.fullmatch(r"sampling: 1 done in 0\.0 s, [\d.]+/s\n", terminal.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (187, "3:07"),
        (3765, "1:02:45"),
    ],
)
def test_time_as_people_write_it(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_saying_something_loads_nothing_heavy() -> None:
    code = (
        "import sys, roadscribe.progress; print([m for m in ('torch', 'rich', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

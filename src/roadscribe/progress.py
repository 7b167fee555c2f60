"""How a stage says on stderr how far it is: a bar on a terminal, plain lines elsewhere (ground floor)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

LINE_EVERY_S = 5.0
"""Where stderr is no terminal, a line at most this often."""


class Advance(Protocol):
    """What `progress` yields: ``n`` more are done; ``note`` stands beside the count until the next call."""

    def __call__(self, n: int = 1, note: str = "") -> None: ...


def is_rank0() -> bool:
    """Whether this process is to be heard: of several that a launcher started together only the first is."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str, *, stream: TextIO | None = None) -> None:
    """Print one line on stderr; line breaks inside the message become spaces."""
    print(" ".join(message.split()), file=stream or sys.stderr, flush=True)


@contextmanager
def progress(
    total: int, what: str, *, already: int = 0, by_note: bool = False, stream: TextIO | None = None
) -> Iterator[Advance]:
    """Show how far a piece of work is while the block runs, and how long it took when it ends.

    Args:
        total: how many there are to do.
        what: the work in a few words, for example "sampling frames".
        already: how many of them an earlier run has done; they count, but not towards the speed.
        by_note: where stderr is no terminal, print a line for each ``advance(0, note)``, and only then.
        stream: where to; stderr when not given.

    Yields:
        ``advance(n=1, note="")``, to call whenever n more are done.
    """
    out = stream or sys.stderr
    count = _Count(total, what, already)
    try:
        # Rich draws nothing sensible on a terminal that cannot move its cursor.
        if out.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            with _bar(count, out) as advance:
                yield advance
        else:
            yield _lines(count, out, by_note)
    finally:
        say(count.ended(), stream=out)


class _Count:
    """How many are done, since when, and how that reads."""

    def __init__(self, total: int, what: str, already: int) -> None:
        self.total, self.what, self.done, self.already = total, what, already, already
        self.begun = time.monotonic()

    def spent_s(self) -> float:
        return time.monotonic() - self.begun

    def rate(self) -> str:
        spent = self.spent_s()
        if self.done <= self.already or spent <= 0:
            return ""
        per_second = (self.done - self.already) / spent
        return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"

    def left(self) -> str:
        if self.done <= self.already:
            return ""
        each_s = self.spent_s() / (self.done - self.already)
        return f"{clock(each_s * max(0, self.total - self.done))} left"

    def running(self, note: str) -> str:
        parts = [f"{self.what}: {self.done}/{self.total}", self.rate(), self.left(), note]
        return ", ".join(part for part in parts if part)

    def ended(self) -> str:
        done = f"{self.done} done"
        if self.already:
            done += f", {self.done - self.already} of them"
        how = f"{done} in" if self.done >= self.total else f"stopped at {self.done}/{self.total} after"
        rate = f", {self.rate()}" if self.rate() else ""
        return f"{self.what}: {how} {clock(self.spent_s())}{rate}"


@contextmanager
def _bar(count: _Count, out: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}", markup=False),
    )
    # The bar vanishes at the end; the line with the total time takes its place.
    with Progress(*columns, console=Console(file=out), transient=True) as bar:
        task = bar.add_task(count.what, total=count.total, completed=count.done, beside="")

        def advance(n: int = 1, note: str = "") -> None:
            count.done += n
            beside = "  ".join(part for part in (count.rate(), count.left(), note) if part)
            bar.update(task, completed=count.done, beside=beside)

        yield advance


def _lines(count: _Count, out: TextIO, by_note: bool) -> Advance:
    last_s = 0.0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal last_s
        count.done += n
        now_s = count.spent_s()
        if by_note:
            if n == 0 and note:
                say(count.running(note), stream=out)
        elif count.done < count.total and now_s - last_s >= LINE_EVERY_S:
            last_s = now_s
            say(count.running(note), stream=out)

    return advance


def clock(seconds: float) -> str:
    """A stretch of time as people write it: 0.4 s, 12 s, 3:07 or 1:02:45."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""Asks an endpoint many questions at once and sees every one of them to an answer or a dead letter.

A fixed number of workers take questions in order. Each answer is on disk before its worker goes on, so a run
may be killed at any moment; what was under way then is asked again. One reason to stop stops all workers:
they send nothing new, wait for what is under way, and the run ends with that reason.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

from roadscribe.annotate.address import Address
from roadscribe.annotate.book import AnswerBook
from roadscribe.annotate.budget import Budget, Tokens
from roadscribe.annotate.endpoint import Endpoint
from roadscribe.annotate.no_text import EMPTY_RUN
from roadscribe.annotate.questions import Ask
from roadscribe.annotate.trouble import Trouble, pause
from roadscribe.errors import WorkError
from roadscribe.progress import Advance, say
from roadscribe.recipe import Annotate


def ask_endpoint(
    section: Annotate,
    address: Address,
    asks: Iterator[Ask],
    book: AnswerBook,
    budget: Budget,
    advance: Advance,
) -> None:
    """Ask all ``asks`` and return when each is answered or a dead letter.

    Ctrl-C waits for the answers under way; a second one, or SIGTERM, drops them.

    Raises:
        InputError: no request can succeed (the key, the address, the model).
        WorkError: the budget is spent, the teacher fails too often or asks for too long a wait.
        KeyboardInterrupt: Ctrl-C; all answers that came are kept.
    """
    run = _Run(section, address, asks, book, budget, advance)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        reason = asyncio.run(run.to_the_end())
    else:
        # In a notebook this thread has a loop of its own, which cannot wait for another.
        with ThreadPoolExecutor(max_workers=1) as thread:
            future = thread.submit(asyncio.run, run.to_the_end())
            try:
                reason = future.result()
            except KeyboardInterrupt:
                run.interrupt_from_outside()
                raise
    if reason is not None:
        raise reason


class _Run:
    """One run of workers over one endpoint."""

    def __init__(
        self,
        section: Annotate,
        address: Address,
        asks: Iterator[Ask],
        book: AnswerBook,
        budget: Budget,
        advance: Advance,
    ) -> None:
        self._section, self._address, self._asks = section, address, asks
        self._book, self._budget, self._advance = book, budget, advance
        self._rng = random.Random()
        self._said: set[tuple[str, str]] = set()
        self._deaths_in_a_row = 0
        self._textless_in_a_row = 0
        self._under_way = 0
        self._reason: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._changed = asyncio.Condition()
        """Notified when a request has ended, for those that wait until the budget has room."""

    async def to_the_end(self) -> BaseException | None:
        """Work until nothing is left or something stops it; returns what did."""
        self._loop = asyncio.get_running_loop()
        async with Endpoint(self._section, self._address) as self._endpoint:
            workers = [asyncio.create_task(self._work()) for _ in range(self._section.concurrency)]
            everyone = asyncio.gather(*workers)
            try:
                with self._signals(everyone.cancel):
                    await everyone
            except asyncio.CancelledError:
                if self._reason is None:
                    raise
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return self._reason

    def interrupt_from_outside(self) -> None:
        """Stop as Ctrl-C does; called from another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop, KeyboardInterrupt())

    def _stop(self, reason: BaseException) -> None:
        """Send nothing more; the first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._stopping.set()

    @contextmanager
    def _signals(self, drop: Callable[[], object]) -> Iterator[None]:
        """Turn Ctrl-C into a stop that waits for what is under way, a second one and SIGTERM into `drop`."""
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupted() -> None:
            if isinstance(self._reason, KeyboardInterrupt) or not self._under_way:
                terminated()
                return
            self._reason = KeyboardInterrupt()
            self._stopping.set()
            say(f"annotate: stopping; {self._under_way} answers are under way (Ctrl-C again drops them)")

        def terminated() -> None:
            self._reason = KeyboardInterrupt()
            self._stopping.set()
            drop()

        handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
        for number, act in ((signal.SIGINT, interrupted), (signal.SIGTERM, terminated)):
            handlers[number] = signal.getsignal(number)
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    async def _work(self) -> None:
        """One worker: take the next question, see it to its end, until there is none."""
        while not self._stopping.is_set():
            ask = next(self._asks, None)
            if ask is None:
                return
            await self._settle(ask)

    async def _settle(self, ask: Ask) -> None:
        """Ask one question until it is answered, given up on, or the run stops."""
        for attempt in range(1, self._section.attempts + 1):
            number = await self._admitted(ask)
            if number is None:
                return
            try:
                await self._request(ask, number)
            except Trouble as trouble:
                if trouble.ends_run is not None:
                    self._stop(trouble.ends_run)
                    return
                if not trouble.again or attempt == self._section.attempts:
                    self._bury(ask, trouble, attempt)
                    return
                await self._wait(trouble, attempt)
            else:
                self._deaths_in_a_row = self._textless_in_a_row = 0
                self._advance(1)
                return

    async def _admitted(self, ask: Ask) -> str | None:
        """The number of the request that may be sent now, or None when the run stops."""
        bound = self._endpoint.bound(ask)
        async with self._changed:
            while not self._stopping.is_set():
                verdict = self._budget.admits(bound)
                if verdict == "yes":
                    self._under_way += 1
                    return self._budget.begin(ask.key, bound)
                if verdict != "later":
                    self._stop(WorkError(f"{verdict}; raise it and run with --resume"))
                    return None
                await self._changed.wait()
        return None

    async def _request(self, ask: Ask, number: str) -> None:
        """Send one request, keep its answer and count what it cost.

        Raises:
            Trouble: it brought no answer.
        """
        begun = time.monotonic()
        try:
            answer = await self._endpoint.ask(ask)
            # The answer first: a run that is killed between the two has it, and counts it at its upper bound.
            self._book.keep(ask, answer)
            self._budget.end(number, "answered", time.monotonic() - begun, _tokens(answer.usage))
        except Trouble as trouble:
            spent_s = time.monotonic() - begun
            self._budget.end(number, trouble.label, spent_s, _tokens(trouble.usage), billed=trouble.billed)
            raise
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    def _bury(self, ask: Ask, trouble: Trouble, requests: int) -> None:
        self._book.bury(ask, trouble.reason, requests)
        self._say_once(trouble, "given up on" if requests == 1 else f"given up on after {requests} requests")
        self._advance(1)
        self._deaths_in_a_row += 1
        self._textless_in_a_row = self._textless_in_a_row + 1 if trouble.textless else 0
        if self._textless_in_a_row >= EMPTY_RUN and not self._book.answers:
            self._stop(
                WorkError(
                    f"the first {self._textless_in_a_row} questions came back without an answer, the last one: "
                    f"{trouble.reason}; when that is mended, run with --resume --retry-dead"
                )
            )
            return
        if self._deaths_in_a_row >= self._section.give_up_after:
            self._stop(
                WorkError(
                    f"{self._deaths_in_a_row} questions in a row got no answer, the last one: {trouble.reason}; "
                    "when that is mended, run with --resume --retry-dead"
                )
            )

    async def _wait(self, trouble: Trouble, attempt: int) -> None:
        """Wait before the next try; a stop ends the wait."""
        section = self._section
        if trouble.wait_s is not None and trouble.wait_s > section.retry_after_max_s:
            self._stop(
                WorkError(
                    f"{self._address.url}: asks to wait {trouble.wait_s:.0f} s ({trouble.reason}); run with --resume "
                    f"then, or raise annotate.retry_after_max_s"
                )
            )
            return
        seconds = pause(trouble, attempt, section.backoff_s, section.backoff_max_s, self._rng)
        self._say_once(trouble, "trying again")
        self._advance(0, note=f"last trouble: {trouble.label}")
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)
        except TimeoutError:
            return

    def _say_once(self, trouble: Trouble, what: str) -> None:
        """A line for the first trouble of a kind; the log of requests and the dead letters have the rest."""
        if (trouble.label, what) not in self._said:
            self._said.add((trouble.label, what))
            say(f"annotate: {what}: {trouble.reason}")


def _tokens(counted: dict[str, int] | None) -> Tokens | None:
    """The tokens of a response, where the teacher counted both kinds."""
    usage = counted or {}
    if "prompt_tokens" not in usage or "completion_tokens" not in usage:
        return None
    return Tokens(usage["prompt_tokens"], usage["completion_tokens"])

"""One pure function over many tasks, on all cores where it pays, holding one batch of tasks at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

PARALLEL_FROM = 3000
"""Fewer tasks are done before the workers have started."""
BATCH = 512

Task = TypeVar("Task")
Result = TypeVar("Result")


def batches(items: Iterable[Task], size: int = BATCH) -> Iterator[list[Task]]:
    """The items in lists of ``size``, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class Workers:
    """Processes that stay for several batches; without a pool the work is done right here."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def map(self, function: Callable[[Task], Result], tasks: list[Task]) -> list[Result]:
        """The results in the order of the tasks; with a pool, everything has to be picklable."""
        if self._pool is None:
            return [function(task) for task in tasks]
        return list(self._pool.map(function, tasks, chunksize=16))


@contextmanager
def workers(tasks: int) -> Iterator[Workers]:
    """Worker processes, one a core, when there are at least ``PARALLEL_FROM`` tasks and two cores."""
    cores = os.cpu_count() or 1
    if tasks < PARALLEL_FROM or cores < 2:
        yield Workers(None)
        return
    # Spawned, not forked: Arrow's threads would not survive a fork.
    pool = ProcessPoolExecutor(
        cores, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent
    )
    try:
        yield Workers(pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

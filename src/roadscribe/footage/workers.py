"""Samples many videos by one process per core, in order; a process that dies costs the clip it worked on, no more."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import Connection
from typing import NamedTuple

from roadscribe.clip import Clip
from roadscribe.errors import InputError, WorkError, printable
from roadscribe.footage.container import reason
from roadscribe.footage.evidence import known_about
from roadscribe.footage.make_clip import make_clip
from roadscribe.footage.sources import SourceVideo
from roadscribe.recipe import Footage

SECONDS_PER_FILE, SECONDS_PER_MB, SECONDS_TO_START = 0.02, 0.03, 4.0
"""Sampling takes about this long; work shorter than it takes to start processes is done in this one."""

DEATHS_IN_A_ROW = 16
"""So many processes that die one after the other are the machine's fault, not the files'."""


class Sampled(NamedTuple):
    """One video's clip, or why there is none; and what is to be said about its file and its evidence."""

    clip: Clip | str
    notes: list[str]


def sample(video: SourceVideo, footage: Footage) -> Sampled:
    """The clip of one video, or a line that says why there is none; nothing that a file causes is raised."""
    notes: list[str] = []
    try:
        evidence, notes = known_about(video)
        made = make_clip(video, footage, evidence)
        return Sampled(made.clip, [*notes, *made.notes])
    except InputError as error:
        return Sampled(str(error), notes)
    except Exception as error:
        why = f"{video.path}: cannot be used ({reason(error)}); copy it, and what lies next to it, again"
        return Sampled(printable(why), notes)


def sample_all(videos: Sequence[SourceVideo], footage: Footage) -> Iterator[tuple[SourceVideo, Sampled]]:
    """Every video with its clip, in order; only as many at a time as keep the cores busy.

    A process that dies (memory, a file that breaks FFmpeg) is found out by sampling what was under way once more,
    each video in a process of its own: the one that dies again is left out with the reason, the others are kept.

    Raises:
        WorkError: one process after the other dies.
    """
    workers = min(_cores(), len(videos))
    megabytes = sum(map(_size_bytes, videos)) / 1e6
    seconds = SECONDS_PER_FILE * len(videos) + SECONDS_PER_MB * megabytes
    if workers < 2 or seconds < SECONDS_TO_START:
        for video in videos:
            yield video, sample(video, footage)
        return
    left = deque(videos)
    dead = 0
    while left:
        under_way: deque[tuple[SourceVideo, Future[Sampled]]] = deque()
        try:
            for video, sampled in _by_pool(left, under_way, workers, footage):
                dead = 0
                yield video, sampled
        except BrokenProcessPool:
            for video, future in under_way:
                sampled = _result(future) or _sample_alone(video, footage)
                dead = dead + 1 if isinstance(sampled, _Death) else 0
                if dead >= DEATHS_IN_A_ROW:
                    raise WorkError(
                        f"{dead} decoder processes died one after the other, the last on {video.path} "
                        f"({sampled.clip}); free some memory, then use --resume"
                    ) from None
                yield video, Sampled(*sampled)


def _by_pool(
    left: deque[SourceVideo],
    under_way: deque[tuple[SourceVideo, Future[Sampled]]],
    workers: int,
    footage: Footage,
) -> Iterator[tuple[SourceVideo, Sampled]]:
    """Sample with one pool of processes; ``left`` and ``under_way`` tell what is not done when the pool breaks."""
    with _processes(workers) as pool:
        while left or under_way:
            while left and len(under_way) < 3 * workers:
                with _ctrl_c_held_back():
                    under_way.append((left[0], pool.submit(sample, left[0], footage)))
                left.popleft()
            video, future = under_way[0]
            sampled = future.result()
            under_way.popleft()
            yield video, sampled


def _result(future: Future[Sampled]) -> Sampled | None:
    """What a process of a broken pool had finished."""
    done = future.done() and not future.cancelled() and future.exception() is None
    return future.result() if done else None


class _Death(Sampled):
    """No clip, for its process died."""


def _sample_alone(video: SourceVideo, footage: Footage) -> Sampled:
    """The clip of one video, by a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_sample, args=(theirs, video, footage), daemon=True)
    with _ctrl_c_held_back():
        process.start()
    theirs.close()
    try:
        sampled: Sampled = ours.recv()
        return sampled
    except EOFError:
        process.join()
        return _Death(
            printable(
                f"{video.path}: {_how_it_ended(process.exitcode)}; convert it with `ffmpeg -i IN OUT.mp4`"
            ),
            [],
        )
    finally:
        ours.close()
        process.kill()
        process.join()


def _send_sample(connection: Connection, video: SourceVideo, footage: Footage) -> None:
    _begin_worker()
    connection.send(sample(video, footage))
    connection.close()


def _how_it_ended(exit_code: int | None) -> str:
    """Why a process is dead, from its exit code."""
    if exit_code == -signal.SIGKILL:
        return "its decoder process was killed, twice (out of memory?)"
    try:
        how = f"by {signal.Signals(-(exit_code or 0)).name}"
    except ValueError:
        how = f"with exit code {exit_code}"
    return f"its decoder process ended {how}, twice (a file that breaks FFmpeg)"


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that end with this one, whichever way it ends."""
    before = set(active_children())
    # Not forked: this process may hold threads (a bar, a model), and a fork would copy their locks.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        # What they work on is of no use any more; waiting for it would make Ctrl-C slow.
        for process in set(active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C, which reaches the whole group: this one ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed outright cannot end its workers, and they would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _size_bytes(video: SourceVideo) -> int:
    try:
        return video.path.stat().st_size
    except OSError:
        return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

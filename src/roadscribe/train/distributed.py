"""Several processes train one model: which of them speaks and writes, and how one that fails ends them all.

`torchrun` and `accelerate launch` start them and tell each its place. All of them train; the first also checks the
data, writes every file and is the only one to be heard. Nothing here counts on the launcher to notice a failure:
it would show its own report, and where a card waits for another it may take minutes.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed import distributed_c10d
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from roadscribe.errors import RoadscribeError, WorkError
from roadscribe.progress import is_rank0

ENDED = "roadscribe/ended"
"""Where, in the store that the launcher keeps for all, the first process that fails leaves its exit code."""
INTERRUPTED = 130
LISTEN_S = 0.5
"""How often a process looks there."""
GRACE_S = 5.0
"""How long it then has to end by itself; one that waits for a card does not."""
WAIT = datetime.timedelta(hours=12)
"""Longest wait for another process: the first may write reports on many held-out clips while the others wait."""

_Thing = TypeVar("_Thing")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them."""

    count: int = 1
    rank: int = 0
    local: int = 1
    """How many of them share this machine."""
    sharded: bool = False
    """Whether each holds only a share of every layer (FSDP)."""

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            PartialState().wait_for_everyone()

    def broadcast_from_rank0(self, work: Callable[[], _Thing]) -> _Thing:
        """What the first process makes of ``work``, for all; where that fails, all end (`joined`)."""
        if self.count == 1:
            return work()
        box: list[Any] = [work() if self.first else None]
        broadcast_object_list(box)
        made: _Thing = box[0]
        return made


ALONE = Processes()


def launched() -> int:
    """How many processes the launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sharding() -> bool:
    """Whether `accelerate launch` was told to shard (FSDP)."""
    return launched() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The processes that were launched together, connected while the block runs.

    Only the first is heard. When one fails in the block, it says why in one line (not the first: with its number),
    and all others end without a word and with the same exit code, whatever they are waiting for.
    """
    if launched() == 1:
        yield ALONE
        return
    stderr = sys.stderr
    with _heard_only_from_first():
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)
        world = Processes(
            state.num_processes, state.process_index, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), sharding()
        )
        bell = _Bell(world)
        try:
            yield world
            world.wait()
        except BaseException as error:
            told = bell.ring(_exit_code(error))
            if world.first and (told or _exit_code(error)) == INTERRUPTED:
                raise KeyboardInterrupt from None
            if told is not None:
                raise SystemExit(told) from None
            words = _in_words(error)
            if world.first and words is error:
                raise
            if world.first:
                raise words from error
            _say_why(words, world.rank, stderr)
            raise SystemExit(_exit_code(words)) from None
        bell.stop()
        state.destroy_process_group()


@contextlib.contextmanager
def _heard_only_from_first() -> Iterator[None]:
    if is_rank0():
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def _exit_code(error: BaseException) -> int:
    if isinstance(error, RoadscribeError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _in_words(error: BaseException) -> BaseException:
    """A connection that broke, as one line; any other error as it is."""
    gone = isinstance(error, torch.distributed.DistError) or "closed by peer" in str(error)
    if isinstance(error, RuntimeError) and (gone or "reset by peer" in str(error)):
        return WorkError(
            "another process of this run has ended without a word (killed, or its machine is out of memory); "
            "run the same command with --resume to go on"
        )
    return error


def _say_why(error: BaseException, rank: int, stderr: Any) -> None:
    if isinstance(error, RoadscribeError):
        print(f"roadscribe: process {rank}: {error}", file=stderr, flush=True)
    elif not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error, file=stderr)


class _Bell:
    """Tells every process that one has failed, and ends this one if it does not hear it."""

    def __init__(self, world: Processes) -> None:
        # A connection of its own: a wait in the other would keep this one waiting, too.
        store: Any = distributed_c10d._get_default_store()
        self._store = store.clone()
        self._world = world
        self._over = threading.Event()
        threading.Thread(target=self._listen, name="bell", daemon=True).start()

    def ring(self, code: int) -> int | None:
        """Say that this process fails; the exit code of the one that failed before it, None where it is the first."""
        mine = f"{self._world.rank} {code}"
        self._over.set()
        try:
            told = self._store.compare_set(ENDED, "", mine).decode()
        except RuntimeError:
            return None  # the launcher is gone, and its store
        return None if told == mine else int(told.split()[1])

    def stop(self) -> None:
        """Listen no longer."""
        self._over.set()

    def _listen(self) -> None:
        while not self._over.wait(LISTEN_S):
            try:
                if not self._store.check([ENDED]):
                    continue
                code = int(self._store.get(ENDED).decode().split()[1])
            except RuntimeError:
                code = 1
            if self._over.wait(GRACE_S):
                return
            if code == INTERRUPTED and self._world.first:
                print("roadscribe: interrupted; run the same command with --resume to go on", file=sys.stderr)
            sys.stderr.flush()
            os._exit(code)


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `roadscribe` with these arguments as ``count`` processes on this machine, a card each; the exit code.

    What `torchrun --standalone` does, without its report below the one line that says what is wrong.
    """
    # The launcher's own lines; this process says nothing else.
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "roadscribe", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException:
        return INTERRUPTED
    return 0


def environment_of_one() -> dict[str, str]:
    """This process's environment without its place among several, for a process of its own."""
    launcher = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")
    places = {"RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
    places |= {"GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in places and not name.startswith(launcher)
    }

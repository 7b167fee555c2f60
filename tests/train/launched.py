"""Real processes that train together, each with the whole command line and a log of its own.

They are started from one server process that has imported the training stack already; a launcher's processes
would import it anew, fifteen seconds each time. What a launcher sets in the environment is set here.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from torch.distributed import TCPStore


@dataclass(frozen=True)
class Mischief:
    """What shall happen to one process at the end of an optimizer step."""

    rank: int
    step: int
    what: str
    """`fails`, `is killed`, or `is interrupted`."""


@dataclass
class Launched:
    """Some processes under way."""

    processes: list[ForkServerProcess]
    logs: list[Path]
    store: TCPStore

    def end(self, timeout_s: float = 150) -> list[int | None]:
        """Wait for all; their exit codes. A process that is still there afterwards is killed and has None."""
        for process in self.processes:
            process.join(timeout_s)
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        return codes

    def said(self, rank: int) -> list[str]:
        """Lines of a process's stdout and stderr together."""
        return self.logs[rank].read_text().splitlines()


def forkserver() -> ForkServerContext:
    """The server, which imports the training stack once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["roadscribe.train.train"])
    return context


def launch(
    arguments: Sequence[str],
    logs: Path,
    *,
    count: int = 2,
    mischief: Mischief | None = None,
    fsdp: bool = False,
) -> Launched:
    """Start `roadscribe` with these arguments as several processes."""
    # As in a launcher, the store lies with the parent and outlives every process.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    logs.mkdir(parents=True, exist_ok=True)
    launched = Launched([], [], store)
    for rank in range(count):
        log = logs / f"{rank}.log"
        log.write_text("")
        process = forkserver().Process(
            target=_run, args=(list(arguments), log, rank, count, store.port, mischief, fsdp), daemon=True
        )
        process.start()
        launched.processes.append(process)
        launched.logs.append(log)
    return launched


def _run(
    arguments: list[str],
    log: Path,
    rank: int,
    count: int,
    port: int,
    mischief: Mischief | None,
    fsdp: bool,
) -> None:
    with log.open("a", encoding="utf-8", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    if fsdp:
        _shard_on_a_cpu()
    if mischief is not None and mischief.rank == rank:
        _plan(mischief)
    from roadscribe.cli import main

    sys.argv = ["roadscribe", *arguments]
    main()


def _plan(mischief: Mischief) -> None:
    import signal

    from roadscribe.errors import WorkError
    from roadscribe.train.trainer import Reporter

    before = Reporter.on_step_end

    def on_step_end(self, args, state, control, **others):
        if state.global_step == mischief.step:
            if mischief.what == "fails":
                raise WorkError(f"step {mischief.step}: the loss is nan on clip-7")
            number = signal.SIGKILL if mischief.what == "is killed" else signal.SIGINT
            os.kill(os.getpid(), number)
        return before(self, args, state, control, **others)

    Reporter.on_step_end = on_step_end


def _shard_on_a_cpu() -> None:
    """What `accelerate launch --config_file recipes/fsdp.accelerate.yaml` sets.

    accelerate shards on cards only; here it is told that processes on a CPU are such, too.
    """
    import yaml
    from accelerate import PartialState
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    config = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "fsdp.accelerate.yaml").read_text())
    os.environ |= {name.upper(): str(value) for name, value in config["fsdp_config"].items()}
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = os.environ.pop("FSDP_TRANSFORMER_LAYER_CLS_TO_WRAP")
    before = AcceleratorState.__init__

    def init(self, *args, fsdp_plugin=None, **others):
        before(self, *args, fsdp_plugin=fsdp_plugin, **others)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init

"""How a command ends: its result on stdout, what was left out, and the exit code of every outcome.

0: done; what was left out is counted on stderr and listed in a file of the output folder. 1: the work failed,
or something was left out under ``--strict``. 2: the input or an option is wrong. 130: interrupted.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import typer
import typer.exceptions

from roadscribe.cli.options import Run
from roadscribe.errors import RoadscribeError, WorkError, printable
from roadscribe.progress import is_rank0

INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended."""
SAY_FIRST_S = 3.0
"""What the other processes of a launch leave to the first for saying what is wrong."""

FREE_SPACE = (errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def print_artifact(out: Path, run: Run) -> None:
    """Print a stage's result: its folder, or the summary in its manifest as JSON, ``left_out`` always among it.

    Raises:
        WorkError: something was left out, and the run is strict.
    """
    from roadscribe.artifacts import MANIFEST, left_out_of, read_json

    manifest = read_json(out / MANIFEST, "the stage's manifest")
    left_out = left_out_of(out, manifest)
    if run.as_json:
        summary = manifest.get("summary", {})
        print(json.dumps({"out": str(out), "kind": manifest["kind"], "left_out": left_out.number, **summary}))
    else:
        print(out)
    fail_if_strict(left_out.number, str(left_out), run)


def fail_if_strict(count: int, what: str, run: Run) -> None:
    """Fail a strict run that left something out. The stage has said on stderr what and why.

    Args:
        count: how many inputs were left out.
        what: the count in words, and where the list is.
        run: whether it is strict.

    Raises:
        WorkError: it is, and the count is not 0.
    """
    if count and run.strict:
        # The result must not come after the error where both streams end in one file.
        sys.stdout.flush()
        raise WorkError(f"{what}; --strict makes this exit code 1, everything else is done")


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then leave; of several processes only the first says it."""
    if is_rank0():
        print(f"roadscribe: {printable(' '.join(message.split()))}", file=sys.stderr)
    else:
        # A launcher ends all as soon as one has left, and the first shall have said why.
        time.sleep(SAY_FIRST_S)
    raise SystemExit(code)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def run_app(app: typer.Typer) -> NoReturn:
    """Run the command line and turn every expected failure into one line and its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Libraries tell each other of coming renames there; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # On CPUs with bfloat16 it asks for a package that fetches compiled code from a hub, which is not wanted here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        raise SystemExit(code if isinstance(code, int) else 0)
    except RoadscribeError as error:
        fail(str(error), error.exit_code)
    except typer.exceptions.Abort as error:
        # Typer takes an EOFError for Ctrl-D at a prompt; here it comes from a file that ends too early.
        if isinstance(error.__cause__, EOFError):
            fail(
                f"a file or a stream ended too early ({error.__cause__ or 'EOFError'}); the work is not done",
                1,
            )
        fail("interrupted; run the same command with --resume to go on", INTERRUPTED)
    except KeyboardInterrupt:
        fail("interrupted; run the same command with --resume to go on", INTERRUPTED)
    except typer.exceptions.TyperException as error:
        fail(f"{error.format_message()} (see roadscribe --help)", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MemoryError:
        fail("out of memory; lower infer.batch_size or train.batch_size with --set", 1)
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in FREE_SPACE:
            fail(f"{where}{error.strerror}; free some space or give another --out, then run with --resume", 1)
        fail(f"{where}{error.strerror}", 1)

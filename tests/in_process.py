"""The command line in this process: the training stack is imported once, not for every command."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from roadscribe.cli import main


class Ran(NamedTuple):
    """A command's exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def roadscribe(*arguments: object, cwd: Path | None = None) -> Ran:
    """What `roadscribe` with these arguments prints and exits with, started in ``cwd``."""
    out, err = io.StringIO(), io.StringIO()
    before, code = signal.getsignal(signal.SIGTERM), None
    argv, sys.argv = sys.argv, ["roadscribe", *map(str, arguments)]
    try:
        with (
            contextlib.chdir(cwd) if cwd else contextlib.nullcontext(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, before)
    assert code is None or isinstance(code, int)
    return Ran(code or 0, out.getvalue(), err.getvalue())

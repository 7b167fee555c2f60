"""The command line: one verb per stage, a thin layer over the stage of the same name.

stdout carries results, stderr progress and errors; `exit_codes` says how a command ends. Stages are imported
inside their verbs, so that `--help` answers at once.
"""

from __future__ import annotations

# Each of the two registers its verbs; the help lists them in this order.
from roadscribe.cli import (
    data_verbs,  # noqa: F401
    model_verbs,  # noqa: F401
)
from roadscribe.cli.application import app
from roadscribe.cli.exit_codes import run_app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and turn every expected failure into one line and its exit code."""
    run_app(app)

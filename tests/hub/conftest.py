"""A stand-in hub, and one process that runs the command line against it through HF_ENDPOINT."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_commands import WORKER, CommandLine
from hub_standin import Hub, serving


@pytest.fixture
def hub(_served: Hub) -> Iterator[Hub]:
    """The stand-in, without troubles."""
    _served.requests.clear()
    _served.uploads.clear()
    yield _served
    _served.trouble = lambda method, path: None


@pytest.fixture(scope="session")
def _served() -> Hub:
    return Hub()


@pytest.fixture(scope="session")
def roadscribe(_served: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line with a home of its own, a token and the stand-in as its hub."""
    home = tmp_path_factory.mktemp("home")
    with serving(_served) as url, (home / "stderr").open("w") as errors:
        env = {
            **os.environ,
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": url,
            # The stand-in stores large files as plain LFS objects.
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=env,
            cwd=home,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        yield CommandLine(process)
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture
def dataset(small_run: Any, tmp_path: Path) -> Path:
    """A copy of the small run's dataset, to be changed at will."""
    return Path(shutil.copytree(small_run.dataset, tmp_path / "dataset"))

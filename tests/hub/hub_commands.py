"""The command line in a process of its own, whose hub is the stand-in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from hub_standin import TOKEN

WORKER = """
import contextlib, io, json, os, sys
from roadscribe.cli import main
real = sys.stdout
for line in sys.stdin:
    asked = json.loads(line)
    out, err, code = io.StringIO(), io.StringIO(), 0
    os.environ["HF_TOKEN"] = asked["token"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if "code" in asked:
                exec(asked["code"], {})
            else:
                sys.argv = ["roadscribe", *asked["argv"]]
                main()
        except SystemExit as end:
            code = end.code
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), file=real, flush=True)
"""
"""The client reads HF_ENDPOINT when it is imported, hence another process; one, because importing takes long."""


@dataclass
class Ran:
    """One command's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The one line on stderr that says what is wrong."""
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("roadscribe: ")]
        return line


class CommandLine:
    """Runs `roadscribe` and Python code in a process whose hub is the stand-in."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, **asked: Any) -> Ran:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"token": TOKEN, **asked}) + "\n")
        self._process.stdin.flush()
        return Ran(**json.loads(self._process.stdout.readline()))

    def __call__(self, *arguments: object, token: str = TOKEN) -> Ran:
        """Run one command; fails the test only where the process dies."""
        ran = self._ask(argv=[str(one) for one in arguments], token=token)
        assert TOKEN not in ran.out + ran.err
        return ran

    def published(self, *arguments: object) -> dict[str, Any]:
        """Run `publish --json`, which must succeed, and return what it printed."""
        ran = self("publish", *arguments, "--json")
        assert ran.code == 0, ran.err
        result: dict[str, Any] = json.loads(ran.out)
        return result

    def python(self, code: str) -> Any:
        """Run Python code that prints JSON."""
        ran = self._ask(code=code)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

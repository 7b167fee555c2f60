"""Names what on this machine would hurt a run, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from roadscribe.machine import free_memory


@dataclass(frozen=True)
class Check:
    """One look at the machine."""

    name: str
    status: Literal["ok", "warning", "error"]
    found: str
    mend: str = ""


TESTED_TORCH_PAIR = ("2.13", "0.28")
"""torch and torchvision are built against each other; these two were tested."""


def _versions() -> list[Check]:
    checks = []
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    checks.append(
        Check("python", "error" if old else "ok", python, "use Python 3.11 or newer" if old else "")
    )
    pair = tuple(importlib.metadata.version(name) for name in ("torch", "torchvision"))
    same = all(found.startswith(f"{wanted}.") for found, wanted in zip(pair, TESTED_TORCH_PAIR, strict=True))
    checks.append(
        Check(
            "torch and torchvision",
            "ok" if same else "warning",
            f"{pair[0]} with {pair[1]}",
            "" if same else f"tested with {TESTED_TORCH_PAIR[0]} and {TESTED_TORCH_PAIR[1]}; run `uv sync`",
        )
    )
    names = ("transformers", "trl", "peft", "bitsandbytes", "datasets", "av", "xgrammar")
    checks.append(Check("libraries", "ok", ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)))
    return checks


def _accelerator() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        found = f"none; {os.cpu_count()} CPU cores"
        return [
            Check(
                "accelerator",
                "warning",
                found,
                "fine for the tiny model; the 2B recipes want a 16 GB CUDA card",
            )
        ]
    checks = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        gib = total / 2**30
        found = f"{card.name}, compute capability {card.major}.{card.minor}, {free / 2**30:.1f} of {gib:.1f} GiB free"
        if free < 6 * 2**30:
            checks.append(
                Check(f"card {index}", "warning", found, "close other programs that hold its memory")
            )
        elif card.major < 8:
            checks.append(Check(f"card {index}", "ok", found + "; no bfloat16, training computes in float16"))
        else:
            checks.append(Check(f"card {index}", "ok", found))
    return checks


def _room() -> list[Check]:
    checks = []
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    low = free < 5
    checks.append(
        Check("disk", "warning" if low else "ok", f"{free:.0f} GiB free here", "make room" if low else "")
    )
    memory = free_memory()
    if memory is not None:
        low = memory < 4 * 2**30
        mend = "the demo needs 4 GiB; close other programs" if low else ""
        checks.append(
            Check("memory", "warning" if low else "ok", f"{memory / 2**30:.1f} GiB available", mend)
        )
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / 2**30
        low = size < 0.5
        mend = "start the container with --shm-size=2g" if low else ""
        checks.append(Check("shared memory", "warning" if low else "ok", f"{size:.1f} GiB", mend))
    return checks


def _model() -> list[Check]:
    from roadscribe.tiny import WEIGHTS

    whole = (WEIGHTS / "model.safetensors").is_file()
    mend = "" if whole else "reinstall the package, or train it: python -m roadscribe.tiny.pretrain"
    found = "present" if whole else "weights missing"
    return [Check("roadscribe-tiny", "ok" if whole else "error", found, mend)]


def doctor(as_json: bool) -> int:
    """Print every check; 1 when something would stop a run, else 0."""
    checks = [*_versions(), *_accelerator(), *_room(), *_model()]
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            mend = f"  -> {check.mend}" if check.mend else ""
            print(f"{check.status:8s}{check.name}: {check.found}{mend}")
    return int(any(check.status == "error" for check in checks))

"""Checkpoints of a run: which one a resumed run goes on from, and why one could not be written.

A checkpoint counts once its last file, `WHOLE`, is there. That file holds the SHA-256 of all others, so that a file
that was cut off or changed later is noticed before anything is loaded. What is loaded then needs no code from the
file: tensors come through safetensors or ``torch.load(weights_only=True)``, the rest is JSON.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch

from roadscribe.artifacts import write_text
from roadscribe.curate.saved import changed, file_sha256
from roadscribe.errors import InputError, WorkError, error_line
from roadscribe.progress import say

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints, there only while the run lasts."""
WHOLE = "whole"
"""A file that is written into a checkpoint last: without it a checkpoint was cut off and does not count. As JSON it
holds ``files``, name -> SHA-256, and what the trainer itself does not keep."""
FILES = "files"

_OS_ERROR = re.compile(r"(?:code: |os error |\[Errno )(\d+)")
"""How safetensors and Python name the system's error number in a text."""
_PROBE_BYTES = 2**16


def best_weights(out: Path, step: int) -> Path:
    """Where, while a run lasts, the adapter of a step lies that was the best so far."""
    return out / CHECKPOINTS / f"best-{step}.safetensors"


def all_best_weights(out: Path) -> dict[int, Path]:
    """Those that are there, by step."""
    return _numbered(out / CHECKPOINTS, "best-*.safetensors")


def all_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by step, whole or not."""
    return _numbered(folder, "checkpoint-*")


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    found = {path.stem.rsplit("-", 1)[1]: path for path in folder.glob(pattern)}
    return {int(step): found[step] for step in sorted(found, key=len) if step.isdecimal()}


def close_checkpoint(checkpoint: Path, **kept: Any) -> None:
    """Mark a checkpoint as whole, once every process has written its files.

    Args:
        checkpoint: its folder.
        kept: what else a resumed run needs, as plain JSON.
    """
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE]
    # Of the adapters that were the best in their time only the newest is the best so far.
    best = _numbered(checkpoint.parent, "best-*.safetensors")
    files += [best[max(best)]] if best else []
    digests = {os.path.relpath(path, checkpoint): file_sha256(path) for path in sorted(files)}
    write_text(checkpoint / WHOLE, json.dumps({**kept, FILES: digests}, indent=1))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; those that were cut off are deleted."""
    whole = {}
    for step, checkpoint in all_checkpoints(folder).items():
        if (checkpoint / WHOLE).exists():
            whole[step] = checkpoint
        else:
            shutil.rmtree(checkpoint)
    return whole[max(whole)] if whole else None


def usable_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what was written, None where there is none left.

    Each that is damaged is named in one line on stderr and deleted; the run goes on from the one before it.

    Raises:
        InputError: a checkpoint's file may not be read.
    """
    while (checkpoint := last_checkpoint(folder)) is not None:
        found = damaged_file(checkpoint)
        if found is None:
            return checkpoint
        path, why = found
        shutil.rmtree(checkpoint)
        before = last_checkpoint(folder)
        then = "training starts at the beginning" if before is None else f"{before.name} is taken instead"
        say(f"{path}: {why}; {then}")
    return None


def damaged_file(checkpoint: Path) -> tuple[Path, str] | None:
    """The first file of a checkpoint that is not what was written, and what is wrong with it.

    Raises:
        InputError: a file may not be read.
    """
    whole = checkpoint / WHOLE
    try:
        kept = json.loads(whole.read_text(encoding="utf-8"))
        # Earlier versions recorded no digests.
        files = dict(kept[FILES]) if FILES in kept else None
    except PermissionError as error:
        raise InputError(
            f"{whole}: cannot be read ({error.strerror}); allow it, then use --resume"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return whole, "is damaged"
    if files is None:
        others = sorted(path for path in checkpoint.iterdir() if path != whole)
        return next(((path, why) for path in others if (why := _unreadable(path))), None)
    for name, digest in files.items():
        path = Path(os.path.normpath(checkpoint / str(name)))
        if path.is_file() and not os.access(path, os.R_OK):
            raise InputError(f"{path}: cannot be read (permission denied); allow it, then use --resume")
        why = changed(path, str(digest))
        if why:
            return path, why
    return None


def _unreadable(path: Path) -> str | None:
    """Whether a file without a recorded digest is no file of its kind; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="pt") as file:
                file.keys()
        elif path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                return None if archive.testzip() is None else "is damaged"
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, zipfile.BadZipFile, safetensors.SafetensorError, EOFError) as error:
        return f"is cut off or damaged ({error_line(error)})"
    return None


@contextlib.contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Find the system's reason where torch or safetensors could not write into a folder.

    Raises:
        OSError: with the system's error number, for `artifacts.disk_errors` to put into words.
        WorkError: the reason is not known.
    """
    try:
        yield
    except (RuntimeError, safetensors.SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError | torch.distributed.DistError) or "by peer" in str(error):
            raise
        code = _errno(error) or _probe(folder)
        if code is not None:
            raise OSError(code, os.strerror(code)) from error
        raise WorkError(
            f"{folder}: cannot be written ({error_line(error)}); see whether the disk is full or failing, then use "
            "--resume: the checkpoint before it is whole"
        ) from error


def _errno(error: BaseException | None) -> int | None:
    """The system's error number in an error or in what caused it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        found = _OS_ERROR.search(str(error))
        if found and int(found[1]) in errno.errorcode:
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


def _probe(folder: Path) -> int | None:
    """What the system says when the file in a folder that was written last grows a little more; torch does not say.

    The checkpoint that the file belongs to was cut off and is not used.
    """
    try:
        files = [path for path in folder.rglob("*") if path.is_file()]
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        with newest.open("ab", buffering=0) as file:
            left = _PROBE_BYTES
            while left > 0:
                left -= file.write(bytes(left)) or left
            os.fsync(file.fileno())
    except ValueError:
        return None
    except OSError as error:
        return error.errno
    return None

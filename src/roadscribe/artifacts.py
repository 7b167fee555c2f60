"""How every stage keeps what it made: atomic files, keyed append-only logs, manifests, resume.

A stage opens its output folder with `open_output`, writes into it, and closes it with `finish`. Until then
the manifest says ``"complete": false``, so nothing half-written passes for whole; `--resume` goes on from
there and nothing that holds something else is overwritten without `--overwrite`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from roadscribe.errors import InputError, WorkError
from roadscribe.progress import say

MANIFEST = "artifact.json"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
TOO_LARGE = (errno.EFBIG,)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under ``path`` whole or not at all (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_open(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read JSON or raise InputError naming the file and ``what`` it should have been."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected {what}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected {what}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); expected {what}") from error


class KeyedLog:
    """An append-only JSONL file with one line a key; the last whole line of a key is the one that counts.

    A line that a crash cut off is dropped when the log is opened again: records are whole or not there.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """
        Args:
            path: the file; what it holds already is read.
            durable: outlive a power cut; without it records outlive a killed process, and are written much faster.
        """
        self.path = path
        self._durable = durable
        self.records: dict[str, dict[str, Any]] = {}
        whole = 0
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            for number, line in enumerate(content[:whole].splitlines(), 1):
                try:
                    record = json.loads(line)
                    self.records[record["key"]] = record
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(f"{path}:{number}: not a record of a keyed log ({error})") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what could not be written must not wait in memory and come out later.
        self._file = path.open("ab", buffering=0)
        _sync_folder(path.parent)
        self._end = whole
        if self._file.tell() != whole:
            self._file.truncate(whole)

    def __contains__(self, key: str) -> bool:
        return key in self.records

    def append(self, key: str, **fields: Any) -> None:
        """Add one record and make it durable before returning; a record that does not fit leaves no trace."""
        record = {"key": key, **fields}
        line = memoryview(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            if self._durable:
                os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(self._end)
            raise
        self._end += len(line)
        self.records[key] = record

    def close(self) -> None:
        """Close the file; the records stay readable."""
        self._file.close()

    def __enter__(self) -> KeyedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_output(
    out: Path, kind: str, recipe: dict[str, Any], *, resume: bool = False, overwrite: bool = False
) -> bool:
    """Make ``out`` ready for an artifact of this ``kind``; True when it is already complete (resume only).

    Args:
        out: the output folder; created when missing.
        kind: "clips", "raw", "dataset", "adapter", "scorecard" or another stage's noun.
        recipe: what made the artifact, as plain JSON; kept in the manifest and compared on resume.
        resume: go on where an earlier run of the same recipe was stopped.
        overwrite: delete what is there first.

    Raises:
        InputError: ``out`` cannot be a folder, holds something else, or was made by another recipe.
    """
    with disk_errors(out):
        recipe = json.loads(json.dumps(recipe))
        if _holds_something(out):
            path = out / MANIFEST
            manifest = read_json(path, "an artifact's manifest") if path.exists() else None
            about = manifest if isinstance(manifest, dict) else {}
            ours = about.get("kind") == kind
            if resume and ours and not about.get("emptying"):
                return _go_on(out, about, recipe)
            if not overwrite and not (resume and ours):
                found = f"an artifact of kind {about.get('kind')!r}" if about else "other files"
                hint = "--resume to go on, or --overwrite" if ours else "another --out"
                if about and not ours:
                    hint += ", or --overwrite to delete them"
                raise InputError(f"{out}: already holds {found}; use {hint}")
            if not about and not _looks_disposable(out):
                raise InputError(
                    f"{out}: was not made by roadscribe, so --overwrite leaves it alone; give another --out"
                )
            # A run that dies while it deletes must leave neither "complete" above holes nor remains of the old
            # artifact that a resumed run would take for its own.
            write_json(path, {"kind": kind, "complete": False, "emptying": True})
            _empty(out)
        write_json(out / MANIFEST, {"kind": kind, "complete": False, "recipe": recipe})
    return False


def _empty(out: Path) -> None:
    """Delete everything but the manifest."""
    for item in out.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item.name != MANIFEST:
            item.unlink()


def _go_on(out: Path, manifest: dict[str, Any], recipe: dict[str, Any]) -> bool:
    """Make ready to resume; True when there is nothing left to do."""
    if manifest.get("recipe") != recipe:
        changed = _first_difference(manifest.get("recipe"), recipe)
        raise InputError(
            f"{out}: was made by another recipe (differs at {changed}); "
            "use the same recipe to resume, another --out, or --overwrite"
        )
    # A run that was killed outright could not take its half-written files away.
    for leftover in out.rglob(".*.tmp"):
        leftover.unlink()
    if manifest.get("complete") is not True:
        return False
    if _is_damaged(manifest):
        raise InputError(f"{out / MANIFEST}: is damaged; make the artifact again with --overwrite")
    left_out = left_out_of(out, manifest)
    say(f"{out}: already complete" + (f"; {left_out}" if left_out.number else ""))
    return True


def _holds_something(out: Path) -> bool:
    """Whether the output folder exists (it does afterwards) and is not empty."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        return any(out.iterdir())
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{out}: is a file, or lies below one; give a folder for --out") from error
    except OSError as error:
        if error.errno in DISK_FULL or error.errno in NOT_WRITABLE:
            raise
        raise InputError(f"{out}: cannot be a folder ({error.strerror}); give another --out") from error


def _looks_disposable(folder: Path) -> bool:
    return all(item.name.endswith(".tmp") for item in folder.iterdir())


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    return f"{path or 'recipe'}: {old!r} then, {new!r} now"


class LeftOutCount(NamedTuple):
    """How many inputs a stage left out of its artifact, and the files that list them with a reason each."""

    number: int
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.number} left out, listed in {' and '.join(map(str, self.files)) or 'no file'}"


def finish(out: Path, *, left_out: int | None = None, listed_in: Sequence[str] = (), **summary: Any) -> None:
    """Mark the artifact in ``out`` as whole, with a short summary next to its recipe.

    Args:
        out: the output folder.
        left_out: how many inputs the artifact does not hold; None for a stage that leaves nothing out. The stage
            has printed the count and a reason on stderr; ``--strict`` makes exit code 1 of it.
        listed_in: names of the files in ``out`` that list them.
        summary: figures of the stage, as plain JSON.
    """
    manifest = read_json(out / MANIFEST, "an artifact's manifest")
    if left_out is not None:
        summary |= {"left_out": left_out, **({"listed_in": list(listed_in)} if left_out else {})}
    write_json(out / MANIFEST, {**manifest, "complete": True, "summary": summary})


def _is_damaged(manifest: dict[str, Any]) -> bool:
    """Whether a manifest that says "complete" lacks what `finish` leaves in it."""
    parts = (manifest.get("recipe"), manifest.get("summary"))
    return manifest.get("complete") is True and not all(isinstance(part, dict) for part in parts)


def left_out_of(out: Path, manifest: Any) -> LeftOutCount:
    """What the finished artifact in ``out`` says that it left out; 0 where its manifest does not say."""
    summary = manifest.get("summary") if isinstance(manifest, dict) else None
    count, names = (
        (summary.get("left_out"), summary.get("listed_in")) if isinstance(summary, dict) else (0, ())
    )
    files = [out / name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return LeftOutCount(count if isinstance(count, int) else 0, tuple(files))


def require_complete(folder: Path, kind: str, verb: str) -> dict[str, Any]:
    """The manifest of a whole artifact of ``kind``, or InputError saying which verb makes it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it with `roadscribe {verb}`")
    manifest = read_json(folder / MANIFEST, f"an artifact of kind {kind!r} (`roadscribe {verb}`)")
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{folder}: is of kind {found!r}, not {kind!r}; make one with `roadscribe {verb}`")
    if _is_damaged(manifest):
        raise InputError(f"{folder / MANIFEST}: is damaged; make the artifact again with `roadscribe {verb}`")
    if manifest.get("complete") is not True:
        raise InputError(f"{folder}: is unfinished; first run `roadscribe {verb} --resume` with its options")
    return manifest


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn a full or read-only disk, or a file beyond a limit of its size, into one clear line (WorkError)."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise WorkError(f"{out}: the disk is full; free some space, then use --resume") from error
        if error.errno in TOO_LARGE:
            raise WorkError(
                f"{out}: a file became larger than the file system or this shell's limit (`ulimit -f`) allows; raise "
                "the limit or move the folder to another file system, then use --resume"
            ) from error
        if error.errno in NOT_WRITABLE:
            raise WorkError(f"{out}: cannot write here ({error.strerror}); give another --out") from error
        raise

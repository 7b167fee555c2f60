"""How every stage keeps what it made: atomic files, keyed append-only logs, manifests, resume.

A stage opens its output folder with `open_output`, writes into it, and closes it with `finish`. Until then
the manifest says ``"complete": false``, so nothing half-written passes for whole; `--resume` goes on from
there and nothing that holds something else is overwritten without `--overwrite`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from roadscribe.errors import InputError, WorkError

MANIFEST = "artifact.json"


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
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; expected {what}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); expected {what}") from error


class KeyedLog:
    """An append-only JSONL file with one line a key; the last whole line of a key is the one that counts.

    A line that a crash cut off is dropped when the log is opened again, so a record is there whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        self._file = path.open("ab")
        if self._file.tell() != whole:
            self._file.truncate(whole)

    def __contains__(self, key: str) -> bool:
        return key in self.records

    def append(self, key: str, **fields: Any) -> None:
        """Add one record and make it durable before returning."""
        record = {"key": key, **fields}
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
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
        InputError: ``out`` is a file, holds something else, or was made by another recipe.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for --out")
    recipe = json.loads(json.dumps(recipe))
    if out.is_dir() and any(out.iterdir()):
        manifest_path = out / MANIFEST
        manifest = read_json(manifest_path, "an artifact's manifest") if manifest_path.exists() else None
        ours = isinstance(manifest, dict) and manifest.get("kind") == kind
        if resume and ours:
            if manifest.get("recipe") != recipe:
                changed = _first_difference(manifest.get("recipe"), recipe)
                raise InputError(
                    f"{out}: was made by another recipe (differs at {changed}); "
                    "use the same recipe to resume, another --out, or --overwrite"
                )
            return bool(manifest.get("complete"))
        if not overwrite:
            found = f"an artifact of kind {manifest.get('kind')!r}" if isinstance(manifest, dict) else "other files"
            hint = "--resume to go on, or --overwrite" if ours else "another --out, or --overwrite to delete them"
            raise InputError(f"{out}: already holds {found}; use {hint}")
        if manifest is None and not _looks_disposable(out):
            raise InputError(f"{out}: was not made by roadscribe, so --overwrite will not delete it; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / MANIFEST, {"kind": kind, "complete": False, "recipe": recipe})
    return False


def _looks_disposable(folder: Path) -> bool:
    return all(item.name.endswith(".tmp") for item in folder.iterdir())


def _first_difference(old: Any, new: Any, path: str = "") -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    return f"{path or 'recipe'}: {old!r} then, {new!r} now"


def finish(out: Path, **summary: Any) -> None:
    """Mark the artifact in ``out`` as whole, with a short summary beside its recipe."""
    manifest = read_json(out / MANIFEST, "an artifact's manifest")
    write_json(out / MANIFEST, {**manifest, "complete": True, "summary": summary})


def require_complete(folder: Path, kind: str, verb: str) -> dict[str, Any]:
    """The manifest of a whole artifact of ``kind``, or InputError saying which verb makes it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it with `roadscribe {verb}`")
    manifest = read_json(folder / MANIFEST, f"the manifest of an artifact of kind {kind!r} (`roadscribe {verb}`)")
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise InputError(f"{folder}: is an artifact of kind {found!r}, not {kind!r}; make one with `roadscribe {verb}`")
    if not manifest.get("complete"):
        raise InputError(f"{folder}: is unfinished; run `roadscribe {verb} --resume` with the same options first")
    return manifest


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one clear line (WorkError)."""
    try:
        yield
    except OSError as error:
        if error.errno in (28, 122):
            raise WorkError(f"{out}: the disk is full; free some space and run again with --resume") from error
        if error.errno in (13, 30):
            raise WorkError(f"{out}: cannot write here ({error.strerror}); give another --out") from error
        raise

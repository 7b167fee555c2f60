"""Reads a manifest: one JSON object a line names a window of a video, or a list of images, and what is known of it."""

from __future__ import annotations

import difflib
import os
import re
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roadscribe.artifacts import MANIFEST as ARTIFACT
from roadscribe.artifacts import read_json
from roadscribe.clip import Evidence, same_name
from roadscribe.errors import InputError
from roadscribe.footage.container import reason

MAX_ID_CHARS = 400

WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class ManifestRow(BaseModel):
    """One line of a manifest; more keys may stand beside these."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    video: str | None = Field(default=None, min_length=1)
    images: tuple[str, ...] = ()
    """Instead of a video: its frames as files, oldest first."""
    timestamps_s: tuple[float, ...] = ()
    """When each image was taken, in seconds; the clock of the line's evidence."""
    clip_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    drive_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    start_s: float | None = Field(default=None)
    """Where the clip's window begins; None: as the recipe says."""
    end_s: float | None = Field(default=None)
    """Where the clip's window ends: the moment its report speaks of; None: as the recipe says."""
    evidence: Evidence = Evidence()
    telemetry: str | None = Field(default=None, min_length=1)
    """A CSV of time and speed (`telemetry_csv`)."""
    telemetry_start_s: float | None = None
    """When the video begins on a telemetry clock that counts from 1970."""

    @model_validator(mode="after")
    def _check(self) -> ManifestRow:
        if self.video is not None and self.images:
            raise ValueError("give `video` or `images`, not both")
        if len(self.images) != len(self.timestamps_s):
            raise ValueError(f"{len(self.images)} images but {len(self.timestamps_s)} timestamps_s")
        if any(b <= a for a, b in pairwise(self.timestamps_s)):
            raise ValueError("timestamps_s must increase")
        if self.video is not None and self.start_s is not None and self.start_s < 0:
            raise ValueError("start_s lies before the video")
        if self.end_s is not None and self.end_s < (self.start_s or 0.0) and not self.images:
            raise ValueError("end_s lies before the window's start")
        if None not in (self.start_s, self.end_s) and (self.end_s or 0) < (self.start_s or 0):
            raise ValueError("end_s lies before start_s")
        if self.telemetry and self.evidence.telemetry:
            raise ValueError("give `telemetry` or evidence.telemetry, not both")
        return self


class Line(NamedTuple):
    """A line of a manifest with its paths resolved."""

    row: ManifestRow
    video: Path
    """The video; of a list of images the last one."""
    images: tuple[Path, ...]
    telemetry: Path | None
    where: str
    """File and line, for a message."""

    def names(self) -> tuple[Any, ...]:
        """What tells this clip from others: a line that says the same replaces an earlier one."""
        row = self.row
        clip_id = row.clip_id and same_name(row.clip_id)
        return self.video, self.images, row.timestamps_s, row.start_s, row.end_s, clip_id


def read_manifest(path: Path, root: Path | None = None) -> list[Line]:
    """The lines of a manifest, sorted by path; of lines on the same clip the last one counts.

    Lines are on the same clip when they name the same file (or images), window and ``clip_id``.

    Args:
        path: the manifest.
        root: what its paths are relative to; its own folder when not given.

    Raises:
        InputError: it cannot be read, a line is malformed or names a file outside the root, one ``clip_id``
            names two clips, or it names nothing.
    """
    folder = root or path.parent
    artifact = path.parent / ARTIFACT
    about = read_json(artifact, "an artifact's manifest") if artifact.is_file() else {}
    if isinstance(about, dict) and about.get("complete") is False:
        raise InputError(f"{path.parent}: is unfinished; run the stage that makes it again with --resume")
    found: dict[tuple[Any, ...], Line] = {}
    names = _Names()
    called: dict[str, Line] = {}
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if number == 1 and text.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise InputError(f"{path}: is text in UTF-16; save it as UTF-8")
                # A byte order mark, as Windows writes it, is no part of the first line.
                content = text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text
                if not content.strip():
                    continue
                line = _read_line(content, folder, f"{path}:{number}", names)
                other = called.setdefault(same_name(line.row.clip_id), line) if line.row.clip_id else line
                if other.names() != line.names():
                    raise InputError(
                        f"{line.where}: `clip_id` {line.row.clip_id!r} names another clip at {other.where}; "
                        "give each clip an id of its own"
                    )
                found[line.names()] = line
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    if not found:
        raise InputError(f"{path}: names no videos; write one JSON object a line with a `video`")
    return sorted(found.values(), key=lambda line: line.video)


def _read_line(content: bytes, folder: Path, where: str, names: _Names) -> Line:
    row = _parse_row(content, where)
    images = tuple(folder / _inside(image, folder, where, "images", names) for image in row.images)
    if row.video is not None:
        video = folder / _inside(row.video, folder, where, "video", names)
    elif images:
        video = images[-1]
    else:
        raise InputError(
            f'{where}: video: Field required; write a line as {{"video": "a.mp4", ...}} or '
            '{"images": ["1.jpg", ...], "timestamps_s": [0, ...], ...}'
        )
    telemetry = folder / _inside(row.telemetry, folder, where, "telemetry", names) if row.telemetry else None
    return Line(row, video, images, telemetry, where)


def _parse_row(content: bytes, where: str) -> ManifestRow:
    try:
        row = ManifestRow.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        said = " ".join(f"{key}: {message}".strip(": ").split())
        raise InputError(f'{where}: {said}; write a line as {{"video": "a.mp4", ...}}') from error
    for key in row.model_extra or {}:
        near = difflib.get_close_matches(key, ManifestRow.model_fields, n=1, cutoff=0.75)
        if near:
            raise InputError(f"{where}: unknown key `{key}`; did you mean `{near[0]}`?")
    return row


class _Names:
    """The names of files as the disk has them, for paths that are written in another Unicode form or for Windows."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, str]] = {}

    def on_disk(self, name: str, folder: Path) -> PurePosixPath:
        """A relative path of a manifest as the disk has it; as it is written where there is no such file."""
        path = PurePosixPath(name)
        if (folder / path).exists():
            return path
        if "\\" in name:
            path = PurePosixPath(name.replace("\\", "/"))
        here = folder
        parts: list[str] = []
        for part in path.parts:
            if not (here / part).exists():
                part = self._in(here).get(same_name(part), part)
            parts.append(part)
            here /= part
        return PurePosixPath(*parts)

    def _in(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = {same_name(path.name): path.name for path in sorted(folder.iterdir())}
            except OSError:
                self._listed[folder] = {}
        return self._listed[folder]


def _inside(name: str, folder: Path, where: str, key: str, names: _Names) -> PurePosixPath:
    """A path of a manifest, refused when it leads out of the folder that paths are relative to."""
    if WINDOWS_DRIVE.match(name):
        raise InputError(
            f"{where}: `{key}` names a drive or a share of Windows ({name}); name files relative to the manifest's "
            "folder, or to a folder given with --root"
        )
    try:
        path = names.on_disk(name, folder)
        leaves = path.is_absolute() or not real_path(folder / path).is_relative_to(real_path(folder))
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: `{key}` is no usable path ({reason(error)}); mend the line") from error
    if leaves or ".." in path.parts or not path.name:
        raise InputError(
            f"{where}: `{key}` leads out of the folder {folder} ({name}); "
            "name files relative to the manifest's folder, or to a folder given with --root"
        )
    return path


def real_path(path: Path) -> Path:
    """Where a path leads once links are followed; unlike Path.resolve, a link to itself is no error."""
    return Path(os.path.realpath(path))

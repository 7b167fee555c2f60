"""Which videos there are: files, folders of files, or a manifest that says what is known about each drive."""

from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roadscribe.artifacts import MANIFEST as ARTIFACT
from roadscribe.artifacts import read_json
from roadscribe.clip import Evidence
from roadscribe.errors import InputError, printable
from roadscribe.footage.packets import reason

MANIFEST = "drives.jsonl"
"""A folder that holds this file is read by it; videos the file does not name are left out."""

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on
"""Files in a folder that count as videos; a file named by itself may have any suffix."""

BDD100K_NAME = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}")

MAX_ID_CHARS = 400

NOTHING_KNOWN = Evidence()


@dataclass(frozen=True)
class SourceVideo:
    """One video to take a clip from, and what is known about it."""

    path: Path
    """As the user gave it: relative where a relative path was given."""
    clip_id: str
    drive_id: str
    source: str
    """"file", "folder", "manifest" or "simulator" (a manifest's drive with the simulator's truth)."""
    evidence: Evidence


@dataclass(frozen=True)
class _Found:
    path: Path
    root: Path
    """The folder that was given, or the file's own."""
    source: str
    drive_id: str | None = None
    evidence: Evidence = NOTHING_KNOWN

    def names(self) -> list[str]:
        """Names for the clip, from the shortest to one that only a file of the same path can share."""
        relative = self.path.relative_to(self.root)
        stem = relative.with_suffix("")
        full = f"{real_path(self.root).name}/{stem.as_posix()}"
        return [printable(name) for name in (stem.name, stem.as_posix(), full, full + self.path.suffix)]


class _Row(BaseModel):
    """One line of a manifest; more keys may stand beside these."""

    model_config = ConfigDict(extra="allow")

    video: str = Field(min_length=1)
    drive_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    evidence: Evidence = Evidence()


def find_videos(inputs: Sequence[Path]) -> list[SourceVideo]:
    """The videos that files, folders and manifests name, each once, in an order that is always the same.

    A folder is searched with its subfolders for `VIDEO_SUFFIXES` (hidden names are passed over); inputs keep
    their order, files within one are sorted by path. A ``drives.jsonl`` holds one JSON object a line:
    ``video`` (a path relative to the manifest, inside its folder), optional ``drive_id``, optional
    ``evidence`` (`clip.Evidence`); a later line on the same video replaces an earlier one.

    A clip is called by its file's stem, and where several files share a stem, by as much of their paths as
    tells them apart. Its drive is the manifest's ``drive_id``; else, for names in BDD100K's form
    (``0000f77c-6257be58``), the part before the dash, because clips cut from one drive share it; else the
    clip's own name.

    Raises:
        InputError: an input does not exist, a folder holds no videos or cannot be read, a manifest is
            malformed or names a file outside its folder.
    """
    found: dict[Path, _Found] = {}
    for path in inputs:
        for video in _look_in(path):
            found.setdefault(real_path(video.path), video)
    return _called(list(found.values()))


def _look_in(path: Path) -> list[_Found]:
    try:
        is_folder = path.is_dir()
        if not is_folder:
            path.lstat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = "no such file or folder" if missing else f"cannot be opened ({reason(error)})"
        raise InputError(f"{path}: {why}; give videos, folders of videos, or a {MANIFEST}") from error
    if not is_folder:
        if path.suffix == ".jsonl":
            return _read_manifest(path)
        return [_Found(path, path.parent, "file")]
    found = sorted(_walk(path, path, ()), key=lambda video: video.path.relative_to(path).parts)
    if not found:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"{path}: holds no videos ({suffixes}); give a folder that does")
    return found


def _walk(folder: Path, root: Path, above: tuple[Path, ...]) -> Iterator[_Found]:
    """Videos in a folder and below it; a linked folder is entered, but never from within itself."""
    real = real_path(folder)
    if real in above:
        return
    if (folder / MANIFEST).is_file():
        yield from _read_manifest(folder / MANIFEST)
        return
    if (folder / ARTIFACT).is_file():
        return  # clips, a dataset, an adapter: what the stages made is no footage
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)}); check its permissions") from error
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, root, (*above, real))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield _Found(path, root, "folder")


def _read_manifest(path: Path) -> list[_Found]:
    folder = path.parent
    artifact = folder / ARTIFACT
    about = read_json(artifact, "an artifact's manifest") if artifact.is_file() else {}
    if isinstance(about, dict) and about.get("complete") is False:
        raise InputError(f"{folder}: is unfinished; run the stage that makes it again with --resume")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); check the path") from error
    found: dict[Path, _Found] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = _parse_row(line, where)
        video = folder / _inside(row.video, folder, where)
        source = "simulator" if row.evidence.truth else "manifest"
        found[video] = _Found(video, folder, source, row.drive_id, row.evidence)
    if not found:
        raise InputError(f"{path}: names no videos; write one JSON object a line with a `video`")
    return [found[video] for video in sorted(found)]


def _parse_row(line: bytes, where: str) -> _Row:
    try:
        row = _Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        said = " ".join(f"{key}: {first['msg']}".strip(": ").split())
        raise InputError(f'{where}: {said}; write a line as {{"video": "a.mp4", ...}}') from error
    for key in row.model_extra or {}:
        near = difflib.get_close_matches(key, _Row.model_fields, n=1, cutoff=0.75)
        if near:
            raise InputError(f"{where}: unknown key `{key}`; did you mean `{near[0]}`?")
    return row


def _inside(video: str, folder: Path, where: str) -> PurePosixPath:
    """The path of a manifest's video, refused when it leads out of the manifest's folder."""
    path = PurePosixPath(video)
    try:
        leaves = path.is_absolute() or not real_path(folder / path).is_relative_to(real_path(folder))
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: `video` is no usable path ({reason(error)}); mend the line") from error
    if leaves or ".." in path.parts or not path.name:
        raise InputError(
            f"{where}: `video` leads out of the manifest's folder ({video}); "
            "put the videos beside the manifest and name them relative to it"
        )
    return path


def real_path(path: Path) -> Path:
    """Where a path leads once links are followed; unlike Path.resolve, a link to itself is no error."""
    return Path(os.path.realpath(path))


def _called(found: list[_Found]) -> list[SourceVideo]:
    """Give each video a clip id that no other has, and a drive id."""
    alike: dict[str, list[_Found]] = defaultdict(list)
    for video in found:
        alike[video.names()[0]].append(video)
    called: dict[Path, tuple[str, str]] = {}
    for group in alike.values():
        names = [video.names() for video in group]
        levels = range(len(names[0]))
        # Two folders of one name may hold files of one name: then no name tells them apart, and a count must.
        level = next((n for n in levels if len({name[n] for name in names}) == len(names)), None)
        for count, (video, name) in enumerate(zip(group, names, strict=True), 1):
            clip_id = f"{name[-1]}~{count}" if level is None else name[level]
            drive_id = name[min(2, len(name) if level is None else level)]
            called[video.path] = clip_id, drive_id
    return [_source(video, *called[video.path]) for video in found]


def _source(video: _Found, clip_id: str, drive_id: str) -> SourceVideo:
    if len(clip_id) > MAX_ID_CHARS:
        raise InputError(f"{video.path}: its path is too long for a name; give a folder nearer to it")
    bdd = BDD100K_NAME.fullmatch(video.path.stem)
    return SourceVideo(
        path=video.path,
        clip_id=clip_id,
        drive_id=video.drive_id or (bdd[1] if bdd else drive_id),
        source=video.source,
        evidence=video.evidence,
    )

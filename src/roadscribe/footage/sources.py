"""Which videos there are: files, folders of files, or a manifest that says what is known about each drive."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from roadscribe.artifacts import MANIFEST as ARTIFACT
from roadscribe.clip import Evidence, same_name
from roadscribe.errors import InputError, printable
from roadscribe.footage.bdd100k_tree import (
    NOTHING_BESIDE,
    VIDEO_NAME,
    Beside,
    is_evidence_folder,
    is_label_list,
)
from roadscribe.footage.container import reason
from roadscribe.footage.drive_names import shared_drives
from roadscribe.footage.manifest import MAX_ID_CHARS, Line, read_manifest
from roadscribe.footage.manifest import real_path as real_path
from roadscribe.footage.passed_over import STAGES, UNNAMED, UNREADABLE, Group, PassedOver, is_system_name

DRIVES_FILE = "drives.jsonl"
"""A folder that holds this file is read by it; videos the file does not name are left out."""

# fmt: off
VIDEO_SUFFIXES = (
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avc", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265",
    ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".mxf", ".nut", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
"""Files in a folder that count as videos; a file named by itself may have any suffix."""

NOTHING_KNOWN = Evidence()


@dataclass(frozen=True)
class SourceVideo:
    """One clip to take: a window of a video or a list of images, and what is known about it."""

    path: Path
    """As the user gave it: relative where a relative path was given. Of a list of images the last one."""
    clip_id: str
    drive_id: str
    source: str
    """"file", "folder", "manifest" or "simulator" (a manifest's drive with the simulator's truth); `evidence` makes
    it "bdd100k" where that dataset's files lie beside it."""
    evidence: Evidence
    root: Path
    """The folder it was found under, or the file's own."""
    drive_is_stated: bool = False
    """The manifest names the drive; nothing else can be better."""
    start_s: float | None = None
    """The window's start and end by the manifest; None: as the recipe says."""
    end_s: float | None = None
    images: tuple[Path, ...] = ()
    timestamps_s: tuple[float, ...] = ()
    telemetry: Path | None = None
    """A CSV of time and speed."""
    telemetry_start_s: float | None = None
    """When the video begins on a telemetry clock that counts from 1970."""
    beside: Beside = NOTHING_BESIDE
    """Labels and info files of BDD100K."""


@dataclass(frozen=True)
class _Found:
    path: Path
    root: Path
    """The folder that was given, or the file's own."""
    source: str
    line: Line | None = None
    """What a manifest says."""

    def names(self) -> list[str]:
        """Names for the clip, from the shortest to one that only a file of the same path can share."""
        relative = self.path.relative_to(self.root)
        stem = relative.with_suffix("")
        full = f"{real_path(self.root).name}/{stem.as_posix()}"
        return [
            same_name(printable(name)) for name in (stem.name, stem.as_posix(), full, full + self.path.suffix)
        ]

    def clip(self) -> tuple[object, ...]:
        """What tells the clip from others of the same file."""
        if self.line is None:
            return (real_path(self.path), (), (), None, None, None)
        _, images, *others = self.line.names()
        return (real_path(self.path), tuple(map(real_path, images)), *others)


class Search(NamedTuple):
    """What inputs hold: the clips to take, and what is not read."""

    videos: list[SourceVideo]
    passed_over: list[Group]


def find_videos(inputs: Sequence[Path], root: Path | None = None) -> list[SourceVideo]:
    """The clips that files, folders and manifests name: `search` without what is passed over.

    Raises:
        InputError: as `search`.
    """
    return search(inputs, root).videos


def search(inputs: Sequence[Path], root: Path | None = None, out: Path | None = None) -> Search:
    """The clips that files, folders and manifests name, each once, in an order that is always the same.

    A folder is searched with its subfolders for `VIDEO_SUFFIXES` (hidden names are passed over); inputs keep
    their order, files within one are sorted by path. A manifest (``drives.jsonl`` in a folder, or any file
    ``*.jsonl`` that is given) holds one JSON object a line, see `manifest.ManifestRow`: several lines may name
    windows of one video, and each is a clip.

    A clip is called as its manifest says; else by its file's stem, where several files share a stem by as much
    of their paths as tells them apart, and where several windows of a file have no ``clip_id`` by the window.

    What lies in a folder and is not read is counted by kind (`passed_over`); hidden names and those of operating
    systems are ignored.

    Its drive is the manifest's ``drive_id``; else, for files that a camera cut or wrote side by side, their
    recording (`drive_names`); else, for names in BDD100K's form (``0000f77c-6257be58``), the
    part before the dash, because clips cut from one drive share it (`bdd100k_tree` knows better where there are
    info files); else, for a list of images, the folder they lie in; else the video's name.

    Args:
        inputs: videos, folders, manifests.
        root: the folder that the manifests' paths are relative to; their own when not given.
        out: a folder that is not looked into.

    Raises:
        InputError: an input does not exist, a folder holds no videos or cannot be read, a manifest is
            malformed or names a file outside its folder, one ``clip_id`` names two clips, or ``root`` is given
            and none of the inputs is a manifest.
    """
    if root is not None and not root.is_dir():
        raise InputError(
            f"{root}: no such folder; give with --root the one that the manifest's paths start in"
        )
    found: dict[tuple[object, ...], _Found] = {}
    walk = _Walk(root, None if out is None else real_path(out))
    for path in inputs:
        for video in _look_in(path, walk):
            found.setdefault(video.clip(), video)
    if root is not None and not any(video.line for video in found.values()):
        raise InputError(f"--root {root}: none of the inputs is a manifest (*.jsonl); leave --root out")
    return Search(_called(list(found.values())), walk.passed_over.listed())


def _look_in(path: Path, walk: _Walk) -> list[_Found]:
    try:
        is_folder = path.is_dir()
        if not is_folder:
            path.lstat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        why = "no such file or folder" if missing else f"cannot be opened ({reason(error)})"
        raise InputError(f"{path}: {why}; give videos, folders of videos, or a {DRIVES_FILE}") from error
    if not is_folder:
        if path.suffix == ".jsonl":
            return _from_manifest(path, walk.manifest_root)
        return [_Found(path, path.parent, "file")]
    found = list(walk.videos(path, path))
    if walk.manifest_root is None:
        found.sort(key=lambda video: video.path.relative_to(path).parts)
    if not found:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        held = "".join(f"; it holds {group.line()}" for group in walk.passed_over.listed()[:1])
        raise InputError(f"{path}: holds no videos ({suffixes}){held}; give a folder that does")
    return found


class _Walk:
    """Searches folders; what is not read is counted."""

    def __init__(self, manifest_root: Path | None, out: Path | None) -> None:
        self.manifest_root = manifest_root
        self.passed_over = PassedOver()
        self._out = out

    def videos(self, folder: Path, root: Path, above: tuple[Path, ...] = ()) -> Iterator[_Found]:
        """Videos in a folder and below it; a linked folder is entered, but never from within itself."""
        real = real_path(folder)
        if real in above or real == self._out:
            return
        if (folder / DRIVES_FILE).is_file():
            lines = _from_manifest(folder / DRIVES_FILE, self.manifest_root)
            self._count_unnamed(folder, _named_files(lines), above)
            yield from lines
            return
        if (folder / ARTIFACT).is_file():
            self.passed_over.add(folder, STAGES)
            return
        folders, files = self._entries(folder, is_root=not above)
        called = {same_name(path.stem) for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
        in_evidence = any(is_evidence_folder(name) for name in folder.relative_to(root).parts)
        for path in sorted([*folders, *files]):
            suffix = path.suffix.lower()
            if path in folders:
                yield from self.videos(path, root, (*above, real))
            elif suffix in VIDEO_SUFFIXES:
                yield _Found(path, root, "folder")
            elif not (
                # `evidence` reads these, and says what it cannot use of them.
                (suffix == ".csv" and same_name(path.stem) in called)
                or (suffix == ".json" and (in_evidence or is_label_list(path.name)))
            ):
                self.passed_over.add(path)

    def _entries(self, folder: Path, *, is_root: bool) -> tuple[set[Path], list[Path]]:
        """Folders and files in a folder."""
        try:
            paths = sorted(path for path in folder.iterdir() if not is_system_name(path.name))
        except OSError as error:
            if is_root:
                raise InputError(
                    f"{folder}: cannot be read ({reason(error)}); check its permissions"
                ) from error
            self.passed_over.add(folder, UNREADABLE)
            return set(), []
        # The suffix first: asking the disk about each of 100,000 label files takes its time.
        folders = {path for path in paths if path.suffix.lower() != ".json" and path.is_dir()}
        return folders, [path for path in paths if path not in folders]

    def _count_unnamed(self, folder: Path, named: set[str], above: tuple[Path, ...]) -> None:
        """Count what lies in the folder of a manifest, and below it, that the manifest does not name."""
        real = real_path(folder)
        if real in above or real == self._out:
            return
        folders, files = self._entries(folder, is_root=not above)
        for path in files:
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            if path.name != DRIVES_FILE and _plain(path) not in named:
                self.passed_over.add(path, UNNAMED if is_video else None)
        for path in sorted(folders):
            if not (path / ARTIFACT).is_file():
                self._count_unnamed(path, named, (*above, real))


def _named_files(lines: Iterable[_Found]) -> set[str]:
    """The files that a manifest's lines name or bring along."""
    named: set[str] = set()
    for video in lines:
        named.add(_plain(video.path))
        if video.line is not None:
            named |= {_plain(path) for path in (*video.line.images, video.line.telemetry) if path}
            named |= {_plain(video.path.with_suffix(suffix)) for suffix in (".csv", ".CSV")}
    return named


def _plain(path: Path) -> str:
    return same_name(os.path.normpath(path))


def _from_manifest(path: Path, root: Path | None) -> list[_Found]:
    return [
        _Found(line.video, root or path.parent, "simulator" if line.row.evidence.truth else "manifest", line)
        for line in read_manifest(path, root)
    ]


def _called(found: list[_Found]) -> list[SourceVideo]:
    """Give each clip an id that no other has, and a drive id."""
    named = _file_names(found)
    shared = shared_drives(
        (video.path, video.root) for video in found if not (video.line and video.line.images)
    )
    stated: dict[str, _Found] = {}
    for video in found:
        clip_id = _stated_id(video)
        if clip_id and stated.setdefault(clip_id, video) is not video:
            lines = [other.line.where for other in (stated[clip_id], video) if other.line]
            raise InputError(
                f"{lines[1]}: `clip_id` {clip_id!r} names another clip at {lines[0]}; give each its own"
            )
    windows: dict[Path, list[_Found]] = defaultdict(list)
    for video in found:
        if not _stated_id(video):
            windows[video.path].append(video)
    taken = set(stated)
    sources = []
    for video in found:
        name, drive_id = named[video.path]
        clip_id = _stated_id(video)
        if not clip_id:
            several = len(windows[video.path]) > 1
            clip_id = _free(name + (_window_name(video) if several else ""), taken)
            taken.add(clip_id)
        sources.append(_source(video, clip_id, shared.get(video.path, drive_id)))
    return sources


def _file_names(found: list[_Found]) -> dict[Path, tuple[str, str]]:
    """For each file a name that no other file has, and the name of its drive."""
    files = {video.path: video for video in found}
    alike: dict[str, list[_Found]] = defaultdict(list)
    for video in files.values():
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
    return called


def _stated_id(video: _Found) -> str | None:
    return same_name(printable(video.line.row.clip_id)) if video.line and video.line.row.clip_id else None


def _window_name(video: _Found) -> str:
    if video.line is None or (video.line.row.start_s is None and video.line.row.end_s is None):
        return ""
    start, end = (
        "" if moment is None else f"{moment:g}" for moment in (video.line.row.start_s, video.line.row.end_s)
    )
    return f"@{start}-{end}s"


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    count = 2
    while f"{name}~{count}" in taken:
        count += 1
    return f"{name}~{count}"


def _source(video: _Found, clip_id: str, drive_id: str) -> SourceVideo:
    if len(clip_id) > MAX_ID_CHARS or len(drive_id) > MAX_ID_CHARS:
        raise InputError(f"{video.path}: its path is too long for a name; give a folder nearer to it")
    bdd = VIDEO_NAME.fullmatch(video.path.stem)
    by_name = bdd[1] if bdd else drive_id
    if video.line is None:
        return SourceVideo(video.path, clip_id, by_name, video.source, NOTHING_KNOWN, video.root)
    row = video.line.row
    if video.line.images:
        # Images of one folder may be one drive, and a drive must not end up on both sides of a split.
        folder = video.path.parent.relative_to(video.root).as_posix()
        by_name = same_name(printable(folder if folder != "." else real_path(video.root).name))
    return SourceVideo(
        path=video.path,
        clip_id=clip_id,
        drive_id=same_name(printable(row.drive_id)) if row.drive_id else by_name,
        source=video.source,
        evidence=row.evidence,
        root=video.root,
        drive_is_stated=row.drive_id is not None,
        start_s=row.start_s,
        end_s=row.end_s,
        images=video.line.images,
        timestamps_s=row.timestamps_s,
        telemetry=video.line.telemetry,
        telemetry_start_s=row.telemetry_start_s,
    )

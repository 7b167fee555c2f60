"""Which videos there are: files, folders of files, or a manifest that says what is known about each drive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from roadscribe.artifacts import MANIFEST as ARTIFACT
from roadscribe.clip import Evidence
from roadscribe.errors import InputError, printable
from roadscribe.footage.bdd100k_tree import NOTHING_BESIDE, VIDEO_NAME, Beside
from roadscribe.footage.manifest import MAX_ID_CHARS, Line, read_manifest
from roadscribe.footage.manifest import real_path as real_path
from roadscribe.footage.packets import reason

DRIVES_FILE = "drives.jsonl"
"""A folder that holds this file is read by it; videos the file does not name are left out."""

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
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
        return [printable(name) for name in (stem.name, stem.as_posix(), full, full + self.path.suffix)]

    def clip(self) -> tuple[object, ...]:
        """What tells the clip from others of the same file."""
        if self.line is None:
            return (real_path(self.path), (), (), None, None, None)
        _, images, *others = self.line.names()
        return (real_path(self.path), tuple(map(real_path, images)), *others)


def find_videos(inputs: Sequence[Path], root: Path | None = None) -> list[SourceVideo]:
    """The clips that files, folders and manifests name, each once, in an order that is always the same.

    A folder is searched with its subfolders for `VIDEO_SUFFIXES` (hidden names are passed over); inputs keep
    their order, files within one are sorted by path. A manifest (``drives.jsonl`` in a folder, or any file
    ``*.jsonl`` that is given) holds one JSON object a line, see `manifest.ManifestRow`: several lines may name
    windows of one video, and each is a clip.

    A clip is called as its manifest says; else by its file's stem, where several files share a stem by as much
    of their paths as tells them apart, and where several windows of a file have no ``clip_id`` by the window.

    Its drive is the manifest's ``drive_id``; else, for names in BDD100K's form (``0000f77c-6257be58``), the
    part before the dash, because clips cut from one drive share it (`bdd100k_tree` knows better where there are
    info files); else, for a list of images, the folder they lie in; else the video's name.

    Args:
        inputs: videos, folders, manifests.
        root: the folder that the manifests' paths are relative to; their own when not given.

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
    for path in inputs:
        for video in _look_in(path, root):
            found.setdefault(video.clip(), video)
    if root is not None and not any(video.line for video in found.values()):
        raise InputError(f"--root {root}: none of the inputs is a manifest (*.jsonl); leave --root out")
    return _called(list(found.values()))


def _look_in(path: Path, manifest_root: Path | None) -> list[_Found]:
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
            return _from_manifest(path, manifest_root)
        return [_Found(path, path.parent, "file")]
    found = list(_walk(path, path, (), manifest_root))
    if manifest_root is None:
        found.sort(key=lambda video: video.path.relative_to(path).parts)
    if not found:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"{path}: holds no videos ({suffixes}); give a folder that does")
    return found


def _walk(folder: Path, root: Path, above: tuple[Path, ...], manifest_root: Path | None) -> Iterator[_Found]:
    """Videos in a folder and below it; a linked folder is entered, but never from within itself."""
    real = real_path(folder)
    if real in above:
        return
    if (folder / DRIVES_FILE).is_file():
        yield from _from_manifest(folder / DRIVES_FILE, manifest_root)
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
        # The suffix first: asking the disk about each of 100,000 label files takes its time.
        if path.suffix.lower() != ".json" and path.is_dir():
            yield from _walk(path, root, (*above, real), manifest_root)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            yield _Found(path, root, "folder")


def _from_manifest(path: Path, root: Path | None) -> list[_Found]:
    return [
        _Found(line.video, root or path.parent, "simulator" if line.row.evidence.truth else "manifest", line)
        for line in read_manifest(path, root)
    ]


def _called(found: list[_Found]) -> list[SourceVideo]:
    """Give each clip an id that no other has, and a drive id."""
    named = _file_names(found)
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
        sources.append(_source(video, clip_id, drive_id))
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
    return printable(video.line.row.clip_id) if video.line and video.line.row.clip_id else None


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
        by_name = printable(folder if folder != "." else real_path(video.root).name)
    return SourceVideo(
        path=video.path,
        clip_id=clip_id,
        drive_id=printable(row.drive_id) if row.drive_id else by_name,
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

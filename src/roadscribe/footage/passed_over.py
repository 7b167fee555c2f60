"""What lies in a folder of footage and is not read, counted by kind, each kind with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from roadscribe.artifacts import MANIFEST as ARTIFACT

# fmt: off
_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "pictures": (
        (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".dng", ".ppm", ".pgm"),
        "pictures outside a list; name them with their times in a manifest (`images`, `timestamps_s`)",
    ),
    "360-degree recordings": (
        (".insv", ".360", ".insp"),
        "360-degree recordings hold fisheye pictures or cube faces, no driver's view; export them as flat video",
    ),
    "small copies": (
        (".lrv", ".glv", ".lrf", ".thm"),
        "small copies and thumbnails that a camera writes next to its videos",
    ),
    "GPS logs and subtitles": (
        (".gpx", ".srt", ".nmea", ".gps", ".3gf", ".fit", ".kml", ".kmz", ".tcx", ".vtt", ".ass", ".gsensor"),
        "GPS logs and subtitles are not read yet; give time and speed as a CSV that is called like its video",
    ),
    "tables": (
        (".csv", ".tsv", ".xlsx", ".xls", ".parquet"),
        "tables that are called like no video next to them; a CSV called like its video, or --telemetry, is read",
    ),
    "sound": (
        (".mp3", ".wav", ".aac", ".m4a", ".flac", ".ogg", ".oga", ".opus", ".wma", ".amr"),
        "sound without pictures",
    ),
    "archives": (
        (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".iso"),
        "archives; unpack them",
    ),
    "other video formats": (
        (".dav", ".rm", ".rmvb", ".swf", ".braw", ".r3d", ".bik"),
        "video formats that are not read; convert them with `ffmpeg -i IN OUT.mp4`",
    ),
    "playlists": (
        (".m3u8", ".m3u", ".mpd", ".ffconcat", ".pls", ".xspf"),
        "playlists name other files and are not followed; give the files",
    ),
    "unfinished copies": (
        (".part", ".crdownload", ".download", ".partial", ".filepart"),
        "copies or downloads that are not finished",
    ),
    "manifests": (
        (".jsonl",),
        "only a drives.jsonl is taken from a folder; give a manifest of another name by itself",
    ),
}
"""Kinds of files by suffix, and why they are passed over."""
# fmt: on

OTHER = ("other files", "no footage")
UNNAMED = ("unnamed videos", "videos that the folder's drives.jsonl does not name")
UNREADABLE = ("folders", "folders that cannot be read")
STAGES = ("results", "results of roadscribe's stages are no footage")

SYSTEM_NAMES = frozenset({
    "thumbs.db", "desktop.ini", "system volume information", "$recycle.bin", "lost+found", "__macosx", "@eadir",
    ARTIFACT,
})  # fmt: skip
"""Names that operating systems (and the stages) leave in any folder; hidden names are ignored, too."""

MAX_SUFFIXES = 4
_KIND_OF = {suffix: (kind, why) for kind, (suffixes, why) in _KINDS.items() for suffix in suffixes}


@dataclass
class Group:
    """Files of one kind that were passed over."""

    kind: str
    why: str
    first: Path
    count: int = 0
    suffixes: dict[str, None] = field(default_factory=dict)

    def line(self) -> str:
        """How many, which and why, for a note."""
        return f"{self.short()} passed over: {self.why}"

    def short(self) -> str:
        """How many and which."""
        shown = [suffix for suffix in sorted(self.suffixes) if suffix][:MAX_SUFFIXES]
        more = ", ..." if len(self.suffixes) > MAX_SUFFIXES else ""
        return f"{self.count} {self.kind}" + (f" ({', '.join(shown)}{more})" if shown else "")


class PassedOver:
    """Counts what is not read; of a kind only the first file is kept, so 100,000 pictures cost nothing."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}

    def add(self, path: Path, kind_and_why: tuple[str, str] | None = None) -> None:
        """Count a file; its kind follows from its suffix when it is not given."""
        suffix = path.suffix.lower()
        kind, why = kind_and_why or _KIND_OF.get(suffix, OTHER)
        group = self.groups.setdefault(kind, Group(kind, why, path))
        group.count += 1
        if len(suffix) <= 12 and kind_and_why not in (UNREADABLE, STAGES):
            group.suffixes[suffix] = None

    def listed(self) -> list[Group]:
        """All groups, those of unknown files last."""
        return sorted(self.groups.values(), key=lambda group: (group.kind == OTHER[0], group.kind))


def is_system_name(name: str) -> bool:
    """Whether a file or folder is to be ignored without a word."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES

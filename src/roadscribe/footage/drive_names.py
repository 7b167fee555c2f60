"""Tells from file names which videos are one recording: front and rear cameras, and the chapters a camera cut it into.

Splits keep drives together, and two cameras of one car see one drive. Makers' names, as their manuals and users give
them: BlackVue ``20240101_120000_NF``, Viofo ``2024_0101_120000_0001F``, Thinkware ``REC_2024_01_01_12_00_00_F``,
Nextbase ``240101_120000_001_FH``, 70mai ``NO20240101-120000-000001B``, Tesla ``2024-01-01_12-00-00-left_repeater``,
GoPro ``GX010123`` and ``GX020123`` (chapters 1 and 2 of recording 123), ``GOPR0123`` and ``GP010123``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from roadscribe.clip import same_name
from roadscribe.errors import printable

_WORDS = (
    "front|rear|back|interior|inside|cabin|left|right|left_repeater|right_repeater|left_pillar|right_pillar"
)
_DATE = (
    r"(?:19|20)\d\d[-_]?[01]\d[-_]?[0-3]\d[-_T ]?[0-2]\d[-_]?[0-5]\d[-_]?[0-5]\d"  # with the century
    r"|(?<!\d)\d\d[01]\d[0-3]\d[-_][0-2]\d[0-5]\d[0-5]\d"
)

_DATED = re.compile(
    rf"(?P<name>.*?(?:{_DATE}))(?:[-_]\d{{1,6}})?"
    rf"(?:[-_ ]?(?:P?[FRIABC]|[FRC][HL])|[-_][A-Z][FRIO]S?|[-_ ](?:{_WORDS}))",
    re.IGNORECASE,
)
"""A moment to the second, a running number (which front and rear do not always share), and the camera."""

_CHAPTER = re.compile(r"(?P<kind>G[HXSL])\d\d(?P<number>\d{4})", re.IGNORECASE)
_OLD_CHAPTER = re.compile(r"(?:GOPR|GP\d\d)(?P<number>\d{4})", re.IGNORECASE)

_CAMERA = re.compile(rf"(?:(?P<name>.+)[-_ ])?(?P<camera>F|R|{_WORDS})", re.IGNORECASE)
"""A name that ends in a camera, of a file without a date or of a folder."""


class _Part(NamedTuple):
    """What a file is a part of: the folder of the recording, and the recording's name in it."""

    folder: Path
    name: str
    camera: str = ""
    """Where only a partner of another camera makes it a recording of several files."""


def shared_drives(files: Iterable[tuple[Path, Path]]) -> dict[Path, str]:
    """The drive of each file whose name says that it is a part of a recording; the others are not in the answer.

    Files are parts of one recording when they lie in one folder (or in folders next to each other that are called
    after cameras: ``front`` and ``rear``, ``Movie_F`` and ``Movie_R``), and

    - their names give the same second and a camera (``20240101_120000_NF``, ``..._NR``), or
    - their names are GoPro's chapters of one number, or
    - their names are equal but for the camera at the end (``trip_F``, ``trip_R``; ``trip`` in ``front`` and in
      ``rear``); this one only where both are there.

    The first two rules look at one name alone, so that a drive is called the same whichever of its files are given.

    Args:
        files: each video with the folder it was found under.
    """
    parts: dict[Path, _Part] = {}
    roots: dict[Path, Path] = {}
    unsure: dict[tuple[Path, str], dict[Path, _Part]] = defaultdict(dict)
    for path, root in files:
        roots[path] = root
        if (certain := _by_name(path)) is not None:
            parts[path] = certain
        elif (part := _by_partner(path)) is not None:
            unsure[part.folder, part.name][path] = part
    for group in unsure.values():
        if len({part.camera for part in group.values()}) > 1:
            parts |= group
    return _called(parts, roots)


def _by_name(path: Path) -> _Part | None:
    stem = same_name(path.stem)
    folder = _without_camera(path.parent)[0]
    if match := _CHAPTER.fullmatch(stem):
        return _Part(path.parent, f"{match['kind']}{match['number']}".upper())
    if match := _OLD_CHAPTER.fullmatch(stem):
        return _Part(path.parent, f"GOPR{match['number']}")
    if match := _DATED.fullmatch(stem):
        return _Part(folder, match["name"])
    return None


def _by_partner(path: Path) -> _Part | None:
    stem = same_name(path.stem)
    folder, camera = _without_camera(path.parent)
    if camera:
        return _Part(folder, stem, camera)
    if match := _CAMERA.fullmatch(stem):
        return _Part(path.parent, match["name"] or "", match["camera"].lower())
    return None


def _without_camera(folder: Path) -> tuple[Path, str]:
    """The folder that stands for folders of single cameras next to each other, and this one's camera ("" if none)."""
    match = _CAMERA.fullmatch(same_name(folder.name))
    if match is None:
        return folder, ""
    return (folder.parent / match["name"] if match["name"] else folder.parent), match["camera"].lower()


def _called(parts: dict[Path, _Part], roots: dict[Path, Path]) -> dict[Path, str]:
    """A name for each recording: its own, or with as much of its path as tells it from others of that name."""
    alike: dict[str, dict[Path, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path, part in parts.items():
        alike[part.name][part.folder].append(path)
    called: dict[Path, str] = {}
    for name, folders in alike.items():
        levels = [_names(name, folder, roots[paths[0]]) for folder, paths in folders.items()]
        place = next((n for n in range(3) if len({level[n] for level in levels}) == len(levels)), None)
        for count, (level, paths) in enumerate(zip(levels, folders.values(), strict=True), 1):
            drive = f"{level[2]}~{count}" if place is None else level[place]
            called |= dict.fromkeys(paths, same_name(printable(drive)))
    return called


def _names(name: str, folder: Path, root: Path) -> tuple[str, str, str]:
    """Names for a recording, from the shortest to one that hardly another one has."""
    try:
        below = folder.relative_to(root).as_posix()
    except ValueError:  # the root is itself the folder of one camera
        below = folder.name
    prefix = "" if below == "." else below + "/"
    return name or folder.resolve().name, prefix + name, f"{root.resolve().name}/{prefix}{name}"

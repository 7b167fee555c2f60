"""What is known of each clip besides its pixels: the manifest's word, a CSV beside the video, BDD100K's files.

Found once for all videos (`attach`), read one clip at a time where its frames are sampled (`known_about`), so that
100,000 videos need no more memory than their names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from roadscribe.clip import MAX_SPEED_MPS, Evidence, FrameLabels, Telemetry, same_name
from roadscribe.errors import InputError
from roadscribe.footage.bdd100k import Info, merge_labels, read_info, read_labels
from roadscribe.footage.bdd100k_tree import Beside, LabelPlace, load_json, look_beside
from roadscribe.footage.container import reason
from roadscribe.footage.json_stream import read_item
from roadscribe.footage.sources import SourceVideo
from roadscribe.footage.telemetry_csv import NoTelemetry, check_telemetry, read_telemetry


class Attached(NamedTuple):
    """Clips with the places of their evidence, and what of the evidence could not be used."""

    videos: list[SourceVideo]
    notes: list[tuple[Path, str]]
    """Files that could not be used, and why."""


class Known(NamedTuple):
    """What is known of one clip, and what could not be read of it."""

    evidence: Evidence
    notes: list[str]


def attach(videos: Sequence[SourceVideo], telemetry: Path | None = None) -> Attached:
    """Find the evidence that lies beside videos and is not in their manifest, and look at each CSV's header.

    A CSV is taken when it is called like its video (``a.csv`` beside ``a.mp4``) and holds time and speed. BDD100K's
    labels and info files are found by `bdd100k_tree.look_beside`; a clip whose manifest names no drive belongs to
    that of its info file.

    Args:
        videos: what `sources.find_videos` found.
        telemetry: a CSV for the one video there is.

    Raises:
        InputError: ``telemetry`` is given for several videos or is no table of time and speed, or a CSV has a
            column whose unit is not known.
    """
    if telemetry is not None:
        files = {video.path for video in videos}
        if len(files) > 1:
            raise InputError(
                f"--telemetry {telemetry}: belongs to one video, {len(files)} are given; put a CSV beside each "
                "video, called like it"
            )
        videos = [replace(video, telemetry=telemetry, telemetry_start_s=None) for video in videos]
    notes: list[tuple[Path, str]] = []
    with_csv: list[SourceVideo] = []
    tables: dict[Path, dict[str, Path]] = {}
    usable: dict[Path, bool] = {}
    for video in videos:
        stated = video.telemetry
        path = stated or (
            None if video.evidence.telemetry or video.images else _csv_beside(video.path, tables)
        )
        if path is not None and path not in usable:
            usable[path] = _is_telemetry(path, stated is not None, notes)
        with_csv.append(replace(video, telemetry=path if path and usable[path] else None))
    found = look_beside(
        (video.path, video.root, video.source != "file")
        for video in with_csv
        if not video.images and video.source != "simulator"
    )
    attached = [
        replace(
            video,
            source=_source(video, found.beside[video.path]),
            beside=found.beside[video.path],
            drive_id=video.drive_id
            if video.drive_is_stated
            else found.ride_of.get(video.path, video.drive_id),
        )
        if video.path in found.beside and not video.images
        else video
        for video in with_csv
    ]
    return Attached(attached, notes + found.notes)


def _source(video: SourceVideo, beside: Beside) -> str:
    """A video with BDD100K's own files beside it is BDD100K's: the dataset card states its terms."""
    return "bdd100k" if beside.info is not None or beside.labels else video.source


def _csv_beside(video: Path, tables: dict[Path, dict[str, Path]]) -> Path | None:
    """A CSV that is called like the video; each folder is listed once."""
    if video.parent not in tables:
        try:
            entries = sorted(video.parent.iterdir())
        except OSError:
            entries = []
        tables[video.parent] = {
            same_name(path.stem): path for path in entries if path.suffix.lower() == ".csv"
        }
    return tables[video.parent].get(same_name(video.stem))


def _is_telemetry(path: Path, is_stated: bool, notes: list[tuple[Path, str]]) -> bool:
    if not is_stated and not (path.is_file() and os.access(path, os.R_OK)):
        notes.append((path, "cannot be read; not used as telemetry"))
        return False
    try:
        check_telemetry(path)
    except NoTelemetry as problem:
        if is_stated:
            raise InputError(f"{path}: {problem}; give a CSV of time and speed") from problem
        notes.append((path, f"{problem}; not used as telemetry"))
        return False
    return True


def known_about(video: SourceVideo) -> Known:
    """Read what is known of one clip, every piece with the time it belongs to on the clip's clock.

    What the manifest says stands; labels and telemetry that it does not give come from the files beside the video,
    telemetry from a CSV rather than from an info file. A file that is missing for this clip, or garbled, is a note.

    Raises:
        InputError: a CSV cannot be read, or holds times that cannot be the video's.
    """
    notes: list[str] = []
    telemetry: Sequence[Telemetry] = video.evidence.telemetry
    labels: Sequence[FrameLabels] = video.evidence.labels
    if video.telemetry is not None:
        try:
            log = read_telemetry(video.telemetry, start_epoch_s=video.telemetry_start_s)
        except NoTelemetry as problem:
            raise InputError(f"{video.telemetry}: {problem}; give a CSV of time and speed") from problem
        telemetry = log.telemetry
        notes += log.notes
    beside = video.beside
    info = Info((), None, None, ())
    if beside.info is not None:
        info = _info(beside.info)
    if not telemetry and video.telemetry is None:
        telemetry = info.telemetry
        notes += [f"{beside.info.name}: {note}" for note in info.notes] if beside.info else []
        if beside.has_info and beside.info is None:
            notes.append("no info file: no speed is known")
    notes += _implausible(telemetry)
    if not labels and beside.has_labels:
        labels, problems = _labels(beside.labels, info.start_ms)
        notes += problems
        if not beside.labels:
            notes.append("no label: nothing is known of its frames")
    known = video.evidence.model_copy(update={"labels": tuple(labels), "telemetry": tuple(telemetry)})
    return Known(known, notes)


def _implausible(telemetry: Sequence[Telemetry]) -> list[str]:
    """A note on speeds that no car has; `curate` does not use them."""
    speeds = [item.speed_mps for item in telemetry if item.speed_mps is not None]
    too_fast = [speed for speed in speeds if speed > MAX_SPEED_MPS]
    if not too_fast:
        return []
    told = f"{len(too_fast)} of {len(speeds)} speeds are implausible, up to {3.6 * max(too_fast):.4g} km/h"
    return [f"{told} (a car has at most {3.6 * MAX_SPEED_MPS:.0f}); they are not used"]


def _info(path: Path) -> Info:
    try:
        return read_info(load_json(path))
    except (ValueError, RecursionError, OSError) as error:
        return Info((), None, None, (f"cannot be read ({_why(error)})",))


def _labels(
    places: Sequence[LabelPlace], start_ms: float | None
) -> tuple[tuple[FrameLabels, ...], list[str]]:
    found: list[FrameLabels] = []
    notes: list[str] = []
    for path, place, with_boxes in ((item.path, item.place, item.with_boxes) for item in places):
        try:
            record = load_json(path) if place is None else read_item(path, place)
        except (ValueError, RecursionError, OSError) as error:
            notes.append(f"{path.name}: cannot be read ({_why(error)})")
            continue
        parts = record if isinstance(record, list) else [record]
        for part in parts:
            if not isinstance(part, dict):
                notes.append(f"{path.name}: holds no label in BDD100K's formats")
                break
            read = read_labels(part, start_ms=start_ms, with_boxes=with_boxes, alone=place is None)
            found += read.labels
            # A list of many frames repeats itself.
            notes += [note for text in read.notes if (note := f"{path.name}: {text}") not in notes]
    return merge_labels(found), notes


def _why(error: Exception) -> str:
    return reason(error)[:120]

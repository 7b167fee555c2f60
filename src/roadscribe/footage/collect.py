"""The stage `collect`: samples the same frames from every video and keeps them as the clips artifact.

What is known of each video (labels, telemetry) travels with its clip. Videos are decoded by one process per core,
in the order of `sources.search`; clips become Parquet shards that appear whole. The same footage and recipe give the
same files, however often the run was stopped on the way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from roadscribe.artifacts import MANIFEST, KeyedLog, disk_errors, finish, open_output
from roadscribe.errors import InputError, printable
from roadscribe.footage.container import file_size, opened
from roadscribe.footage.evidence import attach
from roadscribe.footage.passed_over import Group
from roadscribe.footage.shards import ShardWriter, kept_ids
from roadscribe.footage.sources import SourceVideo, real_path, search
from roadscribe.footage.workers import sample_all
from roadscribe.progress import progress, say
from roadscribe.recipe import Footage, Recipe

SKIPPED = "skipped.jsonl"
"""The videos that gave no clip, one JSON object per line: ``key`` (clip id), ``path``, ``reason``."""

NOTES = "notes.jsonl"
"""What was passed over, what of a file is not read, evidence that is missing or could not be used, one JSON object
per line: ``key`` (clip id, a file's path, or ``passed over: KIND``), ``path``, ``notes``. Not there when there is
nothing to say."""


PASSED_OVER = "passed over: "


def collect(
    inputs: list[Path],
    out: Path,
    recipe: Recipe,
    *,
    root: Path | None = None,
    telemetry: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Sample every video's frames by ``recipe.footage`` and write them, with what is known, as a clips artifact.

    A file that is the only input must be a video. Of several, one that turns out damaged, too short or too large is
    left out and listed in ``skipped.jsonl``, whatever its decoder raised; what lies in a folder and is not read, and
    evidence that is missing or cannot be used, is listed in ``notes.jsonl``.

    Args:
        inputs: videos, folders of videos (BDD100K's among them), ``drives.jsonl`` manifests.
        out: the folder for ``clips-00000.parquet``, ... and ``skipped.jsonl``.
        recipe: its footage section counts.
        root: the folder that the manifests' paths are relative to; their own when not given.
        telemetry: a CSV of time and speed for the one video in ``inputs``.
        resume: go on where an earlier run was stopped.
        overwrite: delete the artifact that ``out`` holds first.

    Returns:
        ``out``.

    Raises:
        InputError: an input is no video or names none, ``out`` holds something else, a CSV's unit is not known,
            or no video gave a clip.
        WorkError: the disk is full, or decoder processes die one after the other.
    """
    _check_apart([*inputs, *(path for path in (root, telemetry) if path)], out)
    videos, passed_over = search(inputs, root, out)
    if len(inputs) == 1:
        _check_named(inputs[0], recipe.footage)
    videos, file_notes = attach(videos, telemetry)
    with disk_errors(out):
        if open_output(out, "clips", _origin(inputs, videos, recipe), resume=resume, overwrite=overwrite):
            return out
        with KeyedLog(out / SKIPPED) as skipped, _Notes(out) as notes:
            for group in passed_over:
                notes.add(PASSED_OVER + group.kind, group.first, [group.line()])
            for path, note in file_notes:
                notes.add(printable(path), path, [note])
            clips = _write_clips(videos, out, recipe.footage, skipped, notes)
            reasons = [record["reason"] for record in skipped.records.values()]
        if not clips:
            for name in (SKIPPED, NOTES, MANIFEST):
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()  # which holds nothing else, unless it was the user's own
            several = f"none of the {len(videos)} videos gives a clip; the first: " if len(videos) > 1 else ""
            raise InputError(several + reasons[0])
        drives = len({video.drive_id for video in videos if video.clip_id not in skipped.records})
        not_read = sum(group.count for group in passed_over)
        more = {"notes": notes.count, "passed_over": not_read}
        summary = {"clips": clips, "drives": drives, "videos": len(videos)}
        summary |= {name: count for name, count in more.items() if count}
        finish(out, left_out=len(reasons), listed_in=[SKIPPED], **summary)
    if reasons:
        say(
            f"{len(reasons)} of {len(videos)} videos left out, listed in {out / SKIPPED}; first: {reasons[0]}"
        )
    _tell(out, clips, passed_over, notes)
    return out


def _tell(out: Path, clips: int, passed_over: Sequence[Group], notes: _Notes) -> None:
    """Say what was passed over, what there is to note, how many clips there are and what to do next."""
    if passed_over:
        what = ", ".join(group.short() for group in passed_over)
        say(f"passed over: {what}; the reasons are listed in {out / NOTES}")
    if count := notes.count - len(passed_over):
        say(f"{count} notes on files and evidence, listed in {out / NOTES}; first: {notes.first}")
    say(f"{clips} clip{'' if clips == 1 else 's'} in {out}; next: roadscribe annotate {out} --out raw")


def _check_named(path: Path, footage: Footage) -> None:
    """The only file that the user named must be a video: this is cheap to see before any work."""
    if path.is_file() and path.suffix != ".jsonl":
        file_size(path, footage.max_file_mb)
        with opened(path):
            pass


def _check_apart(inputs: Sequence[Path], out: Path) -> None:
    """Footage within the output folder could be deleted by --overwrite."""
    for path in inputs:
        if real_path(path).is_relative_to(real_path(out)):
            raise InputError(f"{path}: lies in the output folder {out}; give another --out")


def _origin(inputs: Sequence[Path], videos: list[SourceVideo], recipe: Recipe) -> dict[str, Any]:
    """What makes these clips: resuming with anything else would mix two artifacts."""
    digest = hashlib.sha256()
    for video in videos:
        line = [printable(video.path), video.clip_id, video.drive_id, video.evidence.model_dump_json()]
        line += [repr((video.start_s, video.end_s, video.images, video.timestamps_s))]
        line += [repr((video.telemetry, video.telemetry_start_s, video.beside))]
        digest.update(json.dumps(line).encode())
    return {
        **recipe.as_json("footage"),
        "inputs": [printable(path) for path in inputs],
        "found": {"videos": len(videos), "sha256": digest.hexdigest()},
    }


class _Notes:
    """What was said of files and evidence; its file is made with the first note."""

    def __init__(self, out: Path) -> None:
        self._path = out / NOTES
        self._log = KeyedLog(self._path) if self._path.exists() else None

    def __enter__(self) -> _Notes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    @property
    def count(self) -> int:
        return len(self._log.records) if self._log else 0

    @property
    def first(self) -> str:
        """The first note on a file or on evidence, for a message."""
        records = self._log.records.values() if self._log else ()
        told = (record for record in records if not record["key"].startswith(PASSED_OVER))
        record = next(told, {"path": "", "notes": [""]})
        return f"{record['path']}: {record['notes'][0]}"

    def add(self, key: str, path: Path, notes: Sequence[str]) -> None:
        """Keep the notes on one clip or file; a resumed run has said some already."""
        if not notes:
            return
        self._log = self._log or KeyedLog(self._path)
        if key not in self._log:
            self._log.append(key, path=printable(path), notes=[printable(note) for note in notes])


def _write_clips(
    videos: list[SourceVideo], out: Path, footage: Footage, skipped: KeyedLog, notes: _Notes
) -> int:
    """Sample what is not there yet, in order, and write it shard by shard; the number of clips in all."""
    kept = kept_ids(out)
    clips = len(kept)
    shard = ShardWriter(out, len(list(out.glob("clips-*.parquet"))))
    todo = [video for video in videos if video.clip_id not in kept and video.clip_id not in skipped]
    if len(todo) < len(videos):
        say(f"{len(videos) - len(todo)} of {len(videos)} videos are done from the earlier run")
    with progress(len(todo), "sampling frames") as advance:
        for video, (result, said) in sample_all(todo, footage):
            notes.add(video.clip_id, video.path, said)
            if isinstance(result, str):
                skipped.append(video.clip_id, path=printable(video.path), reason=result)
            else:
                clips += 1
                shard.add(result)
            advance(note=video.clip_id)
        shard.write()
    return clips

"""The original project's instruction set: ``[{"video_id", "QA": {"q", "a"}}]``, one driving report a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roadscribe.curate.importers.entries import Answered, Drive, Entry, LeftOut, load_json, video_file
from roadscribe.curate.split import drive_of_video
from roadscribe.errors import InputError


def read(path: Path) -> Iterator[Entry]:
    """Every answer as a report on the whole video, whatever the wording of its question.

    The question of that set asks for the same three sections as ours, so its answers are read as reports.

    Raises:
        InputError: not JSON, or no list of answers.
    """
    entries = load_json(path)
    if not isinstance(entries, list):
        raise InputError(f'{path}: expected [{{"video_id": ..., "QA": {{"q": ..., "a": ...}}}}, ...]')
    for row, entry in enumerate(entries):
        video, answers = (entry.get("video_id"), entry.get("QA")) if isinstance(entry, dict) else (None, None)
        text = answers.get("a") if isinstance(answers, dict) else None
        if not isinstance(video, str) or not isinstance(text, str):
            yield LeftOut(row, "", "is not of the form {video_id, QA: {q, a}}")
            continue
        try:
            clip_id, file = video_file(video)
        except ValueError as error:
            yield LeftOut(row, "", str(error))
            continue
        yield Answered(row, "", Drive(clip_id, drive_of_video(clip_id), video=file), None, text)

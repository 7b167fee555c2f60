"""The original project's layout, ``[{"video_id", "QA": {"q", "a"}}]``: reports and answers to other questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roadscribe.curate.importers.entries import Answered, Drive, Entry, LeftOut, load_json, video_file
from roadscribe.curate.original import OriginalProblem, original_answers
from roadscribe.curate.split import drive_of_video
from roadscribe.errors import InputError


def read(path: Path) -> Iterator[Entry]:
    """Every answer with its question, on the whole video; those to a question that asks for a report are reports.

    Raises:
        InputError: not JSON, or no list of answers.
    """
    entries = load_json(path)
    if not isinstance(entries, list):
        raise InputError(f'{path}: expected [{{"video_id": ..., "QA": {{"q": ..., "a": ...}}}}, ...]')
    for item in original_answers(entries):
        if isinstance(item, OriginalProblem):
            yield LeftOut(item.row, item.place, item.reason)
            continue
        try:
            clip_id, file = video_file(item.video)
        except ValueError as error:
            yield LeftOut(item.row, item.place, str(error))
            continue
        drive = Drive(clip_id, drive_of_video(clip_id), video=file)
        yield Answered(item.row, item.place, drive, item.question, item.text)

"""BDD-X: what the car does in BDD100K's videos and why, as people described it, second by second.

The published file is ``BDD-X-Annotations_v1.csv`` (github.com/JinkyuKimUCB/BDD-X-dataset; Kim et al., Textual
Explanations for Self-Driving Vehicles, 2018): ``Input.Video``, then ``Answer.1start``, ``Answer.1end``,
``Answer.1action``, ``Answer.1justification`` and so on to 15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from roadscribe.curate.importers.entries import Answered, Drive, Entry, LeftOut, csv_rows, video_file
from roadscribe.curate.split import drive_of_video

QUESTION = "What is the car doing now, and why?"
QUESTION_WITHOUT_REASON = "What is the car doing now?"
"""For an action that was left without a justification."""

REQUIRED = ("Input.Video", "Answer.1start", "Answer.1end", "Answer.1action", "Answer.1justification")

MIN_WINDOW_S = 1.0
"""Times are whole seconds: an action from 5 to 5 fills a second, and motion needs one to be seen."""

_COLUMN = re.compile(r"Answer\.(\d{1,3})start")
_SECONDS = re.compile(r"\d{1,6}(?:\.\d{1,6})?")
_JOINS = re.compile(
    r"(?:because|as|since|due|to|so|for|while|when|whenever|after|before|until|now that|once|if|in|at|on|by|"
    r"with|without|from|behind|through|toward|towards|and|but|although|though|despite|"
    r"(?!\w*thing\b)\w+ing)\b",
    re.IGNORECASE,
)
"""How a justification begins that goes on with the action's sentence: most do, some are sentences."""


def read(path: Path) -> Iterator[Entry]:
    """Every timed action as an answer to `QUESTION` on a clip of its own.

    The clip is the window of the action, so that the last frame is the action's last moment and the earlier
    frames show it. It is at least ``MIN_WINDOW_S`` long: a shorter one begins earlier.

    Raises:
        InputError: a required column is missing, or the file is no CSV.
    """
    for row, record in csv_rows(path, REQUIRED):
        if isinstance(record, LeftOut):
            yield record
            continue
        for number in (found[1] for name in record if (found := _COLUMN.fullmatch(name))):
            names = ("start", "end", "action", "justification")
            start, end, action, reason = (record.get(f"Answer.{number}{name}", "") for name in names)
            if not (start or end or action or reason):
                continue
            place = f"Answer.{number}"
            try:
                start_s, end_s = action_window(start, end)
                question, text = question_and_answer(action, reason)
                name, video = video_file(_last_part(record["Input.Video"]))
            except ValueError as error:
                yield LeftOut(row, place, str(error))
                continue
            clip_id = f"{name}@{start_s:g}-{end_s:g}"
            drive = Drive(clip_id, drive_of_video(name), video=video, start_s=start_s, end_s=end_s)
            yield Answered(row, place, drive, question, text)


def _last_part(address: str) -> str:
    """The file's name in an address or a path of any system."""
    return address.replace("\\", "/").partition("?")[0].rpartition("/")[2]


def action_window(start: str, end: str) -> tuple[float, float]:
    """First and last second of an action's clip.

    Raises:
        ValueError: a time is missing or no number of seconds, or the action ends before it begins.
    """
    for name, value in (("start", start), ("end", end)):
        if not _SECONDS.fullmatch(value):
            raise ValueError(f"its {name} is no number of seconds: {value!r}")
    start_s, end_s = float(start), float(end)
    if end_s < start_s:
        raise ValueError(f"ends at {end_s:g} s, before it begins at {start_s:g} s")
    end_s = max(end_s, MIN_WINDOW_S)
    return min(start_s, end_s - MIN_WINDOW_S), end_s


def question_and_answer(action: str, justification: str) -> tuple[str, str]:
    """The question that fits what there is, and action and justification as one sentence.

    A justification that is a sentence of its own ("The light is red.") is joined by "because".

    Raises:
        ValueError: there is no action.
    """
    does = action.strip(" .,;")
    if not does:
        raise ValueError("names no action")
    does = does[0].upper() + does[1:]
    why = justification.strip(" .,;")
    if not why:
        return QUESTION_WITHOUT_REASON, f"{does}."
    first, _, rest = why.partition(" ")
    if not first.isupper() or first == "A":
        why = f"{first[0].lower()}{first[1:]} {rest}".strip()
    return QUESTION, f"{does} {why}." if _JOINS.match(why) else f"{does} because {why}."

"""DriveLM on nuScenes: questions and answers on key frames, with objects named by where they are.

The published file is ``v1_*_train_nus.json`` (github.com/OpenDriveLab/DriveLM; Sima et al., DriveLM: Driving
with Graph Visual Question Answering, 2024): scene -> ``key_frames`` -> ``QA`` by perception, prediction,
planning and behavior, and ``image_paths`` of six cameras. An object is a tag such as
``<c1,CAM_FRONT,1088.3,497.5>``: a number, a camera, and the middle of its box in pixels of 1600 x 900.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from roadscribe.curate.importers.entries import Answered, Drive, Entry, LeftOut, load_json, relative_path
from roadscribe.errors import InputError

CAMERA = "CAM_FRONT"
"""The one camera that clips show: a windscreen's view, as everywhere else in this project."""

IMAGE_SIZE = (1600, 900)
"""Pixels of every nuScenes camera (Caesar et al., nuScenes, 2020, table 2)."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_TAG = re.compile(
    r"(?:\b(?:the )?object )?"
    rf"<\s*(?:c\d+\s*,\s*)?(?P<camera>CAM_[A-Z_]+)\s*,\s*(?P<x>{_NUMBER})\s*,\s*(?P<y>{_NUMBER})\s*>"
)
_LIKE_A_TAG = re.compile(r"<[^<>]{0,80}>|\bCAM_[A-Z]")
_BESIDE_OR_BEHIND = re.compile(
    r"\bbehind (?:the |our )?ego\b|"
    r"\b(?:to|on|at|from|in) the (?:back|rear|left|right|(?:front|back|rear)[ -](?:left|right))(?: side)?"
    r" of (?:the |our )?ego\b",
    re.IGNORECASE,
)
"""Where objects are that the front camera does not show; "front left" begins where its view ends."""
_PIXEL_BOX = re.compile(r"\((?:[^(),]*,){0,2}(?:\s*-?\d+(?:\.\d+)?\s*,){3}\s*-?\d+(?:\.\d+)?\s*\)")
_TIME_US = re.compile(r"__(\d{16})\.\w+$")
"""nuScenes' file names end in the time of the picture, in microseconds."""


class _KeyFrame(NamedTuple):
    token: str
    image: str
    """Path of the front camera's picture."""
    time_us: int
    pairs: list[tuple[str, Any]]
    """(place, question and answer as they stand in the file), in turns from each kind."""


def read(path: Path) -> Iterator[Entry]:
    """Every question that the front camera can answer, on a clip that ends at its key frame.

    The clip's pictures are the front camera's at the key frames of the scene up to this one. Its questions
    come in turns (perception, prediction, planning, behavior, perception, ...), so that a limit a clip keeps
    each kind. Questions on objects that only other cameras show, and boxes in pixels, are left out.

    Raises:
        InputError: not JSON, or no scenes.
    """
    scenes = load_json(path)
    if not isinstance(scenes, dict) or not scenes:
        raise InputError(f'{path}: expected scenes, {{token: {{"key_frames": {{...}}}}, ...}}')
    for row, (scene, content) in enumerate(scenes.items()):
        frames = content.get("key_frames") if isinstance(content, dict) else None
        if not isinstance(frames, dict):
            yield LeftOut(row, f"scene {scene}", "has no key_frames")
            continue
        usable: dict[int, _KeyFrame] = {}
        for token, frame in frames.items():
            try:
                read_frame = _key_frame(token, frame)
                if usable.setdefault(read_frame.time_us, read_frame) is not read_frame:
                    raise ValueError("is of the same moment as another frame of its scene")
            except ValueError as error:
                yield LeftOut(row, f"scene {scene}, frame {token}", str(error))
        history: list[_KeyFrame] = []
        for _, now in sorted(usable.items()):
            history.append(now)
            drive = _drive(scene, history)
            for place, pair in now.pairs:
                where = f"scene {scene}, frame {now.token}, {place}"
                try:
                    yield Answered(row, where, drive, *question_and_answer(pair))
                except ValueError as error:
                    yield LeftOut(row, where, str(error))


def _key_frame(token: str, frame: Any) -> _KeyFrame:
    """One key frame; raises ValueError saying what it lacks."""
    paths = frame.get("image_paths") if isinstance(frame, dict) else None
    image = paths.get(CAMERA) if isinstance(paths, dict) else None
    if not isinstance(image, str):
        raise ValueError(f"has no picture of {CAMERA}")
    time_us = _TIME_US.search(PurePosixPath(image).name)
    if time_us is None:
        raise ValueError(
            f"its picture {image!r} does not tell its time (nuScenes: ..__CAM_FRONT__<16 digits>)"
        )
    questions = frame.get("QA")
    kinds = questions if isinstance(questions, dict) else {"QA": questions}
    if not all(isinstance(pairs, list) for pairs in kinds.values()):
        raise ValueError("its QA is no list of questions and answers")
    placed = [[(f"{kind}[{n}]", pair) for n, pair in enumerate(pairs)] for kind, pairs in kinds.items()]
    in_turns = [place for place in chain.from_iterable(zip_longest(*placed)) if place is not None]
    return _KeyFrame(token, relative_path(image), int(time_us[1]), in_turns)


def _drive(scene: str, history: Sequence[_KeyFrame]) -> Drive:
    begun = history[0].time_us
    return Drive(
        clip_id=f"{scene}_{history[-1].token}",
        drive_id=scene,
        images=tuple(frame.image for frame in history),
        timestamps_s=tuple((frame.time_us - begun) / 1e6 for frame in history),
    )


def question_and_answer(pair: Any) -> tuple[str, str]:
    """Question and answer in words that hold for the front camera's picture at any size.

    Raises:
        ValueError: it has no answer, or another camera or the original picture is needed for it.
    """
    question, answer = (pair.get("Q"), pair.get("A")) if isinstance(pair, dict) else (None, None)
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip():
        raise ValueError("is not of the form {Q, A}")
    if not answer.strip():
        raise ValueError("has no answer")
    both = f"{question} {answer}"
    others = sorted({tag["camera"] for tag in _TAG.finditer(both)} - {CAMERA})
    if others:
        raise ValueError(f"speaks of what only {', '.join(others)} shows")
    if (unseen := _BESIDE_OR_BEHIND.search(both)) is not None:
        raise ValueError(f"speaks of what the front camera does not show: {unseen[0]!r}")
    if _PIXEL_BOX.search(answer):
        raise ValueError("gives boxes in pixels of the original picture")
    return in_words(question), in_words(answer)


def in_words(text: str) -> str:
    """A text whose tags are replaced by words: ``<c1,CAM_FRONT,800,450>`` is "the object at (500, 500)".

    The numbers are thousandths of the picture's width and height from its upper left corner, which is how
    Qwen3-VL gives positions; so they hold at any size. "The IDs of these objects are" becomes "They are".

    Raises:
        ValueError: something like a tag is none, or it points out of the picture.
    """
    text = re.sub(r"\b[Tt]he IDs? of (?:these|this) objects? (?:are|is)\b", "They are", text)
    words = " ".join(_TAG.sub(_words, text).split())
    if (odd := _LIKE_A_TAG.search(words)) is not None:
        raise ValueError(f"holds a tag that cannot be read: {odd[0]!r}")
    # A tag may stand where a sentence begins.
    return re.sub(r"(?:^|(?<=[.?!] ))the object at \(", "The object at (", words)


def _words(tag: re.Match[str]) -> str:
    shares = [float(tag[axis]) / size for axis, size in zip("xy", IMAGE_SIZE, strict=True)]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"points out of the picture: {tag[0]}")
    return "the object at ({}, {})".format(*(round(1000 * share) for share in shares))

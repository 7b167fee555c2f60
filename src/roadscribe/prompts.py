"""The versioned ADAS instruction: what a teacher, the model in training and the model in use are all asked.

The wording lies in ``prompt_files/``, one file a version, the version in its name. A version that was used
never changes: raw answers and adapters carry its name. A new wording is a new file and a new
``PROMPT_VERSION``; a test holds the current file against the report's keys and vocabulary.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from roadscribe.errors import InputError

PROMPT_VERSION = "adas-1"
PROMPT_FILES = Path(__file__).parent / "prompt_files"


def instruction(version: str = PROMPT_VERSION) -> str:
    """The wording of one version, as its file holds it but for the newline at its end.

    Raises:
        InputError: there is no such version; those that there are, are named.
    """
    known = sorted(path.stem for path in PROMPT_FILES.glob("*.txt"))
    if version not in known:
        raise InputError(f"no prompt of version {version!r}; there is {', '.join(known)}")
    return (PROMPT_FILES / f"{version}.txt").read_text(encoding="utf-8").removesuffix("\n")


INSTRUCTION = instruction()
"""The question of prompt version ``PROMPT_VERSION``."""


def own_version(question: str) -> str:
    """The version of a question of one's own: ``own-`` and 12 hex digits of the sha256 of its text."""
    return f"own-{hashlib.sha256(question.encode()).hexdigest()[:12]}"


def messages(frame_count: int, question: str = INSTRUCTION) -> list[dict[str, Any]]:
    """One user turn with ``frame_count`` image places, oldest first, then the question.

    The form is that of ``processor.apply_chat_template`` in transformers and of TRL's
    ``prepare_multimodal_messages``, which puts the images into the places in order.

    Raises:
        ValueError: ``frame_count`` is not positive.
    """
    if frame_count < 1:
        raise ValueError(f"a question needs at least one frame, not {frame_count}")
    places: list[dict[str, Any]] = [{"type": "image"} for _ in range(frame_count)]
    return [{"role": "user", "content": [*places, {"type": "text", "text": question}]}]

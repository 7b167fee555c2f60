"""What is asked about which clip: the report, questions of one's own, and the limit a video.

The annotate stage plans here before anybody is asked, from the clips' names alone; teachers get `Ask`s.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from roadscribe.clip import Clip, clip_shards
from roadscribe.control_tokens import find_control_tokens
from roadscribe.errors import InputError
from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION, own_version
from roadscribe.recipe import Annotate

MAX_QUESTION_CHARS = 4000
MAX_QUESTIONS = 1000
MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class Question:
    """One question, to be asked about every clip."""

    version: str
    """Prompt version: ``adas-1``, or ``own-`` and a digest of the text."""
    text: str
    """The words that are sent after the frames."""

    @property
    def own(self) -> str | None:
        """The text of a question of one's own; None for the report, whose version says it all."""
        return None if self.version == PROMPT_VERSION else self.text


REPORT = Question(PROMPT_VERSION, INSTRUCTION)


@dataclass(frozen=True)
class Ask:
    """One question about one clip, still to be answered."""

    key: str
    clip: Clip
    question: Question


def answer_key(clip_id: str, version: str, teacher: str) -> str:
    """The key of one raw answer: clip, prompt version and teacher."""
    return f"{clip_id}|{version}|{teacher}"


def questions_of(section: Annotate) -> tuple[Question, ...]:
    """The questions of a recipe, the report first.

    Raises:
        InputError: none at all, an empty or endless one, one with control tokens, one that stands twice, or a file
            that holds none.
    """
    texts = list(section.questions)
    if section.questions_file is not None:
        texts += read_questions(Path(section.questions_file))
    questions = [REPORT] if section.report else []
    for text in map(str.strip, texts):
        shown = text[:60] + ("..." if len(text) > 60 else "")
        if not text:
            raise InputError("annotate.questions: an empty question; take it out")
        if len(text) > MAX_QUESTION_CHARS:
            raise InputError(
                f"annotate.questions: {shown!r} has {len(text)} characters; at most {MAX_QUESTION_CHARS} go"
            )
        if tokens := find_control_tokens(text):
            raise InputError(
                f"annotate.questions: {shown!r} holds the control token {tokens[0]}, which a model does not read as "
                "text; take it out"
            )
        question = Question(own_version(text), text)
        if question in questions:
            raise InputError(f"annotate.questions: {shown!r} stands twice; take one out")
        questions.append(question)
    if not questions:
        raise InputError("annotate: nothing to ask; set annotate.report=true or give annotate.questions")
    if len(questions) > MAX_QUESTIONS:
        raise InputError(f"annotate.questions: {len(questions)} questions; at most {MAX_QUESTIONS} go")
    return tuple(questions)


def read_questions(path: Path) -> list[str]:
    """The questions in a YAML file (a list of texts) or a text file (one a line; # begins a comment line).

    Raises:
        InputError: no such file, no text, too large, or no list of questions.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: too large for a list of questions (over {MAX_FILE_BYTES // 2**20} MB)")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot read the questions ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8; write one question a line") from error
    if path.suffix.lower() in {".yaml", ".yml"}:
        try:
            listed = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise InputError(f"{path}: must be a list of texts, one `- question` a line")
    else:
        lines = (line.strip() for line in text.splitlines())
        listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise InputError(f"{path}: holds no question")
    return listed


class LeftOut(NamedTuple):
    """A question that the limit a video leaves out."""

    clip_id: str
    version: str
    reason: str


class Plan(NamedTuple):
    """Which questions each clip is asked."""

    wanted: Mapping[str, Sequence[Question]]
    """clip_id -> its questions; no clip is missing."""
    left_out: Sequence[LeftOut]

    @property
    def total(self) -> int:
        return sum(map(len, self.wanted.values()))


def plan(clips: Iterable[tuple[str, str]], questions: Sequence[Question], limit: int | None) -> Plan:
    """Share out the questions: clip by clip, question by question, until a video has ``limit`` of them.

    Args:
        clips: (clip_id, video) of every clip in their order.
        questions: what every clip should be asked.
        limit: at most so many questions a video; None sets no limit.
    """
    asked: Counter[str] = Counter()
    wanted: dict[str, Sequence[Question]] = {}
    left_out: list[LeftOut] = []
    for clip_id, video in clips:
        room = len(questions) if limit is None else min(len(questions), limit - asked[video])
        wanted[clip_id] = questions[:room]
        asked[video] += room
        reason = f"annotate.max_questions={limit}: {video} has its share"
        left_out += [LeftOut(clip_id, question.version, reason) for question in questions[room:]]
    return Plan(wanted, left_out)


def clips_and_videos(folder: Path) -> Iterator[tuple[str, str]]:
    """(clip_id, path of its video) of every clip of an artifact, without reading a frame.

    Raises:
        InputError: a shard is no shard of clips.
    """
    for shard in clip_shards(folder):
        try:
            rows: list[dict[str, Any]] = pq.read_table(shard, columns=["clip_id", "provenance"]).to_pylist()
            yield from ((row["clip_id"], json.loads(row["provenance"])["path"]) for row in rows)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"{shard}: not a shard of clips ({why}); make it again with collect") from error

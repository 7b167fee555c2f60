"""The rule over all answers to questions of one's own: one and the same text to many different clips.

Signature: ``(answers: SameAnswers) -> dict[bytes, Same]``. A refusal, an error page or a stuck teacher says the same
whatever it is shown, in any language. So does an honest answer to a closed question; what tells them apart is whether
the answer takes up a word of its question, and whether its words stand anywhere else: in other answers, in the words
of the report.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from roadscribe.answers.vocabulary import vocabulary
from roadscribe.curate.rules.rule import Rule, rule
from roadscribe.prompts import INSTRUCTION

MIN_CLIPS = 5
"""Fewer clips with one text are no signal."""
MANY_CLIPS = 20
MIN_SHARES = (0.5, 0.25)
"""Least share of the answers to its questions that a text on fewer, and on at least, MANY_CLIPS clips holds."""
MIN_QUESTIONS = 3
"""A text that answers so many different questions needs no share."""
MIN_WORDS = 4
MIN_LETTERS = 8
"""Shorter texts ("Yes.", "Clear", "3", "straight") answer closed questions; letters count where a language writes no
spaces."""
MAX_KNOWN = 0.5
"""Largest share of the text's words that may stand elsewhere: at least so many belong to an answer about a road."""

_WORD = re.compile(r"[^\W\d_]+")
_WITHOUT_SPACES = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_ENDINGS = re.compile("[\u3040-\u309f]+")
"""Hiragana writes endings and particles, which all sentences share."""


def normal(text: str) -> str:
    """A text without case, punctuation and spacing, as answers are compared."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def key_of(text: str) -> bytes:
    """A short digest of a text in `normal` form."""
    return hashlib.blake2b(normal(text).encode(errors="replace"), digest_size=12).digest()


def word_set(text: str) -> set[str]:
    """The words of more than three letters; pairs of letters where a language writes no spaces between words."""
    found: set[str] = set()
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _WITHOUT_SPACES.search(word):
            pairs = {word[at : at + 2] for at in range(len(word) - 1)}
            found |= {pair for pair in pairs if not _ENDINGS.fullmatch(pair)}
        elif len(word) > 3:
            found.add(word.removesuffix("s"))
    return found


def is_long(text: str) -> bool:
    """Whether a text is too long for the answer to a closed question."""
    plain = normal(text)
    if _WITHOUT_SPACES.search(plain):
        return sum(character.isalpha() for character in plain) >= MIN_LETTERS
    return len(plain.split()) >= MIN_WORDS


@cache
def _report_words() -> frozenset[str]:
    """Words of the report: its prompt, and everything that its vocabulary lists."""

    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for key, inner in value.items() for text in (str(key), *texts(inner))]
        return [text for inner in value for text in texts(inner)] if isinstance(value, list) else [str(value)]

    about = [
        text for part in ("words", "keys", "pedestrians", "sections") for text in texts(vocabulary()[part])
    ]
    return frozenset(word_set(" ".join((INSTRUCTION, *about))))


@dataclass(frozen=True)
class Same:
    """A text that stands as the answer to many clips."""

    text: str
    clips: int
    answers: int
    """Answers to the questions that it answers."""
    questions: int

    @property
    def reason(self) -> str:
        """Why a row with this text is kept out."""
        return (
            f"the same text answers {self.clips} clips ({self.clips / self.answers:.0%} of the answers to "
            f"{self.questions} questions), and its words stand nowhere else: {self.text[:80]!r}"
        )


@dataclass
class _Text:
    text: str
    rows: Counter[bytes] = field(default_factory=Counter)
    """Answers by question."""
    clips: int = 0
    last_clip: str = ""


@dataclass
class SameAnswers:
    """Counts of the answers to questions of one's own; a text is kept once."""

    texts: dict[bytes, _Text] = field(default_factory=dict)
    asked: Counter[bytes] = field(default_factory=Counter)
    questions: dict[bytes, set[str]] = field(default_factory=dict)
    words: Counter[str] = field(default_factory=lambda: Counter[str]())
    """In how many different answers each word stands."""

    def add(self, clip_id: str, question: str, answer: str) -> None:
        """Count one answer; the answers to a clip come one after another."""
        asked, key = key_of(question), key_of(answer)
        self.asked[asked] += 1
        if asked not in self.questions:
            self.questions[asked] = word_set(question)
        if key not in self.texts:
            self.texts[key] = _Text(answer[:400])
            self.words.update(word_set(answer))
        found = self.texts[key]
        found.rows[asked] += 1
        if found.last_clip != clip_id:
            found.last_clip, found.clips = clip_id, found.clips + 1


@rule(
    reason="What a teacher says whatever it is shown is a refusal or a fault, in whatever language.",
    source="counts over the dataset; words compared with the questions, the other answers and the report's vocabulary",
    severity="error",
    action="quarantine",
)
def same_answer(answers: SameAnswers) -> dict[bytes, Same]:
    """No answer of four words or more is the same on many clips while its words stand nowhere else."""
    found: dict[bytes, Same] = {}
    for key, text in answers.texts.items():
        if text.clips < MIN_CLIPS or not is_long(text.text):
            continue
        asked = sum(answers.asked[question] for question in text.rows)
        least = MIN_SHARES[text.clips >= MANY_CLIPS]
        if len(text.rows) < MIN_QUESTIONS and sum(text.rows.values()) / asked < least:
            continue
        words = word_set(text.text)
        if all(words & answers.questions[question] for question in text.rows):
            continue  # it speaks of what was asked
        near = set[str]().union(*(answers.questions[question] for question in text.rows)) | _report_words()
        known = [word for word in words if word in near or answers.words[word] > 1]
        if words and len(known) / len(words) < MAX_KNOWN:
            found[key] = Same(text.text, text.clips, asked, len(text.rows))
    return found


SameCheck = Callable[[SameAnswers], dict[bytes, Same]]
SAME_RULES: tuple[Rule[SameCheck], ...] = (same_answer,)

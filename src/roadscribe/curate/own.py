"""Answers to questions of one's own: no report to read, so only their form is looked at.

`mend.judge` sends them here when `answers.clean_text` has taken their reasoning off and the rules about answers have
passed. What a report's prose may not hold is mended here, too; but a sentence that cannot be mended stays and is
noted: it may be the whole answer.
"""

from __future__ import annotations

import re

from roadscribe.answers.prose import sentences
from roadscribe.curate.rules.medium import speaks_of_medium, without_medium
from roadscribe.curate.rules.prose import prose_medium
from roadscribe.report import Finding

_SENTENCE_END = re.compile(r"[.!?]['\")]{0,2}(?=\s|$)")


def whole_sentences(text: str) -> str:
    """The text up to the end of its last whole sentence; empty when it has none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def mended_answer(text: str, question: str, findings: list[Finding]) -> str:
    """An answer that speaks of the road, not of the medium; changes and notes are added to ``findings``.

    A question that speaks of images or a video itself may be answered in its words.
    """
    if speaks_of_medium(question) or not speaks_of_medium(text):
        return text
    return "\n".join(
        _mended_line(line, findings) if speaks_of_medium(line) else line for line in text.split("\n")
    )


def _mended_line(line: str, findings: list[Finding]) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    kept = []
    for sentence in sentences(line):
        mended = without_medium(sentence)
        if mended is None or mended != sentence:
            findings.append(
                Finding(
                    rule=prose_medium.id,
                    before=sentence,
                    after=mended or sentence,
                    message="sentence mended" if mended else "cannot be mended; kept, it may be the answer",
                )
            )
        kept.append(mended or sentence)
    return indent + " ".join(kept)

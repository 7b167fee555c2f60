"""Which script a text is written in: a report's prose holds Latin letters only.

The other scripts' letters would be left out one by one, and what stays says something else, or nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

MAX_SHARE = 0.2
"""Share of a text's letters in other scripts from which it is not read as a report: one Chinese character says about
as much as a word of five letters."""

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|\{[^{}]*\}|\*\*[^*\n]*\*\*|^#+.*$", re.DOTALL | re.MULTILINE)
"""Values and headings, which are English in an answer of any language."""

NAMES = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


def other_script(text: str) -> str | None:
    """Why a text cannot be the prose of a report: its letters are not Latin. None where they are.

    Values in JSON and headings are left out of the count.
    """
    if text.isascii():
        return None
    letters = [character for character in _NOT_PROSE.sub(" ", text) if character.isalpha()]
    others: Counter[str] = Counter()
    for character in letters:
        script = unicodedata.name(character, "unnamed").split()[0]
        if script not in ("LATIN", "FEMININE", "MASCULINE", "MODIFIER"):
            others[NAMES.get(script, script.capitalize())] += 1
    if not letters or others.total() <= MAX_SHARE * len(letters):
        return None
    share = others.total() / len(letters)
    return f"{share:.0%} of its letters are {others.most_common(1)[0][0]}, and a report is written in Latin letters"

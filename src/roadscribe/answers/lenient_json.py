"""A reader for the JSON that models write: one pass, no evaluation, and a list of what it had to mend.

`report_text` uses it to find the parameters of an answer. It reads comments, trailing and missing commas,
single and curly quotes, bare words, Python's literals and objects that are cut off. A value that the end of
the text cuts through is left out and listed, because half a value is not a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

MAX_JSON_CHARS = 20_000
"""An object is read up to this length; a report's is about 500 characters long."""
MAX_DEPTH = 20
"""Objects and lists nested deeper than this are not read."""

_CLOSING_QUOTES = {'"': '"”“', "'": "'’‘", "“": '”“"', "‘": "’‘'", "`": "`"}
_LITERALS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    # Python's None, but not `none`, which is a word of the report ("no light in view").
    **dict.fromkeys(("null", "Null", "NULL", "None", "nil", "undefined"), None),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_SPACE = " \t\n\r\f\v\u00a0\ufeff"
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?")


@dataclass
class Reading:
    """What was read from one opening brace on."""

    value: dict[str, Any]
    """The object; a key that is written more than once holds its last value."""
    end: int
    """Where reading stopped, as an index into the text."""
    mended: list[str] = field(default_factory=list)
    """What is not JSON, each kind once, in the order of its first appearance."""
    repeated: dict[str, list[Any]] = field(default_factory=dict)
    """All values of the keys that one object holds more than once."""
    cut: list[tuple[str, str]] = field(default_factory=list)
    """(key, what is left of the value) where the end of the text cuts through a value."""


def read_object(text: str, start: int, stop: int | None = None) -> Reading:
    """Read the object whose opening brace stands at ``start``; never raises and always ends.

    Args:
        text: the whole answer.
        start: index of a ``{``.
        stop: where the stretch to read ends (exclusive); the end of the text by default. Reading also stops
            MAX_JSON_CHARS after ``start``.
    """
    stop = len(text) if stop is None else min(stop, len(text))
    return _Reader(text, start, min(stop, start + MAX_JSON_CHARS)).read()


_COMMAS = ",;，；"
_COLONS = ":："
"""The full-width ones are what a Chinese keyboard gives."""


class _Reader:
    def __init__(self, text: str, start: int, stop: int) -> None:
        self.text = text
        self.start = start
        self.at = start
        self.stop = stop
        self.reading = Reading({}, start)
        self.key = ""

    def read(self) -> Reading:
        self.reading.value = self._object(0)
        self.reading.end = self.at
        if self.at >= self.start + MAX_JSON_CHARS:
            self._mended(f"longer than {MAX_JSON_CHARS} characters")
        return self.reading

    def _mended(self, what: str) -> None:
        if what not in self.reading.mended:
            self.reading.mended.append(what)

    def _peek(self) -> str:
        return self.text[self.at] if self.at < self.stop else ""

    def _skip(self) -> None:
        """Go over white space and comments."""
        while self.at < self.stop:
            if self.text[self.at] in _SPACE:
                self.at += 1
            elif self.text[self.at] == "#" or self.text.startswith("//", self.at):
                self._mended("comments")
                self._jump("\n")
            elif self.text.startswith("/*", self.at):
                self._mended("comments")
                self._jump("*/")
            else:
                return

    def _jump(self, past: str) -> None:
        found = self.text.find(past, self.at, self.stop)
        self.at = self.stop if found < 0 else found + len(past)

    def _object(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self.at += 1
        while True:
            self._skip()
            here = self._peek()
            if not here:
                self._mended("a closing brace is missing")
                return result
            if here == "}":
                self.at += 1
                return result
            if here in _COMMAS:
                self.at += 1
                self._skip()
                if self._peek() in ("}", ""):
                    self._mended("a comma before the end")
                continue
            key = self._key()
            if key is None:
                self._mended("something that is no pair")
                self._go_to_next_pair()
                continue
            self.key = key
            whole, value = self._value(depth)
            if whole:
                if key in result:
                    self.reading.repeated.setdefault(key, [result[key]]).append(value)
                result[key] = value
            self._skip()
            if self._peek() not in (*_COMMAS, "}", ""):
                self._mended("a comma is missing")

    def _key(self) -> str | None:
        """The key, with reading gone on behind its colon; None where there is no colon."""
        quote = self._peek()
        if quote in _CLOSING_QUOTES:
            if quote != '"':
                self._mended("quotes other than double quotes")
            self.at += 1
            start = self.at
            while self.at < self.stop and self.text[self.at] not in _CLOSING_QUOTES[quote] + "\n" + _COLONS:
                self.at += 1
            key = self.text[start : self.at]
            if self._peek() and self._peek() in _CLOSING_QUOTES[quote]:
                self.at += 1
        else:
            start = self.at
            while self.at < self.stop and self.text[self.at] not in "=\n{}[],，" + _COLONS:
                self.at += 1
            key = self.text[start : self.at].strip()
        self._skip()
        if self._peek() not in ("=", *_COLONS) or not key:
            return None
        if self._peek() == "：":
            self._mended("full-width signs")
        if quote not in _CLOSING_QUOTES:
            self._mended("keys without quotes")
        self.at += 1
        return key

    def _go_to_next_pair(self) -> None:
        """Go at least one character on, to the next comma, line or closing brace."""
        if self._peek() not in (",", "，", "}", "\n", ""):
            self.at += 1
        while self.at < self.stop and self.text[self.at] not in ",，}\n":
            self.at += 1

    def _value(self, depth: int) -> tuple[bool, Any]:
        """(whole, value); ``whole`` is False where the end of the text cuts through the value."""
        self._skip()
        here = self._peek()
        if not here:
            self._cut("")
            return False, None
        if here in ",，}":
            self._mended("a value is missing")
            return False, None
        if here in "{[" and depth >= MAX_DEPTH:
            self._mended(f"nesting deeper than {MAX_DEPTH}")
            self.at = self.stop
            return False, None
        if here == "{":
            return True, self._object(depth + 1)
        if here == "[":
            return True, self._list(depth + 1)
        if here in _CLOSING_QUOTES:
            return self._string()
        return self._bare()

    def _list(self, depth: int) -> list[Any]:
        result: list[Any] = []
        self.at += 1
        while True:
            self._skip()
            here = self._peek()
            if not here:
                self._mended("a closing bracket is missing")
                return result
            if here == "]":
                self.at += 1
                return result
            if here == "}":
                self._mended("a closing bracket is missing")
                return result
            if here in _COMMAS + _COLONS:
                self.at += 1
                continue
            whole, value = self._value(depth)
            if whole:
                result.append(value)

    def _cut(self, rest: str) -> None:
        self._mended("the object is cut off")
        self.reading.cut.append((self.key, rest))

    def _string(self) -> tuple[bool, Any]:
        opening = self._peek()
        if opening != '"':
            self._mended("quotes other than double quotes")
        closing = _CLOSING_QUOTES[opening]
        self.at += 1
        pieces: list[str] = []
        while self.at < self.stop:
            here = self.text[self.at]
            if here == "\\" and self.at + 1 < self.stop:
                pieces.append(self._escape())
            elif here in closing and self._ends_string(here):
                self.at += 1
                return True, _without_surrogates("".join(pieces))
            else:
                if here == "\n" and self._next_line_is_a_pair():
                    self._mended("a closing quote is missing")
                    return True, _without_surrogates("".join(pieces)).rstrip(" \t\r,")
                pieces.append(here)
                self.at += 1
        self._cut(_without_surrogates("".join(pieces)))
        return False, None

    def _escape(self) -> str:
        following = self.text[self.at + 1]
        if following == "u":
            digits = self.text[self.at + 2 : min(self.at + 6, self.stop)]
            if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self.at += 6
                return chr(int(digits, 16))
        self.at += 2
        return _ESCAPES.get(following, following)

    def _ends_string(self, quote: str) -> bool:
        """Whether the quote here ends the string, or is one that the writer forgot to escape."""
        after = self.at + 1
        limit = min(self.stop, after + 64)
        while after < limit and self.text[after] in " \t\r":
            after += 1
        if after >= limit:
            return True
        following = self.text[after]
        if quote in "“”" and following == '"' and after == self.at + 1:
            return False  # a curly quote inside a string that a straight one ends
        if following in ",}]);\n#，；" or self.text.startswith(("//", "/*"), after):
            return True
        # `"urban" "lane_count": 4`: the next pair follows without a comma.
        if following in _CLOSING_QUOTES and (after > self.at + 1 or following != quote):
            return True
        self._mended("quotes inside a string")
        return False

    def _next_line_is_a_pair(self) -> bool:
        return _PAIR_LINE.match(self.text, self.at, min(self.stop, self.at + 120)) is not None

    def _bare(self) -> tuple[bool, Any]:
        """A number, a literal, or words that someone forgot to quote (`20 mph`)."""
        start = self.at
        while self.at < self.stop:
            here = self.text[self.at]
            if here in ",}]\n;，；" or self.text.startswith((" #", "//", "/*"), self.at):
                # A comma between digits belongs to the number (`1,000`), not to the list of pairs.
                thousands = here == "," and _THOUSANDS.match(self.text, self.at, self.stop)
                if not thousands or self.text[self.at - 1] not in "0123456789":
                    break
            if here == '"' and _PAIR.match(self.text, self.at, self.stop):
                break
            self.at += 1
        word = self.text[start : self.at].strip()
        if self.at == start:
            self.at += 1  # a closing bracket without its opening one, a stray semicolon
            self._mended("a value is missing")
            return False, None
        if word in _LITERALS:
            if word not in ("true", "false", "null"):
                self._mended("literals that are not JSON's")
            return True, _LITERALS[word]
        if self.at >= self.stop:
            self._cut(word)
            return False, None
        number = _NUMBER.fullmatch(word)
        if number is None:
            self._mended("values without quotes")
            return True, word
        if word[0] in "+." or word.endswith(".") or word.startswith("-."):
            self._mended("numbers that are not JSON's")
        return True, int(word) if re.fullmatch(r"[+-]?[0-9]+", word) else float(word)


_PAIR_LINE = re.compile(r"\n[ \t]{0,40}[\"'“‘]?[A-Za-z][A-Za-z_ ]{0,40}[\"'”’]?[ \t]{0,4}[:：]")
_PAIR = re.compile(r"\"[^\"\n]{1,60}\"[ \t]{0,4}[:：]")
_THOUSANDS = re.compile(r",[0-9]{3}(?![0-9])")


def _without_surrogates(text: str) -> str:
    """Escaped surrogate pairs as the characters they mean; a lone one becomes the replacement character."""
    if text.isascii() or not re.search("[\ud800-\udfff]", text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

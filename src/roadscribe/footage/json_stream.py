"""Reads a JSON file of any size item by item, and tells where each item stands in the file.

For label lists of hundreds of megabytes: memory stays that of one record, and a record can be read again later
by its place, without the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

CHUNK_BYTES = 1_000_000
MAX_RECORD_BYTES = 64_000_000
"""No label of one image comes near this; a file that would need more is damaged."""

BOM = b"\xef\xbb\xbf"

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class NotReadable(Exception):
    """The text is no JSON from some byte on; the message says where and why."""


class Place(NamedTuple):
    """Where a record stands in a file, in bytes."""

    offset: int
    length: int


def stream_items(path: Path, key: str) -> Iterator[tuple[Any, Place]]:
    """The items of the file's list, one after the other: ``[...]``, or ``{..., key: [...], ...}``.

    A file that holds neither (another object, a single value) gives no item.

    Raises:
        NotReadable: the text breaks off or is no JSON; what stood before it has been yielded.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        text = _Text(file)
        opening = text.peek()
        if opening == "[":
            yield from text.items()
        elif opening == "{":
            text.take()
            while text.peek() != "}":
                name, _ = text.value()
                text.expect(":")
                if name == key and text.peek() == "[":
                    yield from text.items()
                else:
                    text.value()
                if text.peek() != "}":
                    text.expect(",")
        else:
            text.value()
            return
        if opening == "{":
            text.take()
        if text.peek():
            raise NotReadable(f"more text than one JSON value at byte {text.offset}")


def read_item(path: Path, place: Place) -> Any:
    """One record by its place.

    Raises:
        ValueError: the file has changed since its places were noted.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(place.offset)
        return json.loads(file.read(place.length))


class _Text:
    """A moving window over the file.

    Bytes are taken for characters one by one (Latin-1), so that places are byte offsets: the signs of JSON
    are ASCII, and UTF-8 keeps those apart from everything else.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        start = file.read(len(BOM))
        self._text = "" if start == BOM else start.decode("latin-1")
        self._begin = len(BOM) if start == BOM else 0
        self._at = 0
        self._ended = not start

    @property
    def offset(self) -> int:
        """Bytes from the file's start to the next character."""
        return self._begin + self._at

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more(CHUNK_BYTES):
                return ""

    def take(self) -> None:
        self._at += 1

    def expect(self, sign: str) -> None:
        found = self.peek()
        if found != sign:
            what = repr(found) if found else "the end of the file"
            raise NotReadable(f"{what} where {sign!r} should stand, at byte {self.offset}")
        self._at += 1

    def value(self) -> tuple[Any, Place]:
        """The next value, whole, and its place."""
        self.peek()
        more = CHUNK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # A number may go on behind the window's end: of `1.5` and `2e+7` the decoder takes a cut-off
                # `1.` for 1 and `2e+` for 2.
                behind = self._text[end : end + 3]
                if self._ended or len(behind) == 3 or behind.strip(".eE+-0123456789"):
                    place = Place(self.offset, end - self._at)
                    self._at = end
                    return value, place
            except ValueError as error:
                if self._ended or len(self._text) - self._at > MAX_RECORD_BYTES:
                    why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise NotReadable(f"no JSON in the record at byte {self.offset} ({why})") from error
            except RecursionError as error:
                raise NotReadable(f"nested too deeply at byte {self.offset}") from error
            self._more(more)
            more = 2 * more

    def items(self) -> Iterator[tuple[Any, Place]]:
        """The items of the list that begins here."""
        self.expect("[")
        while self.peek() != "]":
            yield self.value()
            if self.peek() != "]":
                self.expect(",")
        self.take()

    def _more(self, count: int) -> bool:
        """Read on, and let go of what was used; False at the end."""
        chunk = self._file.read(count)
        self._ended = len(chunk) < count
        self._text = self._text[self._at :] + chunk.decode("latin-1")
        self._begin += self._at
        self._at = 0
        return bool(chunk)

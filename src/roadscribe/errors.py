"""The two ways a stage may fail; the command line turns each into one line and an exit code."""

from pathlib import Path


def printable(text: str | Path) -> str:
    """A text or path as one line that any terminal can print.

    Line breaks, control characters and bytes of a file name that are no text are escaped.
    """
    return "".join(char if char.isprintable() else _escaped(char) for char in str(text))


def _escaped(char: str) -> str:
    code = ord(char)
    # How Python keeps a byte that is no UTF-8 (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode()


def error_line(error: BaseException) -> str:
    """The first line of another library's error, at most 200 characters; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:200] if lines else type(error).__name__


class RoadscribeError(Exception):
    """Base of the errors that are shown to a person as one line, never as a traceback."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        # A message quotes file names and wrong values, which may hold anything.
        super().__init__(printable(message))


class InputError(RoadscribeError):
    """The input or an option is wrong: exit code 2. Say what is wrong, where, and what to do."""

    exit_code = 2


class WorkError(RoadscribeError):
    """The input was fine, the work failed (a full disk, a model that does not fit): exit code 1."""

    exit_code = 1

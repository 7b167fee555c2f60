"""Reads the numbers and times of a table's cells; what could be two numbers is an error, never a guess."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

_PLAIN = re.compile(r"[+-]?(\d+|\d*[.,]\d+|\d+[.,])([eE][+-]?\d+)?", re.ASCII)
"""A number with at most one mark."""
_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
"""One or more groups of three digits behind a mark: `1,000` is a thousand or one."""
_GROUPS_AND_MARK = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+|[+-]?\d{1,3}(\.\d{3})+,\d+", re.ASCII)

_ISO = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8})[T ](?P<clock>\d\d:?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?) ?"
    r"(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


class Ambiguous(ValueError):
    """A cell that is one number with a decimal comma and another with a decimal point."""


class Marks(NamedTuple):
    """How a table writes its numbers."""

    decimal: str
    """``.`` or ``,``."""
    doubt: str | None = None
    """A cell that is read by it, though it could be another number; None where the table itself proves it."""


def marks_of(cells: Iterable[str], delimiter: str) -> Marks:
    """The decimal mark of a table, from all its cells of numbers.

    ``0,5``, ``12,34`` and ``1.234,5`` prove a comma, ``0.5`` and ``1,234.5`` a point. Where nothing proves either,
    ``1.000`` has a decimal point, except in a table parted by semicolons, as programs write it that use decimal commas.

    Raises:
        Ambiguous: ``1,000`` (in a table parted by semicolons also ``1.000``) stands there and nothing tells which
            number it is, or cells prove both marks.
    """
    proof: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for cell in cells:
        mark, is_sure = _mark(cell)
        if mark:
            (proof if is_sure else doubtful).setdefault(mark, cell)
    if len(proof) == 2:
        raise Ambiguous(f"`{proof[',']}` has a decimal comma, `{proof['.']}` a decimal point")
    if proof:
        (decimal,) = proof
        # Groups of thousands are written with the other mark.
        return Marks(decimal, doubtful.get("." if decimal == "," else ","))
    if "," in doubtful or ("." in doubtful and delimiter == ";"):
        cell = doubtful.get(",") or doubtful["."]
        raise Ambiguous(f"`{cell}` may be {_grouped(cell)} or {_plain(cell)}")
    return Marks(".", doubtful.get(".") if delimiter != "," else None)


def _mark(cell: str) -> tuple[str, bool]:
    """The decimal mark that a cell speaks for ("" for none), and whether it proves it."""
    if _GROUPS_AND_MARK.fullmatch(cell):
        return ("," if cell.rindex(",") > cell.rindex(".") else "."), True
    if _GROUPS.fullmatch(cell):
        marks = {char for char in cell if char in ".,"}
        if len(marks) == 1 and cell.count(",") + cell.count(".") > 1:
            return ("." if marks == {","} else ","), True  # 1,000,000: the comma makes groups
        return next(char for char in cell if char in ".,"), False
    if _PLAIN.fullmatch(cell) and (found := re.search(r"[.,]", cell)):
        return found[0], True
    return "", False


def _grouped(cell: str) -> str:
    return re.sub(r"[.,]", "", cell)


def _plain(cell: str) -> str:
    return f"{float(cell.replace(',', '.')):g}"


def number(cell: str, decimal: str) -> float | None:
    """The number in a cell; None where there is none."""
    groups = "," if decimal == "." else "."
    if groups in cell:
        if (
            not (_GROUPS.fullmatch(cell) or _GROUPS_AND_MARK.fullmatch(cell))
            or decimal in cell.split(groups)[0]
        ):
            return None
        cell = cell.replace(groups, "")
    if not _PLAIN.fullmatch(cell):
        return None
    value = float(cell.replace(",", "."))
    return value if math.isfinite(value) else None


def looks_like_iso(cell: str) -> bool:
    """Whether a cell is a date with a time of day."""
    return _ISO.fullmatch(cell) is not None


def iso_seconds(cell: str, *, is_utc: bool) -> tuple[float, bool] | None:
    """Seconds from 1970 of an ISO 8601 time, and whether its zone is known; None where it is none.

    Args:
        cell: such as ``2024-01-31T12:00:00.5+01:00``; a blank may stand for the T.
        is_utc: a time without a zone is one of UTC.
    """
    match = _ISO.fullmatch(cell)
    if match is None:
        return None
    zone = (match["zone"] or "").upper()
    clock = match["clock"].replace(",", ".")
    seconds, dot, fraction = clock.partition(".")
    offset = "+00:00" if zone in ("", "Z", "UTC", "GMT") else zone
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{seconds}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    exact = moment.timestamp() + (float(f"0.{fraction}") if dot else 0.0)
    return exact, bool(zone) or is_utc

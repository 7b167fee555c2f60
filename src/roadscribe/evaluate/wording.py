"""Wording of shares, points and intervals in verdicts, tables and pages."""

from __future__ import annotations

from roadscribe.evaluate.statistics import Interval


def percent(share: float) -> str:
    """0.873 -> "87 %"; one decimal where rounding would claim all or nothing."""
    rounded = round(100 * share)
    return f"{100 * share:.1f} %" if rounded in (0, 100) and share not in (0.0, 1.0) else f"{rounded} %"


def points(share: float) -> str:
    """0.412 -> "41 points"."""
    number = round(100 * abs(share))
    return f"{number} point{'' if number == 1 else 's'}"


def signed(share: float) -> str:
    """A difference of shares in points: +42, −3, 0 (with the true minus sign)."""
    number = round(100 * share)
    return f"+{number}" if number > 0 else f"−{-number}" if number < 0 else "0"


def range_words(interval: Interval) -> str:
    return f"95 % interval {signed(interval[1])} to {signed(interval[2])}"


def label(name: str) -> str:
    """``ego_vehicle_speed`` -> ``ego vehicle speed``."""
    return name.replace("_", " ")

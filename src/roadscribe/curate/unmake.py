"""Takes a begun artifact away again: a user's mistake leaves nothing behind that the next try would stumble over."""

from __future__ import annotations

from pathlib import Path

from roadscribe.artifacts import MANIFEST


def leave_nothing(out: Path) -> None:
    """Delete the manifest of an artifact that holds nothing yet, and its folder if that is empty then."""
    (out / MANIFEST).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()

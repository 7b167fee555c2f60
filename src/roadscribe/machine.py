"""What is left of the machine's memory for this process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MEMINFO = Path("/proc/meminfo")


class ControlGroup(NamedTuple):
    """Where a container's memory limit and use stand; ``cache`` names what it can give back at once."""

    folder: Path
    limit: str
    used: str
    cache: str


CONTROL_GROUPS = (
    ControlGroup(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    ControlGroup(
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
"""Version 2 and version 1; cached files count as used there, though the system takes them back when it needs to."""


def free_memory() -> int | None:
    """Bytes that a process may still take: what the system calls available, and no more than the container's
    limit leaves. None where the system does not say."""
    if not MEMINFO.exists():
        return None
    found = [1024 * size for size in _numbers(MEMINFO, "MemAvailable:")]
    for group in CONTROL_GROUPS:
        limit, used = group.folder / group.limit, group.folder / group.used
        if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
            cached = sum(_numbers(group.folder / "memory.stat", group.cache))
            found.append(max(0, int(text) - int(used.read_text()) + cached))
    return min(found, default=None)


def _numbers(file: Path, name: str) -> list[int]:
    """The number behind a name, one name a line."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [int(words[1]) for words in map(str.split, lines) if words[:1] == [name]]

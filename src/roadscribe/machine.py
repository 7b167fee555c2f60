"""What is left of the machine's memory for this process."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
"""Limit and use of a container's control group, version 2 and version 1."""


def free_memory() -> int | None:
    """Bytes that a process may still take: what the system calls available, and no more than the container's
    limit leaves. None where the system does not say."""
    if not MEMINFO.exists():
        return None
    lines = MEMINFO.read_text().splitlines()
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for limit, used in CONTROL_GROUPS:
        if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
            found.append(max(0, int(text) - int(used.read_text())))
    return min(found, default=None)

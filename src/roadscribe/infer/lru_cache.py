"""Least-recently-used cache with a limit in bytes: frame features and prompt prefixes of the report engine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


_Kept = TypeVar("_Kept", bound=_Sized)


class LRUCache(Generic[_Kept]):
    """Least-recently-used cache of sized values, bounded in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def get(self, key: Hashable) -> _Kept | None:
        """The value of ``key``, or None where it is not cached."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: Hashable, value: _Kept) -> None:
        """Cache a value, unless it alone is larger than the limit."""
        if key in self._kept or value.nbytes > self._limit:
            return
        self._kept[key] = value
        self._used += value.nbytes
        while self._used > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._used -= oldest.nbytes

    def __len__(self) -> int:
        return len(self._kept)

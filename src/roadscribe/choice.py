"""A decision that the program took, with its reason (ground floor)."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Choice(NamedTuple, Generic[T]):
    """A decided value and why it was taken. Code reads ``value``; ``why`` is a sentence that is only shown."""

    value: T
    why: str

"""The phrases that the reader of claims knows: `phrases.yaml`, made into regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from roadscribe.answers.claims.measures import measure_pattern

Value = str | bool | int | None
_PART = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Phrase:
    """One way to state a value of one topic; `phrases.yaml` says what the fields mean."""

    pattern: re.Pattern[str]
    values: Mapping[str, Value] | Value
    """The values by the words of the group v, or the value."""
    unless: re.Pattern[str] | None = None
    not_after: re.Pattern[str] | None = None
    denies: bool = False
    presupposes: bool = False
    measure: str | None = None
    bound: bool = False

    def value(self, words: str) -> Value:
        """The value of the words that carry it: the longest known ones in them."""
        if not isinstance(self.values, Mapping):
            return self.values
        bare = " ".join(re.sub(r"\b(?:to|towards?|the|curved?|bend|turn)\b", " ", words).split())
        known = [key for key in self.values if re.search(rf"\b{re.escape(key)}\b", f"{words} / {bare}")]
        return self.values[max(known, key=len)]


@dataclass(frozen=True)
class Topic:
    """What the file holds about one topic."""

    name: str
    mask: re.Pattern[str] | None
    phrases: tuple[Phrase, ...]
    headings: re.Pattern[str] | None
    bare: Phrase | None
    """The value right behind one of the headings."""


@cache
def topics() -> tuple[Topic, ...]:
    """The content of `phrases.yaml`."""
    text = resources.files("roadscribe.answers.claims").joinpath("phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return tuple(_topic(name, table, loaded["parts"]) for name, table in loaded["topics"].items())


_BEHIND_BARE = (
    r"(?= *(?:$|[.,;(!-]|due|because|as |with|since|and|in |on |ahead|at |for |conditions?|lanes?|street))"
)


def _topic(name: str, table: Mapping[str, Any], common: Mapping[str, list[str]]) -> Topic:
    parts = {**common, **table.get("parts", {})}
    words = table.get("words", {})

    def compiled(pattern: str, measure: str | None = None, known: Iterable[str] = words) -> re.Pattern[str]:
        own = {"word": f"(?P<v>{_any(known)})", "measure": measure_pattern(measure) if measure else ""}
        return re.compile(_expanded(pattern, parts, own))

    def phrase(row: Mapping[str, Any]) -> Phrase:
        say = row["say"] if isinstance(row["say"], str) else "".join(row["say"])
        return Phrase(
            compiled(say, row.get("measure")),
            row.get("value", words),
            compiled(rf"\b(?:{'|'.join(row['unless'])})\b") if "unless" in row else None,
            compiled(row["not_after"] + "$") if "not_after" in row else None,
            **{key: row[key] for key in ("denies", "presupposes", "measure", "bound") if key in row},
        )

    label = table.get("label")
    bare = None
    if label:
        measure = label.get("measure")
        known = {**words, **label.get("bare", {})}
        body = (
            "{measure}"
            if measure
            else rf"(?:(?:the|currently|a|an|it is|mostly|very) )*{{word}}\b{_BEHIND_BARE}"
        )
        bare = Phrase(compiled(body, measure, known), known, measure=measure)
    return Topic(
        name,
        compiled("|".join(table["mask"])) if "mask" in table else None,
        tuple(phrase(row) for row in table["phrases"]),
        compiled("|".join(label["headings"])) if label else None,
        bare,
    )


def _any(known: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))


def _expanded(pattern: str, parts: Mapping[str, list[str]], own: Mapping[str, str]) -> str:
    def part(match: re.Match[str]) -> str:
        name = match[1]
        if name in own:
            return own[name]
        return f"(?:{'|'.join(_expanded(one, parts, own) for one in parts[name])})"

    return _PART.sub(part, pattern)

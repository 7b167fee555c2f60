"""Where an answer names its parameters: a JSON object, a list of pairs, a table, under a heading or anywhere.

`report_text` asks for the values as they were written; `canonical` says what they mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from roadscribe.answers.canonical import canonical, json_value
from roadscribe.answers.corrections import CORRECTION
from roadscribe.answers.lenient_json import MAX_JSON_CHARS, Reading, read_object
from roadscribe.answers.markers import REASONING, plain_name
from roadscribe.answers.prose import without_markup
from roadscribe.answers.sections import Section, lines
from roadscribe.answers.vocabulary import parameter_of_key, vocabulary, words
from roadscribe.report import PARAMETERS, Finding

_MAX_OBJECTS = 60
"""So many opening braces, the last ones of a text, are tried as the beginning of the parameters."""
_MIN_VALUES = 3
"""Fewer parameters in a list of pairs, or in an object beside the section, are no block."""
_OTHER_VEHICLES = frozenset(
    ("closest", "nearest", "lead", "vehicle", "vehicles", "car", "cars", "other", "objects")
)


@dataclass
class Named:
    """The values that an answer names, and where they stand."""

    values: dict[str, list[tuple[Any, str | None]]] = field(default_factory=dict)
    """parameter -> (value as written, unit of its key), more than one where it is named again."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Stretches of the answer that are values, not prose."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Pairs that name no parameter."""
    prose: dict[str, str] = field(default_factory=dict)
    """Sections (`scene`, `risk`) that stood inside a JSON object."""
    cut: list[tuple[str, str]] = field(default_factory=list)
    """(key, rest) of values that the end of the answer cuts through."""
    mended: list[str] = field(default_factory=list)
    corrected: bool = False
    """Whether the text takes back earlier values in so many words."""
    problem: str = ""
    """Why it is not clear which values count; "" where it is."""

    def add(self, parameter: str, value: Any, unit: str | None) -> None:
        self.values.setdefault(parameter, []).append((value, unit))


def named_values(answer: str, sections: list[Section], findings: list[Finding]) -> Named:
    """The parameters of an answer: JSON, a list of pairs or a table, under their heading or anywhere.

    Of several blocks the last of those that name most counts; a smaller one behind it changes single values where
    the text says that it corrects them. Where two blocks disagree, a finding names both values.
    """
    parts = [section for section in sections if section.kind == "parameters"]
    blocks = [block for part in parts for block in _blocks_in(answer, part.start, part.end)]
    if blocks:
        last = max(end for block in blocks for _, end in block.spans)
        later = (section for section in sections if section.end > last and section.kind != "parameters")
        blocks += [
            block
            for section in later
            for block in _objects(answer, max(section.start, last), section.end)
            if len(block.values) >= _MIN_VALUES or CORRECTION.search(answer, last, block.spans[0][0])
        ]
    else:
        blocks = _objects(answer, 0, len(answer))
        if not any(block.values for block in blocks) and not any(section.kind for section in sections):
            pairs = _pairs(answer, 0, len(answer))
            if len(pairs.values) >= _MIN_VALUES:  # a stray "Speed: ..." in prose is no list of parameters
                blocks = [pairs]
    best = _last_fullest(answer, blocks, findings, headings=any(section.kind for section in sections))
    if best.mended:
        findings.append(
            Finding(rule="form.json", message=f"the JSON had to be mended: {'; '.join(best.mended)}")
        )
    if best.extra:
        keys = ", ".join(list(best.extra)[:8])
        message = f"keys that name none of the 12 parameters are left out: {keys[:200]}"
        findings.append(Finding(rule="form.extra_keys", before=json_value(best.extra), message=message))
    return best


def _last_fullest(answer: str, blocks: list[Named], findings: list[Finding], *, headings: bool) -> Named:
    """The block that counts, with the corrections behind it."""
    named = [block for block in blocks if block.values]
    if not named:
        return next((block for block in blocks if block.prose), blocks[-1] if blocks else Named())
    most = max(len(block.values) for block in named)
    at = max(number for number, block in enumerate(named) if len(block.values) == most)
    best = named[at]
    for number, other in enumerate(named):
        if other is best:
            continue
        first, second = (other, best) if number < at else (best, other)
        between = answer[first.spans[-1][1] : second.spans[0][0]]
        corrects = CORRECTION.search(between) is not None
        differing = [name for name in other.values if name in best.values and _differ(name, other, best)]
        findings.append(
            _repeated(first, second, differing, corrects=corrects, later_counts=number < at or corrects)
        )
        if number > at and corrects:
            best.values.update(other.values)
        best.corrected |= corrects
        best.spans.extend(other.spans)
        if differing and not (headings or corrects or "scene" in best.prose):
            best.problem = (
                "two blocks of parameters disagree, and no heading says which text belongs to which"
            )
    return best


def _differ(name: str, one: Named, other: Named) -> bool:
    return canonical(name, *one.values[name][-1])[0] != canonical(name, *other.values[name][-1])[0]


def _repeated(
    first: Named, second: Named, differing: list[str], *, corrects: bool, later_counts: bool
) -> Finding:
    """A finding about two blocks of parameters, with the values in which they differ."""
    raw = [{name: json_value(block.values[name][-1][0]) for name in differing} for block in (first, second)]
    which = (
        "the text corrects itself, so the later one counts"
        if corrects
        else ("the later one counts" if later_counts else "the fuller one before it counts")
    )
    message = f"the parameters are written more than once; {which}"
    if differing:
        pairs = ", ".join(f"{name} {raw[0][name]!r}, then {raw[1][name]!r}" for name in differing)
        message = f"{message}: {pairs}"[:400]
    return Finding(rule="form.repeated", before=raw[0], after=raw[1], message=message)


def _blocks_in(answer: str, start: int, stop: int) -> list[Named]:
    """The blocks of parameters in a section, from objects or from pairs, whichever name more."""
    objects = [block for block in _objects(answer, start, stop) if block.values]
    most = max((len(block.values) for block in objects), default=0)
    if most == len(PARAMETERS):
        return objects
    as_pairs = _pairs(answer, start, stop)
    return [as_pairs] if len(as_pairs.values) > most else objects


def _objects(answer: str, start: int, stop: int) -> list[Named]:
    """The objects of a stretch that name parameters or sections; objects side by side in a list that name different
    parameters are one."""
    found: list[Named] = []
    group_end = -1
    at = answer.find("{", start, stop)
    if answer.count("{", start, stop) > _MAX_OBJECTS:
        at = _nth_from_the_end(answer, _MAX_OBJECTS, start, stop)
    for _ in range(_MAX_OBJECTS):
        if at < 0:
            break
        # Where the closing brace is missing, the closing fence ends the object.
        fence = answer.find("\n```", at, min(stop, at + MAX_JSON_CHARS))
        reading = read_object(answer, at, stop if fence < 0 else fence + 1)
        named = _from_reading(reading, at)
        if named.values or named.prose:
            beside = bool(found) and group_end >= 0 and not answer[group_end:at].strip(" \t\n,")
            if beside and named.values and not named.values.keys() & found[-1].values.keys():
                found[-1] = _both(found[-1], named)
            else:
                found.append(named)
            group_end = reading.end
        at = answer.find("{", reading.end if named.values else at + 1, stop)
    return found


def _nth_from_the_end(text: str, count: int, start: int, stop: int) -> int:
    at = stop
    for _ in range(count):
        at = text.rfind("{", start, at)
    return at


def _from_reading(reading: Reading, start: int) -> Named:
    named = Named(spans=[(start, reading.end)], cut=reading.cut, mended=reading.mended)
    _collect(reading.value, (), named, reading)
    return named


def _both(first: Named, second: Named) -> Named:
    """What two objects name together."""
    return Named(
        {**first.values, **second.values},
        [*first.spans, *second.spans],
        {**first.extra, **second.extra},
        {**second.prose, **first.prose},
        [*first.cut, *second.cut],
        list(dict.fromkeys((*first.mended, *second.mended))),
    )


def _collect(value: Any, path: tuple[str, ...], named: Named, reading: Reading) -> None:
    """Walk through nested objects: {"road": {"type": ...}}, {"driving_parameters": {...}}, lists of pairs."""
    if isinstance(value, list):
        for item in value:
            _collect(item, path, named, reading)
        return
    if not isinstance(value, dict):
        return
    keys = {" ".join(words(key)): key for key in value}
    label = next((keys[name] for name in ("parameter", "name", "key", "field") if name in keys), None)
    if label is not None and "value" in keys and isinstance(value[label], str):
        value = {value[label]: value[keys["value"]]}
    for key, inner in value.items():
        if isinstance(inner, dict | list) and plain_name(key) in REASONING:
            named.extra[".".join((*path, key))[:80]] = inner
            continue
        kind = _section_kind(key)
        if kind in ("scene", "risk") and not named.prose.get(kind) and (text := _as_text(inner)):
            named.prose[kind] = text
            continue
        found = _parameter_at(path, key)
        if isinstance(inner, dict | list) and (found is None or _names_parameters(inner, (*path, key))):
            _collect(inner, (*path, key), named, reading)
        elif found is None:
            named.extra[".".join((*path, key))[:80]] = inner
        else:
            for again in reading.repeated.get(key, [inner]):
                named.add(found[0], again, found[1])


def _parameter_at(path: tuple[str, ...], key: str) -> tuple[str, str | None] | None:
    """The parameter that a key names where it stands: "speed" under "closest_vehicle" is not the ego's."""
    if path:
        joined = parameter_of_key(f"{path[-1]} {key}")
        if joined:
            return joined
        above = set(words(path[-1]))
        if above & _OTHER_VEHICLES and "ego" not in above:
            return None
    return parameter_of_key(key)


def _names_parameters(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a nested value holds parameters of its own rather than being one."""
    if isinstance(value, list):
        return any(_names_parameters(item, path) for item in value)
    return isinstance(value, dict) and any(_parameter_at(path, key) for key in value)


def _section_kind(key: str) -> str | None:
    table = vocabulary()["sections"]["names"]
    name = " ".join(words(key))
    return next((kind for kind, names in table.items() if name in names), None)


def _as_text(value: Any) -> str:
    """A section that stands in an object as text: a list as bullet points, an object as labelled ones."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(f"- {text}" for item in value if (text := _on_one_line(item)))
    if isinstance(value, dict):
        return "\n".join(f"- {key}: {text}" for key, item in value.items() if (text := _on_one_line(item)))
    return ""


def _on_one_line(value: Any) -> str:
    return " ".join(_as_text(value).removeprefix("- ").replace("\n- ", "; ").split())


_PAIR = re.compile(
    r"[\"']?(?P<key>[A-Za-z][A-Za-z0-9_ /()'-]{0,80}?)(?P<quoted>[\"'])?[ \t]{0,8}"
    r"(?::|=|：|->|→|[ \t][-–—][ \t])[ \t]{0,8}(?P<value>[^\n]*)"
)
_TABLE_HEADS = frozenset(("parameter", "parameters", "key", "field", "attribute", "name"))
_LIST_MARK = re.compile(r"[ \t]{0,40}(?:[-*+•‣◦▪][ \t]{1,8}|\(?\d{1,2}[.)][ \t]{0,8})?")


def _pairs(answer: str, start: int, stop: int) -> Named:
    """Parameters as a list of pairs ("- **Road Type**: urban"), as headings with values, or as a table."""
    named = Named()
    header: list[tuple[int, str, str | None]] = []
    waiting: tuple[str, str | None] | None = None
    for line_start, line_end in lines(answer, start, stop):
        line = answer[line_start : min(line_end, line_start + 600)]
        if not line.strip():
            continue
        cells = _cells(line)
        if cells:
            if all(not cell.strip("-: ") for cell in cells) or cells[0].lower() in _TABLE_HEADS:
                named.spans.append((line_start, line_end))
                continue
            heads = [(at, *key) for at, cell in enumerate(cells) if (key := parameter_of_key(cell))]
            if len(heads) >= 3:
                header = heads
                named.spans.append((line_start, line_end))
            elif header:
                for at, parameter, unit in header:
                    if at < len(cells):
                        named.add(parameter, cells[at], unit)
                named.spans.append((line_start, line_end))
                header = []
            elif heads and heads[0][0] == 0 and len(cells) > 1:
                named.add(heads[0][1], cells[1], heads[0][2])
                named.spans.append((line_start, line_end))
            continue
        mark = _LIST_MARK.match(line)
        text = without_markup(line[mark.end() :] if mark else line).replace("**", "")
        pair = _PAIR.match(text)
        key = parameter_of_key(pair["key"]) if pair else None
        if pair is not None and key is not None:
            value = pair["value"].strip().rstrip(",").rstrip()
            waiting = key if not value else None
            if value:
                whole = line_end < len(answer) or len(named.values) + 1 >= len(PARAMETERS)
                _add_pair(named, key, value, quoted=bool(pair["quoted"]), whole=whole)
            named.spans.append((line_start, line_end))
        elif waiting and text.strip("`{}[], "):
            named.add(waiting[0], text.strip().rstrip(","), waiting[1])
            named.spans.append((line_start, line_end))
            waiting = None
        elif not pair and (key := parameter_of_key(text.strip("{}[], "))):
            waiting = key  # "### Road Type", its value on the next line
            named.spans.append((line_start, line_end))
    return named


def _add_pair(named: Named, key: tuple[str, str | None], value: str, *, quoted: bool, whole: bool) -> None:
    """A value behind a key on one line; one that the end of the answer may cut through is not taken."""
    parameter, unit = key
    if not whole and value[-1] not in "\"'.)}]":
        named.cut.append((parameter, value))
        return
    if quoted or value[0] in "\"'{[":
        # A line of JSON that lost its braces: read it as what it is, a number as a number.
        read = read_object(f'{{"value": {value}\n}}', 0).value
        named.add(parameter, read.get("value", value), unit)
        return
    named.add(parameter, value, unit)


def _cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table, without markup; empty for any other line."""
    if line.count("|") < 2 and not line.lstrip().startswith("|"):
        return []
    return [without_markup(cell) for cell in line.strip().strip("|").split("|")]

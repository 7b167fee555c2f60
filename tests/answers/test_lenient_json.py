"""JSON as models write it: what can be read is read, what was mended is listed, half values are left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadscribe.answers.lenient_json import MAX_JSON_CHARS, read_object

_numbers = st.integers(-(10**15), 10**15) | st.integers(-(10**6), 10**6).map(lambda n: n / 100)
_scalars = st.none() | st.booleans() | _numbers | st.text(max_size=30)
_objects = st.dictionaries(
    st.text("abcdefgh _", min_size=1, max_size=12).filter(str.strip),
    st.recursive(_scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=10),
    max_size=8,
)


@given(_objects, st.sampled_from([None, 0, 2]), st.booleans())
def test_valid_json_is_read_as_json_reads_it_and_nothing_is_mended(
    value: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    reading = read_object(text, 0)
    assert reading.value == json.loads(text)
    assert reading.end == len(text)
    assert reading.mended == [] and reading.cut == [] and reading.repeated == {}


@given(st.text())
def test_any_text_is_read_to_an_end(text: str) -> None:
    reading = read_object("{" + text, 0)
    assert 0 < reading.end <= len(text) + 1
    json.dumps(reading.value)


@given(st.text(alphabet="{}[]\",:'\n \\/*#a1-.tn", max_size=300))
def test_any_heap_of_brackets_and_quotes_is_read_to_an_end(text: str) -> None:
    assert read_object("{" + text, 0).end <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "value", "mended"),
    [
        ('{"a": 1,}', {"a": 1}, "comma before the end"),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}, "comma is missing"),
        ('{"a": "x" "b": "y"}', {"a": "x", "b": "y"}, "comma is missing"),
        ('{"a": "x"\n"b": "y"}', {"a": "x", "b": "y"}, "comma is missing"),
        ("{'a': 'driver's side'}", {"a": "driver's side"}, "other than double quotes"),
        ("{“a”: “b”}", {"a": "b"}, "other than double quotes"),
        ('{"a": "the "stop" sign"}', {"a": 'the "stop" sign'}, "quotes inside a string"),
        ('{"a": True, "b": None, "c": FALSE}', {"a": True, "b": None, "c": False}, "literals"),
        ('{"a": none}', {"a": "none"}, "without quotes"),
        (
            "{road_type: urban, speed: 20 mph}",
            {"road_type": "urban", "speed": "20 mph"},
            "keys without quotes",
        ),
        ('{"a": 1,000 feet}', {"a": "1,000 feet"}, "without quotes"),
        ('{"a": 1, // one\n/* two */ "b": 2 # three\n}', {"a": 1, "b": 2}, "comments"),
        ('{"a": "x\n  "b": "y"}', {"a": "x", "b": "y"}, "closing quote is missing"),
        ('{"a": "x"', {"a": "x"}, "closing brace is missing"),
        ('{"a": [1, {"b": 2}', {"a": [1, {"b": 2}]}, "closing bracket is missing"),
        ('{"a": .5, "b": 5., "c": +3}', {"a": 0.5, "b": 5.0, "c": 3}, "numbers that are not JSON's"),
        ('{"a": NaN, "b": Infinity}', {"a": "NaN", "b": "Infinity"}, "without quotes"),
        ('{"a" = 1; "b" = 2}', {"a": 1, "b": 2}, ""),
        ('{"a": , "b": 2}', {"b": 2}, "value is missing"),
        ('{"a": "x", ...}', {"a": "x"}, "no pair"),
        ('{"a": "\\ud83d\\ude97"}', {"a": "\U0001f697"}, ""),
        ('{"a": "\\ud83d"}', {"a": "\ufffd"}, ""),
    ],
)
def test_what_models_write_instead_of_json(text: str, value: dict[str, Any], mended: str) -> None:
    reading = read_object(text, 0)
    assert reading.value == value
    assert mended in "; ".join(reading.mended)


@pytest.mark.parametrize(
    ("text", "whole", "cut"),
    [
        ('{"a": 1, "b": "cle', {"a": 1}, [("b", "cle")]),
        ('{"a": 1, "speed": 2', {"a": 1}, [("speed", "2")]),
        ('{"a": 1, "b": tru', {"a": 1}, [("b", "tru")]),
        ('{"a": 1, "b":', {"a": 1}, [("b", "")]),
        ('{"a": 1, "b": true', {"a": 1, "b": True}, []),
        ('{"a": 1, "speed": 2\n', {"a": 1, "speed": 2}, []),
        ('{"a": 1, "b', {"a": 1}, []),
    ],
)
def test_a_value_that_the_end_cuts_through_is_no_value(
    text: str, whole: dict[str, Any], cut: list[Any]
) -> None:
    reading = read_object(text, 0)
    assert reading.value == whole
    assert reading.cut == cut


def test_a_key_written_twice_hands_back_both_values() -> None:
    assert read_object('{"a": 1, "a": 2}', 0).repeated == {"a": [1, 2]}


def test_reading_begins_and_stops_where_it_is_told() -> None:
    text = 'before {"a": 1} after {"b": 2}'
    reading = read_object(text, text.index("{"))
    assert reading.value == {"a": 1} and text[reading.end :].startswith(" after")
    assert read_object('{"a": "x", "b": "y"}', 0, stop=10).value == {"a": "x"}


@pytest.mark.parametrize("piece", ["{", '{"a":', '{"a":[', '" ', "/*", "\n", "'a'", "#", ",", "}{", "["])
def test_endless_text_is_read_no_further_than_an_object_may_be_long(piece: str) -> None:
    reading = read_object("{" + piece * (1_000_000 // len(piece)), 0)
    assert reading.end <= MAX_JSON_CHARS

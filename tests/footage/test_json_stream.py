"""Claims about reading large JSON lists: item by item, with the place of each, and a clear word on damage."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roadscribe.footage import json_stream
from roadscribe.footage.json_stream import NotReadable, read_item, stream_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@example(items=[0.5, -2e-17, 12], around="list", indent=None, ascii_only=True, bom=False, chunk=1)
@given(
    items=st.lists(VALUES, max_size=6),
    around=st.sampled_from(["list", "dict"]),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    bom=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_items_and_their_places_are_those_of_the_file(
    items: list[Any],
    around: str,
    indent: int | None,
    ascii_only: bool,
    bom: bool,
    chunk: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    value = items if around == "list" else {"config": {"frames": [1]}, "frames": items, "é": "x"}
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        found = list(stream_items(path, "frames"))
    assert [read_item(path, place) for _, place in found] == items


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a": 2', '[{"a": 1}, {"a": 2}', '[{"a": 1}, nope]', '[{"a": 1}] x']
)
def test_what_stands_before_damage_is_given_and_the_damage_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    found = []
    with pytest.raises(NotReadable, match="at byte"):
        for item, _ in stream_items(path, "frames"):
            found.append(item)
    assert found[:1] == [{"a": 1}]


@pytest.mark.parametrize("text", ["3", '"x"', "{}", '{"frames": 3}', '{"images": [1, 2]}', "[]"])
def test_json_without_a_list_has_no_items(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert list(stream_items(path, "frames")) == []


@settings(deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_items_or_one_clear_word(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(content)
    try:
        list(stream_items(path, "frames"))
    except NotReadable as error:
        assert "byte" in str(error)


def test_a_large_list_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = json.dumps({"name": "x" * 2000})
    with path.open("w") as file:
        file.write("[" + ",".join([record] * 8000) + "]")
    assert path.stat().st_size > 16_000_000
    tracemalloc.start()
    assert sum(1 for _ in stream_items(path, "frames")) == 8000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * json_stream.CHUNK_BYTES

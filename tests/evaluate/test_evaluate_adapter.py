"""Base and fine-tuned model are asked under their own names, with or without agreement."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roadscribe.evaluate.adapter import _Engines
from roadscribe.infer.agreement import AgreeingEngine
from roadscribe.recipe import load_recipe


class _Engine:
    def __init__(self, model: str, processor: Any, **_: Any) -> None:
        self.model = model

    def without_adapter(self) -> _Engine:
        return _Engine(f"{self.model} without its adapter", None)


@pytest.mark.parametrize("agree", [False, True])
@pytest.mark.parametrize("first", ["base", "tuned"])
def test_each_name_gets_its_own_engine_whichever_is_asked_first(
    agree: bool, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(model="an adapted model", processor=None)
    monkeypatch.setattr("roadscribe.model.adapter.load_adapter", lambda *_, **__: loaded)
    monkeypatch.setattr("roadscribe.infer.engine.ReportEngine", _Engine)
    engines = _Engines(load_recipe(None, [f"infer.agree={str(agree).lower()}"]), Path("adapter"))
    engines[first]
    asked = {name: engines[name] for name in engines}
    if agree:
        assert all(isinstance(one, AgreeingEngine) for one in asked.values())
        asked = {name: one._engine for name, one in asked.items()}  # type: ignore[attr-defined]
    assert {name: one.model for name, one in asked.items()} == {  # type: ignore[attr-defined]
        "base": "an adapted model without its adapter",
        "tuned": "an adapted model",
    }
    fresh = _Engines(load_recipe(None, [f"infer.agree={str(agree).lower()}"]), Path("adapter"))
    one: Any = fresh[first]
    assert ("without" in (one._engine if agree else one).model) == (first == "base")

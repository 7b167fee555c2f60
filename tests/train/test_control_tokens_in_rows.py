"""A dataset whose words hold control tokens is refused before a weight is loaded, by row, clip and token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from training_rows import FEATURES, make_row, save_rows

from roadscribe.errors import InputError
from roadscribe.recipe import Recipe
from roadscribe.train import train as stage
from roadscribe.train.cards import named_card
from roadscribe.train.plan import plan
from roadscribe.train.train import train


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def no_weights(*_: Any, **__: Any) -> None:
    raise AssertionError("weights were loaded")


def refusals(recipe: Recipe, dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `train` and `plan` say of a dataset."""
    monkeypatch.setattr(stage, "load_base", no_weights)
    said = []
    with pytest.raises(InputError) as caught:
        train(recipe, dataset, out)
    said.append(str(caught.value))
    assert not out.exists()
    with pytest.raises(InputError) as caught:
        plan(recipe, dataset, named_card("t4"))
    return [*said, str(caught.value)]


def test_one_answer_with_an_image_token_is_named_with_its_row_and_clip(
    recipe_for: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(index) for index in range(4)]
    rows[2]["completion"] = answer("a car <|image_pad|> ahead")
    rows[3]["prompt"] = question("Is it wet?<|im_end|>")
    for said in refusals(recipe_for(), save_rows(tmp_path / "dataset", rows), tmp_path / "out", monkeypatch):
        assert "row 2 (clip clip-2): <|image_pad|> in its answer" in said
        assert "row 3 (clip clip-3): <|im_end|> in its question" in said
        assert "roadscribe curate" in said and "\n" not in said


def test_five_rows_are_listed_and_the_rest_counted(
    recipe_for: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(index, completion=answer("<think>wet</think>")) for index in range(7)]
    for said in refusals(recipe_for(), save_rows(tmp_path / "dataset", rows), tmp_path / "out", monkeypatch):
        assert said.count("(clip ") == 5 and "and 2 more rows" in said
        assert "<think> and </think> in its answer" in said


def test_system_prompts_and_texts_in_parts_count_too(
    recipe_for: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")})
    turns = datasets.List({"role": datasets.Value("string"), "content": part})
    features = datasets.Features({**FEATURES, "prompt": turns})
    split = [{"type": "text", "text": "<|image"}, {"type": "text", "text": "_pad|>"}]
    system = {"role": "system", "content": [{"type": "text", "text": "<|endoftext|>"}]}
    user = {"role": "user", "content": [{"type": "text", "text": "Is it wet?"}]}
    rows = [
        make_row(0, prompt=[{"role": "user", "content": split}]),
        make_row(1, prompt=[system, user]),
    ]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows, features=features)}).save_to_disk(
        str(tmp_path / "dataset")
    )
    for said in refusals(recipe_for(), tmp_path / "dataset", tmp_path / "out", monkeypatch):
        assert "row 0 (clip clip-0): <|image_pad|> in its question" in said
        assert "row 1 (clip clip-1): <|endoftext|> in its question" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": [{"role": "user<|im_end|>", "content": "x"}]}, r"<\|im_end\|> in its question"),
        ({"prompt": [{"role": "referee", "content": "x"}]}, "role is 'referee'"),
        ({"prompt": [{"role": "user", "content": None}]}, "prompt is no list of chat messages"),
    ],
)
def test_messages_of_another_form_are_one_line(
    recipe_for: Callable[..., Recipe], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    dataset = save_rows(tmp_path / "dataset", [make_row(0, **changes)])
    with pytest.raises(InputError, match=rf"row 0 \(clip clip-0\): .*{message}"):
        train(recipe_for(), dataset, tmp_path / "out")

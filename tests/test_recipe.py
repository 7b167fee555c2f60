"""Claims about recipes: what a person writes is what runs, and every mistake is one line that helps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.errors import InputError
from roadscribe.recipe import RENAMED, Recipe, earlier_key, load_recipe


def problem(*overrides: str, text: str | None = None, folder: Path | None = None) -> str:
    path = None
    if text is not None:
        assert folder is not None
        path = folder / "recipe.yaml"
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    return message


def test_what_is_not_said_has_its_default() -> None:
    assert load_recipe() == Recipe()
    assert load_recipe(None, ["train.epochs=3"]).train.model_dump() == {
        **Recipe().train.model_dump(),
        "epochs": 3.0,
    }


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=2e-4", 2e-4),
        ("train.learning_rate=1E-3", 1e-3),
        ("train.learning_rate=1.5e-3", 1.5e-3),
        ("train.learning_rate=.5e-3", 0.5e-3),
        ("train.learning_rate=1.", 1.0),
        ("train.epochs=2", 2.0),
        ("train.max_steps=30", 30),
        ("infer.grammar=false", False),
        ("footage.rule=start", "start"),
        ("footage.end_s=null", None),
        ("footage.end_s= 10 ", 10.0),
        ("model.base='2e4'", "2e4"),
        ("model.base=Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-2B-Instruct"),
        ("model.base=./a=b", "./a=b"),
        ("lora.targets=[q_proj, v_proj]", ("q_proj", "v_proj")),
    ],
)
def test_an_override_has_the_type_of_its_option(override: str, value: object) -> None:
    section, key = override.partition("=")[0].split(".")
    found = getattr(getattr(load_recipe(None, [override]), section), key)
    assert found == value
    assert type(found) is type(value)


def test_the_file_comes_first_and_overrides_follow_in_order(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "\ufefftrain:\n  learning_rate: 1e-4  # a word in YAML 1.1\n  epochs: 2\nlora:\n  # r: 8\n"
    )
    recipe = load_recipe(path, ["train.epochs=3", "train.epochs=4"])
    assert (recipe.train.learning_rate, recipe.train.epochs, recipe.lora) == (1e-4, 4.0, Recipe().lora)
    path.write_text("")
    assert load_recipe(path) == Recipe()


def test_a_recipe_survives_its_own_json_and_yaml(tmp_path: Path) -> None:
    recipe = load_recipe(None, ["footage.end_s=10", "lora.targets=[q_proj]"])
    path = tmp_path / "recipe.yaml"
    for text in (json.dumps(recipe.as_json()), yaml.safe_dump(recipe.as_json())):
        path.write_text(text)
        assert load_recipe(path) == recipe
    assert list(recipe.as_json("footage", "train")) == ["footage", "train"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learnin_rate=1", "unknown key `train.learnin_rate`; did you mean `learning_rate`?"),
        ("trian.epochs=1", "unknown key `trian`; did you mean `train`?"),
        ("epochs=1", "unknown key `epochs`; did you mean `train.epochs`?"),
        ("train.zzz=1", "unknown key `train.zzz`; known keys: epochs, max_steps"),
        ("train.epochs", "write it as section.key=value, for example --set train.epochs=2"),
        ("=1", "write it as section.key=value"),
        ("train..epochs=1", "write it as section.key=value"),
        ("train.epochs=[", "--set train.epochs=[: not valid YAML"),
        ("train=5", "`train`: input should be an object, got 5"),
        ("train.epochs.more=1", "`train.epochs`: input should be a valid number"),
        ("footage.frames=ten", "`footage.frames`: input should be a valid integer, got 'ten'"),
        ("footage.frames='10'", "`footage.frames`: input should be a valid integer, got '10'"),
        ("footage.frames=true", "`footage.frames`: input should be a valid integer, got True"),
        ("footage.frames=2.5", "`footage.frames`: input should be a valid integer, got 2.5"),
        ("footage.frames=0", "`footage.frames`: input should be greater than or equal to 1, got 0"),
        ("infer.grammar=1", "`infer.grammar`: input should be a valid boolean, got 1"),
        (
            "train.cache_vision_features=maybe",
            "`train.cache_vision_features`: input should be True, False or 'auto', got 'maybe'",
        ),
        ("model.base=3", "`model.base`: input should be a valid string, got 3"),
        ("footage.rule=middle", "`footage.rule`: input should be 'history' or 'start', got 'middle'"),
        ("lora.targets=q_proj", "`lora.targets`: input should be a valid array, got 'q_proj'"),
        ("train.learning_rate=.inf", "`train.learning_rate`: input should be a finite number"),
        ("train.learning_rate=.nan", "`train.learning_rate`: input should be a finite number"),
        ("footage.end_s=2026-01-01", "`footage.end_s`: input should be a valid number, got '2026-01-01'"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override: str, said: str) -> None:
    assert said in problem(override)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: [", "recipe.yaml: not valid YAML"),
        ("- train", "a recipe is a mapping of sections such as `train:`, not a list"),
        ("train", "a recipe is a mapping of sections such as `train:`, not a str"),
        ("train:\n  epochs: 1\n  epochs: 2", "`epochs` stands twice"),
        ("train:\n  epochs: 1\ntrain:\n  seed: 2", "`train` stands twice"),
        ("train:\n  seed: 2026-13-45", "not valid YAML (month must be in 1..12)"),
        ("? [a, b]\n: 1", "not valid YAML"),
        ("train: &a\n  more: *a", "is no plain mapping"),
        ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
        ("{" * 1100, "not valid YAML"),
        ("model:\n  dtype: " + "x" * 5000, "`model.dtype`: input should be 'auto'"),
        ("train:\n  epochs: x\n  seed: x", "(and 1 more)"),
        ("1: 2", "unknown key `1`"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    assert said in problem(text=text, folder=tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00train")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(InputError) as caught:
            load_recipe(path)
        assert str(path) in str(caught.value)


@settings(deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_a_recipe_or_one_clear_line(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        assert load_recipe(path) == Recipe()
    except InputError as error:
        assert len(str(error).splitlines()) == 1


@settings(deadline=None)
@given(text=st.text(max_size=30))
def test_any_override_is_taken_or_one_clear_line(text: str) -> None:
    try:
        load_recipe(None, [f"footage.frames={text}"])
    except InputError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
        # What `accelerate launch` reads beside a recipe.
        if not path.name.endswith(".accelerate.yaml")
    ],
    ids=lambda p: p.name,
)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    load_recipe(path)


def test_a_key_of_an_earlier_version_is_an_error_that_says_what_holds_now() -> None:
    with pytest.raises(
        InputError, match=r"`train\.branch_attention` was removed: .* delete it from the recipe"
    ):
        load_recipe(None, ["train.branch_attention=auto"])


@pytest.mark.parametrize("key", sorted(RENAMED))
def test_a_key_of_an_earlier_version_is_refused_with_its_name_today(key: str, tmp_path: Path) -> None:
    today = RENAMED[key].split()[0]
    with pytest.raises(InputError, match=f"`{re.escape(key)}` is now {re.escape(today)}"):
        load_recipe(None, [f"{key}=auto"])
    section, name = today.split(".")
    assert name in Recipe().as_json()[section]
    old_section, old = key.split(".")
    assert earlier_key({"model": {}, old_section: {old: "auto"}}) == key
    assert earlier_key(Recipe().as_json()) is None

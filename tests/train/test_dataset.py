"""A dataset is checked row by row before a weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import AutoConfig, Qwen3VLForConditionalGeneration

from roadscribe.artifacts import open_output
from roadscribe.errors import InputError
from roadscribe.model.load import load_processor, resolve_base
from roadscribe.prompts import INSTRUCTION, PROMPT_VERSION, messages
from roadscribe.qwen3_vl.processor import encode
from roadscribe.qwen3_vl.vision_cache import KnownClips
from roadscribe.recipe import Footage, Model, Recipe
from roadscribe.train.collator import Collator
from roadscribe.train.dataset import DatasetFacts, check_rows, clip_key, open_rows
from roadscribe.train.train import train
from training_rows import FEATURES, make_row, save_rows

FOOTAGE = Footage(frames=2, max_pixels=6144)


@pytest.fixture(scope="module")
def processor(tiny_folder: Path) -> Any:
    return load_processor(resolve_base(Model(base=str(tiny_folder))), 6144)


def check(folder: Path, processor: Any, max_length: int = 8192) -> DatasetFacts:
    return check_rows(open_rows(folder), processor, FOOTAGE, max_length)


def test_every_row_is_counted_exactly(eight_rows: Path, processor: Any) -> None:
    facts = check(eight_rows, processor)
    rows = open_rows(eight_rows)
    batches = [Collator(processor)([rows[index]]) for index in range(8)]
    assert list(facts.tokens) == [batch["input_ids"].shape[1] for batch in batches]
    assert (facts.clips, facts.visual_tokens) == (8, 8 * 2 * 6)
    assert facts.prompt_version.startswith("own-")


def test_the_standard_prompt_is_known_in_both_forms(tmp_path: Path, processor: Any) -> None:
    parts = datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")})
    turns = datasets.List({"role": datasets.Value("string"), "content": parts})
    features = datasets.Features({**FEATURES, "prompt": turns})
    rows = [make_row(0, prompt=messages(2))]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows, features=features)}).save_to_disk(
        str(tmp_path / "parts")
    )
    assert check(tmp_path / "parts", processor).prompt_version == PROMPT_VERSION
    plain = [make_row(0, prompt=[{"role": "user", "content": INSTRUCTION}])]
    assert check(save_rows(tmp_path / "plain", plain), processor).prompt_version == PROMPT_VERSION


def test_rows_that_are_too_long_are_an_error_that_names_them(
    eight_rows: Path, recipe_for: Callable[..., Recipe], processor: Any, tmp_path: Path
) -> None:
    longest = max(check(eight_rows, processor).tokens)
    with pytest.raises(InputError) as caught:
        train(recipe_for(f"train.max_length={longest - 1}"), eight_rows, tmp_path / "out")
    assert f"row 7 (clip clip-7): {longest} tokens" in str(caught.value)
    assert "raise train.max_length" in str(caught.value)
    assert not (tmp_path / "out").exists()
    check(eight_rows, processor, max_length=longest)


def test_more_long_rows_than_can_be_listed_are_counted(eight_rows: Path, processor: Any) -> None:
    with pytest.raises(InputError, match="and 3 more rows"):
        check(eight_rows, processor, max_length=64)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            make_row(0, frames=3),
            r"row 1 \(clip clip-0\): holds 3 frames, but .* footage.frames=2",
        ),
        (make_row(0, images=[]), "holds 0 frames"),
        (make_row(0, size=(96, 96)), "96x96 pixels is larger than footage.max_pixels=6144"),
        (make_row(0, completion=[{"role": "assistant", "content": ""}]), "has no answer"),
    ],
)
def test_a_row_that_does_not_fit_the_recipe_is_one_line(
    tmp_path: Path, processor: Any, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check(save_rows(tmp_path / "dataset", [make_row(5), row]), processor)


def test_a_damaged_image_names_its_row(tmp_path: Path, processor: Any) -> None:
    row = make_row(3)
    row["images"][1] = {"bytes": b"not a JPEG", "path": None}
    with pytest.raises(InputError, match=r"row 0 \(clip clip-3\): an image cannot be read"):
        check(save_rows(tmp_path / "dataset", [row]), processor)


def test_a_folder_that_is_no_dataset_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_rows(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a saved dataset"):
        open_rows(tmp_path / "empty")
    open_output(tmp_path / "half", "dataset", {})
    with pytest.raises(InputError, match="unfinished"):
        open_rows(tmp_path / "half")


def test_a_dataset_without_a_train_split_or_a_column_is_one_line(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([make_row(0)], features=FEATURES)
    datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "test-only"))
    with pytest.raises(InputError, match="has no train split"):
        open_rows(tmp_path / "test-only")
    datasets.DatasetDict({"train": rows.remove_columns(["completion"])}).save_to_disk(str(tmp_path / "blind"))
    with pytest.raises(InputError, match="has no column 'completion'"):
        open_rows(tmp_path / "blind")


def test_the_digest_changes_with_an_answer_and_with_a_pixel(tmp_path: Path, processor: Any) -> None:
    answer = [{"role": "assistant", "content": "another"}]
    variants = [make_row(0), make_row(0, completion=answer), make_row(0, images=make_row(1)["images"])]
    digests = {
        check(save_rows(tmp_path / str(index), [row]), processor).sha256 for index, row in enumerate(variants)
    }
    assert len(digests) == 3


def test_a_clip_whose_features_are_kept_is_not_decoded_again(eight_rows: Path, processor: Any) -> None:
    rows = open_rows(eight_rows)
    known = KnownClips(clip_key(row["images"]) for row in rows)
    collator = Collator(processor, known)
    first = collator([rows[0], rows[1]])
    assert [place.fresh for place in first["clips"]] == [True, True]
    known.add(first["clips"][0].key)
    second = collator([rows[0], rows[1]])
    assert [place.fresh for place in second["clips"]] == [False, True]
    assert second["pixel_values"].shape[0] * 2 == first["pixel_values"].shape[0]
    assert second["image_grid_thw"].tolist() == first["image_grid_thw"].tolist()


def test_a_batch_is_what_encode_makes_of_its_samples(
    eight_rows: Path, processor: Any, tiny_folder: Path
) -> None:
    from roadscribe.qwen3_vl.processor import Sample
    from roadscribe.train.dataset import open_image

    rows = [open_rows(eight_rows)[index] for index in (2, 3)]
    batch = Collator(processor)(rows)
    expected = encode(
        processor,
        [Sample([open_image(i) for i in row["images"]], row["prompt"], row["completion"]) for row in rows],
    )
    assert set(batch) == {*expected, "clips", "position_ids"}
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(AutoConfig.from_pretrained(tiny_folder))
    words = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    positions, _ = model.model.get_rope_index(**{name: expected[name] for name in words})
    assert batch["position_ids"].equal(positions)
    for name, tensor in expected.items():
        assert batch[name].equal(tensor), name

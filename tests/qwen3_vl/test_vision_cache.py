"""What the frozen encoder made of a clip is kept where there is room, and changes nothing but the time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from roadscribe.errors import InputError
from roadscribe.machine import ControlGroup, free_memory
from roadscribe.qwen3_vl.processor import encode_images
from roadscribe.qwen3_vl.vision_cache import (
    KeptFeatures,
    KnownClips,
)
from roadscribe.recipe import Recipe
from roadscribe.train import collator
from roadscribe.train.train import train


def one_and_two(known: KnownClips, _: list[int]) -> tuple[bool, bool]:
    return "one" in known, "two" in known


def test_a_worker_that_is_running_already_learns_which_clips_are_kept() -> None:
    known = KnownClips(["one", "two", "one"])
    with_one_ahead = DataLoader(
        range(6),
        collate_fn=partial(one_and_two, known),
        num_workers=1,
        prefetch_factor=1,
    )
    seen = []
    for answer in with_one_ahead:
        if not seen:
            known.add("two")
        seen.append(answer)
    assert seen[0] == (False, False) and seen[-1] == (False, True)
    assert "another" not in known


def test_features_of_any_shape_come_back_as_they_were() -> None:
    kept = KeptFeatures(["one", "two"])
    features = {"one": torch.rand(4, 6, 8), "two": torch.rand(2, 3, 8).bfloat16()}
    for key, tensor in features.items():
        kept.put(key, tensor)
    for key, tensor in features.items():
        assert key in kept.known and kept.get(key, torch.device("cpu")).equal(tensor)


def test_pieces_of_one_chunk_do_not_touch_and_a_full_chunk_is_followed_by_another() -> None:
    features = [torch.rand(4, 6, 8).bfloat16() for _ in range(3)]
    kept = KeptFeatures(["one"], on_gpu=True, size_bytes=2 * 4 * 6 * 8 * 2)
    pieces = [kept._piece(tensor).copy_(tensor) for tensor in features]
    for piece, tensor in zip(pieces, features, strict=True):
        assert piece.equal(tensor) and piece.is_contiguous()
    places = [piece.untyped_storage().data_ptr() for piece in pieces]
    assert places[0] == places[1] != places[2]


def test_what_is_kept_changes_nothing_of_what_is_learned_and_is_not_decoded_again(
    eight_rows: Path,
    tmp_path: Path,
    recipe_for: Callable[..., Recipe],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = []
    decoded = []

    def counting(processor: Any, images: Sequence[Any]) -> torch.Tensor:
        decoded.append(len(images))
        return encode_images(processor, images)

    monkeypatch.setattr(collator, "encode_images", counting)
    for asked, words, frames in (
        ("true", "kept in memory", 8 * 2),
        ("false", "computed each time (asked for)", 2 * 8 * 2),
    ):
        decoded.clear()
        recipe = recipe_for("train.epochs=2", f"train.cache_vision_features={asked}")
        out = train(recipe, eight_rows, tmp_path / asked)
        losses.append(
            [json.loads(line)["loss"] for line in (out / "train_log.jsonl").read_text().splitlines()]
        )
        assert words in capfd.readouterr().err
        assert sum(decoded) == frames
    assert len(losses[0]) == 8 and losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_features_that_must_be_kept_and_have_no_room_are_one_line(
    eight_rows: Path, recipe_for: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("roadscribe.train.train.free_memory", lambda: 0)
    with pytest.raises(InputError, match=r"train\.cache_vision_features: they would take .* set it to auto"):
        train(recipe_for("train.cache_vision_features=true"), eight_rows, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_containers_limit_counts_as_the_memory_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo, limit, used = tmp_path / "meminfo", tmp_path / "memory.max", tmp_path / "memory.current"
    group = ControlGroup(tmp_path, "memory.max", "memory.current", "inactive_file")
    meminfo.write_text("MemTotal: 2000 kB\nMemAvailable:   1000 kB\n")
    monkeypatch.setattr("roadscribe.machine.MEMINFO", meminfo)
    monkeypatch.setattr("roadscribe.machine.CONTROL_GROUPS", (group,))
    assert free_memory() == 1000 * 1024
    limit.write_text("max\n")
    used.write_text("300\n")
    assert free_memory() == 1000 * 1024
    limit.write_text("1000\n")
    assert free_memory() == 700
    # Cached files count as used, though the system takes them back when it needs to.
    (tmp_path / "memory.stat").write_text("active_file 50\ninactive_file 250\n")
    assert free_memory() == 950
    meminfo.unlink()
    assert free_memory() is None

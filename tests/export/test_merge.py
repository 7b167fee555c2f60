"""Merged weights are base + scaling · B · A, tensor by tensor, and anything else is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from roadscribe.errors import InputError, WorkError
from roadscribe.export import merge
from roadscribe.export.merge import (
    INDEX,
    LoraUpdate,
    StoredWeights,
    check_weights,
    merge_weights,
    merged_tensor,
    read_updates,
)

NAMES = [f"model.layers.{layer}.q_proj.weight" for layer in range(4)]


def update(seed: int, out: int = 24, width: int = 16, r: int = 3) -> LoraUpdate:
    made = torch.Generator().manual_seed(seed)
    return LoraUpdate(torch.randn(r, width, generator=made), torch.randn(out, r, generator=made), 2.0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base of four adapted weights and a norm, in bfloat16."""
    folder = tmp_path / "base"
    folder.mkdir()
    torch.manual_seed(0)
    state = {name: torch.randn(24, 16).bfloat16() for name in NAMES} | {"norm.weight": torch.ones(16)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def updates() -> dict[str, LoraUpdate]:
    return {name: update(seed) for seed, name in enumerate(NAMES)}


def test_the_sum_is_rounded_once() -> None:
    """256 + 0.75 + 0.75: rounding the update's parts to bfloat16 one after the other would lose both."""
    weight = torch.full((1, 1), 256.0).bfloat16()
    one = LoraUpdate(torch.tensor([[0.75], [0.75]]), torch.ones(1, 2), 1.0)
    assert merged_tensor(weight, one).item() == 258.0
    assert merged_tensor(weight, one).dtype == torch.bfloat16


def test_merged_files_hold_base_plus_update_and_everything_else_bit_for_bit(
    base: Path, updates: dict[str, LoraUpdate], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    merge_weights(base, updates, out)
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys() and torch.equal(before["norm.weight"], after["norm.weight"])
    for name, one in updates.items():
        assert torch.equal(after[name], (before[name].float() + 2.0 * one.b @ one.a).bfloat16())
    facts = check_weights(base, {name: one.delta() for name, one in updates.items()}, out)
    assert (facts.tensors, facts.merged, facts.stored_dtype) == (5, 4, "bfloat16")
    assert 0 < facts.largest_error <= 1 and 0 < facts.rounding_share < 0.01


def test_large_weights_go_to_several_files_and_a_killed_merge_goes_on(
    base: Path, updates: dict[str, LoraUpdate], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "SHARD_BYTES", 1600)  # two of the weights
    out = tmp_path / "out"
    out.mkdir()
    merge_weights(base, updates, out)
    files = sorted(out.glob("model-*-of-*.safetensors"))
    index = json.loads((out / INDEX).read_text())
    assert len(files) == 2 and set(index["weight_map"].values()) == {path.name for path in files}
    whole = {path.name: path.read_bytes() for path in files}
    files[1].unlink()
    (out / INDEX).unlink()
    kept = files[0].stat().st_mtime_ns
    merge_weights(base, updates, out)
    assert {path.name: path.read_bytes() for path in files} == whole and files[0].stat().st_mtime_ns == kept
    check_weights(base, {name: one.delta() for name, one in updates.items()}, out)
    assert not list(out.glob("*.tmp"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda state: state[NAMES[1]].add_(0.125), "is not base \\+ adapter"),
        (lambda state: state["norm.weight"].add_(1e-6), "norm.weight differs from the base"),
        (lambda state: state.pop("norm.weight"), "norm.weight is in one of"),
        (lambda state: state[NAMES[0]].fill_(float("nan")), "is not base \\+ adapter"),
    ],
    ids=["another sum", "another norm", "a tensor gone", "not finite"],
)
def test_a_merged_file_that_is_anything_else_is_refused(
    base: Path, updates: dict[str, LoraUpdate], tmp_path: Path, spoil: object, says: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    merge_weights(base, updates, out)
    state = load_file(out / "model.safetensors")
    spoil(state)  # type: ignore[operator]
    save_file(state, out / "model.safetensors")
    with pytest.raises(WorkError, match=says):
        check_weights(base, {name: one.delta() for name, one in updates.items()}, out)


def test_a_wrong_scaling_is_found_even_where_the_update_is_small(base: Path, tmp_path: Path) -> None:
    small = {name: LoraUpdate(one.a * 1e-2, one.b, 1.0) for name in NAMES for one in [update(5)]}
    out = tmp_path / "out"
    out.mkdir()
    merge_weights(base, small, out)
    with pytest.raises(WorkError, match="is not base"):
        check_weights(base, {name: 2 * one.delta() for name, one in small.items()}, out)


def test_an_adapter_of_another_base_is_refused_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tensor elsewhere\.weight \(1 of 1"):
        merge_weights(base, {"elsewhere.weight": update(0)}, tmp_path)
    with pytest.raises(InputError, match=r"the base has \(24, 16\), the adapter's update \(8, 16\)"):
        merge_weights(base, {NAMES[0]: update(0, out=8)}, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_index_says_which_of_two_layouts_counts(base: Path) -> None:
    save_file({"other.weight": torch.ones(1)}, base / "consolidated.safetensors")
    with StoredWeights(base) as stored:
        assert "other.weight" not in stored


def test_only_plain_lora_is_merged(tmp_path: Path) -> None:
    import peft

    pair = {
        "base_model.model.x.lora_A.weight": torch.ones(2, 4),
        "base_model.model.x.lora_B.weight": torch.ones(4, 2),
    }
    save_file(pair, tmp_path / "adapter_model.safetensors")
    peft.LoraConfig(r=2, lora_alpha=6, target_modules=["x"]).save_pretrained(str(tmp_path))
    assert read_updates(tmp_path)["x.weight"].scaling == 3.0
    peft.LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["x"]).save_pretrained(str(tmp_path))
    assert read_updates(tmp_path)["x.weight"].scaling == 3.0
    peft.LoraConfig(r=2, use_dora=True, target_modules=["x"]).save_pretrained(str(tmp_path))
    with pytest.raises(InputError, match="use_dora is set; only plain LoRA"):
        read_updates(tmp_path)
    peft.LoraConfig(r=2, target_modules=["x"]).save_pretrained(str(tmp_path))
    save_file({**pair, "base_model.model.x.magnitude": torch.ones(4)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match="no LoRA halves"):
        read_updates(tmp_path)

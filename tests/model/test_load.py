"""Loading a base: what is 4-bit, which type, and one clear line where it cannot be loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from roadscribe.errors import InputError
from roadscribe.model.dtype import choose_dtype
from roadscribe.model.load import check_config, load_base, load_processor, resolve_base
from roadscribe.recipe import Model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A base that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_loaded_base_is_4bit_in_the_language_models_linears_only(tiny_folder: Path) -> None:
    loaded = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))
    four_bit = {
        name for name, module in loaded.model.named_modules() if type(module).__name__ == "Linear4bit"
    }
    layers = loaded.model.config.text_config.num_hidden_layers
    assert len(four_bit) == 7 * layers
    assert all(".language_model.layers." in name for name in four_bit)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.dtype == torch.float32 and loaded.quantized and loaded.revision is None
    assert loaded.processor.image_processor.size.longest_edge == 6144


def test_a_base_without_quantisation_has_no_4bit_linear(tiny_folder: Path) -> None:
    loaded = load_base(
        Model(base=str(tiny_folder), quantization="none"), max_pixels=6144, device=torch.device("cpu")
    )
    assert not any(type(module).__name__ == "Linear4bit" for module in loaded.model.modules())


@pytest.mark.parametrize(
    ("asked", "device", "has_bf16", "expected"),
    [
        ("auto", "cpu", False, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda", False, "float16"),
        ("float16", "cuda", True, "float16"),
        ("float32", "cuda", False, "float32"),
    ],
)
def test_the_type_follows_the_device_and_says_why(
    asked: str, device: str, has_bf16: bool, expected: str
) -> None:
    choice = choose_dtype(asked, device, "Tesla T4", has_bf16)
    assert choice.value == expected
    assert choice.why


def test_a_card_without_bfloat16_refuses_it() -> None:
    with pytest.raises(InputError, match="Tesla T4 does not compute bfloat16"):
        choose_dtype("bfloat16", "cuda", "Tesla T4", False)
    with pytest.raises(InputError, match="float16 needs a GPU"):
        choose_dtype("float16", "cpu")


def test_a_missing_folder_is_one_line() -> None:
    for name in ("./nowhere", "/no/such/folder", "a/b/c", "plainword"):
        with pytest.raises(InputError, match="no such model folder"):
            resolve_base(Model(base=name))


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json"):
        resolve_base(Model(base=str(tmp_path)))


def test_a_hub_id_is_pinned_to_the_commit_its_revision_means(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def model_info(self: Any, name: str, *, revision: str | None, timeout: float) -> Any:
        asked.append((name, revision))
        return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    base = resolve_base(Model(base="Qwen/Qwen3-VL-2B-Instruct", revision="main"))
    assert base == ("Qwen/Qwen3-VL-2B-Instruct", "Qwen/Qwen3-VL-2B-Instruct", COMMIT)
    assert asked == [("Qwen/Qwen3-VL-2B-Instruct", "main")]


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def model_info(self: Any, name: str, **_: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(InputError, match="the hub cannot be reached"):
        resolve_base(Model(base="nobody/no-such-model-here"))


def test_another_architecture_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="'bert' model, not a Qwen3-VL"):
        check_config(resolve_base(Model(base=str(copy))))


def test_deepstack_beyond_the_towers_depth_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    edit_config(copy, vision_config={**config["vision_config"], "deepstack_visual_indexes": [1, 5]})
    with pytest.raises(InputError, match=r"deepstack_visual_indexes \[5\] lie beyond the vision depth 5"):
        check_config(resolve_base(Model(base=str(copy))))


def test_a_config_that_is_not_json_is_one_line(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        check_config(resolve_base(Model(base=str(copy))))


def test_a_missing_processor_is_one_line(copy: Path) -> None:
    (copy / "processor_config.json").unlink()
    (copy / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="processor cannot be loaded"):
        load_processor(resolve_base(Model(base=str(copy))), 6144)


def test_weights_cut_off_in_the_middle_are_one_line(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(InputError, match="weights cannot be loaded"):
        load_base(Model(base=str(copy)), max_pixels=6144, device=torch.device("cpu"))


def test_weights_with_a_tensor_too_few_are_refused_not_filled_at_random(copy: Path) -> None:
    weights = copy / "model.safetensors"
    state = load_file(weights)
    lost = next(name for name in state if "deepstack_merger_list.1" in name)
    del state[lost]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights are incomplete.*deepstack_merger_list"):
        load_base(Model(base=str(copy)), max_pixels=6144, device=torch.device("cpu"))


def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="weights cannot be loaded"):
        load_base(Model(base=str(copy)), max_pixels=6144, device=torch.device("cpu"))

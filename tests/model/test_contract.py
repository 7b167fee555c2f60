"""The vision contract: a difference is one line that names the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from roadscribe.errors import InputError
from roadscribe.model.contract import (
    VisionContract,
    make_contract,
    read_contract,
    require_same,
    save_contract,
)
from roadscribe.model.load import load_base
from roadscribe.recipe import Footage, Model


@pytest.fixture(scope="module")
def contract(tiny_folder: Path) -> VisionContract:
    loaded = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))
    return make_contract(loaded, Footage(frames=2, max_pixels=6144), "adas-1")


def test_a_contract_survives_the_disk(contract: VisionContract, tmp_path: Path) -> None:
    save_contract(tmp_path, contract)
    assert read_contract(tmp_path) == contract
    require_same(contract, read_contract(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_sha256", "0"),
        ("revision", "abc"),
        ("frames", 4),
        ("rule", "start"),
        ("window_s", 3.0),
        ("max_pixels", 1024),
        ("prompt_version", "adas-2"),
        ("template_sha256", "0"),
        ("image_processor_sha256", "0"),
        ("quantization", "none"),
    ],
)
def test_a_difference_is_one_line_that_names_the_field(
    contract: VisionContract, field: str, value: Any
) -> None:
    other = contract.model_copy(update={field: value})
    with pytest.raises(InputError) as caught:
        require_same(contract, other)
    assert f"`{field}`" in str(caught.value) and repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_library_versions_are_only_warned_of(
    contract: VisionContract, capsys: pytest.CaptureFixture[str]
) -> None:
    require_same(contract, contract.model_copy(update={"libraries": {**contract.libraries, "torch": "9.9"}}))
    error = capsys.readouterr().err
    assert "-> 9.9" in error and error.count("\n") == 1


def test_the_digests_see_the_template_and_the_image_settings(tiny_folder: Path) -> None:
    loaded = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))
    footage = Footage(frames=2, max_pixels=6144)
    before = make_contract(loaded, footage, "adas-1")
    loaded.processor.chat_template += " "
    loaded.processor.image_processor.image_mean = [0.4, 0.5, 0.5]
    after = make_contract(loaded, footage, "adas-1")
    assert before.template_sha256 != after.template_sha256
    assert before.image_processor_sha256 != after.image_processor_sha256


def test_a_file_that_is_no_contract_is_one_line(contract: VisionContract, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_contract(tmp_path)
    for broken in ({"schema_version": "vision/9"}, {"frames": None}, {"surprise": 1}):
        content = {**contract.model_dump(mode="json"), **broken}
        (tmp_path / "contract.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=next(iter(broken))):
            read_contract(tmp_path)

"""A damaged adapter is one line that names its file, before or after its base is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from roadscribe.artifacts import MANIFEST
from roadscribe.errors import InputError
from roadscribe.model.adapter import CONFIG, WEIGHTS, WEIGHTS_SHA256, load_adapter
from roadscribe.model.contract import CONTRACT

CPU = torch.device("cpu")


@pytest.fixture
def adapter(small_run: tuple[Path, Path, Path], tmp_path: Path) -> Path:
    """A copy of a finished adapter, to be damaged."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for file in small_run[2].iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (CONTRACT, "", r"contract\.json: not valid JSON"),
        (CONTRACT, "[]", r"contract\.json: not a vision contract \(input should be"),
        (CONTRACT, '{"base": 7}', r"contract\.json: not a vision contract \(`base`"),
        (MANIFEST, "", r"artifact\.json: not valid JSON"),
        (MANIFEST, "[]", "is of kind 'list'"),
        (MANIFEST, '{"kind": "adapter", "complete": "yes"}', "is unfinished"),
        (CONFIG, "", r"adapter_config\.json: not valid JSON"),
        (CONFIG, "7", r"adapter_config\.json: holds a int"),
        (CONFIG, "{}", r"adapter_config\.json: lacks the rank"),
        (WEIGHTS, "", r"adapter_model\.safetensors: the adapter cannot be read"),
        (WEIGHTS, "not a tensor at all", r"adapter_model\.safetensors: the adapter cannot be read"),
    ],
)
def test_a_damaged_file_is_named(adapter: Path, name: str, content: str, message: str) -> None:
    (adapter / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_adapter(adapter, device=CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"r": "four"}, {"r": -1}, {"target_modules": [7]}, {"target_modules": ["nothing"]}, {"peft_type": "X"}],
)
def test_a_configuration_of_wrong_types_is_one_line(adapter: Path, changes: dict[str, object]) -> None:
    fields = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**fields, **changes}))
    with pytest.raises(InputError, match=r"adapter_config\.json: ") as caught:
        load_adapter(adapter, device=CPU)
    assert "\n" not in str(caught.value)


def test_one_flipped_bit_of_the_weights_is_noticed(adapter: Path) -> None:
    assert json.loads((adapter / MANIFEST).read_text())["summary"][WEIGHTS_SHA256]
    load_adapter(adapter, device=CPU)
    content = bytearray((adapter / WEIGHTS).read_bytes())
    content[-2] ^= 1
    (adapter / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: is not what was trained"):
        load_adapter(adapter, device=CPU)

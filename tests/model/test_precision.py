"""The map of a model, and the law it is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForImageTextToText, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from roadscribe.errors import WorkError
from roadscribe.model import load
from roadscribe.model.precision import LANGUAGE_LINEARS, assert_precision, precision_map, render_map
from roadscribe.recipe import Model


def quantised(folder: Path) -> Any:
    return load.load_base(Model(base=str(folder)), max_pixels=6144, device=torch.device("cpu")).model


def with_lora(model: Any, targets: tuple[str, ...] = LANGUAGE_LINEARS, **config: Any) -> Any:
    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=list(targets), **config))


def test_a_qlora_model_keeps_the_law_and_its_map_adds_up(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder))
    assert_precision(model, quantized=True)
    rows = precision_map(model)
    kinds = {row.group: (row.kind, row.dtype) for row in rows if "linears" in row.group}
    assert kinds == {"language linears": ("Linear4bit", "nf4")}
    plain = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    assert sum(row.parameters - row.trainable for row in rows) == sum(p.numel() for p in plain.parameters())
    assert sum(row.trainable for row in rows) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert [row.group for row in rows if row.trainable] == ["adapters on language_model"]
    assert render_map(rows)[-1].startswith("trains ")


def test_a_quantised_vision_tower_breaks_the_law(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The bare name is what one would write first; transformers 5.23 does not find it inside `model.visual`.
    monkeypatch.setattr(load, "UNQUANTISED", ("visual", "lm_head"))
    model = with_lora(quantised(tiny_folder))
    with pytest.raises(WorkError, match=r"visual.*is 4-bit"):
        assert_precision(model, quantized=True)


def test_lora_on_the_head_breaks_the_law(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder), (*LANGUAGE_LINEARS, "lm_head"))
    with pytest.raises(WorkError, match=r"lm_head.*only the language model may carry LoRA"):
        assert_precision(model, quantized=True)


def test_lora_on_the_vision_tower_breaks_the_law(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder), (*LANGUAGE_LINEARS, "linear_fc1"))
    with pytest.raises(WorkError, match=r"visual.*only the language model may carry LoRA"):
        assert_precision(model, quantized=True)


def test_a_linear_without_lora_breaks_the_law(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder), LANGUAGE_LINEARS[:-1])
    with pytest.raises(WorkError, match="down_proj"):
        assert_precision(model, quantized=True)
    assert_precision(model, quantized=True, targets=LANGUAGE_LINEARS[:-1])


def test_half_precision_adapters_break_the_law(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder))
    for name, parameter in model.named_parameters():
        if "layers.3.mlp.up_proj.lora_B" in name:
            parameter.data = parameter.data.bfloat16()
    with pytest.raises(WorkError, match=r"layers\.3\.mlp\.up_proj\.lora_B.*must be float32"):
        assert_precision(model, quantized=True)


def test_a_base_that_should_be_4bit_and_is_not_breaks_the_law(tiny_folder: Path) -> None:
    model = with_lora(AutoModelForImageTextToText.from_pretrained(tiny_folder))
    with pytest.raises(WorkError, match="a quantised base has 4-bit language linears"):
        assert_precision(model, quantized=True)
    assert_precision(model, quantized=False)


def test_a_trained_norm_breaks_the_law(tiny_folder: Path) -> None:
    model = with_lora(quantised(tiny_folder))
    model.get_base_model().model.language_model.norm.weight.requires_grad_(True)
    with pytest.raises(WorkError, match="only adapters may be"):
        assert_precision(model, quantized=True)


def qwen3_vl_2b() -> Qwen3VLConfig:
    """The published configuration of Qwen3-VL-2B."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 2048,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tie_word_embeddings=True,
    )


def test_the_2b_recipe_trains_the_original_projects_number_of_parameters() -> None:
    with torch.device("meta"):
        base = Qwen3VLForConditionalGeneration(qwen3_vl_2b())
        base.requires_grad_(False)
        model = peft.get_peft_model(
            base, peft.LoraConfig(r=32, lora_alpha=32, target_modules=list(LANGUAGE_LINEARS))
        )
    rows = precision_map(model)
    assert sum(row.parameters - row.trainable for row in rows) == 2_127_532_032
    assert sum(row.parameters for row in rows if row.group == "visual") == 406_957_056
    assert sum(row.trainable for row in rows) == 34_865_152
    assert render_map(rows)[-1] == "trains 34,865,152 parameters, 1.6388 % of the base"
    assert_precision(model, quantized=False)

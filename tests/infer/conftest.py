"""A small Qwen3-VL whose random weights are large enough to make it say many different things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from roadscribe.model.load import fix_cpu_numerics

Clip = list[Image.Image]


@pytest.fixture(scope="session")
def lively_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained tiny base with larger weights: as it is made, it repeats one token for ever."""
    folder = tmp_path_factory.mktemp("lively")
    AutoProcessor.from_pretrained(tiny_folder).save_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 1.5 / weight.shape[1] ** 0.5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def processor(lively_folder: Path) -> Any:
    return AutoProcessor.from_pretrained(lively_folder)


@pytest.fixture(scope="session")
def model(lively_folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(lively_folder).eval()


@pytest.fixture(scope="session")
def adapted(lively_folder: Path) -> Any:
    """The same model in NF4 under a LoRA adapter that changes what it says."""
    from peft import LoraConfig, get_peft_model

    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=[r".*\bvisual", "lm_head"],
    )
    base = AutoModelForImageTextToText.from_pretrained(lively_folder, quantization_config=quantisation)
    fix_cpu_numerics(base)
    torch.manual_seed(2)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return get_peft_model(base, LoraConfig(r=4, target_modules=targets, init_lora_weights=False)).eval()


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Clip]:
    """Makes a clip of random frames: ``make_clip(seed, frames=2, width=64, height=64)``."""

    def make(seed: int, frames: int = 2, width: int = 64, height: int = 64) -> Clip:
        rng = np.random.default_rng(seed)
        return [
            Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)) for _ in range(frames)
        ]

    return make

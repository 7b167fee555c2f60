"""On a CUDA card: the fast paths compute what the plain ones do (`uv run pytest -m gpu`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from PIL import Image

from roadscribe import tiny
from roadscribe.estimate.gpus import FP8_CAPABILITY, present_gpu
from roadscribe.infer.engine import ReportEngine
from roadscribe.model.load import load_base
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.qwen3_vl import fp8_linear
from roadscribe.qwen3_vl.gpu_patches import pixels_of
from roadscribe.qwen3_vl.lora_linear import Spec, product
from roadscribe.qwen3_vl.text_model import fuse
from roadscribe.qwen3_vl.tree_attention import attend_in_branches
from roadscribe.qwen3_vl.vision_cache import KeptFeatures, visual_features
from roadscribe.recipe import Lora, Model, Recipe, Train
from roadscribe.report import holds_schema
from roadscribe.train.collator import CLIPS, PLACED, Collator
from roadscribe.train.dataset import clip_key, open_rows
from roadscribe.train.prefix_sharing import group_rows, item_rows
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG, build_trainer
from training_rows import PROMPT, make_row, save_rows, setup_for

pytestmark = pytest.mark.gpu
CARD = torch.device("cuda", 0)


def nudge(model: Any) -> None:
    """Give an adapter an update that is not zero, the same each time, whatever was drawn before."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.normal(0.0, 0.05, parameter.shape, generator=generator).to(parameter)


def moved(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: part.to(CARD) if torch.is_tensor(part) else part for name, part in batch.items()}


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.double().cpu() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dense", [True, False])
def test_the_fused_compiled_pass_has_pefts_loss_and_gradients(
    dense: bool, eight_rows: Path, tmp_path: Path
) -> None:
    # In float32: rounding to 16 bits moves this small model's gradients further than any mistake would.
    base = Model(base=tiny.NAME, dtype="float32")
    rows = open_rows(eight_rows)
    some = [rows[0], rows[3], rows[6]]
    loaded = load_base(base, max_pixels=6144, device=CARD)
    plain = peft.get_peft_model(
        loaded.model, peft.LoraConfig(r=8, lora_alpha=8, target_modules=list(LANGUAGE_LINEARS))
    ).train()
    nudge(plain)
    batch = moved(Collator(loaded.processor)(some))
    del batch[CLIPS]
    loss = plain(**batch, use_cache=False).loss
    loss.backward()
    wanted = gradients_of(plain)

    again = load_base(base, max_pixels=6144, device=CARD)
    settings = Train(dequantize_weights=dense, compile=True, gradient_checkpointing=False)
    setup = setup_for(again, rows, settings, Lora(r=8, alpha=8), present_gpu())
    trainer = build_trainer(again, rows, settings, Lora(r=8, alpha=8), tmp_path, setup=setup)
    trainer.model.train()
    nudge(trainer.model)
    inputs = trainer._prepare_inputs(Collator(again.processor, on_card=True)(some))
    ours = trainer.compute_loss(trainer.model, inputs)
    ours.backward()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-4)
    found = gradients_of(trainer.model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-3 * gradient.norm(), name


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_training_steps_in_bfloat16_lower_the_loss(
    compiled: bool, checkpointing: bool, eight_rows: Path, tmp_path: Path
) -> None:
    loaded = load_base(Model(base=tiny.NAME), max_pixels=6144, device=CARD)
    rows = open_rows(eight_rows)
    settings = Train(
        compile=compiled,
        gradient_checkpointing=checkpointing,
        batch_size=4,
        gradient_accumulation=1,
        max_steps=20,
        learning_rate=3e-3,
        logging_steps=1,
    )
    setup = setup_for(loaded, rows, settings, Lora(r=8, alpha=8), present_gpu())
    trainer = build_trainer(loaded, rows, settings, Lora(r=8, alpha=8), tmp_path, setup=setup)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("on_gpu", [True, False])
def test_features_kept_on_the_card_or_in_locked_memory_are_those_of_the_tower(
    on_gpu: bool, eight_rows: Path
) -> None:
    loaded = load_base(Model(base=tiny.NAME), max_pixels=6144, device=CARD)
    inner = loaded.model.model
    rows = open_rows(eight_rows)
    kept = KeptFeatures([clip_key(row["images"]) for row in rows], on_gpu=on_gpu, size_bytes=1)
    collator = Collator(loaded.processor, kept.known, on_card=True)
    for order in ([0, 1], [1, 2], [2, 0]):
        some = [rows[index] for index in order]
        batches = [collator(some), Collator(loaded.processor, on_card=True)(some)]
        outs = []
        for batch, keeps in zip(batches, (kept, None), strict=True):
            grid = torch.tensor(batch[PLACED]["grid"])
            pixels = pixels_of(loaded.processor, moved(batch), inner.visual.dtype)
            outs.append(visual_features(inner, batch[CLIPS], grid, pixels, keeps))
        ours, plain = ([out.pooler_output, *out.deepstack_features] for out in outs)
        for one, other in zip(ours, plain, strict=True):
            assert one[0].device == CARD
            torch.testing.assert_close(torch.cat(list(one)), torch.cat(list(other)), rtol=2e-2, atol=2e-2)
    assert all(clip_key(rows[index]["images"]) in kept.known for index in range(3))


def test_a_run_that_keeps_features_learns_what_one_that_does_not_learns(
    eight_rows: Path, tmp_path: Path, recipe_for: Callable[..., Recipe]
) -> None:
    losses = []
    for asked in ("true", "false"):
        recipe = recipe_for("train.epochs=3", f"train.cache_vision_features={asked}", "model.dtype=float32")
        lines = (train(recipe, eight_rows, tmp_path / asked) / LOG).read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_8_bit_products_on_a_card_are_those_of_a_cpu() -> None:
    if torch.cuda.get_device_capability(CARD) < FP8_CAPABILITY:
        pytest.skip("this card does not multiply in 8 bits")
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(32, 256, generator=draw) / 16, torch.randn(384, 32, generator=draw) / 16
    codes = fp8_linear.codes_of(torch.randn(384, 256, generator=draw).bfloat16())
    x = torch.randn(1, 300, 256, generator=draw).bfloat16()
    upstream = torch.randn(1, 300, 384, generator=draw).bfloat16()
    results = []
    for device in (torch.device("cpu"), CARD):
        wanting = [one.to(device).requires_grad_() for one in (x, a, b)]
        tensors = (*wanting[1:], *(one.to(device) for one in codes))
        (out,) = product(wanting[0], Spec((384,), 256, 2.0, 0, True), tensors)
        results.append([out, *torch.autograd.grad(out, wanting, upstream.to(device))])
    for wanted, found in zip(*results, strict=True):
        assert (found.cpu() - wanted).float().norm() <= 2e-2 * wanted.float().norm()


def test_branches_are_separate_samples(tmp_path: Path) -> None:
    loaded = load_base(
        Model(base=tiny.NAME, quantization="none", dtype="float32"), max_pixels=6144, device=CARD
    )
    model = peft.get_peft_model(
        loaded.model, peft.LoraConfig(r=4, lora_alpha=12, target_modules=list(LANGUAGE_LINEARS))
    ).train()
    nudge(model)
    answers = [make_row(0, completion=[{"role": "assistant", "content": f"low risk {n}"}]) for n in range(3)]
    others = [make_row(1, prompt=[{"role": "user", "content": PROMPT}])]
    rows = open_rows(save_rows(tmp_path / "dataset", [*answers, *others]))
    separate = Collator(loaded.processor)(list(rows))
    tokens = separate["attention_mask"].sum(1).tolist()
    keys = [clip_key(row["images"]) for row in rows]
    items = group_rows(rows, keys, tokens, loaded.processor, 4096, 16)
    together = Collator(loaded.processor)(list(item_rows(rows, items)))
    results = []
    fuse(model, dense=True, compiled=False, dtype=torch.float32)
    attend_in_branches(model.get_base_model().model.language_model)
    for batch in (separate, together):
        del batch[CLIPS]
        model.zero_grad()
        loss = model(**moved(batch), use_cache=False).loss
        loss.backward()
        results.append((loss.item(), gradients_of(model)))
    (loss, wanted), (shared_loss, found) = results
    assert shared_loss == pytest.approx(loss, rel=1e-3)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-3 * gradient.norm(), name


def test_the_engine_writes_on_a_card_what_it_writes_on_a_cpu() -> None:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)) for _ in range(2)]
    texts = []
    for device in (CARD, torch.device("cpu")):
        loaded = load_base(Model(base=tiny.NAME, dtype="float32"), max_pixels=6144, device=device)
        engine = ReportEngine(loaded.model, loaded.processor, max_new_tokens=600)
        texts.append(engine.generate([frames, frames[:1]]))
    for ours, theirs in zip(*texts, strict=True):
        assert not ours.finished or holds_schema(ours.text)
        # Rounding may decide a near tie; the beginning is the same.
        same = next((i for i, (a, b) in enumerate(zip(ours.text, theirs.text, strict=False)) if a != b), None)
        assert same is None or same >= 0.25 * len(theirs.text)


def test_a_run_on_a_card_learns_and_is_read_back(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path
) -> None:
    out = train(
        recipe_for("train.max_steps=12", "train.learning_rate=1e-3", "train.logging_steps=1"),
        eight_rows,
        tmp_path / "out",
    )
    losses = [json.loads(line)["loss"] for line in (out / LOG).read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]

"""The faster paths of training compute what the plain ones compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from roadscribe.model.load import LoadedBase, load_base
from roadscribe.qwen3_vl.answer_forward import drop_padding_mask
from roadscribe.qwen3_vl.folded_linear import FoldedLinear4bit, fold_lora
from roadscribe.qwen3_vl.vision_cache import KeptFeatures, visual_features
from roadscribe.recipe import Model, Recipe
from roadscribe.train.collator import Collator
from roadscribe.train.dataset import clip_key, open_rows
from roadscribe.train.trainer import build_trainer
from training_rows import setup_for


def lora_model(folder: Path, dropout: float = 0.0) -> tuple[Any, LoadedBase]:
    """A QLoRA model whose update is not zero."""
    loaded = load_base(Model(base=str(folder)), max_pixels=6144, device=torch.device("cpu"))
    torch.manual_seed(1)
    config = peft.LoraConfig(
        r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"]
    )
    model = peft.get_peft_model(loaded.model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.train(), loaded


def loss_and_gradients(
    model: Any, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch, use_cache=False).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def batch(eight_rows: Path, tiny_folder: Path) -> tuple[Any, dict[str, Any]]:
    """A QLoRA model and a right-padded batch of two rows of different length."""
    model, loaded = lora_model(tiny_folder)
    rows = open_rows(eight_rows)
    made = Collator(loaded.processor)([rows[0], rows[3]])
    assert (made["attention_mask"] == 0).any()
    return model, made


def test_folded_lora_gives_pefts_loss_and_gradients(batch: tuple[Any, dict[str, Any]]) -> None:
    model, made = batch
    del made["clips"]
    loss, gradients = loss_and_gradients(model, made)
    fold_lora(model)
    assert sum(isinstance(module, FoldedLinear4bit) for module in model.modules()) == 4 * 6
    folded_loss, folded = loss_and_gradients(model, made)
    torch.testing.assert_close(folded_loss, loss, rtol=1e-6, atol=0)
    assert folded.keys() == gradients.keys() and len(gradients) == 2 * 4 * 6
    for name, gradient in gradients.items():
        assert (folded[name] - gradient).norm() <= 1e-4 * gradient.norm(), name
    model.eval()
    with torch.no_grad():
        ours = model(**made).logits
        for module in model.modules():
            if isinstance(module, FoldedLinear4bit):
                module.__class__ = FoldedLinear4bit.__mro__[1]
        assert torch.equal(model(**made).logits, ours)


def test_the_trainers_loss_is_that_of_the_full_logits(
    eight_rows: Path, recipe_for: Callable[..., Recipe], tmp_path: Path
) -> None:
    """Whatever `compute_loss` does with the head: relative difference at most 1e-4 in float32, for a batch by
    itself and for its part of an optimizer step, and the same gradients."""
    recipe = recipe_for()
    loaded = load_base(recipe.model, max_pixels=6144, device=torch.device("cpu"))
    rows = open_rows(eight_rows)
    setup = setup_for(loaded, rows, recipe.train, recipe.lora)
    trainer = build_trainer(loaded, rows, recipe.train, recipe.lora, tmp_path, setup=setup)
    model = trainer.model.train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    made = Collator(loaded.processor)([rows[0], rows[3], rows[6]])
    full = {name: value for name, value in made.items() if name not in ("clips", "labels")}
    labels = made["labels"]
    model.zero_grad()
    logits = model(**full, use_cache=False).logits
    summed = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    answer_tokens = int((labels[:, 1:] != -100).sum())
    (summed / answer_tokens).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = trainer.compute_loss(model, dict(made))
    loss.backward()
    assert loss.item() == pytest.approx(summed.item() / answer_tokens, rel=1e-4)
    for name, gradient in gradients.items():
        ours = model.get_parameter(name).grad
        assert (ours - gradient).norm() <= 1e-3 * gradient.norm(), name
    part = trainer.compute_loss(model, dict(made), num_items_in_batch=torch.tensor(1000))
    assert part.item() == pytest.approx(summed.item() / 1000, rel=1e-4)


def test_lora_with_dropout_is_not_folded(tiny_folder: Path) -> None:
    model, _ = lora_model(tiny_folder, dropout=0.1)
    fold_lora(model)
    assert not any(isinstance(module, FoldedLinear4bit) for module in model.modules())


def test_no_token_of_a_sample_misses_the_padding_mask(batch: tuple[Any, dict[str, Any]]) -> None:
    model, made = batch
    del made["clips"]
    loss, gradients = loss_and_gradients(model, made)
    drop_padding_mask(model.get_base_model().model.language_model)
    masks: list[Any] = []
    layer = model.get_base_model().model.language_model.layers[0]
    layer.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    unmasked_loss, unmasked = loss_and_gradients(model, made)
    assert masks == [None]
    torch.testing.assert_close(unmasked_loss, loss, rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        assert (unmasked[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_generation_keeps_its_padding_mask(batch: tuple[Any, dict[str, Any]]) -> None:
    model, made = batch
    for name in ("clips", "labels"):
        del made[name]
    drop_padding_mask(model.get_base_model().model.language_model)
    model.eval()
    masks: list[Any] = []
    layer = model.get_base_model().model.language_model.layers[0]
    layer.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**made)
    assert masks[0] is not None


def test_kept_features_are_those_of_the_tower_and_the_tower_runs_once_a_clip(
    eight_rows: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))
    inner = loaded.model.model
    rows = open_rows(eight_rows)
    kept = KeptFeatures(clip_key(row["images"]) for row in rows)
    collator = Collator(loaded.processor, kept.known)
    # The first two batches are made before either goes through the encoder, as the trainer does.
    batches = [collator([rows[0], rows[1]]), collator([rows[1], rows[2]])]
    runs = []
    tower = type(inner).get_image_features

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        runs.append(1)
        return tower(self, *args, **kwargs)

    monkeypatch.setattr(type(inner), "get_image_features", counting)
    for order in ([0, 1], [1, 2], [2, 0]):
        made = batches.pop(0) if batches else collator([rows[index] for index in order])
        features = visual_features(
            inner, made["clips"], made["image_grid_thw"], made.get("pixel_values"), kept
        )
        whole = Collator(loaded.processor)([rows[index] for index in order])
        with torch.no_grad():
            plain = tower(inner, whole["pixel_values"], whole["image_grid_thw"], return_dict=True)
        pairs = [
            (features.pooler_output, plain.pooler_output),
            *zip(features.deepstack_features, plain.deepstack_features, strict=True),
        ]
        for ours, theirs in pairs:
            torch.testing.assert_close(torch.cat(ours), torch.cat(theirs), rtol=1e-5, atol=1e-6)
            assert not torch.cat(ours).requires_grad
    assert len(runs) == 3

"""The fused training pass and the answer-only loss compute what PEFT and the full logits compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from roadscribe.model.load import load_base
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.qwen3_vl.chunked_loss import answer_loss
from roadscribe.qwen3_vl.gpu_patches import pixels_of
from roadscribe.qwen3_vl.lora_linear import ALIGNED, Spec, adapter_places, columns, product
from roadscribe.qwen3_vl.text_model import FusedTextModel, fuse
from roadscribe.recipe import Lora, Model, Train
from roadscribe.train.collator import Collator
from roadscribe.train.dataset import open_rows
from roadscribe.train.trainer import build_trainer
from training_rows import setup_for


def seven_projections(
    folder: Path, quantization: str = "nf4", dtype: str = "auto", **lora: Any
) -> tuple[Any, Any]:
    """A model with LoRA on all seven projections whose update is not zero, and its processor."""
    loaded = load_base(
        Model(base=str(folder), quantization=quantization, dtype=dtype),  # type: ignore[arg-type]
        max_pixels=6144,
        device=torch.device("cpu"),
    )
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=list(LANGUAGE_LINEARS), **lora)
    model = peft.get_peft_model(loaded.model, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.train(), loaded.processor


def hidden_and_gradients(
    model: Any, batch: dict[str, torch.Tensor], labels: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    base = model.get_base_model()
    hidden = base.model(**batch, use_cache=False).last_hidden_state
    answer_loss(hidden, labels, base.lm_head.weight).backward()
    return hidden.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize(
    ("quantization", "dense", "compiled", "checkpointing"),
    [
        ("nf4", True, False, False),
        ("nf4", False, False, False),
        ("nf4", False, False, True),
        ("none", True, False, True),
        ("nf4", True, True, False),
        ("nf4", False, True, True),
    ],
)
def test_the_fused_pass_gives_pefts_hidden_states_and_every_gradient(
    eight_rows: Path, tiny_folder: Path, quantization: str, dense: bool, compiled: bool, checkpointing: bool
) -> None:
    model, processor = seven_projections(tiny_folder, quantization)
    rows = open_rows(eight_rows)
    made = Collator(processor)([rows[0], rows[3]])
    del made["clips"]
    labels = made.pop("labels")
    real = made["attention_mask"].bool()
    hidden, gradients = hidden_and_gradients(model, made, labels)
    fuse(model, dense=dense, compiled=compiled, dtype=torch.float32)
    if checkpointing:
        model.get_base_model().model.language_model.gradient_checkpointing = True
    for _ in range(2):
        fused_hidden, fused = hidden_and_gradients(model, made, labels)
        torch.testing.assert_close(fused_hidden[real], hidden[real], rtol=1e-4, atol=1e-4)
        assert fused.keys() == gradients.keys() and len(gradients) == 2 * 7 * 6
        for name, gradient in gradients.items():
            assert (fused[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_an_optimizer_step_is_seen_by_the_dense_weights(eight_rows: Path, tiny_folder: Path) -> None:
    rows = open_rows(eight_rows)
    losses = []
    for fused in (False, True):
        model, processor = seven_projections(tiny_folder)
        made = Collator(processor)([rows[0], rows[3]])
        del made["clips"]
        labels = made.pop("labels")
        if fused:
            fuse(model, dense=True, compiled=False, dtype=torch.float32)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-2, fused=True)
        for _ in range(3):
            hidden_and_gradients(model, made, labels)
            optimizer.step()
        base = model.get_base_model()
        hidden = base.model(**made, use_cache=False).last_hidden_state
        losses.append(answer_loss(hidden, labels, base.lm_head.weight).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_evaluation_takes_the_shipped_path(eight_rows: Path, tiny_folder: Path) -> None:
    model, processor = seven_projections(tiny_folder)
    made = Collator(processor)([open_rows(eight_rows)[0]])
    del made["clips"]
    model.eval()
    with torch.no_grad():
        before = model(**made).logits
        fuse(model, dense=True, compiled=False, dtype=torch.float32)
        assert isinstance(model.get_base_model().model.language_model, FusedTextModel)
        assert torch.equal(model(**made).logits, before)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_on_answer_tokens_is_that_of_the_full_logits(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 20, 16, requires_grad=True)
    head = torch.randn(50, 16)
    labels = torch.randint(0, 50, (2, 20))
    labels[0, :13] = labels[1, :5] = labels[1, 18:] = -100
    logits = hidden @ head.T
    full = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, 50), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum"
    )
    (full / 7).backward()
    wanted, hidden.grad = hidden.grad, None
    # Several chunks, the last one not full.
    monkeypatch.setattr("roadscribe.qwen3_vl.chunked_loss.CHUNK_BYTES", 4 * 50 * 6)
    ours = answer_loss(hidden, labels, head, compiled=compiled)
    (ours / 7).backward()
    torch.testing.assert_close(ours, full, rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dense", ["auto", True], ids=["folded", "fused"])
def test_a_batch_for_the_card_gives_the_loss_and_gradients_of_a_plain_one(
    eight_rows: Path, tiny_folder: Path, tmp_path: Path, dense: Any
) -> None:
    loaded = load_base(Model(base=str(tiny_folder)), max_pixels=6144, device=torch.device("cpu"))
    rows = open_rows(eight_rows)
    train = Train(dequantize_weights=dense, gradient_checkpointing=False)
    setup = setup_for(loaded, rows, train, Lora(r=4))
    trainer = build_trainer(loaded, rows, train, Lora(r=4), tmp_path, setup=setup)
    model = trainer.model.train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    results = []
    for on_card in (False, True):
        batch = Collator(loaded.processor, on_card=on_card)([rows[0], rows[3], rows[6]])
        assert ("frames" in batch) is on_card and ("image_grid_thw" in batch) is not on_card
        model.zero_grad()
        loss = trainer.compute_loss(model, batch)
        loss.backward()
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), grads))
    (plain_loss, plain), (loss, ours) = results
    torch.testing.assert_close(loss, plain_loss, rtol=1e-5, atol=0)
    assert ours.keys() == plain.keys() and len(plain) == 2 * 7 * 6
    for name, gradient in plain.items():
        assert (ours[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_frames_become_the_processors_patches(eight_rows: Path, tiny_folder: Path) -> None:
    _, processor = seven_projections(tiny_folder)
    rows = [open_rows(eight_rows)[index] for index in (0, 3)]
    plain, ours = (Collator(processor, on_card=on_card)(rows) for on_card in (False, True))
    assert ours["frames"].shape == (4, 3, 64, 96)
    torch.testing.assert_close(pixels_of(processor, ours), plain["pixel_values"], rtol=1e-6, atol=1e-6)
    # Frames that the processor would resize, or of several sizes, go through it.
    ours = Collator(processor, on_card=True)(rows)
    ours["frames"] = list(ours["frames"])
    torch.testing.assert_close(pixels_of(processor, ours), plain["pixel_values"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_a_gradient_begins_each_row_where_attention_on_a_card_can_read_it(rank: int) -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(rank, 64, generator=draw), torch.randn(24, rank, generator=draw)
    weight = torch.zeros(24, columns(64, rank))
    weight[:, :64] = torch.randn(24, 64, generator=draw)
    adapter_places(weight, 64, [b])[0].copy_(2.0 * b)
    x = torch.randn(1, 5, 64, generator=draw, requires_grad=True)
    (out,) = product(x, Spec((24,), 64, 2.0, 0), (a, b, weight))
    torch.testing.assert_close(out, x @ weight[:, :64].T + 2.0 * (x @ a.T) @ b.T)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.stride(1) % ALIGNED == 0
    torch.testing.assert_close(gradient[0, 0], (weight[:, :64] + 2.0 * b @ a).sum(0), rtol=1e-4, atol=1e-4)

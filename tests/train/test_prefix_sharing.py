"""Several rows on one clip share one visual prefix, and nothing about what is learned changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe.estimate.workload import Batch, cut_steps
from roadscribe.model.load import load_base
from roadscribe.model.precision import LANGUAGE_LINEARS
from roadscribe.qwen3_vl.answer_forward import drop_padding_mask
from roadscribe.qwen3_vl.processor import IGNORED
from roadscribe.qwen3_vl.text_model import fuse
from roadscribe.qwen3_vl.tree_attention import (
    BRANCHES,
    PADDING,
    attend_in_branches,
    branch_mask,
)
from roadscribe.recipe import Model, Recipe
from roadscribe.train.checkpoints import CHECKPOINTS
from roadscribe.train.collator import CLIPS, Collator
from roadscribe.train.dataset import clip_key, open_rows
from roadscribe.train.prefix_sharing import (
    Item,
    Tokens,
    fill,
    group_rows,
    item_rows,
)
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG, Reporter
from training_rows import PROMPT, make_row, save_rows

TOLERANCE = 1e-4
"""Relative, in float32; the claim is 1e-3."""
QUESTIONS = (PROMPT, "What do you see?", "Which light is shown, if any?")
CASES = {
    "three answers to one question": [(0, PROMPT, f"answer {n}" + " careful" * n) for n in range(3)],
    "three questions": [(0, question, f"low risk {n}") for n, question in enumerate(QUESTIONS)],
    "a clip with one answer beside one with two": [
        (0, PROMPT, "low"),
        (1, PROMPT, "road number 7, high risk"),
        (1, QUESTIONS[1], "medium"),
    ],
    "two questions, one of them answered twice, and a second clip": [
        (0, PROMPT, "low risk"),
        (0, QUESTIONS[1], "road number 5"),
        (1, PROMPT, "high"),
        (0, PROMPT, "high risk"),
        (1, QUESTIONS[2], "low low low"),
    ],
    "the same answer twice": [(0, PROMPT, "low risk"), (0, PROMPT, "low risk")],
    "one answer that begins like the other": [(0, PROMPT, "road"), (0, PROMPT, "road number 1 2 3")],
}


def rows_of(case: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """Dataset rows from (clip, question, answer)."""
    return [
        make_row(
            clip,
            prompt=[{"role": "user", "content": question}],
            completion=[{"role": "assistant", "content": answer}],
        )
        for clip, question, answer in case
    ]


def saved(folder: Path, case: list[tuple[int, str, str]]) -> datasets.Dataset:
    return open_rows(save_rows(folder / "dataset", rows_of(case)))


def grouped(rows: datasets.Dataset, processor: Any, max_length: int = 4096, most: int = 16) -> list[Item]:
    keys = [clip_key(row["images"]) for row in rows]
    whole = Collator(processor)(list(rows))
    return group_rows(rows, keys, whole["attention_mask"].sum(1).tolist(), processor, max_length, most)


def collated(rows: datasets.Dataset, items: list[Item], processor: Any) -> dict[str, Any]:
    """All items in one batch, read as the trainer reads them."""
    return Collator(processor)(list(item_rows(rows, items)))


def lora_model(folder: Path, quantization: str) -> tuple[Any, Any]:
    """A model with LoRA on all seven projections whose update is not zero, and its processor."""
    loaded = load_base(
        Model(base=str(folder), quantization=quantization),  # type: ignore[arg-type]
        max_pixels=6144,
        device=torch.device("cpu"),
    )
    model = peft.get_peft_model(
        loaded.model, peft.LoraConfig(r=4, lora_alpha=12, target_modules=list(LANGUAGE_LINEARS))
    )
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.train(), loaded.processor


@pytest.fixture(scope="module", params=["nf4", "none"])
def tuned(request: pytest.FixtureRequest, tiny_folder: Path) -> tuple[Any, Any]:
    """Such a model as the trainer makes it: no padding mask, and branches through a boolean one."""
    model, processor = lora_model(tiny_folder, request.param)
    language_model = model.get_base_model().model.language_model
    drop_padding_mask(language_model)
    attend_in_branches(language_model)
    return model, processor


def loss_and_gradients(model: Any, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss of the answer tokens from the full logits, and what it does to every adapter tensor."""
    model.zero_grad()
    loss = model(**{name: part for name, part in batch.items() if name != CLIPS}, use_cache=False).loss
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return loss.item(), gradients


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_loss_and_every_adapter_gradient_are_those_of_separate_samples(
    case: list[tuple[int, str, str]], tuned: tuple[Any, Any], tmp_path: Path
) -> None:
    model, processor = tuned
    rows = saved(tmp_path, case)
    items = grouped(rows, processor)
    assert len(items) == len({clip for clip, _, _ in case})
    separate, together = Collator(processor)(list(rows)), collated(rows, items, processor)
    assert together["attention_mask"].sum() < separate["attention_mask"].sum()
    assert len(together["image_grid_thw"]) == 2 * len(items)
    loss, gradients = loss_and_gradients(model, separate)
    shared_loss, shared = loss_and_gradients(model, together)
    assert shared_loss == pytest.approx(loss, rel=TOLERANCE)
    assert len(gradients) == 2 * 7 * 6
    for name, gradient in gradients.items():
        assert gradient.norm() > 0
        assert (shared[name] - gradient).norm() <= TOLERANCE * gradient.norm(), name


@pytest.mark.parametrize("dense", [True, False])
def test_the_fused_pass_takes_branches_too(dense: bool, tiny_folder: Path, tmp_path: Path) -> None:
    model, processor = lora_model(tiny_folder, "nf4")
    rows = saved(tmp_path, CASES["a clip with one answer beside one with two"])
    loss, gradients = loss_and_gradients(model, Collator(processor)(list(rows)))
    fuse(model, dense=dense, compiled=False, dtype=torch.float32)
    attend_in_branches(model.get_base_model().model.language_model)
    shared_loss, shared = loss_and_gradients(model, collated(rows, grouped(rows, processor), processor))
    assert shared_loss == pytest.approx(loss, rel=TOLERANCE)
    for name, gradient in gradients.items():
        assert (shared[name] - gradient).norm() <= TOLERANCE * gradient.norm(), name


def test_every_row_keeps_its_tokens_labels_and_positions(tuned: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tuned
    rows = saved(tmp_path, CASES["two questions, one of them answered twice, and a second clip"])
    items = grouped(rows, processor)
    batch = collated(rows, items, processor)
    shared = batch["input_ids"].shape[1] - batch[BRANCHES].shape[1]
    branches = torch.nn.functional.pad(batch[BRANCHES], (shared, 0))
    for index, item in enumerate(items):
        for branch, row in enumerate(item.rows, start=1):
            alone = Collator(processor)([rows[row]])
            positions, _ = model.get_base_model().model.get_rope_index(
                alone["input_ids"], alone["mm_token_type_ids"], alone["image_grid_thw"]
            )
            path = (branches[index] == 0) | (branches[index] == branch)
            assert torch.equal(batch["input_ids"][index, path], alone["input_ids"][0])
            assert torch.equal(batch["labels"][index, path], alone["labels"][0])
            assert torch.equal(batch["position_ids"][:, index, path], positions[:, 0])
            own = batch["labels"][index, branches[index] == branch]
            assert own[0] == IGNORED and (own != IGNORED).any(), (
                "an answer's first token has its own predictor"
            )


def test_rows_of_clips_of_their_own_are_batched_as_ever(tuned: tuple[Any, Any], eight_rows: Path) -> None:
    _, processor = tuned
    rows = open_rows(eight_rows)
    items = grouped(rows, processor)
    assert [item.rows for item in items] == [(index,) for index in range(8)]
    ours, plain = collated(rows, items, processor), Collator(processor)(list(rows))
    assert BRANCHES not in ours and ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in plain if name != CLIPS)


def test_a_branch_sees_the_prefix_and_what_came_before_it_in_itself() -> None:
    whole = torch.tensor([[0] * 100 + [1] * 20 + [2] * 30, [0] * 90 + [1] * 25 + [PADDING] * 35])
    mask = branch_mask(whole[:, 90:], 150)
    assert mask.shape == (2, 1, 60, 150)
    assert mask[0, 0, 35, 95] and not mask[0, 0, 35, 110] and not mask[0, 0, 5, 110] and not mask[0, 0, 5, 97]
    assert mask.any(-1).all(), "a token that sees nothing turns the softmax into nan"
    order = torch.arange(150)
    for clip in range(2):
        for query in range(90, 150):
            own = (whole[clip] == 0) | (whole[clip] == whole[clip, query])
            assert torch.equal(mask[clip, 0, query - 90], (order <= query) & own)


def test_a_model_that_takes_branches_answers_questions_as_before(tiny_folder: Path, tmp_path: Path) -> None:
    model, processor = lora_model(tiny_folder, "nf4")
    model.eval()
    batch = Collator(processor)(list(saved(tmp_path, CASES["three answers to one question"])))
    for name in (CLIPS, "labels"):
        del batch[name]
    padded = batch["attention_mask"].bool()
    assert not padded.all()
    with torch.no_grad():
        before = model(**batch).logits[padded]
        attend_in_branches(model.get_base_model().model.language_model)
        assert torch.equal(model(**batch).logits[padded], before)


@st.composite
def clip_rows(draw: st.DrawFn) -> list[Tokens]:
    """Rows of one clip from few different tokens, so that prefixes of every length occur."""
    rows = []
    for _ in range(draw(st.integers(1, 7))):
        visual = draw(st.sampled_from([(9, 9, 9), (9, 9, 9), (8, 9, 9, 9)]))
        question = draw(st.lists(st.integers(0, 1), min_size=1, max_size=5))
        answer = draw(st.lists(st.integers(0, 1), min_size=1, max_size=5))
        ids = (*visual, *question, *answer)
        rows.append(Tokens(ids, len(visual) + len(question), len(visual)))
    return rows


def tokens_by_hand(rows: list[Tokens]) -> int:
    """What a sequence of these rows takes, token by token."""
    shared = 0
    if len(rows) > 1:
        while all(shared < row.answer - 1 and row.ids[shared] == rows[0].ids[shared] for row in rows):
            shared += 1
    return shared + sum(len(row.ids) - shared for row in rows)


@given(clip_rows(), st.integers(14, 40), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_grouping_loses_no_row_fits_the_limits_and_counts_exactly(
    rows: list[Tokens], max_length: int, most: int
) -> None:
    sequences = fill(rows, max_length, most)
    assert sorted(row for members, _ in sequences for row in members) == list(range(len(rows)))
    for members, tokens in sequences:
        together = [rows[member] for member in members]
        assert members == sorted(members) and len(members) <= most
        assert tokens == tokens_by_hand(together) <= max_length
        assert len({row.ids[: row.visual_end] for row in together}) == 1
    frames = [row.ids[: row.visual_end] for row in rows]
    for same in set(frames):
        cut = [members for members, _ in sequences if frames[members[0]] == same]
        for left, right in itertools.pairwise(cut):
            one_more = [rows[member] for member in (*left, right[0])]
            assert len(left) == most or tokens_by_hand(one_more) > max_length, "no sequence ends early"


def test_a_clip_with_more_answers_than_fit_becomes_several_sequences(
    tuned: tuple[Any, Any], tmp_path: Path
) -> None:
    _, processor = tuned
    rows = saved(tmp_path, [(0, PROMPT, f"road number {n}") for n in range(5)])
    whole = grouped(rows, processor)
    assert [item.rows for item in whole] == [(0, 1, 2, 3, 4)]
    limit = whole[0].tokens - 1
    halves = grouped(rows, processor, max_length=limit)
    assert [item.rows for item in halves] == [(0, 1, 2, 3), (4,)]
    counted = collated(rows, halves, processor)["attention_mask"].sum(1).tolist()
    assert counted == [item.tokens for item in halves] and max(counted) <= limit


def test_questions_that_differ_before_the_frames_are_not_put_together(
    tuned: tuple[Any, Any], tmp_path: Path
) -> None:
    _, processor = tuned
    parts = [{"type": "image", "text": None}, {"type": "image", "text": None}]
    rows = []
    for words in ("Look.", "Look well."):
        text = {"type": "text", "text": words}
        rows.append(make_row(0, prompt=[{"role": "user", "content": [text, *parts]}]))
    stored = datasets.Dataset.from_list(
        [{**row, "completion": [{"role": "assistant", "content": "low"}]} for row in rows]
    ).cast_column("images", datasets.List(datasets.Image(decode=False)))
    items = grouped(stored, processor)
    assert [item.rows for item in items] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("asked", "rows", "items", "shape"),
    [
        ((2, 8), 90, 90, (2, 8)),
        ((2, 8), 90, 30, (2, 3)),
        ((8, 2), 90, 30, (5, 1)),
        ((1, 16), 90, 30, (1, 5)),
        ((4, 1), 90, 45, (2, 1)),
        ((1, 2), 90, 45, (1, 1)),
    ],
)
def test_a_step_keeps_about_the_rows_it_was_asked_for(
    asked: tuple[int, int], rows: int, items: int, shape: tuple[int, int]
) -> None:
    assert cut_steps(Batch(*asked), rows, items) == Batch(*shape)


@pytest.fixture(scope="module")
def three_answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips with three answers each, their rows far apart, and one clip with one."""
    case = [
        (clip, QUESTIONS[answer % 2], f"road number {clip} {answer}")
        for answer in range(3)
        for clip in range(4)
    ]
    return save_rows(tmp_path_factory.mktemp("three") / "dataset", rows_of([*case, (4, PROMPT, "low")]))


@pytest.fixture
def recipe(tiny_folder: Path) -> Callable[..., Recipe]:
    def make(**changes: Any) -> Recipe:
        section = {
            "batch_size": 3,
            "gradient_accumulation": 2,
            "gradient_checkpointing": False,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "epochs": 2,
            "save_steps": 2,
            "verify_in_process": True,
        }
        return Recipe.model_validate(
            {
                "model": {"base": str(tiny_folder)},
                "footage": {"frames": 2, "max_pixels": 6144},
                "lora": {"r": 4},
                "train": {**section, **changes},
            }
        )

    return make


@pytest.fixture
def epochs_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The answers that went into batches, in order."""
    seen: list[str] = []
    collate = Collator.__call__

    def watching(self: Collator, rows: Any) -> Any:
        for row in rows:
            for one in (row, *row.get("also", ())):
                seen.append(one["completion"][0]["content"])
        return collate(self, rows)

    monkeypatch.setattr(Collator, "__call__", watching)
    yield seen


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


def test_an_epoch_sees_every_row_once_and_a_cut_off_run_resumes_in_the_same_order(
    recipe: Callable[..., Recipe],
    three_answers: Path,
    tmp_path: Path,
    epochs_seen: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(recipe(), three_answers, tmp_path / "whole")
    said = capsys.readouterr().err
    assert "13 rows become 5 sequences" in said and "micro-batch: 2 x 1 (sequences: 5.2 rows per step" in said
    lines = log_of(whole)
    assert [line["step"] for line in lines] == list(range(1, 7)), "three steps an epoch"
    everything = sorted(row["completion"][0]["content"] for row in open_rows(three_answers))
    first, second = epochs_seen[:13], epochs_seen[13:]
    assert sorted(first) == sorted(second) == everything
    assert first != second, "another order each time"

    undisturbed = list(epochs_seen)
    epochs_seen.clear()
    on_step_end = Reporter.on_step_end

    def cut_off(self: Reporter, args: Any, state: Any, control: Any, **rest: Any) -> None:
        on_step_end(self, args, state, control, **rest)
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "on_step_end", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), three_answers, tmp_path / "cut")
    assert (tmp_path / "cut" / CHECKPOINTS / "checkpoint-4").is_dir()
    epochs_seen.clear()
    resumed = train(recipe(), three_answers, tmp_path / "cut", resume=True)
    # One step of the second epoch was kept; the data loader goes through its clips once more to skip them.
    assert epochs_seen[-6:] == undisturbed[-6:]
    for again, before in zip(log_of(resumed), lines, strict=True):
        assert again["step"] == before["step"]
        assert again["loss"] == pytest.approx(before["loss"], rel=1e-6)
        assert again["grad_norm"] == pytest.approx(before["grad_norm"], rel=1e-6)


def test_steps_over_everything_learn_the_same_shared_or_not(
    recipe: Callable[..., Recipe], three_answers: Path, tmp_path: Path
) -> None:
    """The trainer's own loss and gradient norm with all rows in every step, checkpointed and as branches or
    plain and each by itself."""
    logs = [
        log_of(
            train(
                recipe(
                    shared_prefix=shared,
                    gradient_checkpointing=shared,
                    batch_size=13,
                    gradient_accumulation=1,
                    max_steps=2,
                ),
                three_answers,
                tmp_path / str(shared),
            )
        )
        for shared in (True, False)
    ]
    assert len(logs[0]) == 2
    for shared, separate in zip(*logs, strict=True):
        assert shared["loss"] == pytest.approx(separate["loss"], rel=1e-4)
        assert shared["grad_norm"] == pytest.approx(separate["grad_norm"], rel=1e-3)

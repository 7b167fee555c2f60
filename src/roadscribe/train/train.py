"""The train stage: a dataset becomes an adapter, which counts once it was read back and compared."""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch

from roadscribe.artifacts import disk_errors, finish, open_output, write_json
from roadscribe.errors import InputError, WorkError
from roadscribe.model.adapter import adapter_state, read_adapter, save_adapter
from roadscribe.model.contract import make_contract
from roadscribe.model.encode import Sample, encode
from roadscribe.model.load import LoadedBase, load_base, load_processor, resolve_base
from roadscribe.model.precision import LANGUAGE_LINEARS, assert_precision, precision_map, render_map
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe, Train
from roadscribe.train.batches import KeptFeatures, choose_features, feature_bytes
from roadscribe.train.data import DatasetFacts, check_rows, open_image, open_rows
from roadscribe.train.trainer import (
    CHECKPOINTS,
    LOG,
    Reporter,
    VisionTrainer,
    build_trainer,
    last_checkpoint,
    memory_errors,
    peak_memory_gib,
)

LOGIT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest difference of a logit, as a share of the largest logit, between the model in memory and the one
read back. The same numbers go through the same kernels, so 0 is usual; a lost or misplaced tensor moves whole
units."""


def train(
    recipe: Recipe, dataset_folder: Path, out: Path, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Fine-tune the recipe's base on a dataset with LoRA and write an adapter to ``out``.

    ``out`` receives the adapter in PEFT's form, `contract.json`, `recipe.json`, `train_log.jsonl` (a line a
    logged step) and, while it runs, `checkpoints/`.

    Args:
        recipe: `model`, `footage`, `lora` and `train` count here.
        dataset_folder: what `curate` wrote, or a folder saved by `DatasetDict.save_to_disk`.
        out: the adapter's folder.
        resume: go on from the last whole checkpoint; the result is that of an undisturbed run.
        overwrite: delete what ``out`` holds first.

    Raises:
        InputError: the dataset, the base or an option is wrong; nothing was written.
        WorkError: the training failed (memory, disk, a loss that is not finite), or what was written is not
        what
            was trained.
    """
    _check_targets(recipe.lora.targets)
    rows = open_rows(dataset_folder)
    processor = load_processor(resolve_base(recipe.model), recipe.footage.max_pixels)
    facts = check_rows(rows, processor, recipe.footage, recipe.train.max_length)
    tokens = sorted(facts.tokens)
    say(
        f"dataset: {len(rows)} rows of {facts.clips} clips, {tokens[0]} to {tokens[-1]} tokens a row "
        f"(median {tokens[len(tokens) // 2]}), limit {recipe.train.max_length}"
    )
    made_from = {**recipe.as_json("model", "footage", "lora", "train"), "dataset_sha256": facts.sha256}
    with disk_errors(out), memory_errors(), warnings.catch_warnings():
        # The libraries warn each other of coming renames; nothing a user could act on.
        warnings.simplefilter("ignore", FutureWarning)
        if open_output(out, "adapter", made_from, resume=resume, overwrite=overwrite):
            say(f"{out}: is already complete")
            return out
        summary = _train(recipe, rows, facts, out, resume)
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        finish(out, **summary)
    return out


def _check_targets(targets: tuple[str, ...]) -> None:
    odd = [target for target in targets if target not in LANGUAGE_LINEARS]
    if odd or not targets:
        raise InputError(
            f"lora.targets: {', '.join(odd) or 'empty'}; only the language model's linears carry LoRA: "
            f"{', '.join(LANGUAGE_LINEARS)}"
        )


def _train(
    recipe: Recipe, rows: datasets.Dataset, facts: DatasetFacts, out: Path, resume: bool
) -> dict[str, Any]:
    begun = time.monotonic()
    loaded = load_base(recipe.model, max_pixels=recipe.footage.max_pixels)
    contract = make_contract(loaded, recipe.footage, facts.prompt_version)
    write_json(out / "recipe.json", recipe.as_json())
    trainer = build_trainer(
        loaded,
        rows,
        recipe.train,
        recipe.lora,
        out / CHECKPOINTS,
        kept=_kept_features(recipe, loaded, facts, len(rows)),
        workers=_workers(loaded.device.type),
    )
    trained = _report_map(trainer.model, loaded.quantized, recipe.lora.targets)
    steps, samples = _run(
        trainer, recipe, loaded, out, last_checkpoint(out / CHECKPOINTS) if resume else None
    )
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    save_adapter(out, model, contract)
    sample = rows[0]
    in_memory = _answer_logits(model, loaded.processor, sample)
    state = {name: tensor.detach().cpu().clone() for name, tensor in adapter_state(model).items()}
    dtype, device = loaded.dtype, loaded.device
    # The trained model makes room for the one that is read back.
    del model, trainer, loaded
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    difference = _read_back(out, state, in_memory, sample, dtype, device)
    lines = (
        [json.loads(line) for line in (out / LOG).read_text().splitlines()] if (out / LOG).exists() else []
    )
    return {
        "rows": len(rows),
        "steps": steps,
        "trained_parameters": trained,
        "first_loss": lines[0]["loss"] if lines else None,
        "last_loss": lines[-1]["loss"] if lines else None,
        "seconds": round(time.monotonic() - begun, 1),
        "samples_per_s": samples,
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "read_back_logit_difference": difference,
    }


def _kept_features(recipe: Recipe, loaded: LoadedBase, facts: DatasetFacts, rows: int) -> KeptFeatures | None:
    passes = recipe.train.epochs
    if recipe.train.max_steps > 0:
        passes = recipe.train.max_steps * recipe.train.batch_size * recipe.train.gradient_accumulation / rows
    size = feature_bytes(loaded.model.config, facts.visual_tokens, loaded.dtype)
    keep, reason = choose_features(loaded.device.type, passes * rows / facts.clips, size)
    say(f"vision features: {'kept in memory' if keep else 'computed each time'} ({reason})")
    return KeptFeatures() if keep else None


def _workers(device: str) -> int:
    """Processes that prepare batches; on a CPU they would take the cores that train."""
    if device == "cpu":
        say("workers: 0 (on a CPU the cores are needed for training)")
        return 0
    count = max(1, min(8, (os.cpu_count() or 2) - 1))
    say(f"workers: {count} (images are prepared while the card trains)")
    return count


def _report_map(model: Any, quantized: bool, targets: tuple[str, ...]) -> int:
    rows = precision_map(model)
    for line in render_map(rows):
        print(line, file=sys.stderr)
    assert_precision(model, quantized=quantized, targets=targets)
    return sum(row.trainable for row in rows)


def _run(
    trainer: VisionTrainer, recipe: Recipe, loaded: LoadedBase, out: Path, checkpoint: Path | None
) -> tuple[int, float]:
    """Train to the end; the number of optimizer steps and the samples a second of this run."""
    train = recipe.train
    samples_a_step = train.batch_size * train.gradient_accumulation
    total = planned_steps(train, len(trainer.train_dataset))
    if checkpoint is not None:
        say(f"resuming from {checkpoint.name} of {total} steps")

    def hold_law() -> None:
        assert_precision(trainer.model, quantized=loaded.quantized, targets=recipe.lora.targets)

    begun = time.monotonic()
    with progress(total, "training") as advance:
        trainer.add_callback(Reporter(out / LOG, advance, samples_a_step, hold_law))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = trainer.state.global_step
    before = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    return done, round((done - before) * samples_a_step / (time.monotonic() - begun), 3)


def planned_steps(train: Train, rows: int) -> int:
    """Optimizer steps of a run over this many rows; a step may go short at an epoch's end."""
    if train.max_steps > 0:
        return train.max_steps
    steps_an_epoch = math.ceil(rows / (train.batch_size * train.gradient_accumulation))
    return math.ceil(train.epochs * steps_an_epoch)


def _answer_logits(model: Any, processor: Any, row: dict[str, Any]) -> torch.Tensor:
    """Logits (answer tokens, vocabulary) of one dataset row, on the CPU in float32."""
    device = next(model.parameters()).device
    images = [open_image(image) for image in row["images"]]
    batch = encode(processor, [Sample(images, row["prompt"], row["completion"])])
    labels = batch.pop("labels")
    model.eval()
    with torch.no_grad():
        logits = model(**{name: tensor.to(device) for name, tensor in batch.items()}, use_cache=False).logits
    answer: torch.Tensor = logits[0, :-1][(labels[0, 1:] >= 0).to(device)]
    return answer.float().cpu()


def _read_back(
    out: Path,
    state: dict[str, torch.Tensor],
    in_memory: torch.Tensor,
    row: dict[str, Any],
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Load what was written afresh and hold it against what was trained; the largest relative logit
    difference.

    Raises:
        WorkError: a tensor or an output differs.
    """
    again = read_adapter(out, device=device, dtype=str(dtype).removeprefix("torch."))
    for name, tensor in adapter_state(again.model).items():
        if not torch.equal(tensor.cpu(), state[name]):
            raise WorkError(f"{out}: {name} is not what was trained; the adapter must not be used")
    logits = _answer_logits(again.model, again.processor, row)
    difference = float((logits - in_memory).abs().max() / in_memory.abs().max())
    if not difference <= LOGIT_TOLERANCE[dtype]:
        raise WorkError(
            f"{out}: the adapter read back from disk answers differently (its logits by {difference:.2e} "
            f"of the largest, {LOGIT_TOLERANCE[dtype]:.0e} is allowed); it must not be used"
        )
    say(f"read back from disk: {len(state)} tensors equal, logits differ by {difference:.1e} of the largest")
    return difference

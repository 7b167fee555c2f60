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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig

from roadscribe.artifacts import MANIFEST, disk_errors, finish, open_output, read_json, write_json
from roadscribe.errors import InputError, WorkError
from roadscribe.estimate.gpus import present_gpu
from roadscribe.estimate.model_shape import shape_of
from roadscribe.estimate.resolve import check_insisted, resolve
from roadscribe.estimate.train_setup import Host, TrainSetup, World
from roadscribe.estimate.workload import rows_per_step
from roadscribe.machine import free_memory
from roadscribe.model.adapter import WEIGHTS, WEIGHTS_SHA256, adapter_digest, adapter_state, save_adapter
from roadscribe.model.contract import make_contract
from roadscribe.model.load import (
    LoadedBase,
    check_config,
    choose_device,
    load_base,
    load_processor,
    resolve_base,
)
from roadscribe.model.precision import LANGUAGE_LINEARS, assert_precision, precision_map, render_map
from roadscribe.progress import progress, say
from roadscribe.recipe import Recipe, Train, earlier_key
from roadscribe.train.checkpoints import CHECKPOINTS, best_weights, usable_checkpoint
from roadscribe.train.dataset import DatasetFacts, check_rows, open_rows
from roadscribe.train.distributed import Processes, joined
from roadscribe.train.eval_callback import (
    BestBy,
    EvalCallback,
    EvalResult,
    HeldOut,
    choose_adapter,
    describe_result,
    open_held_out,
    restore_adapter,
)
from roadscribe.train.finite_check import SkippedSteps, assert_float16
from roadscribe.train.fsdp import assert_sharded, check_launch, codes, whole_adapter
from roadscribe.train.prefix_sharing import Item, item_rows, workload_of
from roadscribe.train.tensorboard import TensorBoard, require_boards
from roadscribe.train.trainer import (
    LOG,
    TENSORBOARD,
    Reporter,
    VisionTrainer,
    build_trainer,
    memory_errors,
    peak_memory_gib,
)
from roadscribe.train.verify_adapter import answer_logits, read_back, require_written

PROCESSES = "processes"
"""Key of an adapter's manifest: how many processes make it, where that is not one."""


class Run(NamedTuple):
    """What came of the optimizer steps."""

    steps: int
    samples_per_s: float
    """Since this start of the run, of all processes together, without the time spent on evaluation."""
    skipped_steps: int
    """fp16: steps that loss scaling skipped."""
    results: Sequence[EvalResult]


def train(
    recipe: Recipe, dataset_folder: Path, out: Path, *, resume: bool = False, overwrite: bool = False
) -> Path:
    """Fine-tune the recipe's base on a dataset with LoRA and write an adapter to ``out``.

    ``out`` receives the adapter in PEFT's form, `contract.json`, `recipe.json`, `train_log.jsonl` (a line a
    logged step), `watch.jsonl` (one line per evaluation) and, while it runs, `checkpoints/`.

    Args:
        recipe: `model`, `footage`, `lora` and `train` count here; for evaluation `infer`, too.
        dataset_folder: what `curate` wrote, or a folder saved by `DatasetDict.save_to_disk`.
        out: the adapter's folder.
        resume: go on from the last whole checkpoint; the result is that of an undisturbed run.
        overwrite: delete what ``out`` holds first.

    Raises:
        InputError: the dataset, the base or an option is wrong; nothing was written.
        WorkError: the training failed (memory, disk, a loss that is not finite), or what was written is not
            what was trained.
    """
    with joined() as world:
        begun = world.broadcast_from_rank0(
            lambda: _open(recipe, dataset_folder, out, world, resume, overwrite)
        )
        if begun is None:
            return out
        with disk_errors(out), memory_errors(), warnings.catch_warnings():
            # The libraries warn each other of coming renames; nothing a user could act on.
            warnings.simplefilter("ignore", FutureWarning)
            summary = _train(recipe, begun, dataset_folder, out, world)
            if world.first:
                shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
                finish(out, **summary)
    return out


class _Begun(NamedTuple):
    """What is known of a run before a weight is loaded."""

    facts: DatasetFacts
    held_out: HeldOut | None
    checkpoint: Path | None
    """What the run goes on from."""
    setup: TrainSetup
    items: Sequence[Item]
    """The sequences that the run goes through."""


def _open(
    recipe: Recipe, dataset: Path, out: Path, world: Processes, resume: bool, overwrite: bool
) -> _Begun | None:
    """Check everything and open the output; None where it is complete already."""
    _check_targets(recipe.lora.targets)
    _check_evaluation(recipe.train)
    if world.sharded:
        check_launch()
    gpu = present_gpu() if choose_device().type == "cuda" else None
    launch = World(world.count, world.local, world.sharded)
    check_insisted(recipe, gpu, launch)
    rows = open_rows(dataset, checksums=True)
    base = resolve_base(recipe.model)
    check_config(base)
    processor = load_processor(base, recipe.footage.max_pixels)
    facts = check_rows(rows, processor, recipe.footage, recipe.train.max_length)
    tokens = sorted(facts.tokens)
    say(
        f"dataset: {len(rows)} rows of {facts.clips} clips, {tokens[0]} to {tokens[-1]} tokens a row "
        f"(median {tokens[len(tokens) // 2]}), limit {recipe.train.max_length}"
    )
    config = AutoConfig.from_pretrained(base.path_or_id, revision=base.revision)
    shape = shape_of(config, recipe.lora.r, recipe.lora.targets)
    items, work = workload_of(recipe, rows, facts, processor)
    setup = resolve(recipe, shape, work, gpu, launch, Host(free_memory(), os.cpu_count() or 2))
    made_from = {**recipe.as_json("model", "footage", "lora", "train"), "dataset_sha256": facts.sha256}
    held_out = None
    if recipe.train.eval_steps:
        held_out = open_held_out(dataset, processor, recipe)
        made_from["watched"] = [held_out.sha256, recipe.infer.max_new_tokens]
    if resume:
        _check_begun(out, world)
    if world.count > 1:
        made_from[PROCESSES] = world.count
    if world.sharded:
        made_from["sharded"] = True
    if open_output(out, "adapter", made_from, resume=resume, overwrite=overwrite):
        return None
    for line in setup.lines():
        say(line)
    return _Begun(facts, held_out, usable_checkpoint(out / CHECKPOINTS) if resume else None, setup, items)


def _check_begun(out: Path, world: Processes) -> None:
    """Only a run with today's keys goes on, and only with as many processes: each has its own random numbers."""
    path = out / MANIFEST
    manifest = read_json(path, "an artifact's manifest") if path.exists() else None
    made_from = manifest.get("recipe") if isinstance(manifest, dict) else None
    if not isinstance(made_from, dict):
        return
    earlier = earlier_key(made_from)
    if earlier is not None:
        raise InputError(
            f"{out}: was begun by an earlier version, whose recipe holds `{earlier}`; resume it with that version, "
            "or begin anew with --overwrite"
        )
    then = made_from.get(PROCESSES, 1)
    if then != world.count:
        raise InputError(
            f"{out}: was begun by {then} process{'es' * (then != 1)}, and now there "
            f"{'is 1' if world.count == 1 else f'are {world.count}'}; resume it with {then} "
            f"(--processes {then}), or begin anew with --overwrite"
        )


def _check_targets(targets: tuple[str, ...]) -> None:
    odd = [target for target in targets if target not in LANGUAGE_LINEARS]
    if odd or not targets:
        raise InputError(
            f"lora.targets: {', '.join(odd) or 'empty'}; only the language model's linears carry LoRA: "
            f"{', '.join(LANGUAGE_LINEARS)}"
        )


def _check_evaluation(train: Train) -> None:
    require_boards(train.report_to)
    if train.load_best_at_end and not train.eval_steps:
        raise InputError(
            "train.load_best_at_end: the best step is only known where held-out reports are evaluated; "
            "set train.eval_steps as well, or train.load_best_at_end=false"
        )


def _train(recipe: Recipe, known: _Begun, dataset: Path, out: Path, world: Processes) -> dict[str, Any]:
    """The run; its summary, which only the first process completes."""
    begun = time.monotonic()
    rows, facts = open_rows(dataset), known.facts
    setup = known.setup
    loaded = load_base(
        recipe.model,
        max_pixels=recipe.footage.max_pixels,
        to_shard=world.sharded,
        dtype=setup.dtype.value,
    )
    if world.first:
        contract = make_contract(loaded, recipe.footage, facts.prompt_version)
        write_json(out / "recipe.json", recipe.as_json())
    given = item_rows(rows, known.items)
    # What follows counts in the sequences that an optimizer step takes, not in the rows that the recipe asks for.
    settings = recipe.train.model_copy(update=setup.batch.value._asdict())
    trainer = build_trainer(
        loaded, given, settings, recipe.lora, out / CHECKPOINTS, setup=setup, keys=facts.keys
    )
    trained = _report_map(trainer.model, loaded.quantized, recipe.lora.targets)
    _say_batch(settings, setup, len(rows), len(given), world)
    run = _run(trainer, recipe, settings, len(rows), loaded, known, out, world)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if world.sharded:
        # All processes take part in gathering the adapter and in a pass through the model.
        state, in_memory = whole_adapter(model), answer_logits(model, loaded.processor, rows[0])
    if not world.first:
        return {}
    kept_step = _keep(model, run, recipe.train, out)
    if world.sharded:
        save_adapter(out, model, contract, state)
    else:
        save_adapter(out, model, contract)
        in_memory = answer_logits(model, loaded.processor, rows[0])
        state = {name: tensor.detach().cpu().clone() for name, tensor in adapter_state(model).items()}
    dtype, device = loaded.dtype, loaded.device
    # The trained model makes room for the one that is read back.
    del model, trainer, loaded
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    require_written(out, state)
    difference = read_back(out, dataset, in_memory, dtype, device, in_process=recipe.train.verify_in_process)
    lines = (
        [json.loads(line) for line in (out / LOG).read_text().splitlines()] if (out / LOG).exists() else []
    )
    return {
        "rows": len(rows),
        "steps": run.steps,
        "kept": _kept_in_words(kept_step, run, recipe.train),
        "skipped_steps": run.skipped_steps,
        "trained_parameters": trained,
        "first_loss": lines[0]["loss"] if lines else None,
        "last_loss": lines[-1]["loss"] if lines else None,
        "seconds": round(time.monotonic() - begun, 1),
        "samples_per_s": run.samples_per_s,
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "read_back_logit_difference": difference,
        WEIGHTS_SHA256: adapter_digest(out),
    }


def _say_batch(train: Train, setup: TrainSetup, rows: int, items: int, world: Processes) -> None:
    """Say what an optimizer step sees, where that is not the recipe's own product."""
    if world.count == 1:
        return
    passes = f"{train.gradient_accumulation} pass{'es' * (train.gradient_accumulation > 1)}"
    say(
        f"processes: {world.count}; an optimizer step sees "
        f"{rows_per_step(setup.batch.value, rows, items) * world.count:g} rows "
        f"({train.batch_size} at a time x {passes} x {world.count} processes)"
    )
    odd = -items % (train.batch_size * world.count)
    if odd and (train.max_steps < 0 or train.max_steps * train.batch_size * world.count > items):
        say(f"an epoch's last pass takes {odd} of its first samples again, so that each process has as many")


def _report_map(model: Any, quantized: bool, targets: tuple[str, ...]) -> int:
    rows = precision_map(model)
    for line in render_map(rows):
        print(line, file=sys.stderr)
    assert_precision(model, quantized=quantized, targets=targets)
    return sum(row.trainable for row in rows)


def _run(
    trainer: VisionTrainer,
    recipe: Recipe,
    train: Train,
    rows: int,
    loaded: LoadedBase,
    known: _Begun,
    out: Path,
    world: Processes,
) -> Run:
    """Train to the end, evaluating held-out reports on the way."""
    samples_a_step = rows_per_step(known.setup.batch.value, rows, len(trainer.train_dataset)) * world.count
    total = planned_steps(train, len(trainer.train_dataset), world.count)
    checkpoint, held_out = known.checkpoint, known.held_out if world.first else None
    before = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    if checkpoint is not None:
        say(f"resuming from {checkpoint.name} of {total} steps")

    packed = codes(trainer.model) if world.sharded else {}

    def hold_law() -> None:
        # A run that only has to be finished is not sharded any more.
        if world.sharded and before < total:
            assert_sharded(trainer.model, packed)
            return
        assert_precision(trainer.model, quantized=loaded.quantized, targets=recipe.lora.targets)
        if loaded.dtype == torch.float16:
            assert_float16(trainer.model, str(trainer.accelerator.mixed_precision))

    board = TensorBoard(out / TENSORBOARD, before) if TENSORBOARD in train.report_to and world.first else None
    skipped = SkippedSteps(checkpoint) if loaded.dtype == torch.float16 else None
    begun = time.monotonic()
    with progress(total, "training", already=before, by_note=True) as advance:
        reporter = Reporter(out / LOG, advance, samples_a_step, hold_law, skipped, world)
        evaluations = None
        if held_out is not None:
            tell = _teller(trainer, reporter, board, held_out, train.best_by)
            evaluations = EvalCallback(
                trainer.model, loaded.processor, held_out, train, recipe.infer, out, tell
            )
        # In this order: what is counted is logged, and an evaluation belongs to the step that has just been shown.
        for callback in (skipped, reporter, evaluations, board.callback() if board else None):
            if callback is not None:
                trainer.add_callback(callback)
        if checkpoint is not None and before >= total:
            # transformers would train one step more.
            restore_adapter(trainer.model, checkpoint / WEIGHTS)
            reporter.go_on_from(before)
            if evaluations is not None:
                evaluations.go_on_from(before)
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done = max(before, trainer.state.global_step)
    if done != total:
        raise WorkError(
            f"{out}: training ended at step {done} of {total}, and nothing said why; the adapter does not count as "
            "complete. Run the same command with --resume; if it ends there again, look at the rows of that step"
        )
    spent = time.monotonic() - begun - (evaluations.seconds if evaluations else 0.0)
    return Run(
        steps=done,
        samples_per_s=round((done - before) * samples_a_step / max(spent, 1e-9), 3),
        skipped_steps=skipped.total if skipped else 0,
        results=evaluations.results if evaluations else (),
    )


def _teller(
    trainer: VisionTrainer, reporter: Reporter, board: TensorBoard | None, held_out: HeldOut, by: BestBy
) -> Callable[[EvalResult, bool], None]:
    """Reports each evaluation: a line on stderr, numbers to every board, report and frames to TensorBoard."""

    def tell(result: EvalResult, is_best: bool) -> None:
        reporter.pause(result.seconds)
        say(describe_result(result, is_best, by))
        # Not the handler's own on_log, which would call the step's loss logged.
        trainer.callback_handler.call_event(
            "on_log", trainer.args, trainer.state, trainer.control, logs=result.numbers()
        )
        if board is not None:
            board.show(result.step, result.sample.text, held_out.clips[0].images)

    return tell


def _keep(model: Any, run: Run, train: Train, out: Path) -> int:
    """Put the adapter that the run leaves into the model; its step."""
    step, why = choose_adapter(run.results, train, run.steps)
    if run.results:
        say(why)
    if step != run.steps:
        restore_adapter(model, best_weights(out, step))
    return step


def _kept_in_words(step: int, run: Run, train: Train) -> dict[str, Any]:
    """The manifest's record of which adapter was kept."""
    kept: dict[str, Any] = {"keep": "best" if train.load_best_at_end else "last", "step": step}
    result = next((result for result in run.results if result.step == step), None)
    if result is not None:
        kept |= {
            "best_by": train.best_by,
            "field_accuracy": result.field_accuracy,
            "schema_valid": result.schema_valid,
            "clips": result.clips,
        }
    return kept


def planned_steps(train: Train, rows: int, processes: int = 1) -> int:
    """Optimizer steps of a run over this many rows; a step may go short at an epoch's end."""
    if train.max_steps > 0:
        return train.max_steps
    steps_an_epoch = math.ceil(rows / (train.batch_size * train.gradient_accumulation * processes))
    return math.ceil(train.epochs * steps_an_epoch)

"""TRL's SFTTrainer as Roadscribe asks for it: a frozen vision tower, no hidden truncation, an honest log."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from roadscribe.artifacts import write_text
from roadscribe.errors import WorkError
from roadscribe.model.encode import IGNORED
from roadscribe.model.load import LoadedBase
from roadscribe.progress import Advance, say
from roadscribe.recipe import Lora, Train
from roadscribe.train.batches import CLIPS, PLACED, Collator, pixels_of
from roadscribe.train.branches import attend_in_branches, branch_attention
from roadscribe.train.claim_weights import WEIGHTS
from roadscribe.train.features import KeptFeatures, visual_features
from roadscribe.train.guard import WHOLE, FiniteGuard, SkippedSteps
from roadscribe.train.processes import ALONE, Processes, sharding
from roadscribe.train.sharded import shard
from roadscribe.train.shared import are_items, sequences_seen
from roadscribe.train.speed import answer_only_head, fastest_attention, speed_up

CHECKPOINTS = "checkpoints"
LOG = "train_log.jsonl"
TENSORBOARD = "tensorboard"


class VisionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with the frozen vision tower outside the graph, which stops at a loss that is not finite."""

    kept: KeptFeatures | None = None
    guard: FiniteGuard

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean loss of an answer token over the optimizer step, this batch's part of it."""
        places, placed, labels = inputs.pop(CLIPS), inputs.pop(PLACED, None), inputs.pop("labels")
        weights = inputs.pop(WEIGHTS, None)
        inner = self.accelerator.unwrap_model(model).get_base_model().model
        # A placed batch's grid stays on the host, where the tower reads it.
        grid = inputs["image_grid_thw"] if placed is None else torch.tensor(placed["grid"])
        wanted: dict[str, Any] = {"placed": placed}
        if placed is None:
            wanted = {"answer_labels": labels, "answer_weights": weights}
        pixels = pixels_of(self.processing_class, inputs, inner.visual.dtype)
        features = visual_features(inner, places, grid, pixels, self.kept)
        summed = model(**inputs, **wanted, mm_encoder_outputs={"image": features}, use_cache=False)
        count = (labels[:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = summed / torch.as_tensor(count).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # The count is that of all processes, whose gradients are averaged.
            loss = loss * self.accelerator.num_processes
        self.guard.note(loss, features, places, grid)
        return (loss, None) if return_outputs else loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """One forward and backward pass.

        Raises:
            WorkError: the loss or a vision activation is not finite; names the clips.
        """
        # Around the backward pass, too: what checkpointing computes anew has to come from the same kernel.
        with fastest_attention(self.args.device):
            loss = super().training_step(model, inputs, num_items_in_batch)
        self.guard.check(self.state.global_step + 1)
        return loss

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As `transformers.Trainer.train`; the workers are gone when it returns.

        Found among the garbage, they would miss that they shall end: the collector first closes the queue that
        tells them, and torch waits five seconds for each before it kills it.
        """
        done = super().train(*args, **kwargs)
        loader = self.callback_handler.train_dataloader
        getattr(loader, "base_dataloader", loader)._iterator = None
        return done

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Checkpoints need no card; what ships gets its own."""


def drop_padding_mask(language_model: torch.nn.Module) -> None:
    """Train without a padding mask, so that attention takes its faster causal path.

    Training pads on the right, and a causal token never looks right, so no token of a sample can see padding;
    what padding itself computes carries no loss.
    """

    def drop(
        module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        if module.training:
            kwargs["attention_mask"] = None
        return args, kwargs

    language_model.register_forward_pre_hook(drop, with_kwargs=True)


def training_arguments(train: Train, loaded: LoadedBase, folder: Path, workers: int) -> SFTConfig:
    """TRL's arguments for a recipe. Everything that would cut, drop or hide something is off."""
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps,
        per_device_train_batch_size=train.batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        learning_rate=train.learning_rate,
        # transformers reads a number below 1 as a share of the steps
        warmup_steps=min(train.warmup_ratio, 0.999999),
        lr_scheduler_type=train.scheduler,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        optim="adamw_torch_fused",
        gradient_checkpointing=train.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if train.gradient_checkpointing else None,
        max_length=None,
        packing=False,
        completion_only_loss=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=loaded.dtype == torch.bfloat16 and loaded.device.type == "cuda",
        fp16=loaded.dtype == torch.float16,
        use_cpu=loaded.device.type == "cpu",
        # Every adapter takes part in every pass; looking for idle ones would cost a walk of the graph.
        ddp_find_unused_parameters=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        dataloader_pin_memory=loaded.device.type == "cuda",
        # The host goes on to the next step while the card still computes and the batch is on its way.
        accelerator_config={"non_blocking": loaded.device.type == "cuda"},
        seed=train.seed,
        data_seed=train.seed,
        save_strategy="steps",
        save_steps=train.save_steps,
        # Two, so that a whole checkpoint is there while the next is being written.
        save_total_limit=2,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        # TensorBoard gets a writer of our own (`boards.TensorBoard`).
        report_to=[name for name in train.report_to if name != TENSORBOARD],
    )


def build_trainer(
    loaded: LoadedBase,
    rows: datasets.Dataset,
    train: Train,
    lora: Lora,
    folder: Path,
    *,
    kept: KeptFeatures | None,
    workers: int,
) -> VisionTrainer:
    """The trainer around a loaded base: LoRA on the recipe's projections, adapters in float32."""
    peft_config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    trainer = VisionTrainer(
        model=loaded.model,
        args=training_arguments(train, loaded, folder, workers),
        train_dataset=rows,
        processing_class=loaded.processor,
        data_collator=Collator(
            loaded.processor,
            None if kept is None else kept.known,
            on_card=loaded.device.type == "cuda",
            claim_weight=train.claim_weight,
        ),
        peft_config=peft_config,
    )
    trainer.kept = kept
    trainer.guard = FiniteGuard(trainer.model.get_base_model().model)
    trainer.remove_callback(PrinterCallback)
    # Normalises the loss by the answer tokens of the whole optimizer step, so that micro-batches of another
    # size give the same gradients. TRL's loss takes the count; Qwen3-VL's own forward, which does not, is not
    # asked.
    trainer.model_accepts_loss_kwargs = True
    # TRL turned a quantised model's adapters to bfloat16, which fp16's loss scaling cannot unscale on older
    # cards.
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    passes = sequences_seen(train, len(rows), trainer.args.world_size) / train.batch_size
    if sharding():
        shard(trainer, loaded.dtype)
        answer_only_head(trainer.model.get_base_model())
        say("fused adapters, dense weights, compiled layers: off (FSDP shards the layers)")
    else:
        speed_up(trainer, loaded, train, int(passes))
    drop_padding_mask(trainer.model.get_base_model().model.language_model)
    if are_items(rows):
        choice = branch_attention(loaded.device, loaded.dtype, train.branch_attention)
        say(f"attention over branches: {choice.reason}")
        attend_in_branches(trainer.model.get_base_model().model.language_model, flex=choice.value == "flex")
    return trainer


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Shows progress, writes the log, and marks checkpoints that are whole; of several processes the first does."""

    def __init__(
        self,
        log: Path,
        advance: Advance,
        samples_a_step: float,
        at_start: Callable[[], None],
        skipped: SkippedSteps | None = None,
        here: Processes = ALONE,
    ) -> None:
        """``skipped``: counts skipped steps in fp16; it must come before this among the callbacks.
        ``samples_a_step``: of all processes together."""
        self.log, self.advance, self.samples_a_step, self.at_start = log, advance, samples_a_step, at_start
        self.skipped, self.here = skipped, here
        self.note = ""
        self.since = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was loaded, if any."""
        self.go_on_from(state.global_step)

    def go_on_from(self, step: int) -> None:
        """Hold the law once more, and forget log lines beyond a step: they will be written again."""
        self.at_start()
        if self.here.first:
            trim_log(self.log, step)
        self.since = (time.monotonic(), step)

    def pause(self, seconds: float) -> None:
        """Leave a stretch of time out of the samples a second."""
        then, step = self.since
        self.since = (then + seconds, step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One optimizer step is done."""
        self.advance(1, self.note)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Append a line to the log and show it; the closing summary of the trainer is not one."""
        if logs is None or "loss" not in logs or not self.here.first:
            return
        now = time.monotonic()
        then, step = self.since
        rate = (state.global_step - step) * self.samples_a_step / max(now - then, 1e-9)
        self.since = (now, state.global_step)
        norm = float(logs["grad_norm"])
        line: dict[str, Any] = {
            "step": state.global_step,
            "loss": float(logs["loss"]),
            # A step that fp16's loss scaling skipped has none.
            "grad_norm": norm if math.isfinite(norm) else None,
            "learning_rate": float(logs["learning_rate"]),
            "samples_per_s": round(rate, 3),
        }
        if self.skipped is not None:
            line["skipped_steps"] = self.skipped.total
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        skipped = f", {self.skipped.total} steps skipped" if self.skipped and self.skipped.total else ""
        speed = f"{rate:.1f}" if rate >= 0.95 else f"{rate:.3f}"
        self.note = f"loss {line['loss']:.3f}, {speed} samples/s, {peak_memory_gib():.1f} GiB{skipped}"
        self.advance(0, self.note)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint's last file was written, once every process has written its own."""
        self.here.wait()
        if not self.here.first:
            return
        counts = {} if self.skipped is None else {"skipped_steps": self.skipped.total}
        write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE, json.dumps(counts))


def trim_log(log: Path, step: int) -> None:
    """Keep the lines up to a step: what came after it will be done again."""
    if log.exists():
        lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        write_text(log, "".join(line for line in lines if json.loads(line)["step"] <= step))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; those that were cut off are deleted."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / WHOLE).exists():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def peak_memory_gib() -> float:
    """Peak memory so far in GiB: the card's if there is one, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn a full card into one line."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise WorkError(
            "the card's memory is full; lower train.batch_size (and raise train.gradient_accumulation), "
            "set train.gradient_checkpointing=true or train.keep_features=false, or use fewer or smaller frames"
        ) from error

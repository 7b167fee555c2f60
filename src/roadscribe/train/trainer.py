"""TRL's SFTTrainer as Roadscribe asks for it: a frozen vision tower, no hidden truncation, an honest log."""

from __future__ import annotations

import contextlib
import json
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
from roadscribe.model.load import LoadedBase
from roadscribe.progress import Advance
from roadscribe.recipe import Lora, Train
from roadscribe.train.batches import CLIPS, Collator, KeptFeatures, visual_features
from roadscribe.train.folded import fold_lora

CHECKPOINTS = "checkpoints"
LOG = "train_log.jsonl"
WHOLE = "whole"
"""A file that is written into a checkpoint last: without it a checkpoint was cut off and does not count."""


class VisionTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with the frozen vision tower outside the graph, which stops at a loss that is not finite."""

    kept: KeptFeatures | None = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss on the answers of a `Collator` batch.

        Raises:
            WorkError: the loss is not finite; names the clips.
        """
        places = inputs.pop(CLIPS)
        inner = self.accelerator.unwrap_model(model).get_base_model().model
        features = visual_features(
            inner, places, inputs["image_grid_thw"], inputs.pop("pixel_values", None), self.kept
        )
        inputs["mm_encoder_outputs"] = {"image": features}
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        value = loss[0] if return_outputs else loss
        if not torch.isfinite(value):
            clips = ", ".join(place.clip_id for place in places)
            raise WorkError(
                f"step {self.state.global_step + 1}: the loss is {value.item()} on {clips}; "
                "lower train.learning_rate, or look at these clips and answers"
            )
        return loss

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
        dataloader_num_workers=workers,
        dataloader_pin_memory=loaded.device.type == "cuda",
        seed=train.seed,
        data_seed=train.seed,
        save_strategy="steps",
        save_steps=train.save_steps,
        # Two, so that a whole checkpoint is there while the next is being written.
        save_total_limit=2,
        logging_steps=train.logging_steps,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
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
        data_collator=Collator(loaded.processor, kept),
        peft_config=peft_config,
    )
    trainer.kept = kept
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
    fold_lora(trainer.model)
    drop_padding_mask(trainer.model.get_base_model().model.language_model)
    return trainer


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Shows progress, writes the log, and marks checkpoints that are whole."""

    def __init__(
        self, log: Path, advance: Advance, samples_a_step: int, at_start: Callable[[], None]
    ) -> None:
        self.log, self.advance, self.samples_a_step, self.at_start = log, advance, samples_a_step, at_start
        self.note = ""
        self.since = (time.monotonic(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was loaded, if any: hold the law once more, forget log lines beyond it."""
        self.at_start()
        trim_log(self.log, state.global_step)
        if state.global_step:
            self.advance(state.global_step)
        self.since = (time.monotonic(), state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One optimizer step is done."""
        self.advance(1, self.note)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Append a line to the log; the closing summary of the trainer is not one."""
        if logs is None or "loss" not in logs:
            return
        now = time.monotonic()
        then, step = self.since
        rate = (state.global_step - step) * self.samples_a_step / max(now - then, 1e-9)
        self.since = (now, state.global_step)
        line = {
            "step": state.global_step,
            "loss": float(logs["loss"]),
            "grad_norm": float(logs["grad_norm"]),
            "learning_rate": float(logs["learning_rate"]),
            "samples_per_s": round(rate, 3),
        }
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.note = f"loss {line['loss']:.3f}, {rate:.1f} samples/s, {peak_memory_gib():.1f} GiB"

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint's last file was written."""
        write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE, "")


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
            "set train.gradient_checkpointing=true, or use fewer or smaller frames"
        ) from error

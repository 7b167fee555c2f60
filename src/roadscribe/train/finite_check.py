"""Stops a training that has left the numbers: non-finite activations by clip, fp16's rules, skipped steps.

float16 reaches 65,504. A large vision activation, a gradient or a stray bfloat16 tensor breaks a run on an
older card in ways that a mean loss shows too late or never; each is looked for here, at one reduction a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from transformers import TrainerCallback

from roadscribe.artifacts import read_json
from roadscribe.errors import WorkError
from roadscribe.qwen3_vl.vision_cache import ClipPlace
from roadscribe.train.checkpoints import WHOLE

SKIPPED_IN_A_ROW = 20
"""fp16's loss scale starts at 65,536 and halves with each skipped step: after 16 it has fallen to 1, and what
still overflows then is no matter of scale."""


@dataclass
class _Noted:
    """One training pass that is still to be checked."""

    fine: torch.Tensor
    """On the host once ``arrived`` has happened."""
    arrived: torch.cuda.Event | None
    loss: torch.Tensor
    features: Any
    places: Sequence[ClipPlace]
    grid: torch.Tensor


class FiniteGuard:
    """Watches the vision encoder's and the language model's outputs of each training pass.

    Hooks note on the device whether all values are finite. `note` sends the answer on its way to the host when
    the loss is known, and `check` waits for it once the backward pass is under way, so that the card never
    waits for the host.
    """

    def __init__(self, inner: Any) -> None:
        """``inner``: the ``Qwen3VLModel`` whose ``visual`` and ``language_model`` are watched."""
        self._merge = int(inner.visual.spatial_merge_size)
        self._vision: list[torch.Tensor] = []
        self._samples: torch.Tensor | None = None
        self._noted: _Noted | None = None
        inner.visual.register_forward_hook(self._saw)
        inner.language_model.register_forward_hook(self._read)

    def _saw(self, tower: torch.nn.Module, args: Any, output: Any) -> None:
        if tower.training:
            levels = (output.pooler_output, *output.deepstack_features)
            self._vision.append(torch.stack([level.isfinite().all() for level in levels]).all())

    def _read(self, language_model: torch.nn.Module, args: Any, output: Any) -> None:
        if language_model.training:
            hidden = output.last_hidden_state
            self._samples = hidden.detach().isfinite().flatten(1).all(1)

    def note(
        self, loss: torch.Tensor, features: Any, places: Sequence[ClipPlace], grid: torch.Tensor
    ) -> None:
        """Remember a pass for `check`.

        Args:
            loss: the pass's loss, a scalar.
            features: the encoder's output for the batch, as `vision_cache.visual_features` gives it.
            places: the clips of the batch, in order.
            grid: (frames of all clips, 3), the frames' sizes in patches.
        """
        flags, self._vision = [loss.isfinite().all(), *self._vision], []
        fine = torch.stack(flags).all()
        arrived = None
        if fine.is_cuda:
            fine = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(fine, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        self._noted = _Noted(fine, arrived, loss.detach(), features, places, grid)

    def check(self, step: int) -> None:
        """Hold the pass noted last to finite numbers.

        Args:
            step: the optimizer step under way, from 1.

        Raises:
            WorkError: naming the clip, for the vision encoder also the frame.
        """
        noted, self._noted = self._noted, None
        if noted is None:
            return
        if noted.arrived is not None:
            noted.arrived.synchronize()
        if noted.fine:
            return
        odd = first_odd_frame(noted.features, noted.places, noted.grid, self._merge)
        if odd is not None:
            clip, frame = odd
            dtype = str(noted.features.pooler_output[0].dtype).removeprefix("torch.")
            raise WorkError(
                f"step {step}: the vision encoder's output is not finite on clip {clip}, frame {frame} "
                f"(computed in {dtype}); look at that frame, take its clip out of the dataset, or set "
                "model.dtype to a type with a larger range (bfloat16 or float32)"
            )
        clips = ", ".join(self._odd_clips(noted.places))
        raise WorkError(
            f"step {step}: the loss is {noted.loss.item()} on {clips}; "
            "lower train.learning_rate, or look at these clips and answers"
        )

    def _odd_clips(self, places: Sequence[ClipPlace]) -> list[str]:
        """The clips whose hidden states are not finite; all of the batch where those do not tell."""
        names = [place.clip_id for place in places]
        samples = self._samples
        if samples is None or len(samples) != len(names) or bool(samples.all()):
            return names
        return [name for name, fine in zip(names, samples.tolist(), strict=True) if not fine]


def first_odd_frame(
    features: Any, places: Sequence[ClipPlace], grid: torch.Tensor, merge: int
) -> tuple[str, int] | None:
    """The clip and the frame in it (from 1) of the first vision output that is not finite, if there is one.

    ``merge``: patches along a side of one visual token.
    """
    levels = [torch.cat(list(level)) for level in (features.pooler_output, *features.deepstack_features)]
    odd = ~torch.stack([level.isfinite().all(-1) for level in levels]).all(0)
    tokens = (grid.prod(-1) // merge**2).tolist()
    frames = torch.split(odd.cpu(), tokens)
    names = [(place.clip_id, frame) for place in places for frame in range(1, place.frames + 1)]
    return next((name for name, frame in zip(names, frames, strict=True) if bool(frame.any())), None)


def assert_float16(model: torch.nn.Module, mixed_precision: str) -> None:
    """Hold a float16 run to its rule: a card without bfloat16 must not meet one bfloat16 tensor.

    Looks at every parameter and buffer, at what 4-bit weights unpack to and compute in, and at autocast.

    Args:
        model: what is trained.
        mixed_precision: accelerate's word for the type that autocast uses; "fp16" here.

    Raises:
        WorkError: naming the first that breaks it.
    """
    if mixed_precision != "fp16":
        raise WorkError(f"autocast computes in {mixed_precision!r}, but a float16 run needs 'fp16'")
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.dtype == torch.bfloat16:
            raise WorkError(f"{name}: is bfloat16, which a float16 run must not hold")
    for name, module in model.named_modules():
        if not isinstance(module, Linear4bit):
            continue
        unpacked = module.weight.quant_state.dtype if module.weight.quant_state is not None else None
        if torch.bfloat16 in (module.compute_dtype, unpacked):
            raise WorkError(f"{name}: its 4-bit weight computes in bfloat16, which a float16 run must not do")


class SkippedSteps(TrainerCallback):  # type: ignore[misc]
    """Counts the optimizer steps that fp16's loss scaling skipped because a gradient overflowed.

    A few at the start, while the scale finds its size, are how loss scaling works. `SKIPPED_IN_A_ROW` are not.
    """

    def __init__(self, checkpoint: Path | None = None) -> None:
        """``checkpoint``: what a run goes on from; its count goes on, too."""
        self.total = 0
        if checkpoint is not None:
            whole = read_json(checkpoint / WHOLE, "what the trainer noted beside its checkpoint")
            self.total = int(whole["skipped_steps"])
        self._in_a_row = 0

    def on_step_end(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """After every optimizer step, done or skipped.

        Raises:
            WorkError: too many in a row were skipped.
        """
        if not optimizer.step_was_skipped:
            self._in_a_row = 0
            return
        self.total += 1
        self._in_a_row += 1
        if self._in_a_row >= SKIPPED_IN_A_ROW:
            raise WorkError(
                f"step {state.global_step}: {self._in_a_row} optimizer steps in a row were skipped, because "
                f"gradients overflow in float16 even at a loss scale of {optimizer.scaler.get_scale():.0e}; "
                "lower train.learning_rate, or train with model.dtype=float32 or on a card with bfloat16"
            )

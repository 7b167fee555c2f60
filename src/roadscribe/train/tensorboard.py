"""Where a run can be watched from outside: TensorBoard in the run's own folder, others through transformers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.integrations import integration_utils

from roadscribe.errors import InputError
from roadscribe.train.dataset import open_image
from roadscribe.train.trainer import TENSORBOARD

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# transformers cannot tell whether flyte, which is no board, is installed.
BOARDS = tuple(sorted(integration_utils.INTEGRATION_TO_CALLBACK.keys() - {"flyte"}))
"""The names that `train.report_to` takes."""


def require_boards(names: Sequence[str]) -> None:
    """Check the recipe's boards before anything is loaded.

    Raises:
        InputError: a name is unknown, or what it needs is not installed.
    """
    for name in names:
        if name not in BOARDS:
            raise InputError(
                f"train.report_to: {name!r} is no board; there is {', '.join(BOARDS)}, or [] for none"
            )
    available = integration_utils.get_available_reporting_integrations()
    for name in names:
        if name == TENSORBOARD and importlib.util.find_spec(TENSORBOARD) is None:
            raise InputError(
                "train.report_to: tensorboard is not installed; install the extra roadscribe[gpu], or set "
                "train.report_to=[]"
            )
        if name != TENSORBOARD and name not in available:
            raise InputError(
                f"train.report_to: {name} is not installed; install its own package (roadscribe has no extra for "
                "it), or set train.report_to=[]"
            )


class _Numbers(integration_utils.TensorBoardCallback):  # type: ignore[misc]
    """transformers' TensorBoard callback without two pages of settings, which lie in the run's recipe, before the
    reports."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Nothing to write before the first step."""


class TensorBoard:
    """A run's TensorBoard files; transformers' own callback writes the numbers through `writer`."""

    def __init__(self, folder: Path, step: int) -> None:
        """``step``: the last step of the checkpoint that the run goes on from; later ones are shown no more."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer: SummaryWriter = SummaryWriter(log_dir=str(folder), purge_step=step + 1 if step else None)
        self._shown = False

    def callback(self) -> Any:
        """The trainer callback that logs loss, rate and the like."""
        return _Numbers(tb_writer=self.writer)

    def show(self, step: int, text: str, images: Sequence[dict[str, Any]]) -> None:
        """Show a report, and (once, they stay the same) the frames that it speaks of."""
        # TensorBoard reads Markdown; an indented block keeps the report as it was written.
        block = "\n".join(f"    {line}" for line in text.splitlines())
        self.writer.add_text("eval/sample_report", block, step)
        if not self._shown:
            self.writer.add_image("eval/sample_frames", contact_sheet(images), step, dataformats="HWC")
            self._shown = True
        self.writer.flush()


def contact_sheet(images: Sequence[dict[str, Any]]) -> np.ndarray:
    """Stored frames as one picture, (height, width, 3) bytes: oldest first, in about as many rows as columns."""
    frames = [np.asarray(open_image(image).convert("RGB")) for image in images]
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    columns = math.ceil(math.sqrt(len(frames)))
    sheet = np.zeros((math.ceil(len(frames) / columns) * height, columns * width, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return sheet

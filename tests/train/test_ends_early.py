"""A run that ends before its last step is never called complete, and says which clips stopped it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader
from trl import SFTTrainer

from roadscribe import cli
from roadscribe.errors import InputError, WorkError
from roadscribe.model.adapter import load_adapter
from roadscribe.recipe import Recipe
from roadscribe.train.collator import BatchError, Collator, batch_errors
from roadscribe.train.train import train
from training_rows import make_row


class Failing:
    """A stand-in for what turns rows into a batch: fails on one clip."""

    def __init__(self, make: Callable[..., Any], clip_id: str, error: type[Exception]) -> None:
        self.make, self.clip_id, self.error = make, clip_id, error

    def __call__(self, collator: Collator, rows: list[dict[str, Any]]) -> Any:
        if any(row["clip_id"] == self.clip_id for row in rows):
            raise self.error("what went wrong")
        return self.make(collator, rows)


@pytest.mark.parametrize(
    ("error", "workers"), [(StopIteration, 0), (StopIteration, 1), (EOFError, 0), (KeyError, 1)]
)
def test_whatever_a_batch_raises_ends_the_run_with_its_clips_in_one_line(
    recipe_for: Callable[..., Recipe],
    eight_rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    workers: int,
) -> None:
    failing = Failing(Collator._batch, "clip-5", error)
    monkeypatch.setattr(Collator, "_batch", lambda self, rows: failing(self, rows))
    with pytest.raises(WorkError) as caught:
        train(recipe_for(f"train.workers={workers}"), eight_rows, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith("no batch can be made of clips ") and "clip-5" in said
    assert error.__name__ in said and "Traceback" not in said and "\\n" not in said
    with pytest.raises(InputError, match="is unfinished"):
        load_adapter(tmp_path / "out")


def test_a_loader_that_ends_early_is_no_end_of_the_run_and_resume_finishes_it(
    recipe_for: Callable[..., Recipe], eight_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(
        "train.epochs=1", "train.gradient_accumulation=2", "train.batch_size=1", "train.save_steps=1"
    )
    taken = SFTTrainer.get_batch_samples

    def end_early(self: Any, batches: Any, count: int, device: Any) -> Any:
        if self.state.global_step >= 2:
            batches = iter(())
        return taken(self, batches, count, device)

    monkeypatch.setattr(SFTTrainer, "get_batch_samples", end_early)
    with pytest.raises(WorkError, match=r"training ended at step 2 of 4, .*--resume"):
        train(recipe, eight_rows, tmp_path / "out")
    with pytest.raises(InputError, match="is unfinished"):
        load_adapter(tmp_path / "out")
    monkeypatch.undo()
    train(recipe, eight_rows, tmp_path / "out", resume=True)
    assert load_adapter(tmp_path / "out").contract.frames == 2


def test_an_error_in_a_worker_comes_out_as_the_line_that_it_was() -> None:
    def fail(rows: list[int]) -> None:
        raise BatchError(
            "no batch can be made of clips a, b (StopIteration: StopIteration); look at these rows"
        )

    with pytest.raises(BatchError) as caught:
        next(iter(DataLoader([1, 2], collate_fn=fail, num_workers=1)))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "no batch can be made of clips a, b (StopIteration: StopIteration); look at these rows"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (EOFError(), r"rows of the dataset cannot be read \(EOFError: EOFError\)"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (
            RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
            "process that prepares batches failed .*lower train.workers",
        ),
    ],
)
def test_rows_that_do_not_arrive_are_one_line(error: Exception, message: str) -> None:
    with pytest.raises(WorkError, match=message), batch_errors():
        raise error


def test_a_collator_names_the_clips_it_cannot_take(tiny_processor: Any) -> None:
    row = make_row(3, images=[{"bytes": b"no image", "path": None}] * 2)
    with pytest.raises(BatchError, match=r"of clips clip-1, clip-3 \(UnidentifiedImageError"):
        Collator(tiny_processor)([make_row(1), row])


def test_an_eoferror_is_no_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut_off(as_json: bool) -> int:
        raise EOFError("Ran out of input")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("roadscribe.doctor.doctor", cut_off)
    monkeypatch.setattr(sys, "argv", ["roadscribe", "doctor"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert "ended too early (Ran out of input)" in said and "interrupted" not in said

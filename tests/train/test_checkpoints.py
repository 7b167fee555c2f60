"""A damaged checkpoint gives way to the one before it; a disk that fails a checkpoint is named by its reason."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from roadscribe.artifacts import disk_errors
from roadscribe.errors import InputError, WorkError
from roadscribe.model.adapter import WEIGHTS, load_adapter
from roadscribe.recipe import Recipe
from roadscribe.train.checkpoints import (
    CHECKPOINTS,
    WHOLE,
    all_checkpoints,
    close_checkpoint,
    usable_checkpoint,
    write_errors,
)
from roadscribe.train.train import train
from roadscribe.train.trainer import LOG, VisionTrainer, trim_log


class Stopped(Exception):
    """What ends a run in a test as a killed process would."""


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path) -> Recipe:
    """Five steps, a checkpoint after each, with dropout so that random numbers matter."""
    settings_of_run = {
        "batch_size": 2,
        "gradient_accumulation": 1,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "learning_rate": 2e-3,
        "max_steps": 5,
        "save_steps": 1,
        "verify_in_process": True,
    }
    return Recipe.model_validate(
        {
            "model": {"base": str(tiny_folder)},
            "footage": {"frames": 2, "max_pixels": 6144},
            "lora": {"r": 4, "dropout": 0.1},
            "train": settings_of_run,
        }
    )


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, eight_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, eight_rows, tmp_path_factory.mktemp("undisturbed") / "out")


@pytest.fixture(scope="module")
def stopped(recipe: Recipe, eight_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended in its fifth step: checkpoints 3 and 4 are there."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    step = VisionTrainer.training_step

    def stop(self: VisionTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 4:
            raise Stopped
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(VisionTrainer, "training_step", stop)
        train(recipe, eight_rows, out)
    assert list(all_checkpoints(out / CHECKPOINTS)) == [3, 4]
    return out


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to be damaged."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def assert_same_adapter(out: Path, undisturbed: Path) -> None:
    ours, theirs = load_file(out / WEIGHTS), load_file(undisturbed / WEIGHTS)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


FILES = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "training_args.bin",
    WEIGHTS,
    "adapter_config.json",
    WHOLE,
)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_taken(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / CHECKPOINTS / "checkpoint-4" / name
    path.write_bytes(b"")
    found = usable_checkpoint(run / CHECKPOINTS)
    assert found is not None and found.name == "checkpoint-3"
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line and line.endswith("checkpoint-3 is taken instead")
    assert list(all_checkpoints(run / CHECKPOINTS)) == [3]


def test_a_run_whose_last_checkpoint_is_damaged_ends_like_an_undisturbed_one(
    run: Path, undisturbed: Path, recipe: Recipe, eight_rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / CHECKPOINTS / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    train(recipe, eight_rows, run, resume=True)
    said = capsys.readouterr().err
    assert "optimizer.pt: is empty; checkpoint-3 is taken instead" in said
    assert "resuming from checkpoint-3 of 5 steps" in said
    assert_same_adapter(run, undisturbed)
    assert [json.loads(line)["step"] for line in (run / LOG).read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_where_no_checkpoint_is_left_training_starts_at_the_beginning_and_says_so(
    run: Path, undisturbed: Path, recipe: Recipe, eight_rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / CHECKPOINTS / "checkpoint-4" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-5])
    (run / CHECKPOINTS / "checkpoint-3" / "trainer_state.json").unlink()
    train(recipe, eight_rows, run, resume=True)
    said = capsys.readouterr().err
    assert "adapter_model.safetensors: is cut off or damaged" in said
    assert "trainer_state.json: is missing; training starts at the beginning" in said
    assert_same_adapter(run, undisturbed)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FILES),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    cut=st.booleans(),
)
def test_no_cut_and_no_flipped_bit_goes_unnoticed(
    stopped: Path, tmp_path: Path, name: str, place: float, bit: int, cut: bool
) -> None:
    folder = tmp_path / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stopped / CHECKPOINTS, folder)
    path = folder / "checkpoint-4" / name
    content = bytearray(path.read_bytes())
    where = int(place * len(content))
    if cut:
        del content[where:]
    else:
        content[where] ^= 1 << bit
    path.write_bytes(content)
    found = usable_checkpoint(folder)
    assert found is not None
    # Only within the list of digests a change may leave a checkpoint that is as good as before.
    assert found.name == "checkpoint-3" or name == WHOLE


def test_a_checkpoint_of_an_earlier_version_counts_where_its_files_can_be_read(run: Path) -> None:
    for checkpoint in all_checkpoints(run / CHECKPOINTS).values():
        (checkpoint / WHOLE).write_text("{}")
    (run / CHECKPOINTS / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    found = usable_checkpoint(run / CHECKPOINTS)
    assert found is not None and found.name == "checkpoint-3"


def test_the_best_adapter_so_far_belongs_to_its_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "state").write_text(str(step))
        (tmp_path / f"best-{step}.safetensors").write_text(str(step))
        close_checkpoint(tmp_path / f"checkpoint-{step}")
    (tmp_path / "best-2.safetensors").write_text("other")
    assert usable_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


def test_a_damaged_line_of_the_log_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / LOG
    log.write_bytes(b'{"step": 1}\n{"ste\xff\n[]\n{"step": 3}\n{"step": 4}\n{"step"')
    trim_log(log, 3)
    assert log.read_text() == '{"step": 1}\n{"step": 3}\n'
    assert [line.rsplit(":", 2)[1] for line in capsys.readouterr().err.splitlines()] == ["2", "3"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 64 KiB, as `ulimit -f` would have it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_beyond_the_limit_of_a_file_is_one_line_with_the_reason_and_resume_works(
    run: Path, undisturbed: Path, recipe: Recipe, eight_rows: Path, request: pytest.FixtureRequest
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        step = VisionTrainer.training_step

        def limit(self: VisionTrainer, *args: Any, **kwargs: Any) -> Any:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
            request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
            patch.undo()
            return step(self, *args, **kwargs)

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        patch.setattr(VisionTrainer, "training_step", limit)
        with pytest.raises(WorkError, match=r"a file became larger than .*`ulimit -f`.*--resume"):
            train(recipe, eight_rows, run, resume=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(InputError, match="is unfinished"):
        load_adapter(run)
    train(recipe, eight_rows, run, resume=True)
    assert_same_adapter(run, undisturbed)


def save_with_torch(folder: Path) -> None:
    torch.save({"moments": torch.zeros(100_000)}, folder / "optimizer.pt")


def save_with_safetensors(folder: Path) -> None:
    safetensors.torch.save_file({"moments": torch.zeros(100_000)}, folder / WEIGHTS)


@pytest.mark.parametrize("save", [save_with_torch, save_with_safetensors])
def test_the_system_tells_why_a_library_could_not_write(
    small_files: None, tmp_path: Path, save: Callable[[Path], None]
) -> None:
    with pytest.raises(OSError) as caught, write_errors(tmp_path):
        save(tmp_path)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "the disk is full; free some space, then use --resume",
        ),
        (
            safetensors.SafetensorError(
                'Error while serializing: I/O error: Os { code: 28, kind: StorageFull, message: "No space" }'
            ),
            "the disk is full",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0"),
            "cannot be written .*see whether the disk is full",
        ),
    ],
)
def test_a_full_disk_is_named_in_one_line(tmp_path: Path, error: Exception, message: str) -> None:
    (tmp_path / "optimizer.pt").write_bytes(b"half")
    with pytest.raises(WorkError, match=message) as caught, disk_errors(tmp_path), write_errors(tmp_path):
        raise error
    assert os.linesep not in str(caught.value)

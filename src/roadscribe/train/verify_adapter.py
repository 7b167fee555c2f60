"""What ships is what was trained: an adapter's folder is loaded afresh and must answer as the model did.

By default in a process of its own, which knows nothing but the files: what only this process's memory held
cannot help there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from roadscribe.errors import RoadscribeError, WorkError
from roadscribe.model.adapter import WEIGHTS, adapter_state, read_adapter
from roadscribe.progress import say
from roadscribe.qwen3_vl.processor import Sample, encode
from roadscribe.train.dataset import open_image, open_rows
from roadscribe.train.distributed import environment_of_one

LOGIT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Largest difference of a logit, as a share of the largest logit, between the model in memory and the one
read back. The same numbers go through the same kernels, so 0 is usual; a lost or misplaced tensor moves whole
units."""


def answer_logits(model: Any, processor: Any, row: dict[str, Any]) -> torch.Tensor:
    """Logits (answer tokens, vocabulary) of one dataset row, on the CPU in the type they were computed in."""
    device = next(model.parameters()).device
    images = [open_image(image) for image in row["images"]]
    batch = encode(processor, [Sample(images, row["prompt"], row["completion"])])
    labels = batch.pop("labels")
    model.eval()
    with torch.no_grad():
        logits = model(**{name: tensor.to(device) for name, tensor in batch.items()}, use_cache=False).logits
    answer: torch.Tensor = logits[0, :-1][(labels[0, 1:] >= 0).to(device)]
    return answer.cpu()


def require_written(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Hold the adapter's file against the tensors that were trained, bit by bit.

    Raises:
        WorkError: naming the first tensor that differs.
    """
    written = load_file(folder / WEIGHTS)
    for name in sorted(state.keys() | written.keys()):
        if name not in written or name not in state or not torch.equal(written[name], state[name]):
            raise WorkError(f"{folder}: {name} is not what was trained; the adapter must not be used")


def read_back(
    folder: Path,
    dataset: Path,
    in_memory: torch.Tensor,
    dtype: torch.dtype,
    device: torch.device,
    *,
    in_process: bool = False,
) -> float:
    """Load an adapter's folder afresh and compare its answer to the dataset's first row.

    Args:
        folder: what was just written.
        dataset: what it was trained on.
        in_memory: `answer_logits` of the trained model on that row.
        dtype: what the adapter was trained in.
        device: where it was trained.
        in_process: in this process, not in a fresh one.

    Returns:
        The largest difference of a logit as a share of the largest logit.

    Raises:
        WorkError: the folder does not load, a key is missing or unexpected, or the answers differ.
    """
    name = str(dtype).removeprefix("torch.")
    if in_process:
        difference = _compare(folder, dataset, in_memory, name, device)
    else:
        with tempfile.TemporaryDirectory(prefix="roadscribe-") as temporary:
            logits = Path(temporary) / "logits.safetensors"
            try:
                logits.write_bytes(save({"logits": in_memory.contiguous()}))
            except OSError as error:
                raise WorkError(
                    f"{temporary}: cannot be written ({error.strerror}); free some space there, name another folder in "
                    "TMPDIR, or set train.verify_in_process=true, then go on with --resume"
                ) from error
            difference = _in_a_process(folder, dataset, logits, name, device)
    if not difference <= LOGIT_TOLERANCE[dtype]:
        raise WorkError(
            f"{folder}: the adapter read back from disk answers differently (its logits by {difference:.2e} "
            f"of the largest, {LOGIT_TOLERANCE[dtype]:.0e} is allowed); it must not be used"
        )
    place = "in this process" if in_process else "in a fresh process"
    say(f"read back from disk {place}: every key in place, logits differ by {difference:.1e} of the largest")
    return difference


def _compare(folder: Path, dataset: Path, in_memory: torch.Tensor, dtype: str, device: torch.device) -> float:
    try:
        again = read_adapter(folder, device=device, dtype=dtype)
    except RoadscribeError as error:
        raise WorkError(f"what was written does not load: {error}") from error
    require_written(folder, {name: tensor.cpu() for name, tensor in adapter_state(again.model).items()})
    logits = answer_logits(again.model, again.processor, open_rows(dataset)[0])
    if logits.shape != in_memory.shape:
        raise WorkError(f"{folder}: the adapter read back answers with {tuple(logits.shape)} logits")
    ours, theirs = logits.float(), in_memory.float()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _in_a_process(folder: Path, dataset: Path, logits: Path, dtype: str, device: torch.device) -> float:
    arguments = [str(folder), str(dataset), str(logits), dtype, str(device)]
    say("reading the adapter back in a fresh process")
    done = subprocess.run(
        [sys.executable, "-m", __name__, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment_of_one(),
    )
    if done.returncode == 0:
        return float(json.loads(done.stdout.splitlines()[-1])["difference"])
    if done.returncode < 0:
        raise WorkError(
            f"{folder}: the process that read the adapter back was ended by signal {-done.returncode}; "
            "free some memory and go on with --resume, or set train.verify_in_process=true"
        )
    raise WorkError((done.stderr.strip() or "reading the adapter back failed").splitlines()[-1])


def main(arguments: Sequence[str]) -> int:
    """The fresh process: folder, dataset, file of logits, type, device; prints the difference as JSON."""
    folder, dataset, logits, dtype, device = arguments
    try:
        in_memory = load_file(logits)["logits"]
        difference = _compare(Path(folder), Path(dataset), in_memory, dtype, torch.device(device))
    except RoadscribeError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"difference": difference}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The merged model in a process of its own: loads what lies on disk and answers about the check clips.

Started by export as ``python -m roadscribe.export.reloaded FOLDER``; questions and answers are files there,
so that nothing of the process that merged can stand in for what was written.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from safetensors.torch import load_file, save_file

from roadscribe.artifacts import atomic_open, read_json, write_json
from roadscribe.clip import Clip, clips_to_table, read_clips
from roadscribe.errors import RoadscribeError, WorkError
from roadscribe.export.answers import Choices, Report, choices, write_reports
from roadscribe.model.load import load_base
from roadscribe.recipe import Infer, Model

QUESTION, ANSWER, LOGITS = "question.json", "answer.json", "logits.safetensors"


class Reloaded(NamedTuple):
    """What the merged model says once it was read back from disk."""

    reports: list[Report]
    choices: Choices
    dtype: str
    """The type it computed in."""


def ask_reloaded(
    folder: Path, model: Path, clips: Sequence[Clip], texts: Sequence[str], infer: Infer, **loading: Any
) -> Reloaded:
    """Load ``model`` in a fresh process and have it answer; ``folder`` takes what passes between the two.

    Args:
        folder: where questions and answers lie.
        model: the merged model's folder.
        clips: the check clips.
        texts: a text for each clip, to be read token by token.
        infer: how reports are written.
        loading: ``dtype`` and ``max_pixels``.

    Raises:
        WorkError: the process failed; it has said why on stderr.
    """
    with atomic_open(folder / "clips.parquet") as file:
        pq.write_table(clips_to_table(clips), file)
    question = {"model": str(model.resolve()), "texts": list(texts), "infer": infer.model_dump(), **loading}
    write_json(folder / QUESTION, question)
    command = [sys.executable, "-m", "roadscribe.export.reloaded", str(folder)]
    if subprocess.run(command, check=False).returncode != 0:
        raise WorkError(f"{model}: the merged model could not be loaded in a fresh process; see above")
    answer = read_json(folder / ANSWER, "the merged model's answers")
    return Reloaded(
        [Report(**report) for report in answer["reports"]],
        Choices(answer["top"], load_file(folder / LOGITS)["logits"]),
        answer["dtype"],
    )


def answer_question(folder: Path) -> None:
    """The other side of `ask_reloaded`: read the question in ``folder``, write the answer beside it."""
    question = read_json(folder / QUESTION, "a question of export")
    clips = list(read_clips(folder))
    section: Any = {"base": question["model"], "quantization": "none", "dtype": question["dtype"]}
    loaded = load_base(Model(**section), max_pixels=question["max_pixels"])
    infer = Infer(**question["infer"])
    reports = write_reports(loaded.model, loaded.processor, infer, clips, whose="the merged model")
    read = choices(loaded.model, loaded.processor, clips, question["texts"])
    save_file({"logits": read.logits.contiguous()}, folder / LOGITS)
    write_json(
        folder / ANSWER,
        {
            "reports": [report._asdict() for report in reports],
            "top": read.top,
            "dtype": str(loaded.dtype).removeprefix("torch."),
        },
    )


if __name__ == "__main__":
    try:
        answer_question(Path(sys.argv[1]))
    except RoadscribeError as error:
        print(f"roadscribe: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None

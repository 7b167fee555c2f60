"""The notebooks run from top to bottom, and the files themselves hold neither results nor anybody's machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import datasets
import nbformat
import pytest
from nbclient import NotebookClient

from roadscribe.curate.split import SPLITS

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
FILES = sorted(NOTEBOOKS.glob("*.ipynb"))

MACHINE = re.compile(r"/(?:home|Users|root|work|content|mnt|tmp)/|[A-Z]:\\\\|\b(?:sk|hf)[-_][A-Za-z0-9]{16,}")
"""Paths of one machine, and keys."""


def execute(name: str, folder: Path, parameters: dict[str, Any]) -> str:
    """Run a notebook in ``folder`` with other parameters; returns everything that it printed."""
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (place,) = [
        number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())
    ]
    known = notebook.cells[place].source
    assert all(re.search(rf"^{key} = ", known, re.MULTILINE) for key in parameters)
    lines = [f"{key} = {value!r}" for key, value in parameters.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    try:
        NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    finally:
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        said = "".join(output.get("text", "") for output in outputs)
        print(said)  # pytest shows it when a cell failed
    return said


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_notebook_is_committed_without_results_keys_or_paths_of_a_machine(path):
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert not MACHINE.search(text)


def test_footage_becomes_a_dataset_from_top_to_bottom(tmp_path):
    said = execute(
        "generate_dataset.ipynb",
        tmp_path,
        {"DRIVES": 12, "TEACHER": "--teacher simulated --set annotate.error_rate=1"},
    )
    splits = datasets.load_from_disk(str(tmp_path / "dataset" / "dataset"))
    assert set(splits) == set(SPLITS)
    rows = [row for split in SPLITS for row in splits[split]]
    quarantined = (tmp_path / "dataset" / "quarantine.jsonl").read_text().splitlines()
    assert len(rows) + len(quarantined) == 12
    assert len(rows) >= 6
    assert all(len(row["images"]) == 6 for row in rows)
    # Every answer carries a mistake, so something had to be changed with a reason.
    assert any(json.loads(row["findings"]) for row in rows)
    drives = [set(splits[split]["drive_id"]) for split in SPLITS]
    assert not (drives[0] & drives[1] or drives[0] & drives[2] or drives[1] & drives[2])
    assert "12 answers read" in said
    assert "driving-reports" in said


@pytest.mark.timeout(600)  # eleven commands, seven of which load torch: a busy machine takes its time
def test_a_dataset_becomes_an_adapter_with_reports_from_top_to_bottom(tmp_path):
    recipe = NOTEBOOKS.parent / "recipes" / "t4-qwen3-vl-2b.yaml"
    small = {
        "model.base": "roadscribe-tiny",
        "simulate.seconds": 2,
        "footage.frames": 3,
        "train.max_steps": 2,
        "train.logging_steps": 1,
        "train.verify_in_process": "true",
        "train.batch_size": 1,
        "train.gradient_accumulation": 1,
        "train.gradient_checkpointing": "false",
        "infer.max_new_tokens": 40,
        "evaluate.resamples": 100,
    }
    options = [f"--recipe {recipe}", *(f"--set {key}={value}" for key, value in small.items())]
    said = execute(
        "finetune_colab.ipynb",
        tmp_path,
        {"DRIVES": 5, "HELD_OUT_DRIVES": 2, "OPTIONS": " ".join(options)},
    )
    adapter = json.loads((tmp_path / "runs" / "first" / "artifact.json").read_text())
    assert adapter["complete"]
    assert adapter["summary"]["steps"] == 2
    scorecard = json.loads((tmp_path / "scorecard" / "scorecard.json").read_text())
    assert {run["model"] for run in scorecard["runs"]} == {"base", "tuned"}
    assert scorecard["drives"] == 2
    assert "peak" in said  # the plan
    assert "held-out/videos/sim-00900000.mp4" in said  # the described video
    assert "adapter_model.safetensors" in said  # what would be pushed

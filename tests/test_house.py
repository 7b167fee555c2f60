"""The house stands as the docs say: rooms import only from floors below, and the project speaks of itself alone."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "roadscribe"

FLOORS = (
    {"errors", "machine", "control_tokens", "choice"},
    {"report", "answers", "report_text", "progress"},
    {"clip", "artifacts", "recipe", "prompts"},
    {"footage", "simulator"},
    {"curate"},
    {"annotate"},
    {"tiny"},
    {"qwen3_vl"},
    {"model"},
    {"estimate"},
    {"infer"},
    {"evaluate"},
    {"train"},
    {"plan"},
    {"export"},
    {"hub"},
    {"demo", "doctor"},
    {"cli"},
    {"__main__"},
)


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("roadscribe"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("roadscribe.")}
    return found


def test_every_room_has_a_floor():
    rooms = {room(path) for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_floors_below_it(path):
    if room(path) == "__init__":
        return
    level = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    own = room(path)
    for other in imports(path) - {own}:
        same_ground_floor = level[other] == level[own] and level[own] in (1, 2)
        assert level[other] < level[own] or same_ground_floor, f"{own} imports {other}"


READ_AN_ADAPTER_AGAIN = {"model/adapter.py", "model/merged.py"}


def test_a_recipes_value_enters_at_most_ten_files_between_train_and_the_step():
    files = {path for name in ("train", "estimate", "model") for path in (SOURCE / name).rglob("*.py")}
    entered = {str(path.relative_to(SOURCE)) for path in files if "recipe" in imports(path)}
    entered -= READ_AN_ADAPTER_AGAIN
    assert "estimate/resolve.py" in entered and len(entered) <= 10, sorted(entered)


def test_the_estimate_asks_no_device_and_no_clock():
    """`resolve` and what it counts with are pure: the one look at this machine is `gpus.present_gpu`."""
    for path in (SOURCE / "estimate").glob("*.py"):
        asks = re.findall(
            r"torch\.cuda|os\.environ|os\.cpu_count|import time|free_memory\(", path.read_text()
        )
        assert not asks or path.name == "gpus.py", (path.name, asks)


def test_no_file_names_a_registry_host_or_a_path_of_one_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    forbidden = re.compile(
        "|".join(["pypi" + r"\.org", "files" + r"\.pythonhosted", "/wor" + "k/", "/ro" + "ot/"])
    )
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".safetensors", ".png", ".jpg"} or not path.is_file():
            continue
        assert not forbidden.search(path.read_text(errors="ignore")), name
    assert not [name for name in tracked if name.endswith(".lock")]


def test_every_file_that_the_page_of_changes_names_is_there():
    page = (ROOT / "docs" / "where-to-change.md").read_text(encoding="utf-8")
    named = re.findall(r"`(src/[^`]+)`", page)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []

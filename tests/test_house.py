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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


TO_BE_SPLIT = {"tiny/pretrain.py"}


def test_no_module_is_over_450_lines_and_training_has_at_most_15():
    lines = {str(p.relative_to(SOURCE)): len(p.read_text().splitlines()) for p in SOURCE.rglob("*.py")}
    assert {name for name, count in lines.items() if count > 450} <= TO_BE_SPLIT
    assert len([name for name in lines if name.startswith("train/") and name != "train/__init__.py"]) <= 15


def test_only_the_room_of_qwen3_vl_imports_the_librarys_modules_of_it():
    for path in SOURCE.rglob("*.py"):
        inside = re.findall(
            r"transformers\.models\.|AttentionInterface|ALL_ATTENTION_FUNCTIONS", path.read_text()
        )
        assert not inside or room(path) == "qwen3_vl", (path, inside)


def test_every_test_that_the_page_of_qwen3_vl_names_is_there():
    """The page names each test after its file; every module of the room has a line."""
    page = (SOURCE / "qwen3_vl" / "README.md").read_text(encoding="utf-8")
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert [name for name in re.findall(r"`(tests/[^`]+)`", page) if not (ROOT / name).exists()] == []
    modules = {path.stem for path in (SOURCE / "qwen3_vl").glob("*.py")} - {"__init__"}
    assert modules == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


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

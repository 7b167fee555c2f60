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
    {"errors", "machine", "control_tokens"},
    {"report", "answers", "report_text", "progress"},
    {"clip", "artifacts", "recipe", "prompts"},
    {"footage", "simulator"},
    {"curate"},
    {"annotate"},
    {"tiny"},
    {"model"},
    {"infer"},
    {"evaluate"},
    {"train"},
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

"""Claims about `collect --window` on the command line, and what it stands for in a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bdd100k_standin import box, list_record, put_json, put_video

from in_process import roadscribe
from roadscribe.errors import InputError
from roadscribe.footage.windows import window_overrides
from roadscribe.recipe import load_recipe

A, B = "0000f77c-6257be58", "00a0f008-3c67908e"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ("time", 5.0, 2.0)),
        ("whole", ("time", None, None)),
        ("end:10", ("time", 10.0, 2.0)),
        ("label", ("label", None, 2.0)),
    ],
)
def test_the_option_is_short_for_the_recipes_keys(
    choice: str | None, expected: tuple[str, float | None, float | None]
) -> None:
    overrides = ["footage.end_s=5", "footage.window_s=2", *window_overrides(choice)]
    footage = load_recipe(None, overrides).footage
    assert (footage.ends_at, footage.end_s, footage.window_s) == expected


@pytest.mark.parametrize(
    "choice", ["", "end", "end:", "end:soon", "end:0", "end:-3", "end:inf", "end:nan", "labels"]
)
def test_a_wrong_window_says_what_there_is(choice: str) -> None:
    with pytest.raises(InputError, match=r"give `whole`, `end:SECONDS` \(such as end:10\) or `label`"):
        window_overrides(choice)


@pytest.mark.parametrize("other", ["footage.end_s=10", "footage.rule=start"])
def test_a_recipe_that_contradicts_itself_is_refused(other: str) -> None:
    with pytest.raises(InputError, match="ends_at=label"):
        load_recipe(None, ["footage.ends_at=label", other])


def test_from_the_command_line(tmp_path: Path) -> None:
    for stem in (A, B):
        put_video(tmp_path / f"bdd100k/videos/train/{stem}.mov")
    put_json(tmp_path / "bdd100k/labels/det_20/det_train.json", [list_record(A, [box("car")])])
    options = ["--set", "footage.frames=2", "--set", "footage.max_pixels=24576", "--json"]
    done = roadscribe(
        "collect", tmp_path / "bdd100k", "--out", tmp_path / "clips", "--window", "label", *options
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "out": str(tmp_path / "clips"), "kind": "clips",
        "clips": 1, "drives": 1, "videos": 2, "left_out": 1, "listed_in": ["skipped.jsonl"], "notes": 1,
    }  # fmt: skip
    assert "evidence: labels for 1 and info for 0 of 2 videos" in done.stderr
    wrong = roadscribe(
        "collect", tmp_path / "bdd100k", "--out", tmp_path / "other", "--window", "now", *options
    )
    assert wrong.returncode == 2
    assert wrong.stderr.strip().splitlines()[-1].startswith("roadscribe: --window now: give `whole`")
    assert not (tmp_path / "other").exists()

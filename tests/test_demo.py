"""The main job end to end: small here, whole and held to its targets in the heavy test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from in_process import roadscribe
from roadscribe.demo import demo_recipe
from roadscribe.evaluate.predictions import RunKey, read_predictions
from roadscribe.recipe import load_recipe
from roadscribe.report import PARAMETERS, holds_schema


def demo(out: Path, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "roadscribe", "demo", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


def test_the_recipe_file_is_what_the_demo_does_without_one():
    file = Path(__file__).resolve().parents[1] / "recipes" / "demo.yaml"
    assert load_recipe(file) == demo_recipe(None, [])


def test_a_small_demo_walks_the_whole_street_and_resume_keeps_it(tmp_path):
    out = tmp_path / "demo"
    small = [
        "--set",
        "simulate.train_drives=4",
        "--set",
        "simulate.test_drives=2",
        "--set",
        "simulate.seconds=2",
    ]
    small += [
        "--set",
        "train.max_steps=2",
        "--set",
        "infer.max_new_tokens=40",
        "--set",
        "evaluate.resamples=100",
    ]
    result = demo(out, *small, timeout=280)
    assert result.returncode == 0, result.stderr
    assert str(out / "scorecard" / "scorecard.html") in result.stdout
    assert str(out / "adapter") in result.stdout
    assert "the teacher put a mistake into" in result.stdout
    assert "only simulated drives" in result.stderr
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert (out / "adapter" / "contract.json").is_file()
    scorecard = json.loads((out / "scorecard" / "scorecard.json").read_text())
    assert {(run["model"], run["grammar"], run["control"]) for run in scorecard["runs"]} == {
        ("base", True, "none"),
        ("tuned", True, "none"),
        ("tuned", False, "none"),
        ("tuned", True, "black"),
        ("tuned", True, "shuffled"),
    }
    assert all(set(run["parameters"]) == set(PARAMETERS) for run in scorecard["runs"])
    page = (out / "scorecard" / "scorecard.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    before = (out / "scorecard" / "scorecard.json").read_bytes()
    again = roadscribe("demo", "--out", out, *small, "--resume")
    assert again.returncode == 0, again.stderr
    assert (out / "scorecard" / "scorecard.json").read_bytes() == before


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_the_demo_meets_its_targets(tmp_path):
    out = tmp_path / "demo"
    result = demo(out, timeout=1700)
    assert result.returncode == 0, result.stderr
    scorecard = json.loads((out / "scorecard" / "scorecard.json").read_text())
    runs = {(run["model"], run["grammar"], run["control"]): run for run in scorecard["runs"]}
    tuned, base = runs["tuned", True, "none"], runs["base", True, "none"]
    plain, black, shuffled = (
        runs["tuned", False, "none"],
        runs["tuned", True, "black"],
        runs["tuned", True, "shuffled"],
    )
    assert tuned["drives"] >= 60
    assert tuned["schema_valid"] == 1.0
    assert plain["schema_valid"] >= 0.97
    accuracy, majority = tuned["mean_accuracy"][0], tuned["majority_mean_accuracy"]
    assert accuracy >= 0.9
    assert accuracy >= base["mean_accuracy"][0] + 0.25
    assert accuracy >= majority + 0.25
    assert abs(black["mean_accuracy"][0] - majority) <= 0.05
    for name in PARAMETERS:
        found = tuned["parameters"][name]
        assert found["accuracy"][1] > found["majority"], name
    speed = "ego_vehicle_speed"
    assert tuned["parameters"][speed]["accuracy"][0] >= 0.8
    lost = tuned["parameters"][speed]["accuracy"][0] - shuffled["parameters"][speed]["accuracy"][0]
    assert lost >= 0.15
    reports = [
        one
        for one in read_predictions(out / "scorecard" / "predictions.parquet")
        if one.run == RunKey("tuned", True, "none")
    ]

    def share(said: object, name: str, true: object) -> float:
        """How often ``name`` is ``said`` where it is ``true``."""
        rows = [one for one in reports if one.truth[name] == true]
        return sum(one.predicted.get(name) == said for one in rows) / len(rows)

    assert share(True, "pedestrian_on_road", True) >= 0.8
    assert share(True, "pedestrian_on_road", False) <= 0.1
    assert share("high", "risk_factor", "high") >= 0.85
    summary = json.loads((out / "artifact.json").read_text())["summary"]
    assert holds_schema(summary["report"])
    quality = json.loads((out / "dataset" / "quality.json").read_text())
    assert quality["rows_quarantined"] > 0 and quality["rows_changed"] > 0
    assert summary["teacher"]["with_mistake"] > 200
    assert summary["teacher"]["values_right"] >= 0.99

"""What is said of two models' reports on the same clips, and what stands on a card with a scorecard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from roadscribe.clip import Clip, Evidence, Provenance, Truth
from roadscribe.errors import InputError
from roadscribe.evaluate.evaluate import evaluate
from roadscribe.export.answers import Report
from roadscribe.export.card import PLACE, model_card
from roadscribe.export.compare import compare_reports, same_choice, tolerance_of
from roadscribe.export.facts import data_facts, scorecard_of, training_facts
from roadscribe.model.adapter import adapter_digest
from roadscribe.model.contract import VisionContract
from roadscribe.recipe import load_recipe
from roadscribe.report import DrivingParameters, DrivingReport, render

TRUE: dict[str, Any] = {
    "road_type": "urban", "lane_count": 2, "ego_lane_position": "left", "traffic_light_state": "red",
    "pedestrian_on_road": False, "closest_vehicle_distance": 12, "ego_vehicle_speed": 40,
    "road_curvature": "straight", "weather": "clear", "visibility": "good", "traffic_density": "low",
    "risk_factor": "low",
}  # fmt: skip


_file = io.BytesIO()
Image.new("RGB", (32, 32)).save(_file, "JPEG")
FRAME = _file.getvalue()


def written(**changed: Any) -> Report:
    report = DrivingReport(
        scene_description="A road.",
        driving_parameters=DrivingParameters(**{**TRUE, **changed}),
        risk_assessment=("Keep your distance.",),
    )
    return Report(render(report), 50, True)


def clip(name: str, truth_at: float | None) -> Clip:
    truth = None if truth_at is None else Truth(time_s=truth_at, parameters=DrivingParameters(**TRUE))
    return Clip(
        clip_id=name,
        drive_id=name,
        source="test",
        frames=(FRAME, FRAME),
        timestamps_s=(0.0, 4.0),
        width=32,
        height=32,
        evidence=Evidence(truth=truth),
        provenance=Provenance(path="x", size_bytes=1, sha256="0" * 64),
    )


def test_agreement_is_counted_on_all_clips_and_accuracy_only_where_the_truth_is_of_that_moment() -> None:
    clips = [clip("a", 4.0), clip("b", None), clip("c", 0.0), clip("d", 4.0)]
    adapter = [written(), written(), written(), written(weather="rainy")]
    merged = [
        written(),
        written(weather="foggy"),
        Report("I cannot tell.", 4, False),
        written(weather="rainy"),
    ]
    found = compare_reports(clips, adapter, merged)
    assert (found["clips"], found["clips_with_truth"], found["same_text"]) == (4, 2, 0.5)
    assert found["adapter"] == {"schema_valid": 1.0, "finished": 1.0, "mean_accuracy": round(23 / 24, 6)}
    assert found["merged"]["schema_valid"] == found["merged"]["finished"] == 0.75
    assert found["parameters"]["weather"] == {
        "agreement": 0.5,
        "adapter_accuracy": 0.5,
        "merged_accuracy": 0.5,
    }
    assert found["parameters"]["lane_count"]["agreement"] == 0.75


def test_without_a_truth_no_accuracy_is_claimed() -> None:
    found = compare_reports([clip("a", None)], [written()], [written()])
    assert found["merged"]["mean_accuracy"] is None and found["same_text"] == 1.0
    assert {one["adapter_accuracy"] for one in found["parameters"].values()} == {None}


def test_choices_are_compared_place_by_place_and_the_coarsest_type_sets_the_tolerance() -> None:
    assert same_choice([[1, 2, 3], [4]], [[1, 0, 3], [4]]) == 0.75
    assert tolerance_of("float32", "bfloat16") == tolerance_of("bfloat16") > tolerance_of("float32")


class _Says:
    """An engine that always writes one report."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def generate(self, clips_frames: Any, *, grammar: bool) -> list[Any]:
        class Answer:
            text, tokens, finished, seconds = self.report.text, 50, True, 0.1

        return [Answer() for _ in clips_frames]


@pytest.fixture(scope="module")
def scorecard(small_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorecard that names the small run's adapter."""
    out = tmp_path_factory.mktemp("scorecard") / "scorecard"
    evaluate(
        load_recipe(
            None, ["evaluate.resamples=100", "evaluate.controls=[]", "evaluate.without_grammar=false"]
        ),
        [clip(f"drive-{number}", 4.0) for number in range(6)],
        {"base": _Says(written(weather="foggy", risk_factor="high")), "tuned": _Says(written())},
        out,
        provenance={"adapter_sha256": adapter_digest(small_run.adapter)},
    )
    return out


def test_a_card_shows_the_scorecard_with_intervals_and_verdicts(small_run: Any, scorecard: Path) -> None:
    facts = training_facts(small_run.adapter)
    card = ModelCard(
        model_card(
            "adapter",
            facts,
            licence="apache-2.0",
            data=data_facts(small_run.dataset, facts),
            scorecard=scorecard_of(scorecard, facts),
        )
    )
    assert card.data.library_name == "peft" and card.data.license == "apache-2.0"
    assert "| parameter | majority | base | tuned |" in card.text
    assert "| weather | 100 | 0 (0–0) | 100 (100–100) |" in card.text
    assert "On 6 clips of 6 held-out drives" in card.text and "Conclusions, by stated rules:" in card.text
    assert "2 steps of 2 rows" in card.text and "| train | 6 |" in card.text
    assert PLACE in card.text


def test_a_scorecard_of_another_adapter_does_not_get_on_the_card(small_run: Any, tmp_path: Path) -> None:
    evaluate(
        load_recipe(None, ["evaluate.resamples=100", "evaluate.controls=[]"]),
        [clip("a", 4.0)],
        {"tuned": _Says(written())},
        tmp_path / "other",
        provenance={"adapter_sha256": "0" * 64},
    )
    with pytest.raises(InputError, match="not known to be this adapter's scorecard"):
        scorecard_of(tmp_path / "other", training_facts(small_run.adapter))


def test_a_base_on_the_hub_is_named_with_its_revision(small_run: Any) -> None:
    facts = training_facts(small_run.adapter)
    there = facts.contract.model_copy(update={"base": "Qwen/Qwen3-VL-2B-Instruct", "revision": "a" * 40})
    object.__setattr__(facts, "contract", VisionContract.model_validate(there.model_dump()))
    card = ModelCard(model_card("adapter", facts, licence="apache-2.0", data=None, scorecard=None))
    assert card.data.base_model == "Qwen/Qwen3-VL-2B-Instruct"
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert f'revision="{"a" * 40}"' in card.text and "Its splits and sources were not given" in card.text

"""Prose is scored like the values: right claims, omissions, contradictions, form, each against a constant text."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluate_standin import TableEngine, clips, parameters, true_parameters

from roadscribe.evaluate.evaluate import evaluate
from roadscribe.evaluate.page_prose import marked_claims
from roadscribe.evaluate.predictions import Prediction, RunKey
from roadscribe.evaluate.prose_scores import ProseScore, judge_prose, read_prose, score_prose
from roadscribe.evaluate.scorecard import Scorecard, Verdict, read_scorecard
from roadscribe.evaluate.scores import Values
from roadscribe.evaluate.statistics import resample_drives
from roadscribe.recipe import load_recipe
from roadscribe.report import DrivingParameters, DrivingReport, render

DRY = parameters(
    1,
    weather="clear",
    traffic_light_state="red",
    pedestrian_on_road=True,
    closest_vehicle_distance=12,
    ego_vehicle_speed=40,
    risk_factor="high",
    visibility="good",
)
WET = parameters(
    2,
    weather="rainy",
    traffic_light_state="none",
    pedestrian_on_road=False,
    closest_vehicle_distance=None,
    ego_vehicle_speed=80,
    risk_factor="low",
    visibility="moderate",
)


def text(values: DrivingParameters, scene: str, *points: str) -> str:
    return render(
        DrivingReport(
            scene_description=scene,
            driving_parameters=values,
            risk_assessment=points or ("Keep a safe gap.",),
        )
    )


def scored(texts: list[str], truths: list[DrivingParameters], times: list[str | None]) -> ProseScore:
    values = [truth.model_dump() for truth in truths]
    majority: Values = DRY.model_dump()
    draws = resample_drives([f"drive-{place}" for place in range(len(texts))], 200, 0)
    return score_prose(texts, values, values, times, majority, draws)


def test_right_claims_are_counted_against_the_truth_and_the_constant_text() -> None:
    one = text(DRY, "The weather is clear. The traffic light is red.")
    other = text(WET, "The weather is clear. No traffic light is in view.")
    score = scored([one, other], [DRY, WET], [None, None])
    assert (score.reports, score.claims) == (2, 4)
    assert score.right is not None and score.right[0] == pytest.approx(3 / 4)
    assert score.constant == pytest.approx(2 / 4)  # "clear" and "red" of every clip
    assert score.topics["weather"].right[0] == pytest.approx(1 / 2)
    assert score.topics["traffic_light_state"].gain[0] == pytest.approx(1 / 2)


def test_what_is_not_a_claim_about_now_is_not_counted() -> None:
    quiet = text(DRY, "Pedestrians could step out if the light changes. A blue van is parked on the right.")
    score = scored([quiet], [DRY], [None])
    assert (score.claims, score.right, score.reports) == (0, None, 0)


def test_the_time_of_day_counts_where_it_is_known() -> None:
    night = text(DRY, "A rural road at night.")
    assert scored([night], [DRY], [None]).claims == scored([night], [DRY], ["night"]).claims - 1
    assert scored([night], [DRY], ["night"]).topics["time_of_day"].right[0] == 1
    assert scored([night], [DRY], ["day"]).topics["time_of_day"].right[0] == 0
    assert scored([night], [DRY], ["day"]).topics["time_of_day"].json_right is None


def test_omissions_are_told_from_mentions() -> None:
    told = text(DRY, "A person is on the road. The traffic light is red.")
    silent = text(DRY, "The weather is clear.")
    score = scored([told, silent, text(WET, "The weather is rainy.")], [DRY, DRY, WET], [None] * 3)
    mentioned = {one.what: (one.cases, one.mentioned[0]) for one in score.mentions}
    assert mentioned["a person on the road"] == (2, 0.5)
    assert mentioned["a red light"] == (2, 0.5)
    assert mentioned["a vehicle within 25 m"] == (2, 0.0)


def test_a_report_that_contradicts_its_own_json_is_counted_once_and_the_right_side_is_named() -> None:
    against = text(DRY, "The weather is rainy. It is raining heavily. No person is on the road.")
    score = scored([against, text(WET, "The weather is rainy.")], [DRY, WET], [None, None])
    assert score.contradicting[0] == pytest.approx(1 / 2)
    weather = score.topics["weather"]
    assert (weather.contradictions, weather.contradicted_json_right, weather.contradicted_prose_right) == (
        1,
        1,
        0,
    )


def test_repeated_sentences_and_headings_that_do_not_fit_are_counted() -> None:
    good = text(DRY, "The road is dry. The light is red.", "Traffic Light: The light is red, so stop.")
    bad = text(
        DRY,
        "The road is dry. The road is dry!",
        "Traffic Light: The nearest vehicle is about 17 meters ahead.",
        "Pedestrians: A person is on the road.",
        "General advice: keep watching.",
    )
    score = scored([good, bad], [DRY, DRY], [None, None])
    assert score.repeating[0] == pytest.approx(1 / 2)
    assert score.headings == 3
    assert score.misfit_headings is not None and score.misfit_headings[0] == pytest.approx(1 / 3)
    assert read_prose(bad).misfits == ("Traffic Light: The nearest vehicle is about 17 meters ahead.",)


def test_one_report_is_judged_as_many_are() -> None:
    judged = judge_prose(
        text(DRY, "The weather is rainy. The traffic light is red."), DRY.model_dump(), DRY.model_dump()
    )
    assert judged == (2, 1, True)


SOME = clips(40)
TRUTHS = [true_parameters(clip) for clip in SOME]


def said_weather(truth: DrivingParameters) -> str:
    words = {"unknown": "The sky is hidden.", "partly_cloudy": "The weather is partly cloudy."}
    return words.get(truth.weather, f"The weather is {truth.weather}.")


def card(out: Path, scene_of: object) -> Scorecard:
    def table(clip: int | None, order: list[int], grammar: bool) -> str:
        if clip is None:
            return text(parameters(7), "The weather is foggy.")
        return text(TRUTHS[clip], scene_of(TRUTHS[clip]))  # type: ignore[operator]

    recipe = load_recipe(None, ["evaluate.resamples=300"])
    return evaluate(recipe, SOME, {"tuned": TableEngine(table)}, out, train_parameters=TRUTHS)


def verdict(found: Scorecard, rule: str) -> Verdict:
    return next(one for one in found.verdicts if one.rule == rule)


def test_a_model_whose_prose_reads_the_road_is_told_so(tmp_path: Path) -> None:
    found = card(tmp_path / "card", said_weather)
    assert verdict(found, "overall").outcome == "good"
    assert "Of the claims in its prose 100 % are right." in verdict(found, "overall").text
    assert verdict(found, "prose").outcome == "good"
    assert verdict(found, "contradiction").outcome == "good"
    again = read_scorecard(tmp_path / "card" / "scorecard.json")
    assert again == found


def test_right_values_do_not_hide_a_prose_that_says_the_same_of_every_drive(tmp_path: Path) -> None:
    found = card(tmp_path / "card", lambda truth: "The weather is clear.")
    assert verdict(found, "overall").outcome == "partly"
    assert "of the reports contradict their own JSON" in verdict(found, "overall").text
    assert verdict(found, "prose").outcome in ("prior", "bad")
    assert verdict(found, "contradiction").outcome == "bad"
    page = (tmp_path / "card" / "scorecard.html").read_text()
    assert "Its values read the road, its prose does not" in page
    assert 'class="wrong against"' in page


def test_a_prose_without_claims_is_said_to_claim_nothing(tmp_path: Path) -> None:
    found = card(tmp_path / "card", lambda truth: "A road.")
    assert "makes no claim that can be checked" in verdict(found, "overall").text
    assert not [one for one in found.verdicts if one.rule == "prose"]


def test_a_prose_that_is_right_and_contradicts_the_json_is_told_from_one_that_reads_nothing(
    tmp_path: Path,
) -> None:
    def table(clip: int | None, order: list[int], grammar: bool) -> str:
        if clip is None:
            return text(parameters(7), "The weather is foggy.")
        truth = TRUTHS[clip]
        wrong = "snowy" if truth.weather != "snowy" else "clear"
        values = truth if clip % 4 else truth.model_copy(update={"weather": wrong})
        return text(values, said_weather(truth))

    recipe = load_recipe(None, ["evaluate.resamples=300"])
    found = evaluate(recipe, SOME, {"tuned": TableEngine(table)}, tmp_path / "card", train_parameters=TRUTHS)
    assert verdict(found, "overall").outcome == "partly"
    assert "It reads the road, but contradicts itself" in (tmp_path / "card" / "scorecard.html").read_text(
        encoding="utf-8"
    )


def test_each_claim_is_marked_also_where_two_share_their_words() -> None:
    scene = "The ego vehicle drives in the left lane at about 50 km/h."
    truth = {**DRY.model_dump(), "ego_lane_position": "left", "ego_vehicle_speed": 90}
    values = {**truth, "ego_vehicle_speed": 50}
    one = Prediction("c", "d", RunKey("tuned", True, "none"), "", True, 1, 0.1, True, values, truth)
    pieces = marked_claims(scene, one)
    assert "".join(piece for piece, _, _ in pieces) == scene
    assert [(piece, mark) for piece, mark, _ in pieces if mark] == [
        ("The ego vehicle drives in the left lane", "right"),
        (" at about 50 km/h", "wrong"),
    ]

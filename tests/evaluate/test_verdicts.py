"""The scorecard's conclusions: sight and prior are told apart, and nothing is claimed that is not shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from evaluate_standin import TableEngine, clips, parameters, report, true_parameters

from roadscribe.evaluate.evaluate import evaluate
from roadscribe.evaluate.scorecard import Scorecard, Verdict
from roadscribe.evaluate.wording import percent, points
from roadscribe.recipe import load_recipe

SOME = clips(40)
TRUTHS = [true_parameters(clip) for clip in SOME]

Table = Callable[[int | None, list[int], bool], str]


def scorecard(out: Path, tuned: Table, base: Table | None = None, *overrides: str) -> Scorecard:
    engines = {"tuned": TableEngine(tuned)} | ({"base": TableEngine(base)} if base else {})
    recipe = load_recipe(None, ["evaluate.resamples=300", *overrides])
    return evaluate(recipe, SOME, engines, out / "card", train_parameters=TRUTHS)


def verdict(card: Scorecard, rule: str, parameter: str | None = None) -> Verdict:
    return next(one for one in card.verdicts if one.rule == rule and parameter in (None, one.parameter))


def constant(clip: int | None, order: list[int], grammar: bool) -> str:
    return report(parameters(7))


def perfect(clip: int | None, order: list[int], grammar: bool) -> str:
    if clip is None:
        return constant(clip, order, grammar)
    return report(TRUTHS[clip], **({} if order == sorted(order) else {"ego_vehicle_speed": 200}))


def test_a_model_that_answers_a_constant_is_called_a_prior(tmp_path: Path) -> None:
    card = scorecard(tmp_path, constant)
    assert verdict(card, "overall").outcome == "prior"
    assert "says the same of every drive" in verdict(card, "overall").text
    assert verdict(card, "black").outcome == "prior"
    assert {one.outcome for one in card.verdicts if one.rule == "parameter"} <= {"prior", "bad"}
    assert verdict(card, "shuffled").outcome == "unclear"


def test_the_best_constant_answer_is_a_prior_in_every_parameter(tmp_path: Path) -> None:
    probe = scorecard(tmp_path / "probe", constant)
    best = parameters(0, **probe.majority.answers)
    card = scorecard(tmp_path, lambda clip, order, grammar: report(best))
    assert {one.outcome for one in card.verdicts if one.rule == "parameter"} == {"prior"}
    assert (
        "in 100 % of the reports: learned a prior, not the picture"
        in verdict(card, "parameter", "weather").text
    )
    assert card.runs[0].mean_accuracy[0] == pytest.approx(card.majority.mean_accuracy)


def test_a_model_that_sees_and_reasons_over_time_is_told_so(tmp_path: Path) -> None:
    card = scorecard(tmp_path, perfect, constant)
    assert verdict(card, "overall").outcome == "good"
    assert "reads the pictures: 100 %" in verdict(card, "overall").text
    assert verdict(card, "gain").outcome == "good"
    assert verdict(card, "black").outcome == "good"
    assert verdict(card, "shuffled").outcome == "good"
    assert "do not change" in verdict(card, "shuffled").text
    assert {one.outcome for one in card.verdicts if one.rule == "parameter"} == {"good"}


def test_a_speed_that_survives_shuffling_does_not_rest_on_time(tmp_path: Path) -> None:
    def one_frame(clip: int | None, order: list[int], grammar: bool) -> str:
        return constant(None, order, grammar) if clip is None else report(TRUTHS[clip])

    found = verdict(scorecard(tmp_path, one_frame), "shuffled")
    assert found.outcome == "bad"
    assert "does not reason over time" in found.text


def test_a_model_that_shuffling_merely_disturbs_is_not_credited_with_time(tmp_path: Path) -> None:
    def disturbed(clip: int | None, order: list[int], grammar: bool) -> str:
        ordered = clip is not None and order == sorted(order)
        return report(TRUTHS[clip]) if ordered and clip is not None else constant(None, order, grammar)

    found = verdict(scorecard(tmp_path, disturbed), "shuffled")
    assert found.outcome == "unclear"
    assert "disturb" in found.text


def test_answers_that_black_frames_give_away_are_called_out(tmp_path: Path) -> None:
    asked = iter(range(10_000))

    def leaking(clip: int | None, order: list[int], grammar: bool) -> str:
        # Something besides the picture tells which clip it is: here, the order in which clips come.
        return report(TRUTHS[next(asked) % len(TRUTHS)])

    card = scorecard(tmp_path, leaking)
    assert verdict(card, "overall").outcome == "prior"
    assert verdict(card, "black").outcome == "prior"
    assert "gives answers away" in verdict(card, "black").text


def test_without_the_black_control_sight_is_not_claimed(tmp_path: Path) -> None:
    found = verdict(scorecard(tmp_path, perfect, None, "evaluate.controls=[shuffled]"), "overall")
    assert found.outcome == "unclear"
    assert "was not tested" in found.text


def test_one_parameter_that_is_guessed_stands_out_among_eleven_that_are_seen(tmp_path: Path) -> None:
    def weather_blind(clip: int | None, order: list[int], grammar: bool) -> str:
        return constant(None, order, grammar) if clip is None else report(TRUTHS[clip], weather="clear")

    card = scorecard(tmp_path, weather_blind)
    assert verdict(card, "overall").outcome == "good"
    assert verdict(card, "parameter", "weather").outcome in ("prior", "bad")
    assert verdict(card, "parameter", "road_type").outcome == "good"


def test_missed_dangers_are_counted(tmp_path: Path) -> None:
    def fearless(clip: int | None, order: list[int], grammar: bool) -> str:
        return constant(None, order, grammar) if clip is None else report(TRUTHS[clip], risk_factor="low")

    found = verdict(scorecard(tmp_path, fearless), "must_not_miss", "risk_factor")
    high = sum(truth.risk_factor == "high" for truth in TRUTHS)
    assert found.outcome == "bad"
    assert found.text.endswith(f"0 % of {high} clips; it misses {high}.")


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    assert [percent(share) for share in (0, 0.001, 0.5, 0.999, 1)] == [
        "0 %",
        "0.1 %",
        "50 %",
        "99.9 %",
        "100 %",
    ]
    assert [points(share) for share in (0.01, -0.254)] == ["1 point", "25 points"]


def test_swapped_frames_show_whose_drive_the_answers_are_about(tmp_path: Path) -> None:
    found = verdict(scorecard(tmp_path, perfect, None, "evaluate.controls=[swapped, repeat_last]"), "swapped")
    assert found.outcome == "good"
    assert found.text.endswith("what the model says comes from the frames it is shown.")

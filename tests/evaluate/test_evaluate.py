"""The evaluate stage: from clips and engines to a scorecard, and back on its feet after a crash."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from evaluate_standin import TableEngine, clips, parameters, report, true_parameters
from rich.console import Console

from roadscribe.artifacts import require_complete
from roadscribe.clip import Evidence
from roadscribe.errors import InputError, WorkError
from roadscribe.evaluate.evaluate import evaluate, plan_runs, print_table
from roadscribe.evaluate.predictions import RunKey, read_predictions, stated_values
from roadscribe.evaluate.scorecard import read_scorecard
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.report import PARAMETERS

SOME = clips(12)
TRUTHS = [true_parameters(clip) for clip in SOME]


def recipe(*overrides: str) -> Recipe:
    return load_recipe(None, ["evaluate.resamples=200", "infer.batch_size=5", *overrides])


def seeing(clip: int | None, order: list[int], grammar: bool) -> str:
    """Always right, but the speed needs the frames in order; black frames get one fixed answer."""
    if clip is None:
        return report(parameters(99))
    return report(TRUTHS[clip], **({} if order == sorted(order) else {"ego_vehicle_speed": 200}))


def guessing(clip: int | None, order: list[int], grammar: bool) -> str:
    return report(parameters(99))


def engines() -> dict[str, TableEngine]:
    return {"base": TableEngine(guessing), "tuned": TableEngine(seeing)}


def test_the_scorecard_has_the_agreed_form(tmp_path: Path) -> None:
    evaluate(recipe(), SOME, engines(), tmp_path / "card", train_parameters=TRUTHS)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    card = json.loads((tmp_path / "card/scorecard.json").read_text(), parse_constant=refuse)
    assert card["version"] == 1
    assert [(run["model"], run["grammar"], run["control"]) for run in card["runs"]] == [
        ("base", True, "none"),
        ("tuned", True, "none"),
        ("tuned", False, "none"),
        ("tuned", True, "black"),
        ("tuned", True, "shuffled"),
    ]
    for run in card["runs"]:
        assert run["drives"] == 12
        assert 0 <= run["schema_valid"] <= 1
        value, low, high = run["mean_accuracy"]
        assert 0 <= low <= value <= high <= 1
        assert run["majority_mean_accuracy"] == card["runs"][0]["majority_mean_accuracy"]
        assert list(run["parameters"]) == list(PARAMETERS)
        for parameter in run["parameters"].values():
            assert len(parameter["accuracy"]) == 3
            assert 0 <= parameter["majority"] <= 1
    require_complete(tmp_path / "card", "scorecard", "evaluate")


def test_a_model_that_sees_is_told_from_one_that_does_not(tmp_path: Path) -> None:
    card = evaluate(recipe(), SOME, engines(), tmp_path / "card", train_parameters=TRUTHS)
    tuned = card.run(RunKey("tuned", True, "none"))
    shuffled = card.run(RunKey("tuned", True, "shuffled"))
    base = card.run(RunKey("base", True, "none"))
    assert tuned and shuffled and base
    assert tuned.mean_accuracy == (1, 1, 1)
    assert tuned.all_right == 1
    assert tuned.must_not_miss["risk_factor"].recall[0] == 1
    assert shuffled.parameters["ego_vehicle_speed"].accuracy[0] == 0
    assert shuffled.parameters["weather"].accuracy[0] == 1
    assert base.distinct_answers == 1
    assert base.mean_accuracy[0] < 0.5
    gain = next(one for one in card.differences if (one.plus, one.minus) == ("tuned", "base"))
    assert gain.mean_accuracy[0] == pytest.approx(1 - base.mean_accuracy[0], abs=1e-5)


def test_every_prediction_can_be_checked(tmp_path: Path) -> None:
    card = evaluate(recipe(), SOME, engines(), tmp_path / "card")
    rows = read_predictions(tmp_path / "card/predictions.parquet")
    assert len(rows) == 5 * 12
    black = [row for row in rows if row.run == RunKey("tuned", True, "black")]
    assert [row.clip_id for row in black] == [clip.clip_id for clip in SOME]
    assert black[3].truth == TRUTHS[3].model_dump()
    assert black[3].predicted == parameters(99).model_dump()
    score = card.run(RunKey("tuned", True, "black"))
    assert score
    right = sum(sum(row.correct.values()) for row in black)
    assert score.mean_accuracy[0] == pytest.approx(right / (12 * 12), abs=1e-5)


def test_the_majority_answer_is_chosen_on_the_training_split_and_scored_on_the_held_out_drives(
    tmp_path: Path,
) -> None:
    held_out = clips(12, truth=lambda index: parameters(index, weather="snowy" if index else "clear"))
    train = [parameters(index, weather="clear") for index in range(20)]
    card = evaluate(recipe(), held_out, engines(), tmp_path / "card", train_parameters=train)
    assert card.majority.source == "train"
    assert card.majority.answers["weather"] == "clear"
    assert card.runs[0].parameters["weather"].majority == pytest.approx(1 / 12, abs=1e-5)


def test_without_a_training_split_the_scorecard_says_that_the_baseline_is_flattered(tmp_path: Path) -> None:
    card = evaluate(recipe(), SOME, engines(), tmp_path / "card")
    assert card.majority.source == "evaluated"
    assert "flatters" in (tmp_path / "card/scorecard.html").read_text()


def test_a_report_that_breaks_the_form_is_invalid_and_what_can_be_read_still_counts(tmp_path: Path) -> None:
    def sloppy(clip: int | None, order: list[int], grammar: bool) -> str:
        text = report(TRUTHS[clip or 0])
        return (
            text
            if grammar
            else text.replace("```json\n", "").replace("\n```", "") + "\n\nConclusion: drive on."
        )

    card = evaluate(recipe(), SOME, {"tuned": TableEngine(sloppy)}, tmp_path / "card")
    plain = card.run(RunKey("tuned", False, "none"))
    assert plain
    assert plain.schema_valid == 0
    assert plain.mean_accuracy[0] == 1
    schema = next(verdict for verdict in card.verdicts if verdict.rule == "schema")
    assert schema.outcome == "bad"
    assert "0 of 12 (0 %) without the grammar" in schema.text


def test_what_is_missing_or_illegible_is_not_stated() -> None:
    text = report(parameters(1, closest_vehicle_distance=None))
    assert stated_values(text) == parameters(1, closest_vehicle_distance=None).model_dump()
    assert stated_values("I cannot help with that.") == {}
    without = "\n".join(line for line in text.splitlines() if "ego_vehicle_speed" not in line)
    assert "ego_vehicle_speed" not in stated_values(without)
    speed = parameters(1).ego_vehicle_speed
    vague = text.replace(f'"ego_vehicle_speed": {speed}', '"ego_vehicle_speed": "slow"')
    assert "ego_vehicle_speed" not in stated_values(vague)
    assert stated_values(vague)["closest_vehicle_distance"] is None
    empty = text.replace('"closest_vehicle_distance": null', '"closest_vehicle_distance": ""')
    assert "closest_vehicle_distance" not in stated_values(empty)
    unseen = text.replace('"closest_vehicle_distance": null', '"closest_vehicle_distance": "not visible"')
    assert stated_values(unseen)["closest_vehicle_distance"] is None
    assert stated_values(f"{text}\n\nIn short: drive on.") == stated_values(text)


class KillsItself(TableEngine):
    """Is killed as by `kill -9` when it is asked for the n-th batch."""

    def __init__(self, table: Callable[[int | None, list[int], bool], str], batch: int) -> None:
        super().__init__(table)
        self.left = batch

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(*args, **kwargs)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_a_run_that_was_killed_resumes_to_the_same_scorecard_and_asks_nothing_twice(tmp_path: Path) -> None:
    whole = evaluate(recipe(), SOME, engines(), tmp_path / "whole", train_parameters=TRUTHS)
    child = os.fork()
    if child == 0:
        dying = {"base": TableEngine(guessing), "tuned": KillsItself(seeing, batch=6)}
        evaluate(recipe(), SOME, dying, tmp_path / "card", train_parameters=TRUTHS)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "card/scorecard.json").exists()
    log = tmp_path / "card/answers.jsonl"
    answered = sum(len(json.loads(line)["answers"]) for line in log.read_text().splitlines())
    assert 0 < answered < 60
    with log.open("a") as file:
        file.write('{"key": "tuned/plain/none/10", "answ')  # a line that a crash cut off
    again = engines()
    resumed = evaluate(recipe(), SOME, again, tmp_path / "card", train_parameters=TRUTHS, resume=True)
    assert sum(engine.asked for engine in again.values()) == 60 - answered
    assert _but_times(resumed.model_dump()) == _but_times(whole.model_dump())


def _but_times(card: dict[str, Any]) -> dict[str, Any]:
    return {**card, "runs": [{**run, "seconds": None} for run in card["runs"]]}


class LoadsNothing(Mapping[str, TableEngine]):
    """Engines that must not be looked up."""

    def __getitem__(self, name: str) -> TableEngine:
        raise AssertionError(f"{name} was loaded though nothing is left to ask")

    def __iter__(self) -> Iterator[str]:
        return iter(("base", "tuned"))

    def __len__(self) -> int:
        return 2


def test_a_finished_scorecard_is_read_back_without_loading_a_model(tmp_path: Path) -> None:
    first = evaluate(recipe(), SOME, engines(), tmp_path / "card")
    assert evaluate(recipe(), SOME, LoadsNothing(), tmp_path / "card", resume=True) == first
    assert read_scorecard(tmp_path / "card/scorecard.json") == first


def test_resuming_with_other_clips_another_adapter_or_another_baseline_is_refused(tmp_path: Path) -> None:
    evaluate(recipe(), SOME, engines(), tmp_path / "card", provenance={"adapter": "a"})
    with pytest.raises(InputError, match=r"provenance\.clips"):
        evaluate(recipe(), SOME[:-1], engines(), tmp_path / "card", provenance={"adapter": "a"}, resume=True)
    with pytest.raises(InputError, match=r"provenance\.adapter"):
        evaluate(recipe(), SOME, engines(), tmp_path / "card", provenance={"adapter": "b"}, resume=True)
    with pytest.raises(InputError, match="train_truths"):
        evaluate(
            recipe(),
            SOME,
            engines(),
            tmp_path / "card",
            provenance={"adapter": "a"},
            train_parameters=TRUTHS,
            resume=True,
        )
    with pytest.raises(InputError, match="--overwrite"):
        evaluate(recipe(), SOME, engines(), tmp_path / "card")


def test_clips_without_a_truth_are_left_out_and_listed_with_the_reason(tmp_path: Path) -> None:
    blank = SOME[0].model_copy(update={"clip_id": "blank", "evidence": Evidence()})
    assert SOME[1].evidence.truth
    early = SOME[1].evidence.truth.model_copy(update={"time_s": 1.0})
    other = SOME[1].model_copy(update={"clip_id": "early", "evidence": Evidence(truth=early)})
    card = evaluate(recipe(), [*SOME, blank, other], engines(), tmp_path / "card")
    assert card.clips == 12
    assert [(one.clip_id, one.reason) for one in card.left_out] == [
        ("blank", "no truth is known"),
        ("early", "the truth is of 1.00 s, the last frame of 3.00 s"),
    ]
    with pytest.raises(InputError, match="none of 1 clips can be scored"):
        evaluate(recipe(), [blank], engines(), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_wrong_input_is_refused_before_a_model_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="occurs twice"):
        evaluate(recipe(), [SOME[0], SOME[0]], LoadsNothing(), tmp_path / "card")
    with pytest.raises(InputError, match="cannot be shuffled"):
        evaluate(recipe(), clips(3, frames=1), LoadsNothing(), tmp_path / "card")
    with pytest.raises(InputError, match="no model"):
        evaluate(recipe(), SOME, {}, tmp_path / "card")


def test_an_engine_that_loses_an_answer_fails_the_work(tmp_path: Path) -> None:
    class Loses(TableEngine):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            return super().generate(*args, **kwargs)[:-1]

    with pytest.raises(WorkError, match="gave 4 answers to 5 clips"):
        evaluate(recipe(), SOME, {"tuned": Loses(seeing)}, tmp_path / "card")


@pytest.mark.parametrize(
    ("overrides", "models", "expected"),
    [
        (["evaluate.controls=[]", "evaluate.without_grammar=false"], ["base", "tuned"], ["base", "tuned"]),
        (
            ["evaluate.base=false", "evaluate.controls=[swapped]"],
            ["base", "tuned"],
            ["tuned", "tuned, no grammar", "tuned, other drive"],
        ),
        (["infer.grammar=false", "evaluate.controls=[]"], ["tuned"], ["tuned, no grammar"]),
        (["evaluate.controls=[black, black]"], ["base"], ["base", "base, no grammar", "base, black frames"]),
    ],
)
def test_the_recipe_decides_the_runs(overrides: list[str], models: list[str], expected: list[str]) -> None:
    assert [run.label for run in plan_runs(recipe(*overrides), models)] == expected


def test_the_table_shows_values_intervals_and_verdicts_in_a_pipe(tmp_path: Path) -> None:
    card = evaluate(recipe(), SOME, engines(), tmp_path / "card", train_parameters=TRUTHS)
    out = io.StringIO()
    print_table(card, Console(file=out))
    lines = out.getvalue().splitlines()
    assert any(line.startswith("ego_vehicle_speed") and "100 100–100" in line for line in lines)
    assert any("holds the schema" in line and "100 %" in line for line in lines)
    assert "reads the pictures" in out.getvalue()
    assert "black" in out.getvalue()


def test_a_narrow_terminal_gets_a_table_that_fits(tmp_path: Path) -> None:
    card = evaluate(recipe(), SOME, engines(), tmp_path / "card", train_parameters=TRUTHS)
    out = io.StringIO()
    print_table(card, Console(file=out, force_terminal=True, width=80, color_system=None))
    table = out.getvalue().split("Widen the terminal")[0]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80
    assert "–" not in table


def test_any_number_of_clips_a_drive_counts_as_one_drive(tmp_path: Path) -> None:
    some = clips(12, clips_a_drive=3)

    def half(clip: int | None, order: list[int], grammar: bool) -> str:
        index = clip or 0
        return report(true_parameters(some[index] if index // 3 % 2 else some[(index + 6) % 12]))

    card = evaluate(recipe("evaluate.controls=[]"), some, {"tuned": TableEngine(half)}, tmp_path / "card")
    assert (card.drives, card.clips) == (4, 12)
    assert card.verdicts[0].outcome == "unclear"
    assert "too few" in card.verdicts[0].text

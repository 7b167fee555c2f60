"""What the numbers say, in plain words, by rules that are written down: sight, prior, or not enough evidence.

A high accuracy is not a finding. A model that says "clear" of every drive is right as often as the sky is
clear, so each rule compares: with the constant answer, with black frames, with another order. "Better" always
means that the whole 95 % interval of the paired difference lies above zero; an interval that holds zero is
called unclear or a prior, never a success. Every verdict names the numbers it rests on.
"""

from __future__ import annotations

from collections.abc import Sequence

from roadscribe.evaluate.predictions import RunKey
from roadscribe.evaluate.prose_verdicts import prose_verdicts, with_prose
from roadscribe.evaluate.scorecard import (
    MAJORITY,
    Difference,
    Outcome,
    RunScore,
    Scores,
    Verdict,
    main_runs,
)
from roadscribe.evaluate.scores import word
from roadscribe.evaluate.wording import percent, points, range_words
from roadscribe.report import PARAMETERS

NEAR = 0.05
"""Closer than five points counts as "the same" where a control is expected to level a score."""

FIXED_SHARE = 0.9
"""A model that gives one answer this often has a fixed answer."""

STATIC = ("road_type", "weather", "visibility")
"""What one picture tells: these should not suffer when the order of the frames is lost."""

DISTURBED = 0.5
"""Where STATIC lose more than this part of the share that speed loses, the frames only disturb the model."""

FEW_DRIVES = 30
"""Below this many drives the intervals themselves are rough."""

TOO_FEW_DRIVES = 5
"""Below this many drives nothing is concluded: the interval of a single drive has no width at all."""

BLIND = {"black": "black frames", "swapped": "the frames of another drive"}
"""Controls that take the scene away, as they are called in a sentence."""

TIMELESS = {"shuffled": "the frames are shuffled", "repeat_last": "only the last frame is shown"}
"""Controls that take motion away, as they are called in a sentence."""

Runs = dict[RunKey, RunScore]
Pairs = dict[tuple[str, str], Difference]


def conclude(scores: Scores) -> list[Verdict]:
    """All verdicts, model by model: what holds overall, each control, each parameter, then what to mind."""
    runs = {run.key: run for run in scores.runs}
    pairs = {(one.plus, one.minus): one for one in scores.differences}
    verdicts: list[Verdict] = []
    for model, key in main_runs(list(runs)).items():
        if model == "base" and len({run.model for run in scores.runs}) > 1:
            continue  # there to be compared with
        if runs[key].drives < TOO_FEW_DRIVES:
            text = (
                f"{runs[key].drives} drives are too few to conclude anything; evaluate at least {FEW_DRIVES}."
            )
            verdicts += [_verdict("overall", key, "unclear", text), _schema(key, runs)]
            continue
        verdicts.append(with_prose(_overall(key, runs, pairs), runs[key]))
        verdicts += _gain(key, runs, pairs)
        verdicts += prose_verdicts(key, runs)
        verdicts.append(_schema(key, runs))
        verdicts += [
            _without_picture(key, control, runs, pairs)
            for control in BLIND
            if key._replace(control=control) in runs
        ]
        verdicts += [
            _without_time(key, control, runs, pairs)
            for control in TIMELESS
            if key._replace(control=control) in runs
        ]
        verdicts += [_parameter(key, name, runs, pairs) for name in PARAMETERS]
        verdicts += _must_not_miss(key, runs[key])
        verdicts += _cautions(key, runs)
    return verdicts


def _verdict(
    rule: str, key: RunKey, outcome: Outcome, *sentences: str, parameter: str | None = None
) -> Verdict:
    return Verdict(rule=rule, model=key.model, parameter=parameter, outcome=outcome, text=" ".join(sentences))


def _overall(key: RunKey, runs: Runs, pairs: Pairs) -> Verdict:
    """Sight is claimed only for a score above the constant answer and above every blind control."""
    run = runs[key]
    score, constant = percent(run.mean_accuracy[0]), percent(run.majority_mean_accuracy)
    gain = pairs[key.label, MAJORITY].mean_accuracy
    blind = {
        words: runs[other]
        for control, words in BLIND.items()
        if (other := key._replace(control=control)) in runs
    }
    as_good = [
        f"{percent(other.mean_accuracy[0])} with {words}"
        for words, other in blind.items()
        if pairs[key.label, other.key.label].mean_accuracy[1] <= 0
    ]
    if run.distinct_answers == 1 and run.clips > 1:
        return _verdict(
            "overall",
            key,
            "prior",
            f"The {key.model} model says the same of every drive.",
            f"Its {score} is what one fixed answer earns (the best one: {constant}): a prior, not sight.",
        )
    if gain[2] < 0:
        return _verdict(
            "overall",
            key,
            "bad",
            f"The {key.model} model ({score}) is worse than a constant answer ({constant}):",
            "it has not learned the task.",
        )
    if gain[1] <= 0:
        return _verdict(
            "overall",
            key,
            "prior",
            f"The {key.model} model ({score}) is not shown to be better than a constant answer ({constant}):",
            "what it knows is a prior, not the picture.",
        )
    if as_good:
        return _verdict(
            "overall",
            key,
            "prior",
            f"The {key.model} model scores {score}, but no less without the picture ({', '.join(as_good)}):",
            "it learned a prior, not sight.",
        )
    if not blind:
        return _verdict(
            "overall",
            key,
            "unclear",
            f"The {key.model} model beats the constant answer ({score} against {constant}).",
            "Whether it needs the picture for that was not tested: add black to evaluate.controls.",
        )
    falls = (f"With {words} it gets {percent(other.mean_accuracy[0])}." for words, other in blind.items())
    return _verdict(
        "overall",
        key,
        "good",
        f"The {key.model} model reads the pictures: {score} of its values are right,",
        f"where the best constant answer gets {constant}.",
        *falls,
    )


def _gain(key: RunKey, runs: Runs, pairs: Pairs) -> list[Verdict]:
    """What fine-tuning changed; nothing where no base model was scored."""
    base = main_runs(list(runs)).get("base")
    if base is None or base == key:
        return []
    gain = pairs[key.label, base.label].mean_accuracy
    before, after = (percent(runs[one].mean_accuracy[0]) for one in (base, key))
    numbers = f"({before} → {after}; {range_words(gain)})"
    if gain[1] > 0:
        return [
            _verdict("gain", key, "good", f"Fine-tuning adds {points(gain[0])} to the base model {numbers}.")
        ]
    if gain[2] < 0:
        return [_verdict("gain", key, "bad", f"Fine-tuning costs {points(gain[0])} {numbers}.")]
    return [_verdict("gain", key, "unclear", f"Fine-tuning changed nothing that can be shown {numbers}.")]


def _schema(key: RunKey, runs: Runs) -> Verdict:
    """Whether the form is the model's own or only the grammar's."""
    parts = []
    bare = None
    for run in runs.values():
        if run.model == key.model and run.control == "none":
            held = f"{round(run.schema_valid * run.clips)} of {run.clips} ({percent(run.schema_valid)})"
            parts.append(f"{held} {'with' if run.grammar else 'without'} the grammar")
            bare = bare if run.grammar else run.schema_valid
    text = f"Reports that hold the schema: {', '.join(parts)}."
    if bare is None:
        return _verdict("schema", key, "note", text)
    if bare >= 1 - NEAR:
        return _verdict("schema", key, "good", text, "The form is learned, not only enforced.")
    return _verdict("schema", key, "bad", text, "The form is the grammar's more than the model's.")


def _without_picture(key: RunKey, control: str, runs: Runs, pairs: Pairs) -> Verdict:
    """Black frames (and another drive's) should leave no more than the constant answer."""
    blind = key._replace(control=control)
    above = pairs[blind.label, MAJORITY].mean_accuracy
    drop = pairs[key.label, blind.label].mean_accuracy
    constant = f"the constant answer ({percent(runs[blind].majority_mean_accuracy)})"
    scores = f"{BLIND[control].capitalize()} score {percent(runs[blind].mean_accuracy[0])}"
    if above[0] > NEAR:
        return _verdict(
            control,
            key,
            "prior",
            f"{scores}, {points(above[0])} above {constant}:",
            "something other than the picture gives answers away.",
        )
    if drop[1] <= 0:
        return _verdict(
            control,
            key,
            "prior",
            f"{scores}, and nothing shows that the true frames do better ({range_words(drop)}):",
            "the model answers from a prior.",
        )
    if control == "swapped":
        return _verdict(
            control,
            key,
            "good",
            f"{scores}, {points(drop[0])} less than the true ones ({range_words(drop)}):",
            "what the model says comes from the frames it is shown.",
        )
    if above[0] >= -NEAR:
        return _verdict(
            control,
            key,
            "good",
            f"{scores}, within 5 points of {constant}: the model has no answer without looking.",
        )
    return _verdict(
        control,
        key,
        "good",
        f"{scores}, {points(above[0])} below {constant}:",
        "the model has no answer without looking, not even the commonest one.",
    )


def _without_time(key: RunKey, control: str, runs: Runs, pairs: Pairs) -> Verdict:
    """Speed is motion between frames: without it speed must suffer, and far more than what one frame tells.

    A drop is compared as a share of the lead over the constant answer: a model that shuffled frames blind
    altogether loses all of every lead, but more points where the constant answer is worse.
    """
    still = key._replace(control=control)
    when = TIMELESS[control]
    drops = pairs[key.label, still.label].parameters
    drop = drops["ego_vehicle_speed"]
    before, after = (percent(runs[one].parameters["ego_vehicle_speed"].accuracy[0]) for one in (key, still))
    leads = pairs[key.label, MAJORITY].parameters
    static = sum(drops[name][0] for name in STATIC) / len(STATIC)
    static_lead = sum(leads[name][0] for name in STATIC) / len(STATIC)
    one_frame = "road type, weather and visibility, which one frame tells,"

    def speed(outcome: Outcome, *sentences: str) -> Verdict:
        return _verdict(control, key, outcome, *sentences, parameter="ego_vehicle_speed")

    if leads["ego_vehicle_speed"][1] <= 0:
        return speed(
            "unclear",
            f"Speed ({before}) is not above its constant answer to begin with,",
            f"so what happens when {when} ({after}) says nothing about reasoning over time.",
        )
    if drop[1] <= 0 and drop[0] < NEAR:
        return speed(
            "bad",
            f"Speed does not drop when {when} ({before} → {after}): the model does not reason over time.",
        )
    if drop[1] <= 0:
        return speed(
            "unclear",
            f"Speed goes from {before} to {after} when {when}, but the interval holds zero ({range_words(drop)}):",
            "reasoning over time is not shown.",
        )
    speed_lost = drop[0] / leads["ego_vehicle_speed"][0]
    static_lost = static / static_lead if static_lead > NEAR else 0.0
    if static_lost > DISTURBED * speed_lost:
        return speed(
            "unclear",
            f"Speed loses {percent(speed_lost)} of its lead over the constant answer when {when},",
            f"but {one_frame} lose {percent(static_lost)} of theirs:",
            "the altered frames disturb the model, motion is not shown to matter.",
        )
    change = (
        f"{'fall' if static > 0 else 'rise'} by {points(static)}" if round(100 * static) else "do not change"
    )
    return speed(
        "good",
        f"Speed falls by {points(drop[0])} when {when} ({before} → {after}; {range_words(drop)}),",
        f"while {one_frame} {change}: the model reads motion over time.",
    )


def _parameter(key: RunKey, name: str, runs: Runs, pairs: Pairs) -> Verdict:
    """One parameter against its constant answer and, where it was run, against black frames."""
    one = runs[key].parameters[name]
    label = name.replace("_", " ")
    against = f"{percent(one.accuracy[0])} against {percent(one.majority)}"
    gain = pairs[key.label, MAJORITY].parameters[name]
    black = key._replace(control="black")

    def said(outcome: Outcome, *sentences: str) -> Verdict:
        return _verdict("parameter", key, outcome, *sentences, parameter=name)

    if one.majority == 1:
        return said("unclear", f"{label}: one answer is right for all these clips, so nothing is tested.")
    if gain[2] < 0:
        return said("bad", f"{label}: worse than the majority answer ({against}); not learned.")
    if gain[1] <= 0 and one.commonest_share >= FIXED_SHARE:
        return said(
            "prior",
            f"{label}: not above the majority answer ({against}), and it says {word(one.commonest_answer)}",
            f"in {percent(one.commonest_share)} of the reports: learned a prior, not the picture.",
        )
    if gain[1] <= 0:
        return said(
            "prior",
            f"{label}: not shown to be above the majority answer ({against}; {range_words(gain)}):",
            "no better than a prior.",
        )
    if black in runs and pairs[key.label, black.label].parameters[name][1] <= 0:
        return said(
            "unclear",
            f"{label}: above the majority answer ({against}), but not shown to be above",
            f"black frames ({percent(runs[black].parameters[name].accuracy[0])}).",
        )
    return said("good", f"{label}: {points(gain[0])} above the majority answer ({against}).")


def _must_not_miss(key: RunKey, run: RunScore) -> list[Verdict]:
    """How many of the dangerous cases the model reports."""
    verdicts = []
    for name, recall in run.must_not_miss.items():
        missed = recall.cases - round(recall.recall[0] * recall.cases)
        text = (
            f"Where {name.replace('_', ' ')} is {word(recall.value)}, the model says so in "
            f"{percent(recall.recall[0])} of {recall.cases} clips; it misses {missed}."
        )
        outcome: Outcome = "bad" if recall.recall[0] < 0.5 else "note"
        verdicts.append(_verdict("must_not_miss", key, outcome, text, parameter=name))
    return verdicts


def _cautions(key: RunKey, runs: Runs) -> list[Verdict]:
    """What a reader should know before trusting the numbers above."""
    verdicts = []
    if runs[key].drives < FEW_DRIVES:
        text = f"Only {runs[key].drives} drives: the intervals are rough themselves; evaluate on more."
        verdicts.append(_verdict("caution", key, "note", text))
    for other, run in runs.items():
        cut = round((1 - run.finished) * run.clips)
        if other.model == key.model and cut:
            text = (
                f"{cut} of {run.clips} answers ({other.label}) ran into the limit of new tokens "
                "and count as they are; raise infer.max_new_tokens."
            )
            verdicts.append(_verdict("caution", key, "note", text))
    return verdicts


def parameters_by_outcome(verdicts: Sequence[Verdict], model: str) -> dict[str, list[str]]:
    """Parameters of one model by the outcome of their verdict, in canonical order."""
    groups: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.rule == "parameter" and verdict.model == model and verdict.parameter is not None:
            groups.setdefault(verdict.outcome, []).append(verdict.parameter)
    return groups

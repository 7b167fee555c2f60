"""How much of what a teacher gets wrong curation finds, and how little of what is right it changes.

    python bench/curate.py [--drives 1500] [--seed 0] [--json FILE]

Simulated drives are answered by the simulated teacher with one known mistake in each answer (and once without
any); the answers go through the rules as in `roadscribe curate`. A mistake counts as found when the
row is kept out, or the value it made wrong is changed or noted, or (for prose) a rule changes a sentence. A note
leaves the value: a risk against the rule is only noted where no evidence decides; the number is printed. Everything a
rule says about a parameter that was right is a false alarm. The ground truth is used here, to count, and
nowhere in the rules.

Not every mistake can be seen in the evidence: a risk that the other parameters allow (the time to collision
is not in the report), weather in a tunnel. Recall is given over all mistakes, and over those that evidence
can reveal; `can_be_revealed` decides that from the truth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from roadscribe.annotate.mistakes import DRAFT_MISTAKES, TEXT_MISTAKES, answer_clip
from roadscribe.clip import Clip, Provenance
from roadscribe.curate.mend import Row, judge, settle
from roadscribe.curate.now import evidence_now
from roadscribe.curate.rules import RULES
from roadscribe.curate.rules.answer import RawAnswer
from roadscribe.curate.rules.consistency import risk_bounds
from roadscribe.report import PARAMETERS, RANGES, DrivingParameters
from roadscribe.simulator import make_drive
from roadscribe.simulator.record import evidence_at

RULE_IDS = {rule.id for rule in RULES}
SECONDS = 4.0


def clip_of_seed(seed: int) -> Clip:
    """The last moment of a drive; no rule looks at the frame."""
    drive = make_drive(seed, SECONDS)
    return Clip(
        clip_id=drive.drive_id,
        drive_id=drive.drive_id,
        source="simulator",
        frames=(b"",),
        timestamps_s=(SECONDS,),
        width=320,
        height=192,
        evidence=evidence_at(drive, SECONDS),
        provenance=Provenance(path=drive.drive_id, size_bytes=0, sha256=""),
    )


def curated(clip: Clip, error_rate: float, seed: int) -> tuple[tuple[dict[str, Any], ...], Row]:
    """(the injected mistakes, the row after curation)."""
    answer = answer_clip(clip, error_rate=error_rate, seed=seed)
    now = evidence_now(clip)
    raw = RawAnswer(row=0, clip_id=clip.clip_id, text=answer.text, finish_reason=answer.finish_reason)
    return answer.injected, settle(judge(raw, now), now, {})


def is_right(parameter: str, value: Any, truth: Any) -> bool:
    """Equal; speeds within max(5 km/h, 15 %), distances within max(5 m, 25 %), as in the scorecard."""
    if parameter == "lane_count" or parameter not in RANGES or value is None or truth is None:
        return bool(value == truth)
    share = 0.15 if parameter == "ego_vehicle_speed" else 0.25
    return bool(abs(value - truth) <= max(5, share * truth))


def can_be_revealed(note: dict[str, Any], truth: DrivingParameters) -> bool:
    """Whether labels, telemetry or the other parameters contradict the mistake at all."""
    if note["kind"] == "risk_wrong":
        return note["after"] not in _levels_between(
            *risk_bounds(truth, truth.closest_vehicle_distance is None)
        )
    if note["kind"] == "weather_wrong" or (note["kind"], note["parameter"]) == (
        "prose_contradicts",
        "weather",
    ):
        return truth.weather != "unknown"
    return True


def _levels_between(lowest: str, highest: str) -> tuple[str, ...]:
    levels = ("low", "medium", "high")
    return levels[levels.index(lowest) : levels.index(highest) + 1]


def is_found(note: dict[str, Any], row: Row) -> bool:
    """Whether curation caught this mistake."""
    if row.quarantine is not None:
        return True
    rules = {finding.rule for finding in row.findings}
    if note["kind"] in TEXT_MISTAKES:
        return bool(rules & {"cut_off", "repetition", "refusal", "prose_medium"})
    if note["kind"] == "prose_contradicts":
        return any(f.rule.startswith("prose_") and f.parameter == note["parameter"] for f in row.findings)
    return any(f.parameter == note["parameter"] and f.rule in RULE_IDS for f in row.findings)


def is_only_noted(note: dict[str, Any], row: Row) -> bool:
    """Whether curation said that the value is doubtful and left it as it was."""
    said = [f for f in row.findings if f.parameter == note["parameter"] and f.rule in RULE_IDS]
    return (
        note["parameter"] is not None
        and row.quarantine is None
        and bool(said)
        and all(f.before == f.after for f in said)
    )


def measure(drives: int, seed: int) -> dict[str, Any]:
    """Recall by kind, precision, and the share of correct values changed."""
    all_notes: Counter[str] = Counter()
    revealable: Counter[str] = Counter()
    found: Counter[str] = Counter()
    false_alarms: Counter[str] = Counter()
    true_alarms = right_values = right_changed = wrong_left = kept_values = 0
    missed: dict[str, list[str]] = defaultdict(list)
    only_noted: Counter[str] = Counter()
    for number in range(drives):
        clip = clip_of_seed(seed + number)
        truth = clip.evidence.truth
        assert truth is not None
        values = truth.parameters.model_dump()
        for error_rate in (1.0, 0.0):
            notes, row = curated(clip, error_rate, seed)
            wrong = {note["parameter"] for note in notes}
            for note in notes:
                all_notes[note["kind"]] += 1
                if can_be_revealed(note, truth.parameters):
                    revealable[note["kind"]] += 1
                    if is_found(note, row):
                        found[note["kind"]] += 1
                        only_noted[note["kind"]] += is_only_noted(note, row)
                    else:
                        missed[note["kind"]].append(clip.clip_id)
            if row.quarantine is not None:
                true_alarms += bool(notes)
                false_alarms[row.quarantine.rule] += not notes
                continue
            for finding in row.findings:
                if (
                    finding.rule not in RULE_IDS
                    or finding.parameter not in PARAMETERS
                    or finding.rule == "prose_units"
                ):
                    continue
                if finding.parameter in wrong or _follows(finding.parameter, wrong):
                    true_alarms += 1
                else:
                    false_alarms[finding.rule] += 1
            report = row.report
            assert report is not None
            for parameter, value in report.driving_parameters.model_dump().items():
                read = row.read_values[parameter]
                kept_values += 1
                wrong_left += (
                    value is not None
                    and value != "unknown"
                    and not is_right(parameter, value, values[parameter])
                )
                if is_right(parameter, read, values[parameter]):
                    right_values += 1
                    right_changed += not is_right(parameter, value, values[parameter])
    kinds = [*DRAFT_MISTAKES, *TEXT_MISTAKES]
    alarms = true_alarms + sum(false_alarms.values())
    return {
        "drives": drives,
        "mistakes": sum(all_notes.values()),
        "recall": sum(found.values()) / max(1, sum(revealable.values())),
        "recall_over_all": sum(found.values()) / max(1, sum(all_notes.values())),
        "precision": true_alarms / max(1, alarms),
        "correct_values_changed": right_changed / max(1, right_values),
        "wrong_values_left": wrong_left / max(1, kept_values),
        "only_noted": dict(only_noted),
        "kinds": {
            kind: {"mistakes": all_notes[kind], "revealable": revealable[kind], "found": found[kind]}
            for kind in kinds
        },
        "false_alarms": dict(false_alarms.most_common()),
        "missed": {kind: clips[:5] for kind, clips in missed.items()},
    }


def _follows(parameter: str, wrong: set[str | None]) -> bool:
    """Risk follows from what is wrong with the parameters it is made of."""
    parts = {
        "traffic_light_state",
        "pedestrian_on_road",
        "closest_vehicle_distance",
        "ego_vehicle_speed",
        "visibility",
    }
    return parameter == "risk_factor" and bool(wrong & parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--drives", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0, help="first seed of the drives")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    begun = time.monotonic()
    result = measure(options.drives, options.seed)
    for name, target in (
        ("recall", ">= 95 %"),
        ("precision", ">= 97 %"),
        ("correct_values_changed", "<= 0.5 %"),
    ):
        print(f"{name.replace('_', ' ')}: {result[name]:.2%} (target {target})")
    print(f"recall over all mistakes, also those nothing can reveal: {result['recall_over_all']:.2%}")
    print(f"wrong values left in kept rows: {result['wrong_values_left']:.2%}")
    print(f"\n{'kind':22}{'mistakes':>9}{'revealable':>12}{'found':>7}{'recall':>8}")
    for kind, count in result["kinds"].items():
        recall = f"{count['found'] / count['revealable']:.1%}" if count["revealable"] else "-"
        print(f"{kind:22}{count['mistakes']:>9}{count['revealable']:>12}{count['found']:>7}{recall:>8}")
    print(f"\nof the found only noted: { {kind: n for kind, n in result['only_noted'].items() if n} }")
    print(f"false alarms: {result['false_alarms']}\nmissed, for example: {result['missed']}")
    print(f"{options.drives} drives in {time.monotonic() - begun:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""The scorecard as one page for people: ``scorecard.html``, self-contained, readable without a network.

Evaluate calls `render_page` last. What models and files wrote goes through Jinja2's HTML escaping, and the
page's own content policy forbids every script but the one in the template (by its hash) and every address.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
from PIL import Image

from roadscribe.clip import Clip
from roadscribe.evaluate.page_prose import marked_claims, prose_rows
from roadscribe.evaluate.predictions import CONTROL_WORDS, Prediction, RunKey, prose
from roadscribe.evaluate.scorecard import MAJORITY, ParameterScore, RunScore, Scorecard, main_runs
from roadscribe.evaluate.scores import NOT_STATED, TOLERANCES, Value, word
from roadscribe.evaluate.statistics import Interval
from roadscribe.evaluate.wording import label, percent, signed
from roadscribe.report import PARAMETERS

HERE = Path(__file__).parent

IMAGE_BUDGET_BYTES = 4_000_000
"""JPEG bytes on the page; as data URLs they are a third longer, and the page stays below 6 MB."""

FRAME_STEPS = ((320, 78), (288, 74), (256, 70), (224, 68), (192, 65), (160, 60), (128, 50), (96, 45))
"""(width in pixels, JPEG quality) to choose from: the first that fits the budget."""

GALLERY_CLIPS = 60
STRIP_FRAMES = 12
WORST_SHOWN = 8
BEST_SHOWN = 4

UNITS = {"closest_vehicle_distance": "m", "ego_vehicle_speed": "km/h"}

OVERALL_TITLES = {
    "good": "It reads the road",
    "partly": "Its values read the road, its prose does not",
    "prior": "It answers from a prior",
    "bad": "It has not learned the task",
    "unclear": "Not enough to conclude",
    "note": "Scorecard",
}


def render_page(
    scorecard: Scorecard, predictions: Mapping[RunKey, Sequence[Prediction]], clips: Sequence[Clip]
) -> str:
    """The whole page as HTML.

    Args:
        scorecard: all numbers and verdicts.
        predictions: per run, one prediction a clip, in the order of ``clips``.
        clips: the evaluated clips; their frames stand in the gallery.
    """
    mains = main_runs(list(predictions))
    subject = next((key for model, key in mains.items() if model != "base"), next(iter(mains.values())))
    run = scorecard.run(subject)
    assert run is not None
    verdicts = [one for one in scorecard.verdicts if one.model == subject.model]
    overall = next(one for one in verdicts if one.rule == "overall")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "label": label, "share": share, "unbroken": unbroken}
    script = (HERE / "scorecard.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("scorecard.html.j2").render(
        card=scorecard,
        style=markupsafe.Markup((HERE / "scorecard.css").read_text(encoding="utf-8")),
        script=markupsafe.Markup(script),
        script_hash=f"sha256-{digest}",
        run=run,
        subject=subject,
        title=_title(overall.outcome, run),
        overall=overall,
        verdicts=[one for one in verdicts if one.rule not in ("overall", "parameter")],
        headlines=headlines(scorecard, run),
        rows=[_chart_row(scorecard, mains, subject, name, verdicts) for name in PARAMETERS],
        mean_row=_mean_row(scorecard, mains, run),
        has_base="base" in mains and subject.model != "base",
        has_black=scorecard.run(subject._replace(control="black")) is not None,
        panels=_control_panels(scorecard, subject.model),
        scatters=[scatter(name, run.parameters[name], predictions[subject]) for name in UNITS],
        confusions=[
            (name, one.confusion) for name, one in run.parameters.items() if one.confusion is not None
        ],
        prose=run.prose,
        prose_rows=prose_rows(scorecard, mains, subject),
        gallery=gallery(scorecard, predictions, mains, subject, clips),
        tolerances=[
            (label(name), f"{rule.absolute:g} {UNITS[name]}", percent(rule.relative))
            for name, rule in TOLERANCES.items()
        ],
        parameters=PARAMETERS,
        not_stated=NOT_STATED,
        control_words=CONTROL_WORDS,
        panel_label=panel_label,
        word=word,
    )


def _title(outcome: str, run: RunScore) -> str:
    """The headline: a prose that is read from the pictures and contradicts the JSON is not one that reads nothing."""
    if outcome == "partly" and run.prose is not None and run.prose.gain is not None and run.prose.gain[1] > 0:
        return "It reads the road, but contradicts itself"
    return OVERALL_TITLES[outcome]


def unbroken(text: str) -> str:
    """Keep "30 %" on one line."""
    return text.replace(" %", "\u00a0%")


def share(value: float) -> str:
    """A share as a CSS or SVG length."""
    return f"{100 * value:.2f}%"


def headlines(scorecard: Scorecard, run: RunScore) -> list[dict[str, str]]:
    """The few numbers at the top: value, what it is, and how sure it is."""
    key = run.key
    differences = {(one.plus, one.minus): one for one in scorecard.differences}

    def gain(minus: str, parameter: str | None = None) -> Interval | None:
        found = differences.get((key.label, minus))
        if found is None:
            return None
        return found.parameters[parameter] if parameter else found.mean_accuracy

    def between(interval: Interval) -> str:
        return f"95 %: {signed(interval[1])} to {signed(interval[2])}"

    mean = run.mean_accuracy
    items = [
        {
            "value": f"{100 * mean[0]:.0f}",
            "unit": "%",
            "what": "of all values right",
            "detail": f"95 %: {100 * mean[1]:.0f} to {100 * mean[2]:.0f}",
        }
    ]
    shuffled = key._replace(control="shuffled").label
    if run.prose is not None and run.prose.right is not None:
        right, against = run.prose.right, run.prose.contradicting
        items.append(
            {
                "value": f"{100 * right[0]:.0f}",
                "unit": "%",
                "what": "of the claims in the prose right",
                "detail": f"95 %: {100 * right[1]:.0f} to {100 * right[2]:.0f}",
            }
        )
        items.append(
            {
                "value": f"{100 * against[0]:.0f}",
                "unit": "%",
                "what": "of the reports contradict their own JSON",
                "detail": f"95 %: {100 * against[1]:.0f} to {100 * against[2]:.0f}",
            }
        )
    for minus, parameter, what in (
        (MAJORITY, None, "points over the constant answer"),
        ("base", None, "points over the base model"),
        (key._replace(control="black").label, None, "points over black frames"),
        (shuffled, "ego_vehicle_speed", "points of speed that rest on the frames' order"),
    ):
        difference = gain(minus, parameter)
        if difference is not None:
            items.append(
                {"value": signed(difference[0]), "unit": "", "what": what, "detail": between(difference)}
            )
    forms = [one for one in scorecard.runs if one.model == run.model and one.control == "none"]
    items.append(
        {
            "value": f"{100 * forms[-1].schema_valid:.0f}",
            "unit": "%",
            "what": f"hold the schema {'with' if forms[-1].grammar else 'without'} the grammar",
            "detail": f"{100 * forms[0].schema_valid:.0f} % with it" if len(forms) > 1 else "",
        }
    )
    return items


def _chart_row(
    scorecard: Scorecard, mains: Mapping[str, RunKey], subject: RunKey, name: str, verdicts: Sequence[Any]
) -> dict[str, Any]:
    """One line of the parameter chart: where the dots, the interval and the majority mark stand."""
    verdict = next((one for one in verdicts if one.rule == "parameter" and one.parameter == name), None)

    def accuracy(key: RunKey | None) -> Interval | None:
        found = scorecard.run(key) if key is not None else None
        return None if found is None else found.parameters[name].accuracy

    run = scorecard.run(subject)
    assert run is not None
    one = run.parameters[name]
    return {
        "name": name,
        "score": one,
        "accuracy": one.accuracy,
        "majority": one.majority,
        "majority_answer": _majority_words(name, scorecard.majority.answers[name]),
        "base": accuracy(mains.get("base")) if subject.model != "base" else None,
        "black": accuracy(subject._replace(control="black")),
        "outcome": verdict.outcome if verdict else "note",
        "text": verdict.text if verdict else "",
    }


def _majority_words(name: str, answer: Value) -> str:
    unit = UNITS.get(name) if isinstance(answer, int) else None
    return f"{word(answer)} {unit}" if unit else word(answer)


def _mean_row(scorecard: Scorecard, mains: Mapping[str, RunKey], run: RunScore) -> dict[str, Any]:
    base = scorecard.run(mains["base"]) if "base" in mains and run.model != "base" else None
    black = scorecard.run(run.key._replace(control="black"))
    return {
        "name": "mean of the 12",
        "accuracy": run.mean_accuracy,
        "majority": scorecard.majority.mean_accuracy,
        "base": base.mean_accuracy if base else None,
        "black": black.mean_accuracy if black else None,
    }


def _control_panels(scorecard: Scorecard, model: str) -> list[dict[str, Any]]:
    """Every run of the model (and the base) side by side: all values, speed, and what one picture tells."""
    runs = [run for run in scorecard.runs if run.model in (model, "base")]
    panels: list[dict[str, Any]] = [
        {
            "title": "All 12 parameters",
            "majority": scorecard.majority.mean_accuracy,
            "bars": [(run.key, run.mean_accuracy) for run in runs],
        }
    ]
    for name, title in (
        ("ego_vehicle_speed", "Speed: needs time"),
        ("weather", "Weather: one picture tells"),
    ):
        panels.append(
            {
                "title": title,
                "majority": runs[0].parameters[name].majority,
                "bars": [(run.key, run.parameters[name].accuracy) for run in runs],
            }
        )
    return panels


def panel_label(key: RunKey, subject: RunKey) -> str:
    """What sets a run apart from the main run: "shuffled" rather than "tuned, shuffled"."""
    if key == subject or key.model != subject.model:
        return key.label
    return key.label.removeprefix(f"{key.model}, ")


def scatter(name: str, score: ParameterScore, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Truth against answer for a measured parameter, in a 200 x 200 field with the tolerance as a band."""
    pairs = [
        (truth, said, one.correct[name])
        for one in predictions
        if isinstance(truth := one.truth[name], int) and isinstance(said := one.predicted.get(name), int)
    ]
    top = max([20, *(max(truth, said) for truth, said, _ in pairs)])
    step = next(step for step in (5, 10, 20, 25, 50) if top / step <= 5 or step == 50)
    top = step * math.ceil(top / step)
    rule = TOLERANCES[name]

    def at(value: float) -> float:
        return round(200 * min(max(value, 0), top) / top, 2)

    truths = [top * part / 60 for part in range(61)]
    allowed = [max(rule.absolute, rule.relative * truth) for truth in truths]
    upper = [f"{at(truth)},{200 - at(truth + more)}" for truth, more in zip(truths, allowed, strict=True)]
    lower = [f"{at(truth)},{200 - at(truth - more)}" for truth, more in zip(truths, allowed, strict=True)]
    nulls = [one for one in predictions if one.truth[name] is None]
    return {
        "name": name,
        "unit": UNITS[name],
        "band": " ".join([*upper, *reversed(lower)]),
        "dots": [
            (at(truth), 200 - at(said), right, f"truth {truth}, answer {said}")
            for truth, said, right in pairs
        ],
        "ticks": [(at(value), value) for value in range(0, top + 1, step)],
        "compared": len(pairs),
        "clips": len(predictions),
        "mean_absolute_error": score.mean_absolute_error,
        "mean_signed_error": score.mean_signed_error,
        "null_truths": len(nulls),
        "null_right": sum(one.correct[name] for one in nulls),
        "null_wrong": sum(
            one.truth[name] is not None and one.predicted.get(name) is None for one in predictions
        ),
    }


def gallery(
    scorecard: Scorecard,
    predictions: Mapping[RunKey, Sequence[Prediction]],
    mains: Mapping[str, RunKey],
    subject: RunKey,
    clips: Sequence[Clip],
) -> dict[str, Any]:
    """Clips with their frames, truth and answers: the worst, the best, the others; all worst first."""
    right = [sum(one.correct.values()) for one in predictions[subject]]
    order = sorted(range(len(clips)), key=lambda place: (right[place], clips[place].clip_id))
    if len(order) > GALLERY_CLIPS:
        order = order[: GALLERY_CLIPS * 3 // 4] + order[-GALLERY_CLIPS // 4 :]
    strips = film_strips([clips[place] for place in order])
    shown = [subject]
    if "base" in mains and subject.model != "base":
        shown.append(mains["base"])
    cards = [
        _gallery_card(clips[place], [predictions[key][place] for key in shown], strip, right[place])
        for place, strip in zip(order, strips, strict=True)
    ]
    best = min(BEST_SHOWN, max(0, len(cards) - WORST_SHOWN))
    groups = [
        ("Where it goes most wrong", cards[:WORST_SHOWN], True),
        ("Where it goes best", list(reversed(cards[len(cards) - best :])), True),
        ("The drives between", cards[WORST_SHOWN : len(cards) - best], False),
    ]
    return {
        "groups": [group for group in groups if group[1]],
        "models": [key.model for key in shown],
        "total": len(clips),
        "shown": len(cards),
    }


def _gallery_card(
    clip: Clip, predictions: Sequence[Prediction], strip: list[dict[str, str]], right: int
) -> dict[str, Any]:
    own = predictions[0]
    flags = [one.correct for one in predictions]
    scene, risks = prose(own.text)
    marked = [marked_claims(part, own) for part in (scene, *risks)]
    return {
        "clip_id": clip.clip_id,
        "drive_id": clip.drive_id,
        "right": right,
        "wrong": " ".join(name for name in PARAMETERS if not flags[0][name]),
        "frames": strip,
        "scene": marked[0],
        "risks": marked[1:],
        "schema_valid": own.schema_valid,
        "finished": own.finished,
        "text": own.text,
        "rows": [
            {
                "name": name,
                "unit": UNITS.get(name, ""),
                "truth": own.truth[name],
                "answers": [
                    (name in one.predicted, one.predicted.get(name), flag[name])
                    for one, flag in zip(predictions, flags, strict=True)
                ],
            }
            for name in PARAMETERS
        ],
    }


def film_strips(clips: Sequence[Clip]) -> list[list[dict[str, str]]]:
    """Per clip its frames as small data URLs with their times, all in the one size that fits the budget."""
    places = [strip_places(len(clip.frames)) for clip in clips]
    jobs = [(row, place) for row, chosen in enumerate(places) for place in chosen]
    sample = jobs[:: max(1, len(jobs) // 24)]
    for width, quality in FRAME_STEPS:
        probe = [len(_thumbnail(clips[row].frames[place], width, quality)) for row, place in sample]
        if sum(probe) / len(probe) * len(jobs) * 1.1 <= IMAGE_BUDGET_BYTES:
            break
    strips: list[list[dict[str, str]]] = [[] for _ in clips]
    for row, place in jobs:
        clip = clips[row]
        before = clip.now_s - clip.timestamps_s[place]
        jpeg = _thumbnail(clip.frames[place], width, quality)
        strips[row].append(
            {
                "url": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
                "time": "now" if place == len(clip.frames) - 1 else f"−{before:.1f} s",
                "at": f"{clip.timestamps_s[place]:.2f} s",
            }
        )
    return strips


def strip_places(count: int) -> list[int]:
    """Which of ``count`` frames a strip shows: all, or STRIP_FRAMES of them evenly, always with the last."""
    if count <= STRIP_FRAMES:
        return list(range(count))
    return [round(place * (count - 1) / (STRIP_FRAMES - 1)) for place in range(STRIP_FRAMES)]


def _thumbnail(jpeg: bytes, width: int, quality: int) -> bytes:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    if image.width > width:
        image = image.resize(
            (width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS
        )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()

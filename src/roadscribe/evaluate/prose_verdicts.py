"""Verdicts on the prose: whether its claims are read from the pictures, and whether it agrees with its own JSON.

The rules are those of `verdicts`: a share counts as better than the constant text only where the whole 95 %
interval of the paired difference lies above zero.
"""

from __future__ import annotations

from collections.abc import Mapping

from roadscribe.evaluate.predictions import RunKey
from roadscribe.evaluate.prose_scores import ProseScore
from roadscribe.evaluate.scorecard import Outcome, RunScore, Verdict
from roadscribe.evaluate.wording import percent, range_words

MAX_CONTRADICTING = 0.05
"""Above this share of reports that contradict their own JSON, the report as a whole is not good."""

MAX_BLEMISHED = 0.05
"""Above this share, repeated sentences and headings that do not fit are a fault and not a note."""


def with_prose(overall: Verdict, run: RunScore) -> Verdict:
    """The overall verdict of the values, extended by what holds of the prose."""
    prose = run.prose
    if prose is None:
        return overall
    if prose.right is None or prose.gain is None:
        text = f"{overall.text} Its prose makes no claim that can be checked."
        return overall.model_copy(update={"text": text})
    faults = []
    if prose.gain[1] <= 0:
        faults.append("they are no better than a text that always says the same")
    if prose.contradicting[0] > MAX_CONTRADICTING:
        faults.append(f"{percent(prose.contradicting[0])} of the reports contradict their own JSON")
    share = f"Of the claims in its prose {percent(prose.right[0])} are right"
    text = f"{overall.text} {share}{', but ' if faults else '.'}{' and '.join(faults)}{'.' if faults else ''}"
    outcome: Outcome = "partly" if faults and overall.outcome == "good" else overall.outcome
    return overall.model_copy(update={"text": text, "outcome": outcome})


def prose_verdicts(key: RunKey, runs: Mapping[RunKey, RunScore]) -> list[Verdict]:
    """Verdicts on claims, omissions, contradictions and form of one model's prose."""
    prose = runs[key].prose
    if prose is None or prose.right is None:
        return []
    return [
        _claims(key, prose, runs),
        *_mentions(key, prose),
        _contradictions(key, prose, runs[key].clips),
        *_form(key, prose),
    ]


def _verdict(rule: str, key: RunKey, outcome: Outcome, text: str, parameter: str | None = None) -> Verdict:
    return Verdict(rule=rule, model=key.model, parameter=parameter, outcome=outcome, text=text)


def _claims(key: RunKey, prose: ProseScore, runs: Mapping[RunKey, RunScore]) -> Verdict:
    """Claims against the constant text, the JSON of the same reports, and black frames."""
    assert prose.right is not None and prose.constant is not None and prose.gain is not None
    shares = f"{percent(prose.right[0])} of its {prose.claims} claims are right"
    if prose.json_right is not None:
        shares += f" (the JSON is right in {percent(prose.json_right)} of the same cases)"
    against = f"where the constant text gets {percent(prose.constant)}"
    blind = runs.get(key._replace(control="black"))
    if blind is not None and blind.prose is not None and blind.prose.right is not None:
        against += f" and black frames {percent(blind.prose.right[0])}"
    if prose.gain[1] > 0:
        return _verdict("prose", key, "good", f"The prose: {shares}, {against}.")
    outcome: Outcome = "bad" if prose.gain[2] < 0 else "prior"
    text = f"The prose: {shares}, {against} ({range_words(prose.gain)}): it is not read from the pictures."
    return _verdict("prose", key, outcome, text)


def _mentions(key: RunKey, prose: ProseScore) -> list[Verdict]:
    """What must not be left out, and how often it is."""
    verdicts = []
    for one in prose.mentions:
        said = round(one.mentioned[0] * one.cases)
        text = f"Where there is {one.what}, the prose mentions it in {said} of {one.cases} clips."
        verdicts.append(_verdict("mention", key, "bad" if one.mentioned[0] < 0.5 else "note", text))
    return verdicts


def _contradictions(key: RunKey, prose: ProseScore, clips: int) -> Verdict:
    """Reports whose prose and JSON cannot both be true, with the topics and which side is right more often."""
    count = round(prose.contradicting[0] * clips)
    if not count:
        return _verdict("contradiction", key, "good", f"None of {clips} reports contradicts its own JSON.")
    worst = sorted(prose.topics.items(), key=lambda item: -item[1].contradictions)
    where = [
        f"{topic.replace('_', ' ')} {one.contradictions} (the JSON is right in {one.contradicted_json_right}, "
        f"the prose in {one.contradicted_prose_right})"
        for topic, one in worst[:3]
        if one.contradictions
    ]
    text = (
        f"{count} of {clips} reports ({percent(prose.contradicting[0])}) contradict their own JSON: "
        f"{', '.join(where)}."
    )
    outcome: Outcome = "bad" if prose.contradicting[0] > MAX_CONTRADICTING else "note"
    return _verdict("contradiction", key, outcome, text)


def _form(key: RunKey, prose: ProseScore) -> list[Verdict]:
    """Repeated sentences, and headings over points that speak of something else."""
    verdicts = []
    if prose.repeating[0] > 0:
        text = f"{percent(prose.repeating[0])} of the reports say a sentence twice."
        verdicts.append(_form_verdict(key, prose.repeating[0], text))
    if prose.misfit_headings is not None and prose.misfit_headings[0] > 0:
        share = prose.misfit_headings[0]
        text = f"{percent(share)} of {prose.headings} headings stand over a point about something else."
        verdicts.append(_form_verdict(key, share, text))
    return verdicts


def _form_verdict(key: RunKey, share: float, text: str) -> Verdict:
    return _verdict("form", key, "bad" if share > MAX_BLEMISHED else "note", text)

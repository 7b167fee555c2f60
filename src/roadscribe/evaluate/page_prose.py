"""The scorecard page's part about the prose: rows per topic, and claims marked in the text of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roadscribe.answers.claims import contradicts, read_claims
from roadscribe.evaluate.predictions import Prediction, RunKey
from roadscribe.evaluate.prose_scores import TIME_OF_DAY, claim_is_right
from roadscribe.evaluate.scorecard import Scorecard
from roadscribe.evaluate.scores import word
from roadscribe.evaluate.statistics import Interval
from roadscribe.evaluate.wording import label, percent


def prose_rows(scorecard: Scorecard, mains: Mapping[str, RunKey], subject: RunKey) -> list[dict[str, Any]]:
    """One line per topic of the prose: right claims, the constant text, the JSON, black frames, contradictions."""
    run = scorecard.run(subject)
    if run is None or run.prose is None:
        return []

    def right(key: RunKey | None, topic: str) -> Interval | None:
        found = scorecard.run(key) if key is not None else None
        one = found.prose.topics.get(topic) if found and found.prose else None
        return one.right if one else None

    rows = []
    for topic, one in run.prose.topics.items():
        outcome = "good" if one.gain[1] > 0 else "bad" if one.gain[2] < 0 else "prior"
        text = (
            f"{label(topic)}: {percent(one.right[0])} of {one.claims} claims right, the constant text "
            f"{percent(one.constant)}"
        )
        rows.append(
            {
                "name": topic,
                "accuracy": one.right,
                "majority": one.constant,
                "base": right(mains.get("base"), topic) if subject.model != "base" else None,
                "black": right(subject._replace(control="black"), topic),
                "outcome": outcome,
                "text": text,
                "score": one,
            }
        )
    return rows


def marked_claims(text: str, prediction: Prediction) -> list[tuple[str, str, str]]:
    """A prose section as (text, mark, hint) pieces; the mark of a claim is "right", "wrong", "" elsewhere.

    A claim that contradicts the report's own JSON is marked "against" as well. Of claims that share words ("The ego
    vehicle drives in the left lane at 50 km/h") the shorter one comes first, and the longer one marks what is left.
    """
    pieces: list[tuple[str, str, str]] = []
    at = 0
    for claim in sorted(read_claims(text), key=lambda one: (one.start, one.end)):
        truth = prediction.time_of_day if claim.topic == TIME_OF_DAY else prediction.truth[claim.topic]
        start = max(claim.start, at)
        if start >= claim.end or (claim.topic == TIME_OF_DAY and truth is None):
            continue
        mark = "right" if claim_is_right(claim, truth) else "wrong"
        hint = f"{label(claim.topic)}: truth {word(truth)}"
        if claim.topic in prediction.predicted and contradicts(claim, prediction.predicted):
            mark += " against"
            hint += f", its own JSON {word(prediction.predicted[claim.topic])}"
        pieces += [(text[at:start], "", ""), (text[start : claim.end], mark, hint)]
        at = claim.end
    return [piece for piece in (*pieces, (text[at:], "", "")) if piece[0]]

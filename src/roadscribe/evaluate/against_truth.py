"""What curation let through, counted where the truth is known: simulated drives and the simulated teacher's mistakes.

On real footage nobody knows the truth of every answer, and nothing here applies.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from roadscribe.artifacts import require_complete
from roadscribe.clip import read_clips
from roadscribe.curate.read import open_log
from roadscribe.evaluate.predictions import stated_values
from roadscribe.evaluate.scores import correct_flags
from roadscribe.report import PARAMETERS


class LetThrough(NamedTuple):
    """The simulated teacher's answers before and after curation."""

    answers: int
    with_mistake: int
    """Answers into which the teacher put a mistake on purpose."""
    kinds: dict[str, int]
    """How many of each kind."""
    rows: int
    """Rows that curation kept."""
    values_right: float
    """Share of the kept rows' values that are true; null where a value is known is not."""
    slipped: dict[str, int]
    """By parameter: values in kept rows that are stated and wrong."""
    left_open: dict[str, int]
    """By parameter: values in kept rows that are null or unknown although the truth is not."""

    def sentence(self) -> str:
        """One line for people."""
        wrong = sum(self.slipped.values())
        named = ", ".join(
            f"{name} {count}" for name, count in sorted(self.slipped.items(), key=lambda x: -x[1])
        )
        return (
            f"the teacher put a mistake into {self.with_mistake} of {self.answers} answers; of the {self.rows} rows "
            f"that curation kept {self.values_right:.1%} of the values are true and {sum(self.left_open.values())} "
            f"left open; {wrong} wrong ones slipped through" + (f" ({named})" if wrong else "")
        )


def let_through(raw: Path, clips: Path, dataset: Path) -> LetThrough:
    """Hold the rows of ``dataset`` against the clips' truth, and count the teacher's mistakes in ``raw``.

    Args:
        raw: what `annotate` wrote with the simulated teacher.
        clips: the clips, with their truth.
        dataset: what `curate` made of both.

    Raises:
        InputError: a folder is no finished artifact of its kind.
    """
    import datasets

    require_complete(dataset, "dataset", "curate")
    log = open_log(raw)
    notes = [answer.injected for clip_id in log.places for answer in log.answers(clip_id)]
    truths: dict[str, dict[str, Any]] = {
        clip.clip_id: clip.evidence.truth.parameters.model_dump()
        for clip in read_clips(clips)
        if clip.evidence.truth is not None
    }
    datasets.disable_progress_bars()
    splits = datasets.load_from_disk(str(dataset / "dataset"))
    slipped: Counter[str] = Counter()
    left_open: Counter[str] = Counter()
    rows = right = 0
    for row in (row for split in splits.values() for row in split.select_columns(["clip_id", "completion"])):
        truth = truths.get(row["clip_id"])
        if truth is None:
            continue
        content = row["completion"][0]["content"]
        stated = stated_values(content if isinstance(content, str) else content[0]["text"])
        rows += 1
        for name, true in correct_flags(stated, truth).items():
            right += true
            if not true:
                (left_open if stated.get(name) in (None, "unknown") else slipped)[name] += 1
    return LetThrough(
        answers=len(notes),
        with_mistake=sum(bool(one) for one in notes),
        kinds=dict(Counter(note["kind"] for one in notes for note in one)),
        rows=rows,
        values_right=right / max(1, rows * len(PARAMETERS)),
        slipped=dict(slipped),
        left_open=dict(left_open),
    )


def as_json(found: LetThrough) -> dict[str, Any]:
    """Plain JSON values."""
    return json.loads(json.dumps(found._asdict()))  # type: ignore[no-any-return]

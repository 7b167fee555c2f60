"""Writes the tiny base's card from the facts its training left behind (`training.json`).

python -m roadscribe.tiny.card DIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# roadscribe-tiny

A real Qwen3-VL (`Qwen3VLForConditionalGeneration`) of {parameters:,} parameters with its own byte-level tokenizer,
trained from nothing by the Roadscribe project. **It knows only simulated drives.** On real footage its answers mean
nothing; it exists so that the whole path of fine-tuning, grammar and scorecard runs on a laptop.

## What it was taught
Questions about simulated drives (six images, 0.3 s apart) with short answers, longer captions in plain prose, sentences
that are right or wrong, catchwords, and strings of random pieces to repeat, all in one schedule (`lessons.py`,
`sentences.py`, `pool.py`). It never saw the report format, JSON, the parameter keys or the instruction; fine-tuning
has those left to teach. The tokenizer's merges were learned from lessons, the instruction and reports: it cuts their
words into few pieces but says nothing about them.

{runs}

Seeds below 10,000,000 were never taught; the demo uses seeds below 3,000,000.

## Held-out figures
Share of right answers to one plain question each, in %, on {held_out_drives:,} drives from seed 9,000,000 up, in words,
greedily. Speed counts within max(5 km/h, 15 %), distance within max(5 m, 25 %). "black" shows black images, "shuffled"
the same images in another order.

{table}

DeepStack: the mergers' weights moved by {deepstack} of their length before the last run; with a merger set to zero the
answers change (a test holds this).

## Make it again
From nothing, in one run (four cards; one works, too, with fewer steps):
```
torchrun --nproc-per-node 4 -m roadscribe.tiny.pretrain --out weights --compile --minutes 15
```
The last run of these weights: `python -m roadscribe.tiny.pretrain --base BEFORE --out weights --compile
--steps {steps} --batch {batch} --lr {learning_rate} --workers 14 --pool 40000`. It wants a CUDA card (a CPU would take
weeks). Clips are drawn in the order in which worker processes finish, so a second run gives a model like this one, not
the same bytes.
"""


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown; ``facts`` is what `roadscribe.tiny.pretrain` wrote to ``training.json``."""
    header = "| | seen | black | shuffled | majority |\n|---|---|---|---|---|\n"
    rows = []
    for name, row in facts["held_out"].items():
        cells = [row[column] for column in ("seen", "black", "shuffled", "majority")]
        rows.append(f"| {name} | " + " | ".join(f"{100 * cell:.1f}" for cell in cells) + " |")
    moved = facts["deepstack_change"].values()
    runs = ["| run | steps | clips per step | learning rate | clips rendered | first seed | time |"]
    runs.append("|---|---|---|---|---|---|---|")
    for run in facts["runs"]:
        devices = f" x {run['devices']}" if run["devices"] > 1 else ""
        runs.append(
            f"| {run['what']} | {run['steps']:,} | {run['batch']} | {run['learning_rate']} "
            f"| {run['clips_rendered']:,} | {run['first_seed']:,} | {run['minutes']} min, {run['device']}{devices} |"
        )
    last = facts["runs"][-1]
    return _CARD.format(
        parameters=facts["parameters"],
        held_out_drives=facts["held_out_drives"],
        runs="\n".join(runs),
        steps=last["steps"],
        batch=last["batch"] // last["devices"],
        learning_rate=last["learning_rate"],
        table=header + "\n".join(rows),
        deepstack=f"{min(moved):.2f} to {max(moved):.2f} times",
    )


def write_card(folder: Path) -> None:
    """Write ``README.md`` beside the weights in ``folder``."""
    facts = json.loads((folder / "training.json").read_text())
    (folder / "README.md").write_text(card(facts))


if __name__ == "__main__":
    write_card(Path(sys.argv[1]))

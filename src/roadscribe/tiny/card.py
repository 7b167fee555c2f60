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
Plain captions and questions about simulated drives (six images, 0.3 s apart), written in `lessons.py`. It never saw the
report format, JSON, the parameter keys or the instruction; fine-tuning has those left to teach. The tokenizer's merges
were learned from lessons, the instruction and reports: it cuts their words into few pieces but says nothing about them.

| | seeing (`pretrain`) | words (`words`) |
|---|---|---|
| what | all weights, short answers | language model only, captions, talks of repeating random pieces |
| clips rendered | {clips_rendered:,} | {words_clips:,} |
| first seed | {first_seed:,} | {words_seed:,} |
| steps | {steps:,} of {batch} clips | {words_steps:,} of {words_batch} clips and {words_strings} talks |
| learning rate | {learning_rate} | {words_rate} |
| time | {minutes} min, {device} | {words_minutes} min, {words_device} |

Seeds below 10,000,000 were never taught; the demo uses seeds below 3,000,000.

## Held-out figures
Share of right answers to one plain question each, in %, on drives from seed 9,000,000 up, in words, greedily.
Speed counts within max(5 km/h, 15 %), distance within max(5 m, 25 %). "black" shows black images, "shuffled" the same
images in another order. The first four columns belong to the first half ({held_out_drives:,} drives), the last to the
shipped weights ({words_held_out} drives).

{table}

DeepStack: the mergers' weights moved by {deepstack} of their first length in training; with a merger set to zero the
answers change (a test holds this).

## Make it again
```
python -m roadscribe.tiny.pretrain --out seeing --compile --steps {steps} --batch {batch} --lr {learning_rate}
python -m roadscribe.tiny.words --base seeing --out weights --steps {words_steps} --lr {words_rate}
```
The first wants a CUDA card (a CPU would take weeks), the second runs anywhere. Clips are drawn in the order in which
worker processes finish, so a second run gives a model like this one, not the same bytes.
"""


def card(facts: dict[str, Any]) -> str:
    """The card as Markdown; ``facts`` is what `roadscribe.tiny.words` wrote to ``training.json``."""
    words = facts["words"]
    header = "| | seen | black | shuffled | majority | shipped, seen |\n|---|---|---|---|---|---|\n"
    rows = []
    for name, row in facts["held_out"].items():
        now = words["held_out"].get(name, {}).get("seen")
        cells = [row["seen"], row["black"], row["shuffled"], row["majority"], now]
        rows.append(f"| {name} | " + " | ".join("" if c is None else f"{100 * c:.1f}" for c in cells) + " |")
    moved = facts["deepstack_change"].values()
    return _CARD.format(
        **{key: facts[key] for key in ("parameters", "clips_rendered", "first_seed", "steps", "batch")},
        **{key: facts[key] for key in ("learning_rate", "minutes", "device", "held_out_drives")},
        words_clips=words["clips_rendered"],
        words_seed=words["first_seed"],
        words_steps=words["steps"],
        words_batch=words["clips_a_step"],
        words_strings=words["strings_a_step"],
        words_rate=words["learning_rate"],
        words_minutes=words["minutes"],
        words_device=words["device"],
        words_held_out=words["held_out_drives"],
        table=header + "\n".join(rows),
        deepstack=f"{min(moved):.1f} to {max(moved):.1f} times",
    )


def write_card(folder: Path) -> None:
    """Write ``README.md`` beside the weights in ``folder``."""
    facts = json.loads((folder / "training.json").read_text())
    (folder / "README.md").write_text(card(facts))


if __name__ == "__main__":
    write_card(Path(sys.argv[1]))

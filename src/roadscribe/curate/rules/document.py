"""``docs/rules.md``, made from the rules themselves.

``python -m roadscribe.curate.rules.document > docs/rules.md`` makes it again.
"""

from __future__ import annotations

from roadscribe.curate.rules import RULES
from roadscribe.report import MAX_RISK_CHARS, MAX_RISK_POINTS, MAX_SCENE_CHARS

_THEMES = {
    "answer": (
        "The answer as a whole",
        "They run first, on the text as the teacher gave it. `note` here means: kept if the three sections "
        "were there before the end, otherwise quarantined. `incomplete` runs on what was read of it.",
    ),
    "evidence": (
        "Parameters against evidence",
        "They see labels and telemetry within half a second of the clip's last frame. Without such evidence "
        "they say nothing, and what a teacher left open stays open.",
    ),
    "collapse": ("The whole dataset", "It runs when all answers have been read."),
    "consistency": ("Parameters against each other", "They run on the parameters as evidence has left them."),
    "prose": (
        "Prose against the JSON",
        "They run last, on each sentence of both prose sections. A sentence is mended where one word or "
        "number carries the claim; otherwise it is dropped.",
    ),
}

_HEAD = f"""# Rules of curation
<!-- Made by `python -m roadscribe.curate.rules.document > docs/rules.md`: change the rules instead. -->

Every change a rule makes is a finding of the row: rule, parameter, before, after, message, evidence, grade. Before
the rules run, `roadscribe.report_text` reads what the teacher wrote; its own findings, such as `units.speed`
(converted), `vocabulary.weather` (a synonym, or not understood), `absent.*` (the teacher could not tell),
`conflict.*` (two values) and `form.*` (form and length), stand in the same list.

Actions: **fix** writes the right value, **null** takes the value out, **mend** corrects or drops a sentence,
**quarantine** keeps the row out, **note** changes nothing. Weights: an **error** was wrong, a **warning** is
doubtful, **info** is form only.

## Grades of evidence
| grade | from | may |
|---|---|---|
| measured | telemetry | write another value, take it out, note |
| labelled | a person's labels, the simulator; a distance by a known camera | write another value, take it out, note |
| estimated | a distance by an assumed camera, a lane by a box's place | take a value out, note |
| detected | another model's boxes | take a value out, note |

The grade stands in the finding, and a rule that writes a value from an estimate or a detection raises an error. What a
source does not say (null) contradicts nothing; `docs/sources.md` says for each field what its absence means.

## Limits of a report
A scene description has at most {MAX_SCENE_CHARS} characters, a risk assessment at most {MAX_RISK_POINTS} points of
{MAX_RISK_CHARS} characters. What is longer loses whole sentences and points at its end.
The statement of the overall risk stays, and an earlier point goes for it. Each such row has a `form.length` finding and
counts as changed (`rows_shortened` in `quality.json`).

To add a rule: write one function in the file of its theme under `src/roadscribe/curate/rules/`, put
`@rule(...)` above it, name it in that file's tuple, write one test, and make this page again.
"""


def rules_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for theme, (title, introduction) in _THEMES.items():
        parts.append(f"## {title}\n\n{introduction}\n")
        for rule in RULES:
            if rule.theme != theme:
                continue
            about = f" · {', '.join(f'`{name}`' for name in rule.parameters)}" if rule.parameters else ""
            parts.append(
                f"### `{rule.id}`\n\n{rule.severity} · {rule.action}{about}\n\n{rule.claim}\n\n"
                f"*Why:* {rule.reason}\n\n*Source:* {rule.source}.\n"
            )
    return "\n".join(parts)


if __name__ == "__main__":
    print(rules_page(), end="")

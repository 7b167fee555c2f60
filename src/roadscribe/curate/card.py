"""The dataset card: what is in a dataset, where it is from and what was done to it, as the hub shows it."""

from __future__ import annotations

from typing import Any

from roadscribe.curate.quality import Quality
from roadscribe.prompts import PROMPT_VERSION
from roadscribe.report import SCHEMA_VERSION

LICENCES = {
    "simulator": "Apache-2.0 (made by Roadscribe's simulator)",
    "bdd100k": "BDD100K terms (doc.bdd100k.com/license.html); frames may not be passed on without leave",
}
"""What is known about the licence of the frames, by the clip's source."""
_RULE_HEAD = ("rule", "weight", "rows", "corrected", "nulled", "mended", "dropped", "quarantined")
_SPLIT_HEAD = ("split", "rows", "drives", "low risk", "medium", "high")
UNKNOWN_LICENCE = "not known: state it here before publishing"


def dataset_card(quality: Quality) -> str:
    """The card as Markdown with the hub's YAML header."""
    figures = quality.as_json()
    free = set(quality.sources) == {"simulator"}
    rows = quality.kept
    sizes = {"n<1K": 1_000, "1K<n<10K": 10_000, "10K<n<100K": 100_000, "100K<n<1M": 1_000_000}
    size = next((name for name, limit in sizes.items() if rows < limit), "n>1M")
    header = (
        f"---\nlicense: {'apache-2.0' if free else 'other'}\nlanguage: [en]\n"
        "task_categories: [image-text-to-text]\ntags: [driving, adas, roadscribe]\n"
        f"size_categories: [{size}]\n---\n"
    )
    return (
        header
        + f"""# Driving reports ({SCHEMA_VERSION})

Each row is one clip of a drive: `images` (oldest first, the last one is now), a `prompt` (version
{PROMPT_VERSION}) and the report to be written (`completion`), in the prompt-completion form of TRL's
SFTTrainer. `report` holds the report as JSON, `findings` every change that curation made to the teacher's
answer, with its reason.
{_own_questions(quality)}
## Splits

Whole drives, and drives that look alike, lie in one split.

{_table((*_SPLIT_HEAD, *(("own question",) if quality.own.read else ())), _split_rows(figures))}

## Source and licence of the frames

{_table(("source", "rows", "licence"), _source_rows(quality))}

## What was done

{quality.read} answers were read; {quality.kept} rows were kept (rules corrected {quality.changed} of them),
{quality.quarantined} quarantined.{_values(quality)}

{_table(_RULE_HEAD, _rule_rows(figures))}
"""
    )


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _own_questions(quality: Quality) -> str:
    own = quality.own
    if not own.read:
        return ""
    return (
        f"\n{own.kept} rows on {len(own.clips)} clips ask a question of their own: `prompt` holds it, "
        "`completion` the answer,\nand `report` is null. Only the form of these answers was checked.\n"
    )


def _split_rows(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    levels = ("low", "medium", "high")
    own = ("own_questions",) if figures["own_questions"]["read"] else ()
    return [
        (
            *(name, split["rows"], split["drives"]),
            *(split["risk"].get(level, 0) for level in levels),
            *(split[key] for key in own),
        )
        for name, split in figures["splits"].items()
    ]


def _source_rows(quality: Quality) -> list[tuple[Any, ...]]:
    counts = sorted(quality.sources.items())
    return [(source, rows, LICENCES.get(source, UNKNOWN_LICENCE)) for source, rows in counts]


def _values(quality: Quality) -> str:
    total = sum(quality.values.values())
    shares = (f"{count / total:.1%} {name}" for name, count in quality.values.most_common())
    return f" Of the values, {', '.join(shares)}." if total else ""


def _rule_rows(figures: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("rows", "fixed", "nulled", "mended", "dropped", "quarantined")
    return [
        (f"`{rule_id}`", count["severity"], *(count[name] for name in names))
        for rule_id, count in figures["rules"].items()
    ]

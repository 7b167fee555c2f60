"""The model card: what an adapter or a merged model is, what it was made from and what it was measured to do.

Every figure is taken from the artifacts; what was not measured is said to be not measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import ModelCardData

from roadscribe import tiny
from roadscribe.evaluate.scorecard import RunScore, Scorecard
from roadscribe.evaluate.scores import word
from roadscribe.evaluate.statistics import Interval
from roadscribe.export.facts import OTHER_LICENCE, DataFacts, TrainingFacts, is_tiny
from roadscribe.model.contract import VisionContract
from roadscribe.report import PARAMETERS, SCHEMA_VERSION

PLACE = "OWNER/NAME"
"""Stands in a card where the hub id will be; `publish` puts it there."""
MARKS = {"good": "✓", "prior": "✕", "bad": "✕", "unclear": "?", "note": "·"}


def model_card(
    kind: Literal["adapter", "model"],
    facts: TrainingFacts,
    *,
    licence: str,
    data: DataFacts | None,
    scorecard: Scorecard | None,
    comparison: dict[str, Any] | None = None,
) -> str:
    """The card as Markdown with the hub's YAML header.

    Args:
        kind: an adapter, or a model that the adapter was merged into.
        facts: the training run.
        licence: an SPDX id, or "other".
        data: the dataset, where it was given.
        scorecard: what was measured of the adapter, where it was.
        comparison: merged model against adapter (``comparison.json``).
    """
    contract = facts.contract
    header: dict[str, Any] = {
        "language": "en",
        "license": licence,
        "library_name": "peft" if kind == "adapter" else "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["roadscribe", "driving", "adas", "qwen3-vl", "lora" if kind == "adapter" else "merged"],
    }
    if contract.revision is not None:
        header |= {
            "base_model": contract.base,
            "base_model_relation": "adapter" if kind == "adapter" else "finetune",
        }
    sections = [
        f"# Driving reports from dashcam frames ({'LoRA adapter' if kind == 'adapter' else 'merged model'})",
        _what(kind, contract),
        "## How to load it\n\n" + _load(kind, contract),
        "## What it was measured to do\n\n" + (_scores(scorecard) if scorecard else _not_measured()),
        *(["## Merged against adapter\n\n" + _merged(comparison)] if comparison else []),
        "## What it was trained on\n\n" + _data(facts, data),
        "## How it was trained\n\n" + _training(facts),
        "## Limits\n\n" + _limits(contract, scorecard),
        "## Licence\n\n" + _licence(licence, contract, data),
    ]
    return f"---\n{ModelCardData(**header).to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def base_name(contract: VisionContract) -> str:
    """The base as it may be told to others: a hub id as it is, of a local folder only its name."""
    return contract.base if contract.revision or is_tiny(contract) else Path(contract.base).name


def _base(contract: VisionContract) -> str:
    if is_tiny(contract):
        return f"`{tiny.NAME}`, the small Qwen3-VL that ships with Roadscribe"
    if contract.revision is not None:
        return f"`{contract.base}` at revision `{contract.revision}`"
    return f"`{base_name(contract)}`, a Qwen3-VL in a folder (digest `{contract.base_sha256[:16]}`)"


def _what(kind: str, contract: VisionContract) -> str:
    window = "the whole video" if contract.window_s is None else f"a window of {contract.window_s:g} s"
    first = (
        f"A LoRA adapter for {_base(contract)}."
        if kind == "adapter"
        else f"A LoRA adapter merged into the unquantised weights of {_base(contract)}."
    )
    tiny_line = f"\n\n**{tiny.HONEST_LINE[0].upper()}{tiny.HONEST_LINE[1:]}.**" if is_tiny(contract) else ""
    return (
        f"{first} It reads {contract.frames} frames of a drive, oldest first, and writes a report on the moment "
        "of the last one: a scene description, twelve driving parameters as JSON and a risk assessment (report "
        f"form `{SCHEMA_VERSION}`, instruction `{contract.prompt_version}`).{tiny_line}\n\n"
        f"Frames are sampled from {window} by the rule `{contract.rule}`, each of at most "
        f"{contract.max_pixels:,} pixels. `contract.json` holds this for programs; Roadscribe refuses to run the "
        "model on anything else."
    )


def _load(kind: str, contract: VisionContract) -> str:
    get = f"hf download {PLACE} --local-dir model\nroadscribe describe VIDEO.mp4 --model model"
    if kind == "model":
        code = (
            "from transformers import AutoModelForImageTextToText, AutoProcessor\n\n"
            f'model = AutoModelForImageTextToText.from_pretrained("{PLACE}", dtype="auto")\n'
            f'processor = AutoProcessor.from_pretrained("{PLACE}")'
        )
        return f"```\n{get}\n```\n\nor without Roadscribe:\n\n```python\n{code}\n```"
    if contract.revision is None and not is_tiny(contract):
        return (
            f"The base `{base_name(contract)}` is not on the hub under a name that this card knows; whoever has it "
            "passes its folder:\n\n"
            f"```python\nfrom huggingface_hub import snapshot_download\nfrom pathlib import Path\n"
            "from roadscribe.model.adapter import load_adapter\n\n"
            f'loaded = load_adapter(Path(snapshot_download("{PLACE}")), base="FOLDER_OF_THE_BASE")\n```'
        )
    if is_tiny(contract):
        return f"```\n{get}\n```"
    code = (
        "from peft import PeftModel\nfrom transformers import AutoModelForImageTextToText\n\n"
        f'base = AutoModelForImageTextToText.from_pretrained("{contract.base}", revision="{contract.revision}")\n'
        f'model = PeftModel.from_pretrained(base, "{PLACE}")'
    )
    return f"```\n{get}\n```\n\nor without Roadscribe:\n\n```python\n{code}\n```"


def _not_measured() -> str:
    return (
        "**Nothing: no scorecard was given.** A training loss says little about reports; measure before use "
        "(`roadscribe evaluate CLIPS --adapter ADAPTER --out DIR`)."
    )


def _scores(scorecard: Scorecard) -> str:
    head = ["parameter", "majority", *(run.key.label for run in scorecard.runs)]
    rows: list[list[str]] = []
    for name in PARAMETERS:
        one = scorecard.runs[0].parameters[name]
        rows.append(
            [name, _percent(one.majority), *(_cell(run.parameters[name].accuracy) for run in scorecard.runs)]
        )
    means = [_cell(run.mean_accuracy) for run in scorecard.runs]
    rows.append(["**mean of 12**", _percent(scorecard.majority.mean_accuracy), *means])
    schema = [_cell(run.schema_valid_interval) for run in scorecard.runs]
    rows.append(["holds the schema", "", *schema])
    where = "training split" if scorecard.majority.source == "train" else "evaluated drives themselves"
    verdicts = [f"- {MARKS[one.outcome]} {one.text}" for one in scorecard.verdicts]
    missed = [_recall(run) for run in scorecard.runs if run.must_not_miss and run.control == "none"]
    return "\n".join(
        [
            f"On {scorecard.clips} clips of {scorecard.drives} held-out drives: right values in %, with the 95 % "
            f"interval over whole drives ({scorecard.resamples:,} resamples). `majority` is the best constant "
            f"answer, chosen on the {where}. Runs with altered frames are controls: a model that looks must fall. "
            f"{len(scorecard.left_out)} clips could not be scored. `scorecard.json` has every figure.",
            "",
            _table(head, rows),
            "",
            *missed,
            "Conclusions, by stated rules:",
            "",
            *verdicts,
        ]
    )


def _recall(run: RunScore) -> str:
    said = ", ".join(
        f"{name} {word(recall.value)} in {_cell(recall.recall)} % of {recall.cases} cases"
        for name, recall in run.must_not_miss.items()
    )
    return f"Must not be missed ({run.key.label}): {said}.\n"


def _merged(comparison: dict[str, Any]) -> str:
    weights, outputs, reports = (comparison[key] for key in ("weights", "outputs", "reports"))
    rows = [
        [name, _percent(one["agreement"]), _maybe(one["adapter_accuracy"]), _maybe(one["merged_accuracy"])]
        for name, one in reports["parameters"].items()
    ]
    for label, key in (("**mean of 12**", "mean_accuracy"), ("holds the schema", "schema_valid")):
        rows.append([label, "", _maybe(reports["adapter"][key]), _maybe(reports["merged"][key])])
    return "\n".join(
        [
            f"Each of {weights['merged']} weights is base + scaling · B · A, rounded once to "
            f"{weights['stored_dtype']} (checked tensor by tensor; the rounding takes "
            f"{100 * weights['rounding_share']:.2g} % of the update); the other "
            f"{weights['tensors'] - weights['merged']} tensors are the base's, bit for bit. Read back from disk in a "
            "fresh process, its logits differ from those of the unmerged 16-bit or 32-bit base with the adapter by "
            f"{outputs['largest_difference']:.1e} of the largest (allowed: {outputs['tolerance']:.0e}).",
            "",
            f"The adapter was trained and scored on a base of quantisation `{comparison['adapter_base']}`, this model "
            f"has its own weights, so reports may differ. Compared on {comparison['clips']}: "
            f"{_percent(reports['same_text'])} % of the reports are equal word for word, and in the same text both "
            f"would go on with the same token at {_percent(outputs['same_choice_as_adapter'])} % of the places.",
            "",
            _table(["parameter", "same value, %", "adapter right, %", "merged right, %"], rows),
        ]
    )


def _data(facts: TrainingFacts, data: DataFacts | None) -> str:
    digest = facts.recipe["dataset_sha256"][:16]
    rows = f"{facts.summary['rows']:,} rows of instruction data (prompt version `{facts.contract.prompt_version}`, "
    rows += f"digest `{digest}`)"
    if data is None:
        return f"{rows}. Its splits and sources were not given when this card was made."
    table = [
        [
            name,
            str(split["rows"]),
            str(split["drives"]),
            *(str(split["risk"].get(k, 0)) for k in ("low", "medium", "high")),
        ]
        for name, split in data.splits.items()
    ]
    return f"{rows}; whole drives, and drives that look alike, lie in one split.\n\n" + _table(
        ["split", "rows", "drives", "low risk", "medium", "high"], table
    )


def _training(facts: TrainingFacts) -> str:
    recipe, summary = facts.recipe, facts.summary
    train, lora = recipe["train"], recipe["lora"]
    how = (
        f"QLoRA on the language model's linears (NF4), r={lora['r']}, alpha={lora['alpha']}"
        if facts.contract.quantization == "nf4"
        else f"LoRA on the language model's linears, r={lora['r']}, alpha={lora['alpha']}"
    )
    rows = train["batch_size"] * train["gradient_accumulation"]
    said = [
        f"{how}: {summary['trained_parameters']:,} parameters, "
        f"{summary['steps']:,} steps of {rows} {'row' if rows == 1 else 'rows'}, "
        f"learning rate {train['learning_rate']:g} ({train['scheduler']})."
    ]
    if summary.get("first_loss") is not None:
        said.append(
            f"The loss on the answers went from {summary['first_loss']:.3f} to {summary['last_loss']:.3f}."
        )
    if facts.log:
        said.append(f"The log ends with:\n\n```\n{json.dumps(facts.log[-1])}\n```")
    versions = ", ".join(f"{name} {version}" for name, version in facts.contract.libraries.items())
    return " ".join(said) + f"\n\nMade with {versions}. `recipe.json` is the whole recipe."


def _limits(contract: VisionContract, scorecard: Scorecard | None) -> str:
    lines = []
    if is_tiny(contract):
        lines.append("It has seen nothing but drives from Roadscribe's simulator. On real footage its reports keep "
                     "their form and mean nothing.")  # fmt: skip
    lines += [
        "It describes; it must not steer, brake or warn. Nobody has tested it for safety.",
        "Distances and speeds are estimates from a few pictures of one camera, not measurements.",
        "It knows the kinds of roads, weather and countries of its training data; elsewhere nothing was measured.",
    ]
    if scorecard is None:
        lines.append("It was not evaluated.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(licence: str, contract: VisionContract, data: DataFacts | None) -> str:
    said = (
        f"`{licence}`."
        if licence != OTHER_LICENCE
        else f"Not stated; that of the base `{base_name(contract)}` applies at least."
    )
    if data is not None and data.licence != "apache-2.0":
        said += f" The training data is under another one (`{data.licence}`, see its card), which may bind you too."
    return said


def _cell(value: Interval) -> str:
    return f"{100 * value[0]:.0f} ({100 * value[1]:.0f}–{100 * value[2]:.0f})"


def _percent(share: float) -> str:
    """95, or 99.7 where rounding would claim all or nothing."""
    rounded = round(100 * share)
    return f"{100 * share:.1f}" if rounded in (0, 100) and share not in (0.0, 1.0) else str(rounded)


def _maybe(share: float | None) -> str:
    return "not known" if share is None else _percent(share)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

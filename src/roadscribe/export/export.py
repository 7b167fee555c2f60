"""The stage `export`: an adapter becomes a model of its own, which counts once it was read back and compared.

It reads what `train` wrote and writes an artifact of kind "model": safetensors, processor and configuration,
as `AutoModelForImageTextToText` loads them, the vision contract, ``comparison.json`` and the model card.
"""

from __future__ import annotations

import gc
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import peft
import torch

from roadscribe.artifacts import disk_errors, finish, open_output, read_json, write_json, write_text
from roadscribe.clip import Clip
from roadscribe.errors import InputError, WorkError
from roadscribe.evaluate.scorecard import Scorecard
from roadscribe.export.answers import Choices, Report, choices, write_reports
from roadscribe.export.card import base_name, model_card
from roadscribe.export.clips import CheckClips, chosen_clips, simulated_clips
from roadscribe.export.compare import compare_reports, logit_difference, same_choice, tolerance_of
from roadscribe.export.facts import (
    data_facts,
    default_licence,
    scorecard_of,
    training_facts,
)
from roadscribe.export.merge import LoraUpdate, WeightFacts, check_weights, merge_weights, read_updates
from roadscribe.export.reloaded import Reloaded, ask_reloaded
from roadscribe.model.adapter import WEIGHTS, adapter_state, load_adapter, require_keys
from roadscribe.model.contract import VisionContract, base_digest, make_contract, save_contract
from roadscribe.model.load import LoadedBase, ResolvedBase, load_base, resolve_base
from roadscribe.model.merged import HERE
from roadscribe.progress import say
from roadscribe.recipe import Footage, Model, Recipe

COMPARISON = "comparison.json"
CARD = "README.md"
_WORK = ".check"


class _AsTrained(NamedTuple):
    """What the adapter says on the base that it was trained on."""

    reports: list[Report]
    choices: Choices


class _Unmerged(NamedTuple):
    """What base and adapter say side by side, unquantised."""

    choices: Choices
    dtype: str


def export(
    recipe: Recipe,
    adapter: Path,
    out: Path,
    *,
    base: str | None = None,
    clips: Path | None = None,
    compared: int = 16,
    scorecard: Path | None = None,
    dataset: Path | None = None,
    licence: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Merge an adapter into its unquantised base and write the model to ``out``.

    Args:
        recipe: its ``infer`` section says how reports are written for the comparison, ``model.dtype`` in which
            type both models compute; everything else is the adapter's contract.
        adapter: what `train` wrote.
        out: the model's folder.
        base: where the base lies now, if not where the contract says; its digest must be the same.
        clips: an artifact of clips to compare reports on; None takes a few simulated drives.
        compared: at most so many clips of it.
        scorecard: what `evaluate` wrote about this adapter, for the card.
        dataset: what `curate` wrote and the adapter was trained on, for the card.
        licence: an SPDX id for the card; None states what is known of the base.
        resume: go on where an earlier run was stopped; whole weight files are kept.
        overwrite: delete what ``out`` holds first.

    Raises:
        InputError: an input is missing, unfinished or does not fit the others, or ``out`` is taken.
        WorkError: what was written is not base + adapter, or computes something else; it must not be used.
    """
    facts = training_facts(adapter)
    place = _base_folder(facts.contract, base)
    updates = read_updates(adapter)
    measured = scorecard_of(scorecard, facts) if scorecard is not None else None
    found = chosen_clips(clips, compared, facts.contract) if clips is not None else None
    data = data_facts(dataset, facts) if dataset is not None else None
    licence = licence or default_licence(facts.contract)
    made_by: dict[str, Any] = {
        "adapter_sha256": facts.adapter_sha256,
        "trained_on": facts.contract.model_dump(mode="json", exclude={"base"}),
        "training": {**facts.recipe, "model": {**facts.recipe["model"], "base": base_name(facts.contract)}},
        "clips_sha256": _clips_digest(found),
        "scorecard": measured is not None,
        "dataset": data is not None,
        "licence": licence,
        "dtype": recipe.model.dtype,
        "infer": recipe.as_json("infer")["infer"],
    }
    with disk_errors(out):
        if open_output(out, "model", made_by, resume=resume, overwrite=overwrite):
            return out
        work = out / _WORK
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        check = found or simulated_clips(facts.contract)
        comparison = _export(recipe, adapter, place, updates, facts.contract, check, out, work)
        write_json(out / COMPARISON, comparison)
        write_json(out / "recipe.json", made_by["training"])
        if measured is not None:
            write_json(out / "scorecard.json", measured.model_dump(mode="json"))
        card = model_card(
            "model", facts, licence=licence, data=data, scorecard=measured, comparison=comparison
        )
        write_text(out / CARD, card)
        shutil.rmtree(work)
        finish(out, **_summary(out, comparison, measured))
    return out


def _base_folder(contract: VisionContract, moved: str | None) -> Path:
    """The folder that holds the base's files; those of a hub id go to the local cache.

    Raises:
        InputError: it is not there, not the base in training, or stored quantised.
    """
    section: dict[str, Any] = {"base": moved or contract.base, "revision": contract.revision}
    found = resolve_base(Model(**section))
    folder = Path(found.path_or_id)
    if found.revision is not None:
        # No weights in another form than safetensors, and nothing that could be run.
        patterns = ["*.safetensors", "*.json", "*.jinja", "*.txt"]
        folder = Path(
            huggingface_hub.snapshot_download(
                found.path_or_id, revision=found.revision, allow_patterns=patterns
            )
        )
    if base_digest(str(folder), None) != contract.base_sha256:
        raise InputError(
            f"{found.name}: is not the base that the adapter was trained on; give that one (--base)"
        )
    if "quantization_config" in read_json(folder / "config.json", "a model's configuration"):
        raise InputError(f"{found.name}: is stored quantised, and merging needs its 16-bit original")
    return folder


def _export(
    recipe: Recipe,
    adapter: Path,
    base: Path,
    updates: dict[str, LoraUpdate],
    contract: VisionContract,
    check: CheckClips,
    out: Path,
    work: Path,
) -> dict[str, Any]:
    say(f"comparing on {check.source}")
    trained = _as_trained(recipe, adapter, base, check.clips)
    merge_weights(base, updates, out)
    texts = [report.text for report in trained.reports]
    unmerged, weights = _check_unmerged(recipe, adapter, base, contract, check.clips, texts, out)
    loading = {"dtype": recipe.model.dtype, "max_pixels": contract.max_pixels}
    merged = ask_reloaded(work, out, check.clips, texts, recipe.infer, **loading)
    return {
        "version": 1,
        "clips": check.source,
        "adapter_base": contract.quantization,
        "weights": weights._asdict(),
        "outputs": _outputs(out, weights, trained, unmerged, merged),
        "reports": compare_reports(check.clips, trained.reports, merged.reports),
    }


def _as_trained(recipe: Recipe, adapter: Path, base: Path, clips: Sequence[Clip]) -> _AsTrained:
    loaded = load_adapter(adapter, dtype=recipe.model.dtype, base=str(base))
    reports = write_reports(loaded.model, loaded.processor, recipe.infer, clips, whose="base + adapter")
    texts = [report.text for report in reports]
    answer = _AsTrained(reports, choices(loaded.model, loaded.processor, clips, texts))
    del loaded
    _make_room()
    return answer


def _check_unmerged(
    recipe: Recipe,
    adapter: Path,
    base: Path,
    contract: VisionContract,
    clips: Sequence[Clip],
    texts: Sequence[str],
    out: Path,
) -> tuple[_Unmerged, WeightFacts]:
    """Base and adapter side by side in PEFT, unquantised: the measure that the merged weights are held to."""
    section: dict[str, Any] = {"base": str(base), "quantization": "none", "dtype": recipe.model.dtype}
    loaded = load_base(Model(**section), max_pixels=contract.max_pixels)
    _write_surroundings(base, loaded, contract, out)
    model = peft.PeftModel.from_pretrained(loaded.model, str(adapter))
    require_keys(adapter / WEIGHTS, peft.load_peft_weights(str(adapter), device="cpu"), adapter_state(model))
    model.eval()
    deltas = {
        f"{name.removeprefix('base_model.model.')}.weight": module.get_delta_weight("default").detach()
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    weights = check_weights(base, deltas, out)
    del deltas
    say(f"weights: {weights.merged} of {weights.tensors} tensors are base + adapter, the others unchanged")
    dtype = str(loaded.dtype).removeprefix("torch.")
    answer = _Unmerged(choices(model, loaded.processor, clips, texts), dtype)
    del model, loaded
    _make_room()
    return answer, weights


def _write_surroundings(base: Path, loaded: LoadedBase, contract: VisionContract, out: Path) -> None:
    """Everything beside the weights: configuration, processor, and the contract of the merged model."""
    write_json(out / "config.json", read_json(base / "config.json", "a model's configuration"))
    generation = base / "generation_config.json"
    if generation.exists():
        write_json(out / generation.name, read_json(generation, "a generation configuration"))
    else:
        loaded.model.generation_config.save_pretrained(out)
    loaded.processor.save_pretrained(out)
    merged = LoadedBase(
        loaded.model, loaded.processor, loaded.dtype, loaded.device, False, ResolvedBase(HERE, str(out), None)
    )
    kept: dict[str, Any] = {
        key: getattr(contract, key) for key in ("frames", "rule", "window_s", "max_pixels")
    }
    save_contract(out, make_contract(merged, Footage(**kept), contract.prompt_version))


def _outputs(
    out: Path, weights: WeightFacts, trained: _AsTrained, unmerged: _Unmerged, merged: Reloaded
) -> dict[str, Any]:
    """The second thing that must hold: the merged model computes what base and adapter compute.

    Raises:
        WorkError: it does not.
    """
    tolerance = tolerance_of(weights.stored_dtype, unmerged.dtype)
    difference = logit_difference(merged.choices.logits, unmerged.choices.logits)
    if not difference <= tolerance:
        raise WorkError(
            f"{out}: the merged model answers differently than base and adapter (its logits by {difference:.1e} "
            f"of the largest, {tolerance:.0e} is allowed); it must not be used"
        )
    say(f"read back from disk: logits differ by {difference:.1e} of the largest ({tolerance:.0e} is allowed)")
    return {
        "computed_in": merged.dtype,
        "largest_difference": difference,
        "tolerance": tolerance,
        "same_choice_as_unmerged": same_choice(merged.choices.top, unmerged.choices.top),
        "same_choice_as_adapter": same_choice(merged.choices.top, trained.choices.top),
    }


def _clips_digest(found: CheckClips | None) -> str | None:
    if found is None:
        return None
    digest = hashlib.sha256()
    for clip in found.clips:
        digest.update(clip.clip_id.encode() + b"\0")
        for frame in clip.frames:
            digest.update(hashlib.sha256(frame).digest())
    return digest.hexdigest()


def _make_room() -> None:
    """Give a model's memory back before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _summary(out: Path, comparison: dict[str, Any], scorecard: Scorecard | None) -> dict[str, Any]:
    reports = comparison["reports"]
    return {
        "bytes": sum(path.stat().st_size for path in out.glob("*.safetensors")),
        "merged_tensors": comparison["weights"]["merged"],
        "stored_dtype": comparison["weights"]["stored_dtype"],
        "logit_difference": comparison["outputs"]["largest_difference"],
        "same_reports": reports["same_text"],
        "schema_valid": reports["merged"]["schema_valid"],
        "scorecard": scorecard is not None,
    }

"""An adapter exported end to end: what is written, that it loads anywhere, and that it computes the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from roadscribe.artifacts import MANIFEST, require_complete
from roadscribe.errors import InputError, WorkError
from roadscribe.export import export as stage
from roadscribe.export.answers import Choices
from roadscribe.export.clips import simulated_clips
from roadscribe.export.export import export
from roadscribe.export.merge import WeightFacts
from roadscribe.export.reloaded import Reloaded
from roadscribe.infer.describe import open_model
from roadscribe.model.contract import read_contract
from roadscribe.model.merged import load_merged
from roadscribe.recipe import Recipe, load_recipe
from roadscribe.report import PARAMETERS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Answers of 24 tokens: an untrained model has nothing to say, and says it slowly."""
    return load_recipe(None, ["infer.max_new_tokens=24", "infer.batch_size=4"])


@pytest.fixture(scope="module")
def exported(recipe: Recipe, small_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of the small run merged, after a first attempt that ended once the weights were written."""
    out = tmp_path_factory.mktemp("export") / "model"
    how: dict[str, Any] = {"clips": small_run.clips, "compared": 3, "dataset": small_run.dataset}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "ask_reloaded", _stop)
        with pytest.raises(KeyboardInterrupt):
            export(recipe, small_run.adapter, out, **how)
    with pytest.raises(InputError, match="is unfinished"):
        load_merged(out)
    written = (out / "model.safetensors").stat().st_mtime_ns
    export(recipe, small_run.adapter, out, resume=True, **how)
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    return out


def _stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_the_comparison_says_how_far_both_agree(exported: Path) -> None:
    comparison = json.loads((exported / "comparison.json").read_text())
    assert comparison["clips"] == "3 of 8 clips given with --clips" and comparison["adapter_base"] == "nf4"
    weights, outputs, reports = (comparison[key] for key in ("weights", "outputs", "reports"))
    assert weights["merged"] == 42 and weights["stored_dtype"] == "float32" and weights["largest_error"] <= 1
    assert outputs["largest_difference"] <= outputs["tolerance"] == 1e-4
    assert outputs["same_choice_as_unmerged"] > 0.99
    assert 0 < outputs["same_choice_as_adapter"] <= 1
    assert reports["clips"] == reports["clips_with_truth"] == 3
    assert list(reports["parameters"]) == list(PARAMETERS)


def test_transformers_alone_loads_it_and_peft_merges_to_the_same_weights(
    exported: Path, small_run: Any, tiny_folder: Path
) -> None:
    model, info = AutoModelForImageTextToText.from_pretrained(exported, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert AutoProcessor.from_pretrained(exported).chat_template
    base = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    theirs = peft.PeftModel.from_pretrained(base, small_run.adapter).merge_and_unload().state_dict()
    untouched = AutoModelForImageTextToText.from_pretrained(tiny_folder).state_dict()
    changed = 0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-6, atol=1e-7)
        changed += not torch.equal(tensor, untouched[name])
    assert changed == 42


def test_describe_takes_it_with_the_frames_of_its_contract(
    exported: Path, recipe: Recipe, small_run: Any
) -> None:
    ready = open_model(str(exported), recipe)
    assert (ready.footage.frames, ready.footage.max_pixels) == (2, 6144)
    trained, merged = read_contract(small_run.adapter), read_contract(exported)
    assert merged.quantization == "none" and merged.base == "."
    same = {"frames", "rule", "max_pixels", "prompt_version", "template_sha256", "image_processor_sha256"}
    assert merged.model_dump(include=same) == trained.model_dump(include=same)
    with pytest.raises(InputError, match=r"footage\.frames: the recipe says 3"):
        open_model(str(exported), load_recipe(None, ["footage.frames=3"]))


def test_weights_that_changed_after_the_export_are_refused(exported: Path, tmp_path: Path) -> None:
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    state["model.visual.merger.norm.bias"] += 1
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="`base_sha256` was"):
        load_merged(tmp_path, device=CPU)


def test_nothing_of_this_machine_is_in_the_exported_files(exported: Path, tiny_folder: Path) -> None:
    for path in exported.rglob("*"):
        assert str(tiny_folder.parent).encode() not in path.read_bytes(), path.name
    assert not [path for path in exported.iterdir() if path.name.startswith(".")]
    assert (exported / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_the_card_is_valid_and_says_what_was_not_measured(exported: Path, small_run: Any) -> None:
    card = ModelCard.load(exported / "README.md")
    assert card.data.library_name == "transformers" and card.data.license == "other"
    assert card.data.base_model is None  # a folder is no name on the hub
    assert "**Nothing: no scorecard was given.**" in card.text
    assert "| train | 6 |" in card.text and "| test | 2 |" in card.text
    assert re.search(r"The loss on the answers went from \d+\.\d+ to \d+\.\d+", card.text)
    assert "42 weights is base + scaling · B · A" in card.text


def test_a_second_run_with_resume_does_nothing(exported: Path, recipe: Recipe, small_run: Any) -> None:
    before = (exported / MANIFEST).stat().st_mtime_ns
    how: dict[str, Any] = {"clips": small_run.clips, "compared": 3, "dataset": small_run.dataset}
    assert export(recipe, small_run.adapter, exported, resume=True, **how) == exported
    assert (exported / MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"differs at infer\.grammar"):
        other = load_recipe(None, ["infer.max_new_tokens=24", "infer.batch_size=4", "infer.grammar=false"])
        export(other, small_run.adapter, exported, resume=True, **how)
    summary = require_complete(exported, "model", "export")["summary"]
    assert summary["merged_tensors"] == 42 and summary["scorecard"] is False


@pytest.mark.parametrize("what", ["base", "quantised", "clips", "dataset", "scorecard"])
def test_what_does_not_belong_to_the_adapter_is_refused_before_anything_is_written(
    what: str, recipe: Recipe, small_run: Any, tiny_folder: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    if what in ("base", "quantised"):
        given["base"] = str(tmp_path / "base")
        (tmp_path / "base").mkdir()
        for file in tiny_folder.iterdir():
            (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
        config = json.loads((tiny_folder / "config.json").read_text())
        config |= {"quantization_config": {"load_in_4bit": True}} if what == "quantised" else {"tie": 1}
        (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    else:
        given[what] = tmp_path / "nothing"
    with pytest.raises(InputError):
        export(recipe, small_run.adapter, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_merged_model_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    facts = WeightFacts(5, 4, "bfloat16", 0.9, 0.01)
    torch.manual_seed(0)
    logits = torch.randn(7, 50)
    trained = stage._AsTrained([], Choices([[1, 2]], logits))
    unmerged = stage._Unmerged(Choices([[1, 2]], logits), "bfloat16")

    def merged(noise: float) -> Reloaded:
        return Reloaded([], Choices([[1, 3]], logits + noise * torch.randn(7, 50)), "bfloat16")

    outputs = stage._outputs(tmp_path, facts, trained, unmerged, merged(0.01))
    assert outputs["same_choice_as_adapter"] == 0.5 and outputs["largest_difference"] < 0.1
    for broken in (1.0, float("nan")):
        with pytest.raises(WorkError, match="must not be used"):
            stage._outputs(tmp_path, facts, trained, unmerged, merged(broken))


def test_without_clips_simulated_drives_with_truth_are_compared(small_run: Any) -> None:
    found = simulated_clips(read_contract(small_run.adapter))
    assert found.source == "4 simulated drives (no --clips were given)"
    for clip in found.clips:
        assert len(clip.frames) == 2 and clip.width * clip.height <= 6144
        assert clip.evidence.truth is not None and clip.provenance.path == clip.clip_id

"""The stage `describe`: a report on each video, by an adapter or a base model.

It stands at the end of the street: footage samples the frames that the adapter's contract asks for, the
engine writes, and every answer comes out as one JSON object.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roadscribe import tiny
from roadscribe.answers.script import other_script
from roadscribe.clip import Clip
from roadscribe.errors import InputError
from roadscribe.footage.make_clip import clip_from_source
from roadscribe.footage.sources import SourceVideo, find_videos, real_path
from roadscribe.infer.agreement import AgreeingEngine, contradiction_findings
from roadscribe.infer.engine import GeneratedReport, ReportEngine
from roadscribe.model.adapter import load_adapter
from roadscribe.model.contract import CONTRACT, VisionContract, read_contract
from roadscribe.model.load import load_base, resolve_base
from roadscribe.model.merged import is_merged, load_merged
from roadscribe.progress import say
from roadscribe.prompts import PROMPT_VERSION
from roadscribe.recipe import Footage, Recipe
from roadscribe.report import ReportFormatError, parse
from roadscribe.report_text import parse_answer

DEMO_ADAPTER = Path("roadscribe-demo/adapter")
"""Where the demo leaves its adapter, seen from the folder it was started in."""


class ReadyModel(NamedTuple):
    """A model in memory that answers about clips."""

    name: str
    """What the user would give as ``--model`` to get it again."""
    engine: ReportEngine
    footage: Footage
    """Which frames it takes."""
    notice: str | None
    """What a reader of its reports must know, if anything."""


def describe_videos(
    videos: Sequence[Path], model: str | None, recipe: Recipe, root: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Report on videos, one after the other.

    Args:
        videos: video files, folders of videos or manifests.
        model: an adapter's folder, a model's folder, a hub id; None takes the demo's adapter where there is
            one, otherwise the recipe's base.
        recipe: its ``infer`` section, and without an adapter its ``footage`` and ``model`` sections.
        root: the folder that the manifests' paths are relative to; their own when not given.

    Yields:
        For each video, window or list of images ``{"video", "report": {"scene_description",
        "driving_parameters", "risk_assessment"}, "text", "frames": [{"time_s"}], "seconds", "model"}``.
        ``report`` is null where none can be read in the text. ``clip_id`` names what a manifest's line asked
        for. ``problem`` says why the report is null or what was mended, ``notice`` what to know of the model.
        ``findings`` lists, where there are any, sentences that contradict the report's own JSON, and what
        ``infer.agree`` made of them.
        For each video among several that cannot be described ``{"video", "error"}``, where the manifest names it
        with ``clip_id``; the error is on stderr, too, and the others go on.

    Raises:
        InputError: no such model; the only video cannot be described; or, when all have been tried, none of them.
    """
    found, unfound = _find(videos, root)
    alone = len(videos) == 1 and len(found) + len(unfound) == 1
    failed = len(unfound)
    for path, error in unfound:
        if alone:
            raise error
        say(str(error))
        yield {"video": str(path), "error": str(error)}
    if found:
        ready = open_model(model, recipe)
        infer = recipe.infer
        engine = AgreeingEngine(ready.engine, infer.agree_prose) if infer.agree else ready.engine
        if ready.notice:
            say(ready.notice)
    for video in found:
        started = time.perf_counter()
        try:
            clip = clip_from_source(video, ready.footage, video.evidence)
        except InputError as error:
            if alone:
                raise
            failed += 1
            say(str(error))
            yield {**_named(video), "error": str(error)}
            continue
        (answer,) = engine.generate([clip.images()], grammar=recipe.infer.grammar)
        yield describe_answer(video, clip, answer, ready, time.perf_counter() - started)
    if failed and failed == len(found) + len(unfound):
        raise InputError(
            f"none of the {failed} videos could be described; each is named above with its reason"
        )


def describe_answer(
    video: SourceVideo, clip: Clip, answer: GeneratedReport, ready: ReadyModel, seconds: float
) -> dict[str, Any]:
    """One answer as `describe_videos` yields it; ``seconds`` is the wall time from video to report."""
    report, problem = read_report(answer)
    findings = [*answer.findings, *contradiction_findings(answer.text)]
    return {
        **_named(video),
        "report": report,
        "text": answer.text,
        "frames": [{"time_s": round(time_s, 3)} for time_s in clip.timestamps_s],
        "seconds": round(seconds, 3),
        "model": ready.name,
        **({"findings": [one.model_dump(mode="json") for one in findings]} if findings else {}),
        **({"problem": problem} if problem else {}),
        **({"notice": ready.notice} if ready.notice else {}),
    }


def _named(video: SourceVideo) -> dict[str, str]:
    """The keys that tell one video, window or list of images from the others."""
    clip_id = {"clip_id": video.clip_id} if video.source in ("manifest", "simulator") else {}
    return {"video": str(video.path), **clip_id}


def read_report(answer: GeneratedReport) -> tuple[dict[str, Any] | None, str | None]:
    """The report in an answer as plain JSON, or None; and what was wrong with the answer, or None."""
    try:
        return parse(answer.text).model_dump(mode="json"), None
    except ReportFormatError as error:
        cut = (
            "" if answer.finished else f"cut off after {answer.tokens} tokens (raise infer.max_new_tokens); "
        )
        if foreign := other_script(answer.text):
            return (
                None,
                f"{cut}no report: {foreign}; set infer.grammar=true, or take a model that writes English",
            )
        recovered = parse_answer(answer.text).report()
        if recovered is None:
            return None, f"{cut}no whole report in the answer: {error}"
        return recovered.model_dump(
            mode="json"
        ), f"{cut}not the report's text form, read as well as can be: {error}"


def open_model(model: str | None, recipe: Recipe) -> ReadyModel:
    """Load an adapter on its base, or a base alone, and say which frames it takes.

    Raises:
        InputError: no such model; or the recipe's footage section contradicts the adapter's contract.
    """
    if model is None and (DEMO_ADAPTER / CONTRACT).is_file():
        model = str(DEMO_ADAPTER)
        say(f"model: {model} (the demo's adapter; give --model for another)")
    options: dict[str, Any] = {
        "batch_size": recipe.infer.batch_size,
        "max_new_tokens": recipe.infer.max_new_tokens,
    }
    if model is not None and (Path(model) / CONTRACT).is_file():
        folder = Path(model)
        contract = read_contract(folder)
        footage = contract_footage(contract, recipe.footage, folder)
        if is_merged(folder):
            merged = load_merged(folder, dtype=recipe.model.dtype)
            engine = ReportEngine(merged.model, merged.processor, **options)
            notice = tiny.HONEST_LINE if merged.merged_from == tiny.NAME else None
            return ReadyModel(model, engine, footage, notice)
        adapted = load_adapter(folder, dtype=recipe.model.dtype)
        engine = ReportEngine(adapted.model, adapted.processor, **options)
        return ReadyModel(model, engine, footage, _notice(adapted.base.path_or_id))
    if model is not None and (Path(model) / "adapter_config.json").is_file():
        raise InputError(f"{model}: an adapter without {CONTRACT}; nothing says which frames it takes")
    section = recipe.model
    if model is not None:
        section = section.model_copy(update={"base": model, "revision": None})
    base = resolve_base(section)
    loaded = load_base(section, max_pixels=recipe.footage.max_pixels)
    engine = ReportEngine(loaded.model, loaded.processor, **options)
    return ReadyModel(base.name, engine, recipe.footage, _notice(base.path_or_id))


def contract_footage(contract: VisionContract, asked: Footage, folder: Path) -> Footage:
    """The frames that an adapter was trained on; only what its contract leaves open is taken from the recipe.

    Raises:
        InputError: the recipe sets something else than the contract, or the instruction has changed since.
    """
    if contract.prompt_version != PROMPT_VERSION:
        raise InputError(
            f"{folder}: was trained on the instruction {contract.prompt_version!r}, this program asks "
            f"{PROMPT_VERSION!r}; train again, or use the version of roadscribe that made it"
        )
    trained = {key: getattr(contract, key) for key in ("frames", "rule", "window_s", "max_pixels")}
    for key, value in trained.items():
        if key in asked.model_fields_set and getattr(asked, key) != value:
            raise InputError(
                f"footage.{key}: the recipe says {getattr(asked, key)!r}, the adapter {folder} was trained "
                f"with {value!r}; leave it out of the recipe"
            )
    return asked.model_copy(update=trained)


def _notice(base_path: str) -> str | None:
    return tiny.HONEST_LINE if Path(base_path).resolve() == tiny.WEIGHTS.resolve() else None


def _find(
    inputs: Sequence[Path], root: Path | None
) -> tuple[list[SourceVideo], list[tuple[Path, InputError]]]:
    """What the inputs name, each clip once, and the other inputs with what is wrong with them."""
    found: dict[tuple[object, ...], SourceVideo] = {}
    failed: list[tuple[Path, InputError]] = []
    for path in inputs:
        try:
            for video in find_videos([path], root):
                clip = (real_path(video.path), video.start_s, video.end_s, video.images)
                found.setdefault(clip, video)
        except InputError as error:
            failed.append((path, error))
    return list(found.values()), failed

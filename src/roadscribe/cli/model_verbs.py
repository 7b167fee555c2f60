"""Verbs from dataset to published model: plan, train, evaluate, describe, export, publish; and doctor."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadscribe.cli.application import app
from roadscribe.cli.exit_codes import fail_if_strict, print_artifact
from roadscribe.cli.options import (
    JSON,
    OUTPUT,
    RECIPE,
    STRICT,
    Data,
    Dataset,
    Out,
    Root,
    Run,
    one_dataset,
    require_folder,
    with_options,
)
from roadscribe.errors import WorkError
from roadscribe.progress import is_rank0, say

if TYPE_CHECKING:
    from roadscribe.recipe import Recipe


@app.command()
@with_options(*RECIPE, *JSON)
def plan(
    dataset: Dataset = None,
    data: Data = None,
    card: Annotated[
        str | None,
        typer.Option(
            help="t4, l4, a100, a100-80, h100 or h200; default: the card in this machine.", metavar="CARD"
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cards of this kind to train on together.")] = 1,
    *,
    run: Run,
) -> None:
    """Say whether a fine-tuning run fits a card and how long it takes, before any weight is loaded."""
    options = run.recipe()
    folder = one_dataset("plan", dataset, data)
    from roadscribe.estimate.gpus import named_gpu, present_gpu

    hardware = named_gpu(card) if card else present_gpu()
    from roadscribe.plan.plan import plan as stage
    from roadscribe.plan.plan_report import as_json as plan_json
    from roadscribe.plan.plan_report import as_text, cannot_fit

    found = stage(options, folder, hardware, processes)
    print(json.dumps(plan_json(found)) if run.as_json else as_text(found))
    if not found.fits:
        raise WorkError(cannot_fit(found))


@app.command()
@with_options(*RECIPE, *OUTPUT, *JSON)
def train(
    out: Out,
    dataset: Dataset = None,
    data: Data = None,
    processes: Annotated[int, typer.Option(min=1, help="Cards of this machine to train on together.")] = 1,
    *,
    run: Run,
) -> None:
    """Fine-tune with QLoRA: a dataset becomes an adapter."""
    folder = one_dataset("train", dataset, data)
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        run.recipe()
        from roadscribe.train.distributed import launch

        sys.exit(launch(processes, sys.argv[1:]))
    from roadscribe.train.train import train as stage

    done = stage(run.recipe(), folder, out, **run.output)
    if is_rank0():
        print_artifact(done, run)


@app.command()
@with_options(*RECIPE, *OUTPUT, *STRICT, *JSON)
def evaluate(
    clips: Annotated[Path, typer.Argument(help="Held-out clips whose evidence holds the truth.")],
    out: Out,
    adapter: Annotated[
        Path | None, typer.Option(help="The folder that `train` wrote.", metavar="DIR")
    ] = None,
    train_dataset: Annotated[
        Path | None,
        typer.Option(
            "--train-dataset", help="Where the majority class is counted; default: the clips.", metavar="DIR"
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Score base and fine-tuned model on held-out drives, with controls that catch a model that is not looking."""
    from roadscribe.evaluate.adapter import evaluate_adapter
    from roadscribe.evaluate.evaluate import print_table

    scorecard = evaluate_adapter(run.recipe(), clips, adapter, train_dataset, out, **run.output)
    if not run.as_json:
        print_table(scorecard)
    print_artifact(out, run)


def _require_videos(videos: list[Path], root: Path | None, recipe: Recipe) -> None:
    """Look at a single input before seconds go into loading a model; of several, the good ones are described."""
    if len(videos) > 1:
        return
    from roadscribe.footage.sampling import probe
    from roadscribe.footage.sources import find_videos

    found = find_videos(videos, root)
    if len(found) == 1 and not found[0].images:
        probe(found[0].path, max_file_mb=recipe.footage.max_file_mb)


@app.command()
@with_options(*RECIPE, *STRICT, *JSON)
def describe(
    videos: Annotated[list[Path], typer.Argument(help="Videos, folders of videos or manifests (*.jsonl).")],
    model: Annotated[
        str | None,
        typer.Option(
            help="An adapter folder, a model folder or a hub id; default: the demo's adapter, if there is one."
        ),
    ] = None,
    root: Root = None,
    *,
    run: Run,
) -> None:
    """Report on videos: scene description, driving parameters and risk assessment."""
    options = run.recipe()
    _require_videos(videos, root, options)
    from roadscribe.infer.describe import describe_videos

    described = failed = 0
    for result in describe_videos(videos, model, options, root):
        described, failed = described + ("error" not in result), failed + ("error" in result)
        if run.as_json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        elif "error" not in result:
            which = f" ({result['clip_id']})" if "clip_id" in result else ""
            print(f"{result['video']}{which}\n\n{result['text']}\n", flush=True)
    if failed:
        what = f"{failed} of {described + failed} videos could not be described"
        fail_if_strict(failed, what, run)
        say(f"{what}, as said above")


@app.command()
@with_options(*RECIPE, *OUTPUT, *JSON)
def export(
    adapter: Annotated[Path, typer.Argument(help="The folder that `train` wrote.")],
    out: Out,
    scorecard: Annotated[
        Path | None, typer.Option(help="What `evaluate` wrote about it, for the model card.", metavar="DIR")
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(help="Clips to compare reports on; default: a few simulated drives.", metavar="DIR"),
    ] = None,
    compare: Annotated[int, typer.Option(min=1, help="Compare on at most so many clips.")] = 16,
    dataset: Annotated[
        Path | None, typer.Option(help="What it was trained on, for the model card.", metavar="DIR")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Where the base lies now, if it moved.", metavar="DIR|ID")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence for the model card.", metavar="SPDX")
    ] = None,
    *,
    run: Run,
) -> None:
    """Merge an adapter into its 16-bit base, read the result back and compare it with the adapter."""
    require_folder(adapter, "train")
    from roadscribe.export.export import export as stage

    done = stage(
        run.recipe(),
        adapter,
        out,
        base=base,
        clips=clips,
        compared=compare,
        scorecard=scorecard,
        dataset=dataset,
        licence=licence,
        **run.output,
    )
    print_artifact(done, run)


@app.command()
@with_options(*JSON)
def publish(
    folder: Annotated[Path, typer.Argument(help="What `curate`, `train` or `export` wrote.")],
    to: Annotated[str, typer.Option("--to", help="Where to on the hub.", metavar="OWNER/NAME")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who may see it, if it is created now.")
    ] = True,
    tag: Annotated[
        str | None, typer.Option(help="Name of this version; default: the next of v1, v2, ...")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    scorecard: Annotated[
        Path | None, typer.Option(help="What `evaluate` wrote about the adapter.", metavar="DIR")
    ] = None,
    without_scorecard: Annotated[
        bool, typer.Option("--without-scorecard", help="The card says that nothing was measured.")
    ] = False,
    dataset: Annotated[
        Path | None, typer.Option(help="What the adapter was trained on, for its card.", metavar="DIR")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence for the card.", metavar="SPDX")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there and no tag keeps.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    *,
    run: Run,
) -> None:
    """Send a dataset, an adapter or a merged model to the Hugging Face Hub, under a version tag."""
    require_folder(folder, "curate`, `train` or `export")
    from roadscribe.hub.bundle import CardInputs
    from roadscribe.hub.publish import publish as stage
    from roadscribe.hub.publish import render

    inputs = CardInputs(licence, scorecard, dataset, without_scorecard)
    result = stage(
        folder,
        to,
        private=private,
        tag=tag,
        message=message,
        inputs=inputs,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    print(json.dumps(result) if run.as_json else render(result))


@app.command()
@with_options(*JSON)
def doctor(*, run: Run) -> None:
    """Say what on this machine would hurt a run, and how to mend it."""
    from roadscribe.doctor import doctor as stage

    sys.exit(stage(run.as_json))

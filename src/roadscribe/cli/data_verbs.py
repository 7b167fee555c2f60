"""Verbs from footage to dataset: demo, simulate, collect, annotate, import, curate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadscribe.cli.application import app
from roadscribe.cli.exit_codes import print_artifact
from roadscribe.cli.options import JSON, OUTPUT, RECIPE, STRICT, Out, Root, Run, with_options

if TYPE_CHECKING:
    from roadscribe.annotate.annotate import LocalTeacher
    from roadscribe.recipe import Recipe


@app.command()
@with_options(*RECIPE, *OUTPUT, *JSON)
def demo(
    out: Out = Path("roadscribe-demo"),
    *,
    run: Run,
) -> None:
    """Walk the whole street on simulated drives: drives, clips, answers, dataset, adapter, scorecard, report."""
    from roadscribe.demo import demo as run_demo
    from roadscribe.demo import demo_recipe

    result = run_demo(demo_recipe(run.recipe_file, run.overrides), out, **run.output)
    if run.as_json:
        print(json.dumps(result))


@app.command()
@with_options(*RECIPE, *OUTPUT, *JSON)
def simulate(
    out: Out,
    drives: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many drives.")] = 20,
    *,
    run: Run,
) -> None:
    """Record simulated drives as real video files, with their exact truth beside them."""
    from roadscribe.simulator.simulate import simulate as stage

    print_artifact(stage(run.recipe(), drives, out, **run.output), run)


@app.command()
@with_options(*RECIPE, *OUTPUT, *STRICT, *JSON)
def collect(
    footage: Annotated[
        list[Path],
        typer.Argument(help="Videos, folders of videos (BDD100K as unpacked, too), or manifests (*.jsonl)."),
    ],
    out: Out,
    window: Annotated[
        str | None,
        typer.Option(
            help="What a clip shows: `whole` video, `end:SECONDS` (up to there), or `label` (up to the moment "
            "the video's labels belong to; 10 s on BDD100K). Short for footage.end_s and footage.ends_at.",
            metavar="WINDOW",
        ),
    ] = None,
    root: Root = None,
    telemetry: Annotated[
        Path | None,
        typer.Option(help="CSV of time and speed for the one video given.", metavar="FILE"),
    ] = None,
    *,
    run: Run,
) -> None:
    """Sample a fixed number of frames from each video, with what is known of it: footage becomes clips."""
    from roadscribe.footage.collect import collect as stage
    from roadscribe.footage.windows import window_overrides

    options = run.recipe(*window_overrides(window))
    print_artifact(stage(footage, out, options, root=root, telemetry=telemetry, **run.output), run)


@app.command()
@with_options(*RECIPE, *OUTPUT, *STRICT, *JSON)
def annotate(
    clips: Annotated[Path, typer.Argument(help="The folder that `collect` wrote.")],
    out: Out,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="The address of an OpenAI-compatible endpoint (https://host/v1), a local model (hub id, model "
            "folder, adapter folder), or simulated. [dim]Default: simulated.[/]",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model's name at the endpoint.", metavar="NAME")
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="Questions of your own, one a line, beside the report.", metavar="FILE")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Spend at most this much, in the unit of the prices in the recipe.")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Send at most so many requests, retries included.")
    ] = None,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Resume, and ask once more what got no answer.")
    ] = False,
    *,
    run: Run,
) -> None:
    """Have a teacher write a raw answer for every clip. An API key is read from ROADSCRIBE_API_KEY."""
    from roadscribe.annotate.annotate import annotate as stage

    options = {
        "teacher": teacher,
        "model": model,
        "questions_file": questions,
        "max_cost": max_cost,
        "max_requests": max_requests,
    }
    # JSON is YAML, and quotes keep a model that is called "1.5" a name.
    given = [f"annotate.{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    done = stage(
        run.recipe(*given),
        clips,
        out,
        **run.output,
        retry_dead=retry_dead,
        open_local=_local_teacher,
    )
    print_artifact(done, run)


def _local_teacher(recipe: Recipe, clips: Path) -> tuple[LocalTeacher, int]:
    """Load the recipe's local teacher; the engine is imported for nothing else."""
    from roadscribe.infer.teacher import open_teacher

    return open_teacher(recipe, clips)


@app.command("import")
@with_options(*OUTPUT, *STRICT, *JSON)
def import_answers(
    file: Annotated[
        Path, typer.Argument(help="BDD-X's CSV, DriveLM's JSON, LingoQA's table, or the original JSON.")
    ],
    out: Out,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="bddx, drivelm, lingoqa or original; default: told from the content.",
            metavar="NAME",
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="Where the videos lie, in subfolders too; others are left out.", metavar="DIR"),
    ] = None,
    max_questions: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions a clip.")
    ] = None,
    all_answers: Annotated[
        bool, typer.Option("--all-answers", help="Keep every answer to one question; else the first.")
    ] = False,
    *,
    run: Run,
) -> None:
    """Bring in answers that others published: raw answers to curate, and what to collect for them."""
    from roadscribe.curate.importers.import_file import import_file

    print_artifact(
        import_file(
            file,
            out,
            form=form,
            videos=videos,
            max_questions=max_questions,
            all_answers=all_answers,
            **run.output,
        ),
        run,
    )


@app.command()
@with_options(*RECIPE, *OUTPUT, *STRICT, *JSON)
def curate(
    raw: Annotated[
        Path, typer.Argument(help="The folder that `annotate` wrote, or a JSON file of raw answers.")
    ],
    out: Out,
    clips: Annotated[
        Path | None,
        typer.Option(
            help="The clips the answers speak of; default: those that were annotated.", metavar="DIR"
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Clean and check raw answers: a dataset to train on, and a page that says what was changed and why."""
    from roadscribe.curate.curate import curate as stage

    print_artifact(stage(run.recipe(), raw, clips, out, **run.output), run)

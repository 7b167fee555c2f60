"""The command line: one verb a stage, thin around the stage of the same name.

stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the work failed, 2 the input or an
option is wrong, 130 interrupted. Stages are imported inside their verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.exceptions

from roadscribe.errors import InputError, RoadscribeError, WorkError
from roadscribe.progress import speaks

if TYPE_CHECKING:
    from roadscribe.annotate.annotate import LocalTeacher
    from roadscribe.recipe import Recipe

app = typer.Typer(
    name="roadscribe",
    help="From dashcam footage to a driving report you can check. Begin with: roadscribe demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended."""
SAY_FIRST_S = 3.0
"""What the other processes of a launch leave to the first for saying what is wrong."""

Out = Annotated[Path, typer.Option("--out", help="Folder for what this stage makes.", metavar="DIR")]
Dataset = Annotated[Path | None, typer.Argument(help="The folder that `curate` wrote.")]
Data = Annotated[Path | None, typer.Option("--data", help="The same, as an option.", metavar="DIR")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Folder that a manifest's paths are relative to; default: its own.", metavar="DIR"
    ),
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="Recipe file (YAML).", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one option, e.g. --set train.epochs=2.", metavar="KEY=VALUE"),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an earlier run was stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Delete what --out holds first.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")]


def _recipe(file: Path | None, overrides: list[str] | None) -> Recipe:
    from roadscribe.recipe import load_recipe

    return load_recipe(file, overrides or ())


def _require_folder(folder: Path, verb: str) -> None:
    """Say that a folder is missing before seconds go into loading the training stack."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it with `roadscribe {verb}`")


def _dataset(verb: str, dataset: Path | None, data: Path | None) -> Path:
    """The one dataset that was given, as an argument or with ``--data``."""
    if (folder := dataset or data) is None or (dataset and data):
        raise InputError(f"{verb}: give one dataset, as an argument or with --data")
    _require_folder(folder, "curate")
    return folder


def _require_videos(videos: list[Path], root: Path | None, recipe: Recipe) -> None:
    """Look at a single input before seconds go into loading a model; of several, the good ones are described."""
    if len(videos) > 1:
        return
    from roadscribe.footage.sampling import probe
    from roadscribe.footage.sources import find_videos

    found = find_videos(videos, root)
    if len(found) == 1 and not found[0].images:
        probe(found[0].path, max_file_mb=recipe.footage.max_file_mb)


def _done(path: Path, as_json: bool) -> None:
    """A stage's result on stdout: its folder, or its manifest's summary as JSON."""
    if not as_json:
        print(path)
        return
    from roadscribe.artifacts import MANIFEST, read_json

    manifest = read_json(path / MANIFEST, "the stage's manifest")
    print(json.dumps({"out": str(path), "kind": manifest["kind"], **manifest.get("summary", {})}))


@app.command()
def demo(
    out: Out = Path("roadscribe-demo"),
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Walk the whole street on simulated drives: drives, clips, answers, dataset, adapter, scorecard, report."""
    from roadscribe.demo import demo as run_demo
    from roadscribe.demo import demo_recipe

    result = run_demo(demo_recipe(recipe, overrides or ()), out, resume=resume, overwrite=overwrite)
    if as_json:
        print(json.dumps(result))


@app.command()
def simulate(
    out: Out,
    drives: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many drives.")] = 20,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Record simulated drives as real video files, with their exact truth beside them."""
    from roadscribe.simulator.simulate import simulate as run

    _done(run(_recipe(recipe, overrides), drives, out, resume=resume, overwrite=overwrite), as_json)


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Sample a fixed number of frames from each video, with what is known of it: footage becomes clips."""
    from roadscribe.footage.collect import collect as run
    from roadscribe.footage.windows import window_overrides

    options = _recipe(recipe, [*(overrides or ()), *window_overrides(window)])
    _done(
        run(footage, out, options, root=root, telemetry=telemetry, resume=resume, overwrite=overwrite),
        as_json,
    )


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Have a teacher write a raw answer for every clip. An API key is read from ROADSCRIBE_API_KEY."""
    from roadscribe.annotate.annotate import annotate as run

    options = {
        "teacher": teacher,
        "model": model,
        "questions_file": questions,
        "max_cost": max_cost,
        "max_requests": max_requests,
    }
    # JSON is YAML, and quotes keep a model that is called "1.5" a name.
    given = [f"annotate.{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    done = run(
        _recipe(recipe, [*(overrides or ()), *given]),
        clips,
        out,
        resume=resume,
        overwrite=overwrite,
        retry_dead=retry_dead,
        open_local=_local_teacher,
    )
    _done(done, as_json)


def _local_teacher(recipe: Recipe, clips: Path) -> tuple[LocalTeacher, int]:
    """Load the recipe's local teacher; the engine is imported for nothing else."""
    from roadscribe.infer.teacher import open_teacher

    return open_teacher(recipe, clips)


@app.command("import")
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
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Bring in answers that others published: raw answers to curate, and what to collect for them."""
    from roadscribe.curate.importers.import_file import import_file

    _done(
        import_file(
            file,
            out,
            form=form,
            videos=videos,
            max_questions=max_questions,
            all_answers=all_answers,
            resume=resume,
            overwrite=overwrite,
        ),
        as_json,
    )


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Clean and check raw answers: a dataset to train on, and a page that says what was changed and why."""
    from roadscribe.curate.curate import curate as run

    _done(run(_recipe(recipe, overrides), raw, clips, out, resume=resume, overwrite=overwrite), as_json)


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say whether a fine-tuning run fits a card and how long it takes, before any weight is loaded."""
    options = _recipe(recipe, overrides)
    folder = _dataset("plan", dataset, data)
    from roadscribe.estimate.gpus import named_gpu, present_gpu

    hardware = named_gpu(card) if card else present_gpu()
    from roadscribe.plan.plan import plan as run
    from roadscribe.plan.plan_report import as_json as plan_json
    from roadscribe.plan.plan_report import as_text, cannot_fit

    found = run(options, folder, hardware, processes)
    print(json.dumps(plan_json(found)) if as_json else as_text(found))
    if not found.fits:
        raise WorkError(cannot_fit(found))


@app.command()
def train(
    out: Out,
    dataset: Dataset = None,
    data: Data = None,
    processes: Annotated[int, typer.Option(min=1, help="Cards of this machine to train on together.")] = 1,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fine-tune with QLoRA: a dataset becomes an adapter."""
    folder = _dataset("train", dataset, data)
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        _recipe(recipe, overrides)
        from roadscribe.train.processes import launch

        sys.exit(launch(processes, sys.argv[1:]))
    from roadscribe.train.train import train as run

    done = run(_recipe(recipe, overrides), folder, out, resume=resume, overwrite=overwrite)
    if speaks():
        _done(done, as_json)


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score base and fine-tuned model on held-out drives, with controls that catch a model that is not looking."""
    from roadscribe.evaluate.adapter import evaluate_adapter
    from roadscribe.evaluate.evaluate import print_table

    scorecard = evaluate_adapter(
        _recipe(recipe, overrides), clips, adapter, train_dataset, out, resume=resume, overwrite=overwrite
    )
    if not as_json:
        print_table(scorecard)
    _done(out, as_json)


@app.command()
def describe(
    videos: Annotated[list[Path], typer.Argument(help="Videos, folders of videos or manifests (*.jsonl).")],
    model: Annotated[
        str | None,
        typer.Option(
            help="An adapter folder, a model folder or a hub id; default: the demo's adapter, if there is one."
        ),
    ] = None,
    root: Root = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Report on videos: scene description, driving parameters and risk assessment."""
    options = _recipe(recipe, overrides)
    _require_videos(videos, root, options)
    from roadscribe.infer.describe import describe_videos

    for result in describe_videos(videos, model, options, root):
        if as_json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            which = f" ({result['clip_id']})" if "clip_id" in result else ""
            print(f"{result['video']}{which}\n\n{result['text']}\n", flush=True)


@app.command()
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
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge an adapter into its 16-bit base, read the result back and compare it with the adapter."""
    _require_folder(adapter, "train")
    from roadscribe.export.export import export as run

    done = run(
        _recipe(recipe, overrides),
        adapter,
        out,
        base=base,
        clips=clips,
        compared=compare,
        scorecard=scorecard,
        dataset=dataset,
        licence=licence,
        resume=resume,
        overwrite=overwrite,
    )
    _done(done, as_json)


@app.command()
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
    as_json: Json = False,
) -> None:
    """Send a dataset, an adapter or a merged model to the Hugging Face Hub, under a version tag."""
    _require_folder(folder, "curate`, `train` or `export")
    from roadscribe.hub.bundle import CardInputs
    from roadscribe.hub.publish import publish as run
    from roadscribe.hub.publish import render

    inputs = CardInputs(licence, scorecard, dataset, without_scorecard)
    result = run(
        folder,
        to,
        private=private,
        tag=tag,
        message=message,
        inputs=inputs,
        overwrite=overwrite,
        dry_run=dry_run,
    )
    print(json.dumps(result) if as_json else render(result))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what on this machine would hurt a run, and how to mend it."""
    from roadscribe.doctor import doctor as run

    sys.exit(run(as_json))


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then leave; of several processes only the first says it."""
    if speaks():
        print(f"roadscribe: {' '.join(message.split())}", file=sys.stderr)
    else:
        # A launcher ends all as soon as one has left, and the first shall have said why.
        time.sleep(SAY_FIRST_S)
    raise SystemExit(code)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line and turn every expected failure into one line and its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Libraries tell each other of coming renames there; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    command = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        raise SystemExit(code if isinstance(code, int) else 0)
    except RoadscribeError as error:
        fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.exceptions.Abort) as error:
        # typer turns an EOFError into an Abort, as if a person had closed the input.
        if isinstance(error.__cause__, EOFError):
            fail(
                f"a file or a stream ended too early ({error.__cause__ or 'EOFError'}); the work is not done",
                1,
            )
        fail("interrupted; run the same command with --resume to go on", INTERRUPTED)
    except typer.exceptions.TyperException as error:
        fail(f"{error.format_message()} (see roadscribe --help)", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MemoryError:
        fail("out of memory; lower infer.batch_size or train.batch_size with --set", 1)
    except OSError as error:
        if error.errno in (13, 28, 30, 122):
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror}; free some space or give another --out, then run with --resume", 1)
        raise

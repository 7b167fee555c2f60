"""The command line: one verb a stage, thin around the stage of the same name.

stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the work failed, 2 the input or an
option is wrong, 130 interrupted. Stages are imported inside their verbs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.exceptions

from roadscribe.errors import InputError, RoadscribeError

if TYPE_CHECKING:
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

Out = Annotated[Path, typer.Option("--out", help="Folder for what this stage makes.", metavar="DIR")]
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


def _require_videos(videos: list[Path], recipe: Recipe) -> None:
    """Look at a single input before seconds go into loading a model; of several, the good ones are described."""
    if len(videos) > 1:
        return
    from roadscribe.footage.sampling import probe
    from roadscribe.footage.sources import find_videos

    found = find_videos(videos)
    if len(found) == 1:
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
        list[Path], typer.Argument(help="Videos, folders of videos, or a drives.jsonl manifest.")
    ],
    out: Out,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Sample a fixed number of frames from each video: footage becomes clips."""
    from roadscribe.footage.collect import collect as run

    _done(run(footage, out, _recipe(recipe, overrides), resume=resume, overwrite=overwrite), as_json)


@app.command()
def annotate(
    clips: Annotated[Path, typer.Argument(help="The folder that `collect` wrote.")],
    out: Out,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Have a teacher write a raw answer for every clip."""
    from roadscribe.annotate.annotate import annotate as run

    _done(run(_recipe(recipe, overrides), clips, out, resume=resume, overwrite=overwrite), as_json)


@app.command()
def curate(
    raw: Annotated[
        Path, typer.Argument(help="The folder that `annotate` wrote, or a JSON file of raw answers.")
    ],
    out: Out,
    clips: Annotated[Path | None, typer.Option(help="The clips the answers speak of.", metavar="DIR")] = None,
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
def train(
    dataset: Annotated[Path, typer.Argument(help="The folder that `curate` wrote.")],
    out: Out,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fine-tune with QLoRA: a dataset becomes an adapter."""
    _require_folder(dataset, "curate")
    from roadscribe.train.train import train as run

    _done(run(_recipe(recipe, overrides), dataset, out, resume=resume, overwrite=overwrite), as_json)


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
    videos: Annotated[list[Path], typer.Argument(help="Videos or folders of videos.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="An adapter folder, a model folder or a hub id; default: the demo's adapter, if there is one."
        ),
    ] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Report on videos: scene description, driving parameters and risk assessment."""
    options = _recipe(recipe, overrides)
    _require_videos(videos, options)
    from roadscribe.infer.describe import describe_videos

    for result in describe_videos(videos, model, options):
        if as_json:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            print(f"{result['video']}\n\n{result['text']}\n", flush=True)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what on this machine would hurt a run, and how to mend it."""
    from roadscribe.doctor import doctor as run

    sys.exit(run(as_json))


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then leave."""
    print(f"roadscribe: {' '.join(message.split())}", file=sys.stderr)
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
    except (KeyboardInterrupt, typer.exceptions.Abort):
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

"""Options that several verbs share, each declared once: `with_options` adds them to a verb's signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roadscribe.errors import InputError

if TYPE_CHECKING:
    from roadscribe.recipe import Recipe

Out = Annotated[Path, typer.Option("--out", help="Folder for what this stage makes.", metavar="DIR")]
Dataset = Annotated[Path | None, typer.Argument(help="The folder that `curate` wrote.")]
Data = Annotated[Path | None, typer.Option("--data", help="The same, as an option.", metavar="DIR")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Folder that a manifest's paths are relative to; default: its own.", metavar="DIR"
    ),
]


@dataclass(frozen=True)
class Run:
    """How a verb is run: the values of its shared options; those that a verb does not have keep their default."""

    recipe_file: Path | None = None
    overrides: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False
    strict: bool = False
    as_json: bool = False

    def recipe(self, *more: str) -> Recipe:
        """The recipe file with the overrides on top, then ``more`` of them ("section.key=value").

        Raises:
            InputError: the file or an override is wrong.
        """
        from roadscribe.recipe import load_recipe

        return load_recipe(self.recipe_file, [*self.overrides, *more])

    @property
    def output(self) -> dict[str, bool]:
        """What a stage does about an output folder that holds something: its ``resume`` and ``overwrite``."""
        return {"resume": self.resume, "overwrite": self.overwrite}


_SHARED: dict[str, tuple[Any, Any]] = {
    "recipe_file": (
        Annotated[Path | None, typer.Option("--recipe", help="Recipe file (YAML).", metavar="FILE")],
        None,
    ),
    "overrides": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set", help="Override one option, e.g. --set train.epochs=2.", metavar="KEY=VALUE"
            ),
        ],
        None,
    ),
    "resume": (
        Annotated[bool, typer.Option("--resume", help="Go on where an earlier run was stopped.")],
        False,
    ),
    "overwrite": (Annotated[bool, typer.Option("--overwrite", help="Delete what --out holds first.")], False),
    "strict": (
        Annotated[bool, typer.Option("--strict", help="Exit with 1 when anything was left out.")],
        False,
    ),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print machine-readable JSON.")], False),
}
"""Type and default of each shared option, by its field in `Run`."""

RECIPE = ("recipe_file", "overrides")
OUTPUT = ("resume", "overwrite")
STRICT = ("strict",)
JSON = ("as_json",)


def with_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add shared options to a verb, which receives them together as its keyword ``run``.

    Args:
        names: fields of `Run`; the help lists them in this order, after the verb's own options.
    """

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        keyword = inspect.Parameter.KEYWORD_ONLY
        signature = inspect.signature(verb, eval_str=True)
        parameters = [
            parameter.replace(kind=keyword)
            for name, parameter in signature.parameters.items()
            if name != "run"
        ]
        for name in names:
            annotation, default = _SHARED[name]
            parameters.append(inspect.Parameter(name, keyword, default=default, annotation=annotation))

        @functools.wraps(verb)
        def run_verb(**given: Any) -> None:
            shared = {name: given.pop(name) for name in names}
            if "overrides" in shared:
                shared["overrides"] = tuple(shared["overrides"] or ())
            verb(**given, run=Run(**shared))

        # Typer reads both: the order and defaults from the signature, the types from the annotations.
        run_verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run_verb.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run_verb

    return decorate


def require_folder(folder: Path, verb: str) -> None:
    """Say that a folder is missing before seconds go into loading the training stack."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it with `roadscribe {verb}`")


def one_dataset(verb: str, dataset: Path | None, data: Path | None) -> Path:
    """The one dataset that was given, as an argument or with ``--data``."""
    if (folder := dataset or data) is None or (dataset and data):
        raise InputError(f"{verb}: give one dataset, as an argument or with --data")
    require_folder(folder, "curate")
    return folder

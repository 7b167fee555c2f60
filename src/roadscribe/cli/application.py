"""The Typer application that the verbs register with, and `--version`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="roadscribe",
    help="From dashcam footage to a driving report you can check. Begin with: roadscribe demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"roadscribe {version('roadscribe')}")
        raise typer.Exit


@app.callback()
def _options_before_the_verb(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass

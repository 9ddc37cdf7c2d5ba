"""The command line: a short file per command, parsing and printing only; slow imports are inside commands."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

import weightwalk
from weightwalk.cli import bench
from weightwalk.cli.common import standard_output

app = typer.Typer(
    help="Weight-space learning: networks that read the weights of other networks.",
    epilog="Start with `weightwalk demo`. Every command has --help, --json and --quiet.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)
for name in (
    *("demo", "fit", "zoo", "inspect", "graph", "verify", "render", "import_", "export"),
    *("recipes", "train", "evaluate", "predict", "edit", "report", "reproduce"),
):
    app.command(name.rstrip("_"))(import_module(f"weightwalk.cli.{name}").command)
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(weightwalk.__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main() -> None:
    """The entry point of `weightwalk`."""
    with standard_output():
        app(prog_name="weightwalk")

"""`weightwalk bench`: what this machine does, side by side with the ways that others do it."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, Root, table, terminal

if TYPE_CHECKING:
    from weightwalk.bench.found import Found

app = typer.Typer(help="Measure this machine: fitting, loading, reading and training.", no_args_is_help=True)

Quick = Annotated[
    bool, typer.Option("--quick", help="Only see that it runs: in seconds, with figures that mean little.")
]

Shape = Annotated[str, typer.Option(help="What the INRs show: cifar10 or mnist, in size; pictures that need no files.")]
Threads = Annotated[int | None, typer.Option(help="Threads of either side.", show_default="one per core")]


def _measure(benchmark: str, quick: bool, as_json: bool, quiet: bool, **options: object) -> None:
    """Answer with what a module of `weightwalk.bench` finds with these options, and how much it measured for it."""
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk.report.tables import hardware

        little = import_module(f"weightwalk.bench.{benchmark}").QUICK
        bench = little if quick else type(little)()
        found: Found = bench.measure(**options, progress=screen.progress)
        screen.answer(
            {**found.values, "amounts": asdict(bench), "quick": quick, "hardware": hardware()},
            found.sentence,
            table(found.title, found.header, found.rows),
            *([Text("\n".join(found.remarks) + "\n")] if found.remarks else []),
        )


@app.command()
def fit(
    dataset: Annotated[
        str | None, typer.Option(help="Pictures to fit.", show_default="those that scikit-learn ships")
    ] = None,
    root: Root = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes of one thread each, for every side.", show_default="all cores")
    ] = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit pictures with this engine, and the published way: eager PyTorch, one SIREN at a time. Two minutes."""
    _measure("fit", quick, as_json, quiet, workers=workers, dataset=dataset, root=root)


@app.command()
def load(
    zoo: Annotated[
        Path | None, typer.Option(help="Read this zoo.", show_default="one of 20,000 INRs of random weights")
    ] = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read random batches of networks out of a zoo, and out of one .pt file per network."""
    _measure("load", quick, as_json, quiet, zoo=zoo)


@app.command()
def encode(
    shape: Shape = "cifar10",
    threads: Threads = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read INRs with INR2JLS at the paper's sizes, and with the plain form of its equations. Two minutes."""
    _measure("encode", quick, as_json, quiet, shape=shape, threads=threads)


@app.command()
def train(
    shape: Shape = "cifar10",
    threads: Threads = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train INR2JLS at the paper's sizes, and the plain form of its equations; and its encoder alone. Minutes."""
    _measure("train", quick, as_json, quiet, shape=shape, threads=threads)


@app.command()
def scale(quick: Quick = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Read ResNet-18, GPT-2 and narrower ones with a DNG-Encoder: how seconds and memory grow. Minutes."""
    _measure("scale", quick, as_json, quiet)


@app.command("train-zoo")
def train_zoo(
    workers: Annotated[
        int, typer.Option(help="Processes of one thread each, which all do the same at once; the slowest counts.")
    ] = 1,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train networks of the three zoos with the trainer, with batched torch, and one at a time in PyTorch. Minutes."""
    _measure("training", quick, as_json, quiet, workers=workers)

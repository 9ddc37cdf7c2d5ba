"""`weightwalk bench`: what this machine does, side by side with the ways that others do it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, Terminal, table, terminal

if TYPE_CHECKING:
    from weightwalk.bench.fit import FitBench
    from weightwalk.bench.found import Found
    from weightwalk.bench.load import LoadBench
    from weightwalk.bench.scale import ScaleBench
    from weightwalk.bench.training import TrainZooBench

app = typer.Typer(
    help="Measure this machine: fitting, loading, training, reading large networks.", no_args_is_help=True
)

Quick = Annotated[
    bool, typer.Option("--quick", help="Only see that it runs: in seconds, with figures that mean little.")
]
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread each, for every side.", show_default="all cores")
]


def _tell(
    screen: Terminal, bench: FitBench | LoadBench | ScaleBench | TrainZooBench, quick: bool, found: Found
) -> None:
    """Answer with what was found, and how much was measured for it."""
    from rich.text import Text

    from weightwalk.report.tables import hardware

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
    root: Annotated[
        Path | None, typer.Option(help="The folder of the data set's files. Nothing is downloaded.")
    ] = None,
    workers: Workers = None,
    quick: Quick = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit pictures with this engine, and the published way: eager PyTorch, one SIREN at a time. Two minutes."""
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.fit import QUICK, FitBench
        from weightwalk.zoos.work import Processes

        bench = QUICK if quick else FitBench()
        _tell(screen, bench, quick, bench.measure(Processes(workers).count, dataset, root, screen.progress))


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
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.load import QUICK, LoadBench

        bench = QUICK if quick else LoadBench()
        _tell(screen, bench, quick, bench.measure(zoo, screen.progress))


@app.command()
def scale(quick: Quick = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Read ResNet-18, GPT-2 and narrower ones with a DNG-Encoder: how seconds and memory grow. Minutes."""
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.scale import QUICK, ScaleBench

        bench = QUICK if quick else ScaleBench()
        _tell(screen, bench, quick, bench.measure(screen.progress))


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
    with terminal(as_json, quiet) as screen:
        from weightwalk.bench.training import QUICK, TrainZooBench
        from weightwalk.zoos.work import Processes

        bench = QUICK if quick else TrainZooBench()
        _tell(screen, bench, quick, bench.measure(Processes(workers).count, screen.progress))

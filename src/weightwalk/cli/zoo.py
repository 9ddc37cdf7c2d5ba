"""`weightwalk zoo`: pictures -> a zoo of trained networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import (
    TRAINING,
    AsJson,
    Quiet,
    Root,
    Seed,
    keep_time,
    next_steps,
    terminal,
    to_train,
    zoo_blocks,
)
from weightwalk.report.words import duration, shell


def command(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="cnn, wild-park or vit: what networks.", show_default=False)
    ],
    dataset: Annotated[
        str,
        typer.Option(
            help="cifar10, svhn, mnist or fashion-mnist (or another data set of pictures); cnn makes colours grey."
        ),
    ] = "cifar10",
    root: Root = None,
    out: Annotated[
        Path | None, typer.Option(help="The zoo to make or to add to.", show_default="zoos/DATASET-KIND")
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            help="How many networks to train, those that are there included.",
            show_default="1000, wild-park 500, vit 100",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="KIND (for two cores: fewer pictures and epochs) or KIND-published.", show_default="KIND"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change the recipe, as in --set epochs=10 --set train_images=5000; repeatable.",
        ),
    ] = None,
    seed: Seed = 0,
    workers: Annotated[int | None, typer.Option(help="How many runs at once.", show_default="all cores")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train many small networks, with checkpoints along the way: DATASET -> a zoo.

    A zoo that is there gets the runs that it lacks, so an interrupted command goes on where it was.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import files
        from weightwalk.zoos import kinds
        from weightwalk.zoos.inr.fit import load_sets
        from weightwalk.zoos.store import Zoo
        from weightwalk.zoos.trained.recipes import RUNS
        from weightwalk.zoos.trained.recipes import recipe as pick
        from weightwalk.zoos.trained.train import train_zoo
        from weightwalk.zoos.work import ENGINES

        chosen = pick(kind, recipe, settings or [])
        path = files.output_folder(out or Path("zoos") / f"{dataset}-{kind}", holds="manifest.json")
        outcome = train_zoo(
            load_sets(dataset, root),
            path,
            chosen,
            runs=RUNS[kind] if runs is None else runs,
            seed=seed,
            workers=ENGINES["local"](workers),
            progress=screen.progress,
            should_stop=screen.should_stop,
        )
        keep_time(path, TRAINING, outcome.seconds if outcome.trained else 0.0)
        if not outcome.finished:
            raise screen.stopped(
                {"zoo": str(path), **asdict(outcome)}, f"stopped while training; the finished runs are saved in {path}"
            )
        if outcome.diverged:
            screen.remark(
                f"{outcome.diverged:,} runs diverged before their first checkpoint; they are in the zoo without one"
            )
        found = kinds.described(Zoo.open(path))
        screen.answer(
            {**asdict(outcome), **found.values},
            f"{found.line} ({outcome.trained:,} runs new, {outcome.already_there:,} were there), "
            f"{duration(outcome.seconds)}",
            *zoo_blocks(found),
            next_steps(shell("verify", path, *(["--root", root] if root else [])), *to_train(path, kind)),
        )

"""`weightwalk fit`: pictures, sounds or volumes -> a zoo of INRs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import (
    FITTING,
    AsJson,
    Device,
    Quiet,
    Root,
    Seed,
    keep_time,
    next_steps,
    remark_slow_fits,
    terminal,
    zoo_blocks,
)
from weightwalk.report.words import duration, shell


def command(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, folder, audio, grids."
        ),
    ],
    root: Root = None,
    out: Annotated[Path | None, typer.Option(help="The zoo to make or to add to.", show_default="zoos/DATASET")] = None,
    split: Annotated[str, typer.Option(help="What to fit: train (validation included), test or all.")] = "all",
    limit: Annotated[int | None, typer.Option(help="At most this many of each part of the data set.")] = None,
    fits: Annotated[int, typer.Option(help="INRs per training image.")] = 1,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How: fast, nfn or dws (the published zoos'), tiny (8 x 8 pixels), fourier, gaussian, audio, grid.",
            show_default="tiny, audio or grid for digits, audio or grids, else fast",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, as in --set hidden=64,64,64; repeatable."),
    ] = None,
    init: Annotated[
        str, typer.Option(help="independent, shared, or a file with one network's parameters.")
    ] = "independent",
    seed: Seed = 0,
    engine: Annotated[
        str, typer.Option(help="Who fits: local (processes of this machine) or ray (a Ray cluster).")
    ] = "local",
    workers: Annotated[int | None, typer.Option(help="How many at once.", show_default="all cores; 1 on CUDA")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit an INR to every picture, sound or volume: DATASET -> a zoo.

    A zoo that is there gets what it lacks, so an interrupted fit goes on where it was.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import devices, files
        from weightwalk.zoos import kinds
        from weightwalk.zoos.inr.fit import fit_zoo, load_sets
        from weightwalk.zoos.inr.recipe import FIT_RECIPES, changed, usual
        from weightwalk.zoos.store import Zoo
        from weightwalk.zoos.work import ENGINES

        picked = str(devices.pick(device))
        chosen = changed(FIT_RECIPES[recipe or usual(dataset)], settings or [])
        remark_slow_fits(screen, picked)
        path = files.output_folder(out or Path("zoos") / dataset, holds="manifest.json")
        outcome = fit_zoo(
            load_sets(dataset, root, split, limit),
            path,
            chosen,
            init=init,
            fits=fits,
            seed=seed,
            split=split,
            device=picked,
            workers=ENGINES[engine](1 if workers is None and picked != "cpu" else workers),
            progress=screen.progress,
            should_stop=screen.should_stop,
        )
        keep_time(path, FITTING, outcome.seconds if outcome.fitted else 0.0)
        values = {"zoo": str(path), **asdict(outcome)}
        if not outcome.finished:
            raise screen.stopped(values, f"stopped while fitting; the finished shards are saved in {path}")
        zoo = Zoo.open(path)
        found = kinds.described(zoo)
        if found.values["diverged"]:
            screen.remark(
                f"{found.values['diverged']:,} INRs diverged, their PSNR is not a number; "
                "fit with a lower --set descent.learning_rate"
            )
        screen.answer(
            {**values, **found.values},
            f"{found.line} ({outcome.fitted:,} new, {outcome.already_there:,} were there), init {init}, "
            f"{duration(outcome.seconds)}",
            *zoo_blocks(found),
            next_steps(shell("inspect", path), *_further(path, len(zoo), dataset)),
        )


def _further(zoo: Path, inrs: int, dataset: str) -> list[str]:
    """What to do with a zoo next: train on it, where a recipe reads such zoos, else see what its INRs show."""
    from weightwalk.recipes import RECIPES

    if any(make().reads == dataset for make in RECIPES.values()):
        return [shell("recipes", "--dataset", dataset)]
    return [shell("render", zoo, f"0:{min(4, inrs)}"), shell("verify", zoo)]

"""`weightwalk fit`: pictures, sounds or volumes -> a zoo of INRs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import FITTING, AsJson, Device, Quiet, keep_time, next_steps, table, terminal
from weightwalk.report.words import duration


def command(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, folder, audio, grids."
        ),
    ],
    root: Annotated[
        Path | None, typer.Option(help="The folder of the data set's files; digits needs none. Nothing is downloaded.")
    ] = None,
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
    seed: Annotated[int, typer.Option(help="What the starts are drawn from.")] = 0,
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
        import numpy as np
        import torch

        from weightwalk import devices
        from weightwalk.zoos.inr.engine import choose
        from weightwalk.zoos.inr.fit import fit_zoo, load_sets
        from weightwalk.zoos.inr.recipe import FIT_RECIPES, changed, usual
        from weightwalk.zoos.splits import SPLITS
        from weightwalk.zoos.store import Zoo
        from weightwalk.zoos.work import ENGINES

        picked = str(devices.pick(device))
        chosen = changed(FIT_RECIPES[recipe or usual(dataset)], settings or [])
        if choose("auto", torch.device(picked)) == "eager":
            screen.remark("no compiler works here, so fitting takes several times as long; install g++")
        path = out or Path("zoos") / dataset
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
        diverged = int((~np.isfinite(zoo.psnr)).sum())
        if diverged:
            screen.remark(
                f"{diverged:,} INRs diverged, their PSNR is not a number; fit with a lower --set descent.learning_rate"
            )
        counts = {name: len(zoo.rows(name)) for name in SPLITS}
        psnr = {name: float(zoo.psnr[zoo.rows(name)].mean()) if count else None for name, count in counts.items()}
        screen.answer(
            {**values, "diverged": diverged, "networks": counts},
            f"{path}: {len(zoo):,} INRs ({outcome.fitted:,} new, {outcome.already_there:,} were there), "
            f"init {init}, PSNR {zoo.psnr.mean():.1f} dB, {duration(outcome.seconds)}",
            table(
                f"{path}: {zoo.spec}",
                ["split", "INRs", "mean PSNR"],
                [[name, counts[name], _decibel(psnr[name])] for name in SPLITS],
            ),
            next_steps(f"weightwalk inspect {path}", *_further(path, len(zoo), dataset)),
        )


def _further(zoo: Path, inrs: int, dataset: str) -> list[str]:
    """What to do with a zoo once it was looked at: train on it, where a recipe reads such zoos, else see what its INRs
    show.
    """
    from weightwalk.recipes import RECIPES

    if any(make().reads == dataset for make in RECIPES.values()):
        return [f"weightwalk recipes --dataset {dataset}"]
    return [f"weightwalk render {zoo} 0:{min(4, inrs)}", f"weightwalk verify {zoo}"]


def _decibel(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} dB"

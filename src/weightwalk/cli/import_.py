"""`weightwalk import`: a published zoo's files -> a zoo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, next_steps, terminal, to_train, zoo_blocks
from weightwalk.errors import InputError
from weightwalk.report.words import duration, shell


def command(
    layout: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT",
            help="nfn or dws (INRs), small-cnn-zoo, wild-park or vit-zoo (trained networks).",
            show_default=False,
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The unpacked download.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The zoo to make or to add to.", show_default="zoos/<name of FOLDER>")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What the INRs show (decides nfn's split), or the networks were trained on.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="The folder of that data set's files; without it the zoo's pictures are rendered from the INRs."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels a side of rendered pictures.", show_default="28, in colour 32")
    ] = None,
    omega: Annotated[
        float | None, typer.Option(help="Frequency of the hidden layers: sin(omega (W x + b)).", show_default="30")
    ] = None,
    bounds: Annotated[
        tuple[int, int] | None, typer.Option(help="nfn: the indices at which validation and test begin.")
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="A file that tells the split, of dws, small-cnn-zoo, wild-park, vit-zoo.",
            show_default="that in FOLDER",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read published INRs or trained networks: FOLDER -> a zoo.

    A zoo that is there gets what it lacks, so an interrupted import goes on where it was. No code in the files is run.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import files
        from weightwalk.zoos import kinds
        from weightwalk.zoos.images import DATASETS
        from weightwalk.zoos.inr.fit import load_sets
        from weightwalk.zoos.published import LAYOUTS, Told, import_zoo
        from weightwalk.zoos.store import Zoo

        reader = LAYOUTS[layout]
        embedded = dataset is not None and DATASETS[dataset].embedded  # which says if nobody knows it
        if root is not None and dataset is None:
            raise InputError(f"expected --dataset with --root {root}, got none; name the data set")
        if root is not None and "images" not in reader.takes:
            raise InputError(f"--root is for INRs, but {layout} is a layout of trained networks; leave it out")
        has_pictures = dataset is not None and "images" in reader.takes and (embedded or root is not None)
        path = files.output_folder(out or Path("zoos") / folder.resolve().name, holds="manifest.json")
        told = Told(
            dataset=dataset,
            images=load_sets(dataset, root) if has_pictures and dataset else None,
            size=size,
            omega=omega,
            bounds=bounds,
            splits=splits,
        )
        outcome = import_zoo(layout, folder, path, told, progress=screen.progress, should_stop=screen.should_stop)
        values = {"zoo": str(path), **asdict(outcome)}
        if not outcome.finished:
            raise screen.stopped(values, f"stopped while reading {folder}; the finished shards are saved in {path}")
        found = kinds.described(Zoo.open(path))
        screen.answer(
            {**values, **found.values},
            f"{found.line} ({outcome.read:,} new, {outcome.already_there:,} were there), {duration(outcome.seconds)}",
            *zoo_blocks(found),
            next_steps(shell("inspect", path), shell("verify", path), *to_train(path, found.values["kind"])),
        )

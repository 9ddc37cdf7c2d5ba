"""`weightwalk import`: a published zoo's files -> a zoo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli import trained
from weightwalk.cli.common import AsJson, Quiet, facts, next_steps, terminal
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.report.words import duration

_OMEGA = 30.0
_PICTURES = {"data set": "pictures of the data set", "rendered": "pictures rendered from the INRs"}


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
    omega: Annotated[float, typer.Option(help="Frequency of the hidden layers: sin(omega (W x + b)).")] = _OMEGA,
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
        from weightwalk.zoos.inr.fit import load_sets
        from weightwalk.zoos.images import DATASETS
        from weightwalk.zoos.splits import SPLITS
        from weightwalk.zoos.store import Zoo
        from weightwalk.zoos.published import LAYOUTS
        from weightwalk.zoos.published import LAYOUTS as TREES
        from weightwalk.zoos.published import import_tree

        if layout not in LAYOUTS and layout not in TREES:
            raise InputError(unknown("layout", layout, [*TREES, *LAYOUTS]))
        if dataset is not None:
            DATASETS[dataset]  # which says if nobody knows it
        if layout in LAYOUTS:
            if root is not None or size is not None or bounds is not None or omega != _OMEGA:
                raise InputError(
                    f"--root, --size, --omega and --bounds are for INRs, but {layout} is a layout of trained networks; "
                    "leave them out"
                )
            trained.import_published(
                layout, folder, out or Path("zoos") / folder.resolve().name, splits, dataset, screen
            )
            return
        if bounds is not None and splits is not None:
            raise InputError("expected --bounds or --splits, got both")
        if root is not None and dataset is None:
            raise InputError(f"expected --dataset with --root {root}, got none; name the data set")
        has_pictures = dataset is not None and (DATASETS[dataset].embedded or root is not None)
        path = out or Path("zoos") / folder.resolve().name
        outcome = import_tree(
            folder,
            layout,
            path,
            images=load_sets(dataset, root) if has_pictures and dataset else None,
            dataset=dataset,
            size=size,
            omega=omega,
            split=bounds or splits,
            progress=screen.progress,
            should_stop=screen.should_stop,
        )
        values = {"zoo": str(path), **asdict(outcome)}
        if not outcome.finished:
            raise screen.stopped(values, f"stopped while reading {folder}; the finished shards are saved in {path}")
        zoo = Zoo.open(path)
        counts = {name: len(zoo.rows(name)) for name in SPLITS}
        screen.answer(
            {**values, "networks": counts},
            f"{path}: {len(zoo):,} INRs ({outcome.read:,} new, {outcome.already_there:,} were there), "
            f"{_PICTURES[outcome.pictures]}, PSNR {zoo.psnr.mean():.1f} dB, {duration(outcome.seconds)}",
            facts(
                str(path),
                {
                    "network": f"{zoo.spec}, {zoo.spec.num_parameters:,} parameters",
                    "pictures": f"{'x'.join(map(str, zoo.image_shape))}, {_PICTURES[outcome.pictures]}",
                    **{f"INRs to {name}": f"{count:,}" for name, count in counts.items()},
                    "fits per training picture": int(zoo.fits.max()) + 1,
                },
            ),
            next_steps(f"weightwalk inspect {path}"),
        )

"""`weightwalk inspect`: what a zoo holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk.cli import trained
from weightwalk.cli.common import AsJson, Quiet, facts, table, terminal
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightwalk.zoos.store import Zoo

_PICTURES = 16


def command(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="The folder of a zoo.", show_default=False)],
    sheet: Annotated[
        Path | None,
        typer.Option(help="Where the contact sheet goes, a PNG.", show_default="<ZOO>-sheet.png, beside the zoo"),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Also hash every file: is it as it was written?")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at a zoo: counts, network, dynamic graph, PSNR, weights beside the published zoos', a sheet of pictures.

    Of a zoo of trained networks: runs, checkpoints, architectures, how accurate they are.
    """
    with terminal(as_json, quiet) as screen:
        from weightwalk.zoos.listing import holds_trained

        if holds_trained(zoo):
            if sheet:
                raise InputError(f"a sheet shows pictures, but {zoo} holds trained networks; leave --sheet out")
            trained.inspect(zoo, screen, verify)
            return

        from rich.text import Text

        from weightwalk import files
        from weightwalk.graphs.dynamic import DynamicGraph
        from weightwalk.report import renders
        from weightwalk.zoos import hashes
        from weightwalk.zoos.inr.overview import psnr_figures
        from weightwalk.zoos.splits import SPLITS
        from weightwalk.zoos.store import Zoo

        opened = Zoo.open(zoo)
        if not len(opened):
            raise InputError(f"expected INRs in the zoo {zoo}, found none yet; run the fit command that began it again")
        problems = hashes.verify(zoo, screen.progress).problems if verify else ()
        hashes.refuse(problems)
        rows = {name: opened.rows(name) for name in SPLITS}
        psnr = {name: psnr_figures(opened.psnr[of_split]) for name, of_split in rows.items() if len(of_split)}
        header, stds = _spread(opened)
        fits = int(opened.fits.max()) + 1
        channels, *grid = opened.image_shape
        if renders.suffix(channels, grid) == ".png":
            sheet = sheet or zoo.resolve().with_name(f"{zoo.resolve().name}-sheet.png")
            files.write_bytes(sheet, _contact_sheet(opened))
        elif sheet:
            raise InputError(
                f"a sheet shows pictures, but {zoo} has signals of the shape {opened.image_shape}; leave --sheet out"
            )

        settings, figures = opened.settings, list(next(iter(psnr.values())))
        graph = DynamicGraph.of(opened.spec)
        screen.answer(
            {
                "zoo": str(zoo),
                "networks": {name: len(of_split) for name, of_split in rows.items()},
                "fits": fits,
                "settings": settings,
                "label_names": list(opened.label_names),
                "provenance": opened.provenance,
                "psnr": psnr,
                "stds": {"columns": header, "rows": stds},
                "timeline": str(graph).splitlines(),
                "sheet": str(sheet) if sheet else None,
                "verified": verify,
            },
            f"{zoo}: {len(opened):,} INRs of {settings['dataset']}, PSNR {opened.psnr.mean():.1f} dB"
            + (f"; contact sheet in {sheet}" if sheet else ""),
            facts(
                str(zoo),
                {
                    "data set": settings["dataset"],
                    "signals": f"{'x'.join(map(str, opened.image_shape))}, {settings.get('image_dtype', 'uint8')}",
                    "classes": _shortened(", ".join(opened.label_names)),
                    "network": f"{opened.spec}, {opened.spec.num_parameters:,} parameters",
                    "init": settings.get("init"),
                    "fit recipe": (settings.get("fit") or {}).get("name"),
                    "seed": settings.get("seed"),
                    "fits per training image": fits,
                    "files": "all as they were written" if verify else "not hashed (--verify does)",
                    "contact sheet": sheet or "none, for these are no pictures",
                },
            ),
            Text(f"Dynamic graph\n{graph}\n"),
            table(
                "INRs and their PSNR in dB",
                ["split", "INRs", *figures],
                [
                    [name, len(rows[name]), *(f"{value:.1f}" for value in of_split.values())]
                    for name, of_split in psnr.items()
                ],
            ),
            table("Standard deviation, beside the published zoos of this shape", header, stds),
        )


def _spread(zoo: Zoo) -> tuple[list[str], list[list[Any]]]:
    """Per layer and role: this zoo's standard deviation, then the published ones."""
    from weightwalk.zoos.inr.overview import layer_stds
    from weightwalk.zoos.inr.published import comparable

    published = comparable(zoo.spec)
    columns: list[Any] = [
        layer_stds(zoo),
        *({"weight": other.weight_stds, "bias": other.bias_stds} for other in published),
    ]
    rows = [
        [
            f"{role} {layer + 1}",
            *(None if column[role][layer] is None else round(column[role][layer], 4) for column in columns),
        ]
        for role in ("weight", "bias")
        for layer in range(len(zoo.spec.layers))
    ]
    return ["tensor", "this zoo", *(other.name for other in published)], rows


def _contact_sheet(zoo: Zoo) -> bytes:
    """Two bands of pictures, each above what its INRs show."""
    from weightwalk.report.pictures import picture_rows
    from weightwalk.zoos.inr.overview import evenly, render

    rows = evenly(zoo.rows(max_fits=1), 2 * _PICTURES)
    bands = [rows[:_PICTURES], rows[_PICTURES:]]
    named: dict[str, NDArray[Any]] = {}
    for number, band in enumerate(filter(len, bands)):
        blank = " " * number  # rows are told apart by their labels
        named |= {f"picture{blank}": zoo.images(band).numpy(), f"its INR{blank}": render(zoo, band).numpy()}
    return picture_rows(named)


def _shortened(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}..."

"""`weightwalk inspect`: what a zoo holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weightwalk import files
from weightwalk.cli.common import AsJson, Quiet, ZooArgument, check_sheet, terminal, zoo_blocks
from weightwalk.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weightwalk.zoos.store import Zoo

_PICTURES = 16


def command(
    zoo: ZooArgument,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Write a contact sheet, a PNG: pictures above what their INRs show.", show_default=False),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Also hash every file: is it as it was written?")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at a zoo: counts, networks, dynamic graph, figures; of INRs also their weights beside the published zoos'.

    Nothing is written but what --sheet names.
    """
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk.graphs.dynamic import DynamicGraph
        from weightwalk.report import renders
        from weightwalk.zoos import hashes, kinds
        from weightwalk.zoos.store import Zoo

        opened = Zoo.open(zoo)
        if sheet:
            if opened.sources is None:
                raise InputError(f"a sheet shows pictures, but {zoo} holds {opened.kind} networks; leave --sheet out")
            channels, *grid = opened.image_shape
            check_sheet(sheet, opened, renders.suffix(channels, grid))
        found = kinds.described(opened)
        hashes.refuse(hashes.verify(zoo, screen.progress).problems if verify else ())
        if sheet:
            files.write_bytes(sheet, _contact_sheet(opened))
        graph = str(DynamicGraph.of(opened.spec)) if len(opened.specs) == 1 else None
        screen.answer(
            {
                **found.values,
                "timeline": graph.splitlines() if graph else None,
                "sheet": str(sheet) if sheet else None,
                "verified": verify,
            },
            found.line + (f"; contact sheet in {sheet}" if sheet else ""),
            *zoo_blocks(found, files="all as they were written" if verify else "not hashed (--verify does)"),
            *([Text(f"Dynamic graph\n{graph}\n")] if graph else []),
        )


def _contact_sheet(zoo: Zoo) -> bytes:
    """Two bands of pictures, each above what its INRs show."""
    from weightwalk.report.pictures import picture_rows
    from weightwalk.zoos.inr.overview import render
    from weightwalk.zoos.rows import evenly

    rows = evenly(zoo.rows(members=1), 2 * _PICTURES)
    bands = [rows[:_PICTURES], rows[_PICTURES:]]
    named: dict[str, NDArray[Any]] = {}
    for number, band in enumerate(filter(len, bands)):
        blank = " " * number  # rows are told apart by their labels
        named |= {f"picture{blank}": zoo.images(band).numpy(), f"its INR{blank}": render(zoo, band).numpy()}
    return picture_rows(named)

"""`weightwalk render`: what INRs show, at any resolution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightwalk import files
from weightwalk.cli.common import AsJson, Device, Quiet, ZooArgument, check_sheet, table, terminal
from weightwalk.errors import InputError
from weightwalk.progress import in_units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weightwalk.zoos.store import Zoo

_SHEET_PAIRS, _SHEET_SIZE, _PAIRS_PER_ROW = 96, 256, 3
_ROWS = 20


def command(
    zoo: ZooArgument,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="Names such as train-17-f0, row numbers, ranges such as 0:16.", show_default=False
        ),
    ],
    size: Annotated[
        str | None,
        typer.Option(
            help="The longer side, or WIDTHxHEIGHT.", show_default="512 for pictures, others at their own size"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, or the file of a single INR.", show_default="<ZOO>-renders, beside the zoo"),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help=f"Also one PNG of up to {_SHEET_PAIRS} pictures, each with its source beside.", show_default=False
        ),
    ] = None,
    rate: Annotated[int, typer.Option(help="Of sounds: what their source was sampled at, in Hz.")] = 16_000,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Render INRs: pictures as PNG, sounds as WAV, volumes as NPY with a PNG of their middle slice."""
    with terminal(as_json, quiet) as screen:
        from math import prod

        from weightwalk import devices
        from weightwalk.report import renders
        from weightwalk.zoos.inr import rendering
        from weightwalk.zoos.store import Zoo

        picked, opened = devices.pick(device), Zoo.open(zoo)
        rows = rendering.chosen(opened, ids)
        channels, *source = opened.image_shape
        grid = rendering.parsed_size(size, source)
        kind = renders.suffix(channels, grid)
        names = opened.names(rows)
        paths = _paths(zoo, names, kind, out)
        if sheet:
            check_sheet(sheet, opened, kind)
        if not 1 <= rate < 2**31:
            raise InputError(f"expected --rate of at least 1 Hz and below 2^31 Hz, got {rate}")
        per_point = {".npy": 4, ".wav": 2}.get(kind, 1e-3) * channels  # compressed as far as it goes
        num_bytes = per_point * prod(grid) * len(rows)
        files.check_room(paths[0], num_bytes, f"a render of {prod(grid):,} points", "choose a smaller --size")
        rate_out = round(rate * grid[0] / source[0])  # a sound of more samples is not a longer one
        points, written, done = prod(grid), [], 0
        for row, path in zip(rows.tolist(), paths, strict=True):

            def told(row: int = row, before: int = done) -> rendering.Blocks:
                for block, values in rendering.signal(opened, row, grid, picked):
                    yield block, values
                    screen.progress("rendering kpx", *in_units(before + block.stop, points * len(rows), 1000), {})

            written.append([str(file) for file in renders.write(path, told(), channels, grid, rate_out)])
            done += points
        if sheet:
            files.write_bytes(sheet, _sheet(opened, rows, grid))
        shape = (
            f"{grid[0]:,} samples" if kind == ".wav" else " x ".join(map(str, grid[::-1] if kind == ".png" else grid))
        )
        place = " and ".join(written[0]) if len(rows) == 1 else str(paths[0].parent)
        count = f"{len(rows):,} INR{'s'[: len(rows) > 1]}"
        psnr = opened.column("psnr")[rows].tolist()
        screen.answer(
            {
                "zoo": str(zoo),
                "grid": list(grid),
                "renders": [
                    {"name": name, "row": row, "psnr": value, "files": made}
                    for name, row, value, made in zip(names, rows.tolist(), psnr, written, strict=True)
                ],
                "sheet": str(sheet) if sheet else None,
            },
            f"{count} of {zoo} at {shape} in {place}" + (f"; sheet in {sheet}" if sheet else ""),
            table(
                count + (f", the first {_ROWS}" if len(rows) > _ROWS else ""),
                ["INR", "PSNR at its own size", "files"],
                [
                    [name, f"{value:.1f} dB", " ".join(made)]
                    for name, value, made in list(zip(names, psnr, written, strict=True))[:_ROWS]
                ],
            ),
        )


def _paths(zoo: Path, names: list[str], kind: str, out: Path | None) -> list[Path]:
    """A file for each name: `out` itself if it is one, else in the folder `out`."""
    if out is not None and out.suffix == kind:
        if len(names) > 1:
            raise InputError(
                f"expected a folder as --out of {len(names):,} INRs, got the file {out}; --sheet puts many into one"
            )
        return [files.output(out, kind)]
    if out is not None and out.suffix in (".png", ".wav", ".npy"):
        raise InputError(f"INRs of {zoo} are rendered as {kind}, got --out {out}; change its ending, or give a folder")
    folder = files.output_folder(out) if out else zoo.resolve().with_name(f"{zoo.resolve().name}-renders")
    return [folder / f"{name}{kind}" for name in names]


def _sheet(zoo: Zoo, rows: NDArray[np.int64], grid: tuple[int, ...]) -> bytes:
    """Pairs of a source picture and what its INR shows, the larger side `_SHEET_SIZE` at most."""
    from weightwalk.report.pictures import contact_sheet
    from weightwalk.zoos.inr.rendering import parsed_size, pixel_format
    from weightwalk.zoos.rows import evenly

    shown = evenly(rows, _SHEET_PAIRS)
    small, pixels = parsed_size(str(min(_SHEET_SIZE, max(grid))), grid), pixel_format(zoo)
    cells, captions = [], []
    for row, name in zip(shown, zoo.names(shown), strict=True):
        render = pixels.render(zoo.weights(row[None]), *small) * 2 - 1
        cells += [zoo.images(row[None])[0].numpy(), render[0].numpy()]
        captions += [name, f"{zoo.column('psnr')[row]:.1f} dB"]
    return contact_sheet(cells, 2 * min(_PAIRS_PER_ROW, len(shown)), captions)

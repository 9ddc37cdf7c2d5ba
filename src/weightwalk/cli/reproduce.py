"""`weightwalk reproduce`: a published table made again, its cells beside ours."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from weightwalk.cli.common import AsJson, Device, Quiet, Root, table, terminal
from weightwalk.errors import InputError


def command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="Which: table1, table2, table3, table4, table6, table7, table8, controls, editing, or efficiency "
            "(Tables 5 and 8: what reading costs).",
        ),
    ],
    scale: Annotated[
        Literal["tiny", "small", "full"],
        typer.Option(help="tiny: only see that it runs, without data; small: for two cores; full: as published."),
    ] = "small",
    quick: Annotated[bool, typer.Option("--quick", help="The same as --scale tiny.")] = False,
    root: Root = None,
    work: Annotated[Path, typer.Option(help="The folder of the zoos and runs, which are gone on with.")] = Path(
        "runs/reproduce"
    ),
    seeds: Annotated[
        str | None, typer.Option(help="Seeds of training, such as 0,1,2.", show_default="0,1,2; tiny: 0")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Train every cell for so many minutes of a core a seed (CUDA: of the clock), by a probe in steps."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ROW/COLUMN", help="Only these cells: ROW, ROW/COLUMN, /COLUMN, with *; repeatable."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of every cell's recipe; repeatable."),
    ] = None,
    rows: Annotated[Path | None, typer.Option(help="Add result rows to this .csv.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it as .html, .md, .csv or .tex as well.", show_default=False)
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a published table again on this machine: the published cells, and ours beside them.

    Zoos and runs that are missing are made, one cell after another; Ctrl-C saves, and the same command goes on.
    """
    with terminal(as_json, quiet) as screen:
        from rich.text import Text

        from weightwalk import devices, files
        from weightwalk.report.tables import commit, hardware
        from weightwalk.reproduce import TABLES, Request, writing

        makes = TABLES[name](
            Request(
                scale="tiny" if quick else scale,
                root=root,
                work=work,
                seeds=_seeds(seeds),
                minutes=minutes,
                only=tuple(only or ()),
                settings=tuple(settings or ()),
                rows=rows,
                device=str(devices.pick(device)),
            )
        )
        if out is not None:
            writing.check(out)
        if rows is not None:
            files.output(rows, ".csv", option="--rows")
        if makes.resumes:
            files.output_folder(work, option="--work")
        with screen.listening() if makes.resumes else nullcontext():
            found = makes.measure(screen.progress, screen.should_stop)
        values = {
            **found.values,
            **{"table": name, "quick": scale == "tiny" or quick, "commit": commit(), "hardware": hardware()},
            **{"amounts": makes.amounts, "page": None if out is None else str(out)},
        }
        if not found.finished:
            raise screen.stopped(values, f"{found.sentence}; everything is kept in {work}")
        if out is not None:
            writing.write(out, found)
        screen.answer(
            values,
            found.sentence,
            *(table(part.title, part.header, part.rows) for part in found.parts if part.rows),
            Text("\n".join(found.remarks) + "\n"),
        )
        if found.refused and len(found.refused) == len(found.values.get("cells", ())):
            raise screen.refused(found.refused)


def _seeds(text: str | None) -> tuple[int, ...]:
    """`0,1,2` as numbers."""
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise InputError(f"expected --seeds as whole numbers such as 0,1,2, got {text!r}") from None

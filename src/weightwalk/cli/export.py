"""`weightwalk export`: a zoo -> files that published repositories read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, ZooArgument, terminal
from weightwalk.report.words import duration


def command(
    zoo: ZooArgument,
    layout: Annotated[
        str, typer.Argument(metavar="LAYOUT", help="nfn or dws: whose code is to read them.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write or to go on with.", show_default=False)
    ],
    number: Annotated[
        str, typer.Option(help="nfn: number images as the data set does (images), or without gaps (splits).")
    ] = "images",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a zoo's INRs as the published repositories read them, one file each. Files that are there stay.

    Networks of another convention than LAYOUT's are rewritten so that they show the same pictures there.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import files
        from weightwalk.zoos.published import export_tree
        from weightwalk.zoos.store import Zoo

        files.output_folder(out, option="OUT")
        outcome = export_tree(
            Zoo.open(zoo), layout, out, number=number, progress=screen.progress, should_stop=screen.should_stop
        )
        values = {"out": str(out), **asdict(outcome)}
        if not outcome.finished:
            raise screen.stopped(values, f"stopped while writing {out}; {outcome.written:,} new files are there")
        if outcome.left_out:
            screen.remark(f"{outcome.left_out:,} extra fits have no place in the layout {layout} and were left out")
        if outcome.gaps:
            screen.remark(
                f"{outcome.gaps:,} numbers have no file: the published loader, which counts from 0, stops at the "
                "first; --number splits leaves no gaps"
            )
        bounds = "" if outcome.bounds is None else f", split points [{outcome.bounds[0]}, {outcome.bounds[1]}]"
        screen.answer(
            values,
            f"{out}: {outcome.written + outcome.already_there:,} files ({outcome.written:,} new){bounds}, "
            f"{duration(outcome.seconds)}",
        )

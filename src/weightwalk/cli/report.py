"""`weightwalk report`: a run as one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, RunArgument, ZooOfRun, source_of, terminal, times_of


def command(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="The page.", show_default="report.html beside the evaluation")
    ] = None,
    zoo: ZooOfRun = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write what an evaluated run came to: one HTML file that holds everything it shows."""
    with terminal(as_json, quiet) as screen:
        from weightwalk import files
        from weightwalk.tasks import pages
        from weightwalk.tasks.runs import Run
        from weightwalk.zoos.store import Zoo

        if out is not None:
            files.output(out, ".html", ".htm")
        opened = Run.open(run)
        own = run / "evaluation.json"  # knows where the zoo was last, if it was moved
        source = Zoo.open(
            zoo or source_of(None, opened.evaluation().zoo_path if own.exists() else opened.record.made["zoo_path"])
        )
        screen.remark("drawing the report")
        path = pages.write(opened, source, out or opened.folder(source) / "report.html", times_of(source.path))
        screen.answer({"run": str(run), "report": str(path)}, f"report in {path}")

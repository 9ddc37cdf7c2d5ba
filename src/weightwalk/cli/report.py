"""`weightwalk report`: a run as one page that opens from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, RunArgument, ZooOfRun, terminal
from weightwalk.cli.fit import fit_times


def command(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="The page.", show_default="RUN/report.html")] = None,
    zoo: ZooOfRun = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write what an evaluated run came to: one HTML file that holds everything it shows."""
    with terminal(as_json, quiet) as screen:
        from weightwalk.tasks.inr_classification.report import write
        from weightwalk.tasks.inr_classification.run import Run
        from weightwalk.zoos.store import Zoo

        opened = Run.open(run)
        source = Zoo.open(zoo or opened.evaluation()["zoo_path"])
        screen.remark("drawing the report")
        path = write(opened, source, out or run / "report.html", fit_times(source.path))
        screen.answer({"run": str(run), "report": str(path)}, f"report in {path}")

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
        from weightwalk.tasks.registry import task_of

        if out is not None:
            files.output(out, ".html", ".htm")
        task = task_of(run)
        opened = task.run_class.open(run)
        source = task.open_zoo(zoo or source_of(None, opened.evaluation(opened.record["zoo"])["zoo_path"]))
        screen.remark("drawing the report")
        path = task.report(
            opened, source, out or opened.answers(source.settings) / "report.html", times_of(source.path)
        )
        screen.answer({"run": str(run), "report": str(path)}, f"report in {path}")

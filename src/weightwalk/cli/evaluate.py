"""`weightwalk evaluate`: a trained run on networks that it never saw."""

from __future__ import annotations

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, ZooOfRun, facts, next_steps, source_of, terminal
from weightwalk.report.words import shell


def command(
    run: RunArgument, zoo: ZooOfRun = None, device: Device = "auto", as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Measure a run on the test networks of its zoo, or of another zoo of such networks."""
    with terminal(as_json, quiet) as screen:
        from weightwalk import devices
        from weightwalk.tasks.registry import task_of

        task = task_of(run)
        opened = task.run_class.open(run)
        source = task.open_zoo(source_of(zoo, opened.record["made"]["zoo_path"]))
        found = task.evaluate(opened, source, device=devices.pick(device), progress=screen.progress)
        summary = task.summary(opened, source, found)
        report = shell("report", run, *(["--zoo", zoo] if zoo else []))
        title = f"{opened.config.recipe} on {source.path}"
        screen.answer(
            {"run": str(run), **found},
            summary.line,
            facts(title, summary.facts),
            next_steps(report, *summary.next_steps),
        )

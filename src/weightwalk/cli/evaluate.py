"""`weightwalk evaluate`: a trained run on networks that it never saw."""

from __future__ import annotations

from weightwalk.cli.common import AsJson, Device, Quiet, RunArgument, ZooOfRun, facts, next_steps, source_of, terminal
from weightwalk.report.words import shell


def command(
    run: RunArgument, zoo: ZooOfRun = None, device: Device = "auto", as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Measure a run on the test networks of its zoo, or of another zoo of such networks."""
    with terminal(as_json, quiet) as screen:
        from dataclasses import asdict

        from weightwalk import devices
        from weightwalk.tasks import TASKS, pages, supervised
        from weightwalk.tasks.runs import Run
        from weightwalk.zoos.store import Zoo

        opened = Run.open(run)
        task, source = TASKS[opened.config.task], Zoo.open(source_of(zoo, opened.record.made["zoo_path"]))
        found = supervised.evaluate(opened, source, device=devices.pick(device), progress=screen.progress)
        values = {
            **task.facts(found),
            task.networks: pages.counts(found.networks),
            "of groups (pictures, runs)": pages.counts(found.groups),
            "architectures": found.architectures,
            "encoder": opened.config.encoder.name,
            f"access to the {task.networks}": pages.access(found),
            "parameters": pages.counts(found.num_parameters),
            "kept in": opened.folder(source),
        }
        screen.answer(
            {"run": str(run), **asdict(found)},
            f"{run}: {task.headline(found)}",
            facts(f"{opened.config.recipe} on {source.path}", values),
            next_steps(shell("report", run, *(["--zoo", zoo] if zoo else [])), task.how_to_ask(run, source.path)),
        )

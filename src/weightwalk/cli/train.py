"""`weightwalk train`: a recipe and a zoo -> a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import RenderableType

from weightwalk.cli.common import AsJson, Device, Quiet, next_steps, table, terminal
from weightwalk.errors import InputError
from weightwalk.report.words import duration, listed, shell

if TYPE_CHECKING:
    from weightwalk.training.loop import Outcome


def command(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="One of `weightwalk recipes`.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A configuration instead: what `weightwalk recipes RECIPE --json` writes, or a run.json."),
    ] = None,
    zoo: Annotated[
        Path | None, typer.Option(help="What to train on.", show_default="zoos/DATASET or zoos/cifar10-KIND")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder.", show_default="runs/RECIPE, or runs/NAME of NAME.json")
    ] = None,
    resume: Annotated[
        Literal["auto", "never", "must"],
        typer.Option(help="Go on with the run that is in the folder: if there is one, never, or it must be."),
    ] = "auto",
    seed: Annotated[int | None, typer.Option(help="The same as --set seed=SEED.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train RECIPE on a zoo.

    Ctrl-C or SIGTERM saves; the same command goes on, and ends with the same model as if it had never been stopped.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import devices, files
        from weightwalk.config import override
        from weightwalk.recipes import RECIPES
        from weightwalk.tasks import TASKS, read_config, supervised
        from weightwalk.zoos.store import Zoo

        if (recipe is None) == (config is None):
            got = "neither" if recipe is None else f"{recipe} and --config {config}"
            raise InputError(f"expected a RECIPE (see `weightwalk recipes`) or --config FILE, got {got}")
        begun = read_config(config) if config else RECIPES[recipe or ""]()
        run_config = override(begun, [*(settings or []), *([] if seed is None else [f"seed={seed}"])])
        path = files.output_folder(out or Path("runs") / (config.stem if config else recipe or ""), holds="run.json")
        there = (path / "run.json").exists()
        if there and resume == "never":
            raise InputError(f"expected no run at {path} with --resume never, found one; choose another --out")
        if not there and resume == "must":
            raise InputError(f"expected a run to resume at {path}, found none; leave --resume must out to begin it")
        task = TASKS[run_config.task]
        source = zoo or task.default_zoo(run_config)
        if not source.exists():
            raise InputError(
                f"expected a zoo at {source}, found nothing; make it with `{task.how_to_make(run_config, source)}`"
            )
        picked, opened = devices.pick(device), Zoo.open(source)
        outcomes = supervised.train(
            run_config, opened, path, device=picked, progress=screen.progress, should_stop=screen.should_stop
        )
        values = {"run": str(path), "stages": {name: asdict(outcome) for name, outcome in outcomes.items()}}
        stage, last = list(outcomes.items())[-1]
        if not last.finished:
            raise screen.stopped(values, f"saved at step {last.steps:,} of {stage} in {path}")
        screen.answer(
            values,
            f"{path}: trained {run_config.recipe} on {opened.path} in "
            f"{duration(sum(outcome.seconds for outcome in outcomes.values()))}; {listed(last.best)}",
            _stages(outcomes),
            next_steps(shell("evaluate", path), shell("report", path)),
        )


def _stages(outcomes: Mapping[str, Outcome]) -> RenderableType:
    """What every stage came to."""
    return table(
        "Training",
        ["stage", "steps", "best at step", "figures there", "time"],
        [
            [name, f"{o.steps:,}", f"{o.best_step:,}", listed(o.best), duration(o.seconds)]
            for name, o in outcomes.items()
        ],
    )

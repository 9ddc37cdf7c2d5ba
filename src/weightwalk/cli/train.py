"""`weightwalk train`: a recipe and a zoo -> a trained run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
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
    precision: Annotated[
        Literal["fp32", "bf16"] | None, typer.Option(help="The same as --set STAGE.precision=... of every stage.")
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A tracker beside the CSV: tensorboard, or what Accelerate knows; repeatable."
        ),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train RECIPE on a zoo.

    Ctrl-C or SIGTERM saves; the same command goes on, and ends with the same model as if it had never been stopped.
    Several processes share the work: torchrun --nproc-per-node 2 -m weightwalk train RECIPE.
    """
    follows = int(os.environ.get("RANK", "0")) > 0  # one of torchrun's processes, of which the first one speaks
    with terminal(as_json, quiet or follows) as screen, screen.listening(), ExitStack() as stack:
        from weightwalk import devices, files
        from weightwalk.config import override
        from weightwalk.recipes import RECIPES
        from weightwalk.tasks import TASKS, read_config, supervised
        from weightwalk.training import distributed
        from weightwalk.zoos.store import Zoo

        team = stack.enter_context(distributed.joined(devices.pick(device)))
        if (recipe is None) == (config is None):
            got = "neither" if recipe is None else f"{recipe} and --config {config}"
            raise InputError(f"expected a RECIPE (see `weightwalk recipes`) or --config FILE, got {got}")
        begun = read_config(config) if config else RECIPES[recipe or ""]()
        added = [] if seed is None else [f"seed={seed}"]
        added += [] if precision is None else [f"{stage}.precision={precision}" for stage in begun.stages]
        run_config = override(begun, [*(settings or []), *added])
        path = files.output_folder(out or Path("runs") / (config.stem if config else recipe or ""), holds="run.json")
        there = (path / "run.json").exists()
        if there and resume == "never":
            raise InputError(f"expected no run at {path} with --resume never, found one; choose another --out")
        if not there and resume == "must":
            raise InputError(f"expected a run to resume at {path}, found none; leave --resume must out to begin it")
        team.wait()  # no process begins the run before all have looked
        task = TASKS[run_config.task]
        source = zoo or task.default_zoo(run_config)
        if not source.exists():
            raise InputError(
                f"expected a zoo at {source}, found nothing; make it with `{task.how_to_make(run_config, source)}`"
            )
        opened = Zoo.open(source)
        outcomes = supervised.train(
            run_config,
            opened,
            path,
            device=team.device,
            progress=screen.progress,
            should_stop=screen.should_stop,
            track=track or (),
        )
        if not team.leads:
            return
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

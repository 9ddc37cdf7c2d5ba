"""`weightwalk demo`: from 1,797 digits to a classifier of networks and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightwalk.cli.common import (
    FITTING,
    AsJson,
    Device,
    Quiet,
    keep_time,
    next_steps,
    remark_slow_fits,
    table,
    terminal,
    times_of,
)
from weightwalk.report.words import duration, percent, shell

RECIPE = "digits_inr2jls"


def command(
    out: Annotated[Path, typer.Option(help="The folder of everything that it makes.")] = Path("runs/demo"),
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """From digits to a report, in minutes: an INR per digit, INR2JLS trained on them, and what came of it.

    Goes on where it was stopped, and reuses what is finished.
    """
    with terminal(as_json, quiet) as screen, screen.listening():
        from weightwalk import devices, files
        from weightwalk.recipes import RECIPES
        from weightwalk.tasks import pages, supervised
        from weightwalk.tasks.runs import Run
        from weightwalk.zoos.inr.fit import fit_zoo, load_sets
        from weightwalk.zoos.inr.recipe import FIT_RECIPES
        from weightwalk.zoos.store import Zoo

        files.output_folder(out)
        picked, zoo_path, run_path = devices.pick(device), out / "zoo", out / "run"
        remark_slow_fits(screen, str(picked))
        screen.remark("1/3  one INR for each of 1,797 digits, all from one start")
        fitted = fit_zoo(
            load_sets("digits", None),
            zoo_path,
            FIT_RECIPES["tiny"],
            init="shared",
            device=str(picked),
            progress=screen.progress,
            should_stop=screen.should_stop,
        )
        keep_time(zoo_path, FITTING, fitted.seconds if fitted.fitted else 0.0)
        if not fitted.finished:
            raise screen.stopped(
                {"demo": str(out)}, f"stopped while fitting; the finished shards are saved in {zoo_path}"
            )
        zoo = Zoo.open(zoo_path)

        screen.remark(f"2/3  training {RECIPE}: networks that read those INRs, from their weights alone")
        config = RECIPES[RECIPE]()
        outcomes = supervised.train(
            config, zoo, run_path, device=picked, progress=screen.progress, should_stop=screen.should_stop
        )
        stage, last = list(outcomes.items())[-1]
        if not last.finished:
            raise screen.stopped({"demo": str(out)}, f"saved at step {last.steps:,} of {stage} in {run_path}")

        screen.remark("3/3  measuring on INRs that were never trained on, and drawing the report")
        run = Run.open(run_path)
        found = supervised.evaluate(run, zoo, device=picked, progress=screen.progress)
        accuracy, times = found.test["accuracy"] or 0.0, times_of(zoo_path)
        page = pages.write(run, zoo, out / "report.html", times)

        times |= {f"train: {name}": outcome.seconds for name, outcome in outcomes.items()}
        screen.answer(
            {"demo": str(out), "test_accuracy": accuracy, "seconds": times, "zoo": str(zoo_path), "run": str(run_path)}
            | {"report": str(page)},
            f"{percent(accuracy)} of {found.networks['test']} held-out INRs right, from weights alone; open {page}",
            table(
                "What was done",
                ["", "what came of it", "time"],
                [
                    [
                        "INRs",
                        f"{len(zoo):,}, PSNR {zoo.column('psnr').mean():.1f} dB",
                        duration(sum(times_of(zoo_path).values())),
                    ],
                    *(
                        [name, f"{o.steps:,} steps, {_figures(o.best)}", duration(o.seconds)]
                        for name, o in outcomes.items()
                    ),
                    ["held-out accuracy", percent(accuracy), ""],
                    ["in all", "", duration(sum(times.values()))],
                ],
            ),
            next_steps(
                shell("inspect", zoo_path),
                shell("predict", run_path, zoo_path),
                "weightwalk fit mnist --root DIR --init shared",
            ),
        )


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())

"""`weightwalk recipes`: what can be trained, and what can be set."""

from __future__ import annotations

from typing import Annotated

import typer

from weightwalk.cli.common import AsJson, Quiet, next_steps, table, terminal
from weightwalk.errors import InputError
from weightwalk.registry import unknown


def command(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="Show this one's settings.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only recipes that read a zoo of this data set, or of this kind.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the recipes that `train` knows, or the settings of one; its --json is a file for `train --config`."""
    with terminal(as_json, quiet) as screen:
        from weightwalk import config
        from weightwalk.encoders import encoders
        from weightwalk.recipes import RECIPES
        from weightwalk.tasks.base import described

        if recipe is not None:
            settings = config.keys(RECIPES[recipe]())
            line = (
                f"{recipe}: {len(settings)} settings; change them with --set KEY=VALUE, "
                f"as in --set encoder=NAME ({', '.join(encoders)})"
            )
            screen.answer(
                described(RECIPES[recipe]()),
                line,
                table(recipe, ["setting", "value"], [[key, _written(value)] for key, value in settings.items()]),
            )
            return
        made = {name: make() for name, make in RECIPES.items()}
        kinds = dict.fromkeys(value.reads for value in made.values())
        if dataset is not None and dataset not in kinds:
            raise InputError(unknown("data set or kind of zoo with recipes", dataset, list(kinds)))
        shown = {name: value for name, value in made.items() if dataset in (None, value.reads)}
        steps = {name: [n for key, n in config.keys(v).items() if key.endswith(".steps")] for name, v in shown.items()}
        screen.answer(
            {name: config.to_dict(value) for name, value in shown.items()},
            ", ".join(shown) if quiet else f"{len(shown)} recipes",
            table(
                "Recipes",
                ["recipe", "zoo of", "method", "encoder", "steps"],
                [
                    [name, value.reads, value.method, value.encoder.name, " + ".join(f"{n:,}" for n in steps[name])]
                    for name, value in shown.items()
                ],
            ),
            next_steps("weightwalk recipes RECIPE", "weightwalk train RECIPE --zoo ZOO"),
        )


def _written(value: object) -> str:
    """As `--set` takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

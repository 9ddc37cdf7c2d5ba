"""A run as one page: how predicted and true accuracy agree, over all and in groups, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.report import agreement, html
from weightwalk.report.words import percent
from weightwalk.tasks import pages
from weightwalk.tasks.generalization.metrics import activations, between, groups, rank
from weightwalk.tasks.generalization.model import TARGET
from weightwalk.tasks.generalization.run import STAGE, Run
from weightwalk.zoos.store import Zoo

_WORST = 20
_COLOURED, _COLOURS = ("activation", "layers", "epoch"), 10
_TITLES = {STAGE: "Training: Kendall's tau on the validation networks chooses the checkpoint"}


def write(run: Run, zoo: Zoo, path: Path, extra_times: Mapping[str, float] | None = None) -> Path:
    """The report of an evaluated run, as one HTML file at `path`; `extra_times` are seconds of work outside the run, by
    name.

    InputError for a run that was not evaluated, or not on this zoo.
    """
    path = Path(path)
    found, answers = run.found(zoo, "true", zoo.column(TARGET))
    times = {**(extra_times or {}), **{f"train: {stage}": seconds for stage, seconds in found["seconds"].items()}}
    counts, test = found["networks"], found["test"]
    html.write(
        path,
        f"{run.config.recipe}: predicting test accuracy from weights",
        f"An encoder ({run.config.encoder.name}) read the weights of {counts['train']:,} trained networks and learnt "
        "how good each is; "
        f"then it was asked about {counts['test']:,} networks of other training runs. "
        "It never evaluates the network that it reads (access: weights).",
        [
            html.Section(
                "",
                [
                    html.KeyFigures(
                        {
                            "Kendall's tau": f"{test['tau']:.3f}",
                            "R²": f"{test['r2']:.3f}",
                            "mean absolute error": _points(test["mae"]),
                            "test networks": f"{counts['test']:,}",
                            "test runs": f"{found['runs']['test']:,}",
                        }
                    ),
                    html.Text(f"Kendall's tau if other runs had been drawn: {between(found)}."),
                ],
            ),
            html.Section("Predicted and true", _agreement(zoo, answers)),
            html.Section("Group by group", _groups(found["groups"])),
            html.Section("The farthest off", [_worst(zoo, answers)]),
            html.Section("Training", pages.curves(run, _TITLES)),
            html.Section("What was run", _conditions(run, zoo, found)),
            html.Section("How long it took", [pages.durations(run, times)]),
        ],
    )
    return path


def _agreement(zoo: Zoo, answers: Mapping[str, NDArray[Any]]) -> list[html.Block]:
    """One point per test network, coloured by what has a few values, of which each network has one."""
    rows, blocks = answers["rows"], list[html.Block]()
    for name, values in groups(zoo, rows).items():
        if name in _COLOURED and 2 <= len(values) <= _COLOURS and sum(map(len, values.values())) == len(rows):
            png = agreement.agreement(answers["true"], answers["predicted"], values, "test accuracy", name)
            words = f"Test networks by {name}; on the line, prediction and truth are equal."
            blocks.append(
                html.Picture(png, words, f"Scatter plot of predicted against true test accuracy, coloured by {name}.")
            )
    plain = agreement.agreement(answers["true"], answers["predicted"], what="test accuracy")
    words = "Test networks; on the line, prediction and truth are equal."
    return blocks or [html.Picture(plain, words, "Scatter plot of predicted against true test accuracy.")]


def _groups(found: Mapping[str, list[dict[str, Any]]]) -> list[html.Block]:
    return [
        html.Table(
            [name.replace("_", " "), "networks", "Kendall's tau", "R²", "mean absolute error"],
            [
                [
                    row["value"],
                    row["networks"],
                    *(
                        [None] * 3
                        if row["tau"] is None
                        else [_three(row["tau"]), _three(row["r2"]), _points(row["mae"])]
                    ),
                ]
                for row in rows
            ],
            f"By {name.replace('_', ' ')}"
            + (": a network with several counts for each." if name == "activation" else "."),
        )
        for name, rows in found.items()
    ]


def _three(value: float) -> str:
    return f"{value:.3f}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _worst(zoo: Zoo, answers: Mapping[str, NDArray[Any]]) -> html.Block:
    off = np.abs(answers["predicted"] - answers["true"])
    order = np.array(rank(off))
    order = order[np.sort(np.unique(answers["runs"][order], return_index=True)[1])][
        :_WORST
    ]  # of each run its worst checkpoint
    specs = [zoo.specs[zoo.spec_codes[answers["rows"][at]]] for at in order]
    return html.Table(
        ["network", "architecture", "activations", "predicted", "true"],
        [
            [
                name,
                str(spec),
                ", ".join(activations(spec)),
                percent(answers["predicted"][at]),
                percent(answers["true"][at]),
            ]
            for name, spec, at in zip(zoo.names(answers["rows"][order]), specs, order, strict=True)
        ],
        f"Of every test run the checkpoint that was predicted worst; the {len(order)} farthest off.",
    )


def _conditions(run: Run, zoo: Zoo, found: Mapping[str, Any]) -> list[html.Block]:
    facts = {
        "access to the networks": f"{found['access']}: they are never evaluated",
        "networks": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
        "of runs, none in two splits": ", ".join(f"{count:,} {split}" for split, count in found["runs"].items()),
        "architectures": found["architectures"],
        "parameters": f"{found['num_parameters']:,}",
        "zoo": zoo.path,
    }
    return pages.conditions(run, facts, zoo.settings, "How the networks were trained.")

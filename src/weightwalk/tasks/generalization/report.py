"""A run as one page: how predicted and true accuracy agree, over all and in groups, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from weightwalk.report import agreement, html
from weightwalk.report.words import percent
from weightwalk.tasks.generalization import metrics
from weightwalk.tasks.pages import Evaluated, Page, access
from weightwalk.tasks.runs import Answers
from weightwalk.zoos.store import Zoo

_WORST = 20
_COLOURED, _COLOURS = ("activation", "layers", "epoch"), 10


def page(evaluated: Evaluated) -> Page:
    """What a run that predicts accuracy says."""
    run, zoo, found, answers = evaluated.run, evaluated.zoo, evaluated.found, evaluated.answers
    test, predicted, true = found.test, answers.values.astype(np.float64), answers.true.astype(np.float64)
    interval = metrics.tau_interval(predicted, true, zoo.groups[answers.rows])
    return Page(
        title=f"{run.config.recipe}: predicting test accuracy from weights",
        lead=f"An encoder ({run.config.encoder.name}) read the weights of {found.networks['train']:,} trained networks "
        f"and learnt how good each is; then it was asked about {found.networks['test']:,} networks of other training "
        f"runs. Access to the networks that it reads: {access(found)}.",
        key_figures={
            "Kendall's tau": _three(test["tau"]),
            "the largest that ties allow": _three(metrics.tau_max(true)),
            "R²": _three(test["r2"]),
            "mean absolute error": _points(test["mae"]),
            "test networks": f"{found.networks['test']:,}",
            "test runs": f"{found.groups['test']:,}",
        },
        sections={
            "Predicted and true": [
                html.Text(f"Kendall's tau if other runs had been drawn: {metrics.between(interval)}."),
                *_agreement(zoo, answers),
            ],
            "Group by group": _groups(metrics.by_group(zoo, answers.rows, predicted, true)),
            "The farthest off": [_worst(zoo, answers)],
        },
        stages={"regress": "Training: Kendall's tau on the validation networks chooses the checkpoint"},
    )


def _agreement(zoo: Zoo, answers: Answers) -> list[html.Block]:
    """One point per test network, coloured by what has a few values, of which each network has one."""
    rows, blocks = answers.rows, list[html.Block]()
    for name, values in metrics.groups(zoo, rows).items():
        if name in _COLOURED and 2 <= len(values) <= _COLOURS and sum(map(len, values.values())) == len(rows):
            png = agreement.agreement(answers.true, answers.values, values, "test accuracy", name)
            words = f"Test networks by {name}; on the line, prediction and truth are equal."
            blocks.append(
                html.Picture(png, words, f"Scatter plot of predicted against true test accuracy, coloured by {name}.")
            )
    plain = agreement.agreement(answers.true, answers.values, what="test accuracy")
    words = "Test networks; on the line, prediction and truth are equal."
    return blocks or [html.Picture(plain, words, "Scatter plot of predicted against true test accuracy.")]


def _groups(found: Mapping[str, list[dict[str, Any]]]) -> list[html.Block]:
    return [
        html.Table(
            [name.replace("_", " "), "networks", "Kendall's tau", "at most, by ties", "R²", "mean absolute error"],
            [
                [
                    row["value"],
                    row["networks"],
                    _three(row["tau"]),
                    _three(row["tau_max"]),
                    _three(row["r2"]),
                    _points(row["mae"]),
                ]
                for row in rows
            ],
            f"By {name.replace('_', ' ')}"
            + (": a network with several counts for each." if name == "activation" else "."),
        )
        for name, rows in found.items()
    ]


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _points(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} points"


def _worst(zoo: Zoo, answers: Answers) -> html.Block:
    off = np.abs(answers.values - answers.true)
    order = np.argsort(-off, kind="stable")
    order = order[np.sort(np.unique(zoo.groups[answers.rows][order], return_index=True)[1])][
        :_WORST
    ]  # of each run its worst checkpoint
    specs = [zoo.specs[code] for code in zoo.spec_codes[answers.rows[order]].tolist()]
    return html.Table(
        ["network", "architecture", "activations", "predicted", "true"],
        [
            [
                name,
                str(spec),
                ", ".join(spec.activations),
                percent(answers.values[at]),
                percent(answers.true[at]),
            ]
            for name, spec, at in zip(zoo.names(answers.rows[order]), specs, order, strict=True)
        ],
        f"Of every test run the checkpoint that was predicted worst; the {len(order)} farthest off.",
    )

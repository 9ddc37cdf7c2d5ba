"""A run as one page: how predicted and true accuracy agree, over all and in groups, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.report import agreement, html
from weightwalk.tasks import pages
from weightwalk.tasks.generalization.metrics import groups, rank
from weightwalk.tasks.generalization.model import TARGET
from weightwalk.tasks.generalization.run import STAGE, Run
from weightwalk.tasks.pages import percent
from weightwalk.zoos.parameters import read_tensors
from weightwalk.zoos.trained.store import TrainedZoo

_WORST = 20
_COLOURS = 10
_TITLES = {STAGE: "Training: Kendall's tau on the validation networks chooses the checkpoint"}


def write(run: Run, zoo: TrainedZoo, path: Path, extra_times: Mapping[str, float] | None = None) -> Path:
    """The report of an evaluated run, as one HTML file at `path`; `extra_times` are seconds of work outside the run, by name.

    InputError for a run that was not evaluated, or not on this zoo.
    """
    path, found = Path(path), run.evaluation()
    answers = {
        name: tensor.numpy() for name, tensor in read_tensors(run.path / "predictions.safetensors", "the predictions of a run").items()
    }
    rows = answers["rows"]
    if rows.max() >= len(zoo) or not np.array_equal(zoo.column(TARGET)[rows], answers["true"]):
        raise InputError(
            f"expected the zoo that {run.path} was evaluated on ({found['zoo_path']}), got {zoo.path}, or a changed one; evaluate again"
        )
    times = {**(extra_times or {}), **{f"train: {stage}": seconds for stage, seconds in found["seconds"].items()}}
    counts, test = found["networks"], found["test"]
    html.write(
        path,
        f"{run.config.recipe}: predicting test accuracy from weights",
        f"An encoder ({run.config.encoder.name}) read the weights of {counts['train']:,} trained networks and learnt how good each is; "
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
                            "mean absolute error": percent(test["mae"]),
                            "test networks": f"{counts['test']:,}",
                            "of as many runs": f"{found['runs']['test']:,}",
                        }
                    )
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


def _agreement(zoo: TrainedZoo, answers: Mapping[str, NDArray[Any]]) -> list[html.Block]:
    """One point per test network, coloured by activation, and by epoch where that varies."""
    blocks: list[html.Block] = []
    for name, values in groups(zoo, answers["rows"]).items():
        if name in ("activation", "epoch") and len(values) <= _COLOURS:
            png = agreement.agreement(answers["true"], answers["predicted"], values, "test accuracy")
            words = f"Test networks by {name}; on the line, prediction and truth are equal."
            blocks.append(html.Picture(png, words, f"Scatter plot of predicted against true test accuracy, coloured by {name}."))
    return blocks


def _groups(found: Mapping[str, list[dict[str, Any]]]) -> list[html.Block]:
    return [
        html.Table(
            [name, "networks", "Kendall's tau", "R²", "mean absolute error"],
            [[row["value"], row["networks"], row["tau"], row["r2"], None if row["mae"] is None else percent(row["mae"])] for row in rows],
            f"By {name.replace('_', ' ')}" + (": a network with several counts for each." if name == "activation" else "."),
        )
        for name, rows in found.items()
    ]


def _worst(zoo: TrainedZoo, answers: Mapping[str, NDArray[Any]]) -> html.Block:
    off = np.abs(answers["predicted"] - answers["true"])
    order = rank(off)[:_WORST]
    return html.Table(
        ["network", "architecture", "predicted", "true"],
        [
            [name, str(zoo.run(int(answers["rows"][at])).spec), percent(answers["predicted"][at]), percent(answers["true"][at])]
            for name, at in zip(zoo.names(answers["rows"][order]), order, strict=True)
        ],
        f"The {len(order)} test networks whose accuracy was predicted worst.",
    )


def _conditions(run: Run, zoo: TrainedZoo, found: Mapping[str, Any]) -> list[html.Block]:
    facts = {
        "access to the networks": f"{found['access']}: they are never evaluated",
        "networks": ", ".join(f"{count:,} {split}" for split, count in found["networks"].items()),
        "of runs, none in two splits": ", ".join(f"{count:,} {split}" for split, count in found["runs"].items()),
        "architectures": found["architectures"],
        "parameters": f"{found['num_parameters']:,}",
        "zoo": zoo.path,
    }
    return pages.conditions(run, facts, zoo.settings, "How the networks were trained.")

"""Training and asking one configuration with every seed, and the result rows of it: for tables and for benchmarks."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from weightwalk import config as configs
from weightwalk.progress import Progress, silent
from weightwalk.report.tables import ResultRow
from weightwalk.reproduce import zoos
from weightwalk.tasks import supervised
from weightwalk.tasks.config import DatasetConfig, RunConfig
from weightwalk.tasks.runs import Evaluation, Run
from weightwalk.zoos.store import Zoo

Metric = tuple[str, str, float]
"""Split ("test", "val" or "details"), name of the figure (or of one within another, a.b), factor."""

METRICS: dict[str, dict[str, Metric]] = {
    "inr_classification": {f"{split}_accuracy %": (split, "accuracy", 100.0) for split in ("test", "val")},
    "generalization": {
        "kendall_tau test": ("test", "tau", 1.0),
        "kendall_tau_max test": ("details", "tau_max", 1.0),
        "R2 test": ("test", "r2", 1.0),
        "MAE test": ("test", "mae", 1.0),
        "kendall_tau val": ("val", "tau", 1.0),
    },
    "inr_editing": {
        "MSE x 1e-2 test": ("test", "mse_unit", 100.0),
        "MSE in [-1, 1] test": ("test", "mse", 1.0),
        "MSE x 1e-2 of doing nothing": ("details", "unedited.mse_unit", 100.0),
        "MSE x 1e-2 val": ("val", "mse_unit", 100.0),
    },
}
"""By task: the metrics of result rows in words, the one that tables show first."""


@dataclass(frozen=True)
class Measured:
    """What a configuration came to with every seed: evaluations, and the folders of the runs."""

    config: RunConfig
    zoo: Zoo
    found: tuple[Evaluation, ...]
    runs: tuple[Run, ...]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Those of the task; of one that has none here, all its figures on the test networks."""
        found = METRICS.get(self.config.task) or {f"{name} test": ("test", name, 1.0) for name in self.found[0].test}
        op = self.found[0].details.get("op")
        if op == "contrast":  # which is published in other units
            found = {
                name.replace("1e-2", "1e-3"): (split, figure, factor * (10.0 if "1e-2" in name else 1.0))
                for name, (split, figure, factor) in found.items()
            }
        if op is None:
            return found
        formulation = f"{op}, decoded" if self.config.method == "decode" else op
        return {f"{formulation}: {name}": metric for name, metric in found.items()}

    def values(self, metric: str) -> list[float]:
        """A metric of every seed; 0 where a figure is not known, as a tau of predictions that are all NaN."""
        split, figure, factor = self.metrics[metric]
        known = [
            reduce(lambda value, name: value.get(name), figure.split("."), getattr(one, split)) for one in self.found
        ]
        return [factor * (value or 0.0) for value in known]

    @property
    def headline(self) -> str:
        """The metric that tables show: the first; of decoded pictures the error in its published range."""
        return next(name for name in self.metrics if self.config.method != "decode" or "[-1, 1]" in name)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config.seed for run in self.runs)

    @property
    def steps(self) -> dict[str, int]:
        """Of every stage."""
        return {name: stage.steps for name, stage in self.config.stages.items()}

    @property
    def num_parameters(self) -> int:
        """Of encoder and head together."""
        return sum(self.found[0].num_parameters.values())

    @property
    def minutes(self) -> float:
        """Of training, per seed."""
        return statistics.mean(sum(one.seconds.values()) for one in self.found) / 60

    def rows(self, method: str | None = None, dataset: str | None = None) -> list[ResultRow]:
        """A row for every metric, and for what was spent: the trained parameters and the steps of every stage."""
        own = self.config
        figures = {metric: self.values(metric) for metric in self.metrics}
        spent = {"parameters": self.num_parameters, **{f"steps of {name}": steps for name, steps in self.steps.items()}}
        shared: dict[str, Any] = {
            "task": own.task,
            "dataset": dataset or str(self.zoo.settings["dataset"]),
            "zoo": zoos.name_of(self.zoo),
            "method": method or method_of(own),
            "access": self.found[0].access,
            "init": str(self.zoo.settings.get("init", "independent")),
            "fits": (own.fits if isinstance(own, DatasetConfig) else None) or zoos.fits_of(self.zoo),
            "seeds": self.seeds,
            "recipe": f"{own.recipe}@{name_of(own)}",
            "commit": self.runs[0].record.made["commit"],
            "hardware": self.runs[0].record.made["hardware"],
            "minutes": round(self.minutes, 1),
        }
        rows = [
            ResultRow(metric=metric, value=round(mean_of(values), 4), std=_rounded(std_of(values)), **shared)
            for metric, values in figures.items()
        ]
        return rows + [
            ResultRow(metric=metric, value=float(value), std=None, **shared) for metric, value in spent.items()
        ]


def mean_of(values: Sequence[float]) -> float:
    """Over the seeds."""
    return statistics.mean(values)


def std_of(values: Sequence[float]) -> float | None:
    """Over the seeds; of one there is none."""
    return statistics.stdev(values) if len(values) > 1 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def name_of(config: Any) -> str:
    """The fingerprint of a run's configuration whatever its seed."""
    return configs.fingerprint(configs.to_dict(dataclasses.replace(config, seed=0)))


def method_of(config: RunConfig) -> str:
    """How results call a configuration's method: the encoder, and the framework where it is within one."""
    plain = config.method == RunConfig.method
    return config.encoder.name if plain else f"{config.encoder.name}+{config.method}"


def measure(
    base: RunConfig,
    zoo: Zoo,
    seeds: Sequence[int],
    folder: Callable[[RunConfig], Path],
    *,
    device: torch.device,
    progress: Progress = silent,
    should_stop: Callable[[], bool] = lambda: False,
    told: Callable[[int, Evaluation], None] = lambda seed, found: None,
) -> Measured | None:
    """Train and evaluate a configuration with every seed, as far as that is not done; None if it was stopped.

    The run of a seed lies at `folder(config)`; one that was begun is gone on with, one that is evaluated is not opened
    for training again. `told` hears of every evaluation.
    """
    found: list[Evaluation] = []
    runs: list[Run] = []
    for seed in seeds:
        config = dataclasses.replace(base, seed=seed)
        path = folder(config)
        run = finished(config, zoo, path)
        if run is None:
            outcomes = supervised.train(config, zoo, path, device=device, progress=progress, should_stop=should_stop)
            if not all(outcome.finished for outcome in outcomes.values()):
                return None
            run = Run.open(path)
            supervised.evaluate(run, zoo, device=device, progress=progress)
        runs.append(run)
        found.append(run.evaluation(zoo))
        told(seed, found[-1])
    return Measured(base, zoo, tuple(found), tuple(runs))


def finished(config: RunConfig, zoo: Zoo, folder: Path) -> Run | None:
    """The run of a configuration that was trained and evaluated on a zoo as it is, if there is one in `folder`."""
    if not (folder / "evaluation.json").exists():
        return None
    run = Run.open(folder)
    return run if run.config == config and run.folder(zoo) == run.path else None


def progress_of(place: str, progress: Progress) -> Progress:
    """Progress that says of which cell it is."""

    def told(label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        progress(f"{place}: {label}", done, total, figures)

    return told

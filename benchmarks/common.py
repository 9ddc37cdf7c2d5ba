"""What the scripts that train share: progress, names of configurations, and asking every seed's run."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from weightwalk import config as configs
from weightwalk.report.tables import ResultRow, append
from weightwalk.tasks import supervised
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.runs import Evaluation, Run
from weightwalk.zoos.store import Zoo

CPU = torch.device("cpu")


class Lines:
    """Progress as a line now and then."""

    def __init__(self, name: str, seconds: float = 30.0):
        self.name, self.seconds, self.last = name, seconds, 0.0

    def __call__(self, label: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if time.monotonic() - self.last > self.seconds or done == total:
            self.last = time.monotonic()
            print(
                self.name,
                label,
                f"{done}/{total}",
                {name: round(value, 4) for name, value in figures.items()},
                flush=True,
            )


def name_of(config: Any) -> str:
    """The fingerprint of a run's configuration whatever its seed."""
    return configs.fingerprint(configs.to_dict(dataclasses.replace(config, seed=0)))


def measure(
    base: RunConfig,
    zoo: Zoo,
    name: str,
    seeds: Sequence[int],
    work: Path,
    results: Path,
    metrics: Mapping[str, tuple[str, str, float]],
    row: Mapping[str, Any],
) -> None:
    """Train and evaluate a configuration with every seed, where that is not done, and write a row for each figure of
    `metrics`: its words -> split, figure, factor. Runs lie at `work`/NAME-FINGERPRINT-sSEED; `row` are further fields
    of `ResultRow`.
    """
    found: list[Evaluation] = []
    for seed in seeds:
        out = work / f"{name}-{name_of(base)}-s{seed}"
        supervised.train(dataclasses.replace(base, seed=seed), zoo, out, device=CPU, progress=Lines(out.name))
        run = Run.open(out)
        done = (run.folder(zoo) / "evaluation.json").exists()
        found.append(run.evaluation(zoo) if done else supervised.evaluate(run, zoo, device=CPU))
        print(out.name, found[-1].test, found[-1].val, found[-1].seconds, flush=True)
    for words, (split, figure, factor) in metrics.items():
        values = [factor * (getattr(one, split)[figure] or 0.0) for one in found]
        append(
            results,
            ResultRow(
                task=base.task,
                access=found[0].access,
                metric=words,
                value=round(statistics.mean(values), 4),
                std=round(statistics.stdev(values), 4) if len(values) > 1 else None,
                seeds=tuple(seeds),
                recipe=f"{base.recipe}@{name_of(base)}",
                commit=run.record.made["commit"],
                hardware=run.record.made["hardware"],
                minutes=round(statistics.mean(sum(one.seconds.values()) for one in found) / 60, 1),
                **row,
            ),
        )

"""What the scripts that train share: progress, and rows of every seed's run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from weightwalk.report.tables import append
from weightwalk.reproduce import measuring
from weightwalk.tasks.config import RunConfig
from weightwalk.tasks.runs import Evaluation
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


def measure(
    base: RunConfig, zoo: Zoo, name: str, seeds: Sequence[int], work: Path, results: Path, method: str | None = None
) -> None:
    """Train and evaluate a configuration with every seed, where that is not done, and write its rows. Runs lie at
    `work`/NAME-FINGERPRINT-sSEED.
    """
    folder = f"{name}-{measuring.name_of(base)}"

    def tell(seed: int, found: Evaluation) -> None:
        print(f"{folder}-s{seed}", found.test, found.val, found.seconds, flush=True)

    found = measuring.measure(
        base,
        zoo,
        seeds,
        lambda config: work / f"{folder}-s{config.seed}",
        device=CPU,
        progress=Lines(folder),
        told=tell,
    )
    assert found is not None
    for row in found.rows(method):
        append(results, row)

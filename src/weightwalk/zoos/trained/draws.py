"""What a run of a zoo draws: a function of (seed, run), whatever else is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightwalk.networks.starts import Key, uniform
from weightwalk.spec import NetworkSpec
from weightwalk.zoos.trained.trainer.settings import Optimizer

STARTS, DRAWS, ORDERS, SHIFTS, DROPS = range(5)
"""What is drawn, each from a generator of its own: parts of `Key`."""


@dataclass(frozen=True)
class Drawn:
    """What a run does: its network, start (see `networks.starts.classifier`), descent, and kept checkpoints.

    `checkpoints` are numbers of epochs, increasing; training ends with the last. `hyperparameters` are what a zoo keeps
    of all this.
    """

    spec: NetworkSpec
    scheme: str
    std: float
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    dropout: float
    train_fraction: float
    checkpoints: tuple[int, ...]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """As a zoo keeps them."""
        names = ("optimizer", "learning_rate", "weight_decay", "dropout", "train_fraction")
        std = {"init_std": self.std} if self.scheme in ("normal", "truncated") else {}
        return {"init": self.scheme, **std, **{name: getattr(self, name) for name in names}}


class Draw:
    """Numbers that a run draws, one after another; the k-th is the same whatever is done with the others."""

    def __init__(self, seed: int, run: int):
        self._numbers = iter(uniform(Key(seed, DRAWS, run, 0), 64).tolist())

    def between(self, bounds: tuple[float, ...]) -> float:
        """Uniform between two numbers."""
        return bounds[0] + (bounds[1] - bounds[0]) * float(next(self._numbers))

    def log_between(self, bounds: tuple[float, ...]) -> float:
        """Log-uniform between two positive numbers."""
        return math.exp(self.between((math.log(bounds[0]), math.log(bounds[1]))))

    def one_of(self, options: Sequence[Any]) -> Any:
        """One of some options, all equally likely."""
        return options[int(next(self._numbers) * len(options))]

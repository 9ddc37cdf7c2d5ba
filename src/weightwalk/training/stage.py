"""How one stage of training is set: pure Python, so that listing recipes never imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from weightwalk.errors import InputError

Optimizer = Literal["adam", "adamw", "amsgrad"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class StageConfig:
    """Steps, batches and optimisation of one stage.

    The learning rate grows from `warmup_start` * `learning_rate` at step 0 to `learning_rate` at `warmup_steps`; from
    there it stays (constant) or falls to 0 at `steps` (cosine). A warm-up longer than the stage is cut by its end.
    `weight_decay` is torch's: an L2 term in the gradient for adam, decoupled for adamw and for
    amsgrad, which is AdamW that divides by the largest second moment so far. `clip` bounds the norm of all
    gradients together; None leaves them alone.
    """

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: Optimizer = "adam"
    warmup_start: float = 1.0
    warmup_steps: int = 0
    schedule: Schedule = "constant"
    clip: float | None = None
    eval_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every"):
            _expect(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            _expect(self, name, value is None or 0 < value < math.inf, "a positive number")
        _expect(self, "weight_decay", 0 <= self.weight_decay < math.inf, "a number of at least 0")
        _expect(self, "warmup_start", 0 <= self.warmup_start <= 1, "a factor from 0 to 1")
        _expect(self, "warmup_steps", self.warmup_steps >= 0, "at least 0")
        for name, choices in (("optimizer", get_args(Optimizer)), ("schedule", get_args(Schedule))):
            _expect(self, name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    def rate(self, step: int) -> float:
        """The learning rate of the update that step `step` makes, counted from 0."""
        if step < self.warmup_steps:
            factor = self.warmup_start + (1.0 - self.warmup_start) * step / self.warmup_steps
        elif self.schedule == "cosine":
            factor = 0.5 * (
                1.0 + math.cos(math.pi * (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
            )
        else:
            factor = 1.0
        return self.learning_rate * factor


def _expect(config: StageConfig, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name} must be {expected}, got {getattr(config, name)!r}")

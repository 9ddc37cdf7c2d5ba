"""How one stage of training is set: pure Python, so that listing recipes never imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from weightwalk.config import bounded, typed

Optimizer = Literal["adam", "adamw", "amsgrad"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class StageConfig:
    """Steps, batches and optimisation of one stage.

    The learning rate grows from `warmup_start` * `learning_rate` at step 0 to `learning_rate` at `warmup_steps`; from
    there it stays (constant) or falls to 0 at `steps` (cosine). A warm-up longer than the stage is cut by its end.
    `weight_decay` is torch's: an L2 term in the gradient for adam, decoupled for adamw and for
    amsgrad, which is AdamW that divides by the largest second moment so far. `clip` bounds the norm of all
    gradients together; None leaves them alone.

    `accumulate` cuts every batch into so many parts, one after another: less memory, the same update. `precision` bf16
    makes the products of the loss in bfloat16 (torch.autocast); parameters, the optimiser's state and validation stay
    in float32.
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
    accumulate: int = 1
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        bounded(self, "steps batch_size eval_every accumulate", 1)
        bounded(self, "accumulate", most=self.batch_size)
        bounded(self, "learning_rate clip", above=0)
        bounded(self, "weight_decay warmup_steps", 0)
        bounded(self, "warmup_start", 0, most=1)
        typed(Optimizer, self.optimizer, "optimizer")
        typed(Schedule, self.schedule, "schedule")
        typed(Precision, self.precision, "precision")

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

"""What a run of this task is: an encoder, a head, one stage of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from weightwalk.config import bounded
from weightwalk.encoders import EncoderConfig
from weightwalk.training.stage import StageConfig


@dataclass(frozen=True)
class GeneralizationConfig:
    """An encoder and an MLP head of two hidden layers `head_dim` wide, trained together on the test accuracy of a zoo's
    networks.

    `kind` is that of the zoos that the recipe was made for. `checkpoints`: all of every run, or each run's last alone.
    `loss`: binary cross-entropy against the accuracy (its minimum is the accuracy's mean, as for a label of 0 or 1), or
    mean squared error.
    """

    task: ClassVar[str] = "generalization"
    method: ClassVar[str] = "encoder"
    recipe: str
    kind: str
    encoder: EncoderConfig
    checkpoints: Literal["all", "last"]
    seed: int
    loss: Literal["bce", "mse"]
    head_dim: int
    head_dropout: float
    regress: StageConfig

    def __post_init__(self) -> None:
        bounded(self, "seed", 0)
        bounded(self, "head_dim", 1)
        bounded(self, "head_dropout", 0, below=1)

    @property
    def reads(self) -> str:
        """Which zoos: those of this kind."""
        return self.kind


METHODS = {GeneralizationConfig.method: GeneralizationConfig}

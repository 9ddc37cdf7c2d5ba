"""What a run of this task is: an encoder, a head, one stage of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from weightwalk.encoders import EncoderConfig
from weightwalk.errors import InputError
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
        if self.head_dim < 1 or not 0 <= self.head_dropout < 1:
            raise InputError(
                f"a head needs head_dim >= 1 and 0 <= head_dropout < 1, got {self.head_dim} and {self.head_dropout}"
            )

    @property
    def reads(self) -> str:
        """Which zoos: those of this kind."""
        return self.kind


METHODS = {GeneralizationConfig.method: GeneralizationConfig}

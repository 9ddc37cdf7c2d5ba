"""How a network is trained, and where its training stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import Conv, Dense, NetworkSpec
from weightwalk.steps import Learned

Optimizer = Literal["sgd", "momentum", "adam", "rmsprop", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(Optimizer)


@dataclass(frozen=True)
class Training:
    """Hyperparameters of one network, on the cross-entropy of mini-batches.

    Optimisers are torch's with torch's other settings: momentum is 0.9, Adam's betas are (0.9, 0.999), RMSprop's alpha
    is 0.99, eps is 1e-8. `weight_decay` times a parameter is added to its gradient; for adamw it shrinks parameters
    instead. With `dropout`, each number that a convolution or dense step writes, but for the last such step, is zero
    with this probability, and 1 / (1 - dropout) times itself otherwise.
    """

    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    dropout: float = 0.0
    batch_size: int = 128

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(unknown("optimizer", self.optimizer, list(OPTIMIZERS)))
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise InputError(f"training needs a positive learning rate and a weight decay >= 0, got {self}")
        if not 0 <= self.dropout < 1 or self.batch_size < 1:
            raise InputError(
                f"training needs a dropout from 0 to below 1 and batches of at least one image, got {self}"
            )


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures (N, C, H, W) uint8, which networks read as pixel * scale + offset per channel, and labels (N,)."""

    pixels: Tensor
    labels: Tensor
    scale: Sequence[float]
    offset: Sequence[float]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.pixels.shape[1:])


@dataclass(eq=False)
class Trained:
    """Networks in training: `params` as `Weights.flat`, the optimiser's moments, all (P,) or (B, P), and its steps."""

    params: Tensor
    first: Tensor
    second: Tensor
    step: int = 0


def begin(params: Tensor) -> Trained:
    """Training that starts from a copy of `params` (P,) or (B, P)."""
    start = params.detach().to(torch.float32, copy=True).contiguous()
    return Trained(start, torch.zeros_like(start), torch.zeros_like(start))


def moving(spec: NetworkSpec) -> list[tuple[int, int]]:
    """The ranges of parameters that are trained: all but those of learned values that are fixed."""
    still = {number for number, layer in enumerate(spec.layers) if isinstance(layer, Learned) and layer.fixed}
    return [(field.start, field.stop) for field in spec.fields if field.layer not in still]


def dropped(spec: NetworkSpec) -> tuple[int, ...]:
    """The values that dropout acts on."""
    written = [
        value for value, layer in zip(spec.layer_values, spec.layers, strict=True) if isinstance(layer, Conv | Dense)
    ]
    return tuple(written[:-1])

"""The fitting engine: many small MLPs, each onto its own signal, with gradients and Adam by hand.

On a CPU with a C++ compiler networks go through `kernel.cpp` (mode `native`), elsewhere through torch
(`batched.py`, modes `compiled` and `eager`). A network's result is the same in any batch, order and process of one
mode on one kind of machine.

Axes: I inputs, C channels, P pixels, B networks, S steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from weightwalk.config import bounded
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import FITTED
from weightwalk.weights import Weights
from weightwalk.zoos.inr import batched, kernel

Mode = Literal["auto", "native", "compiled", "eager"]


@dataclass(frozen=True)
class Descent:
    """Full-batch Adam on the mean squared error.

    The rate is `learning_rate`; over the last `decay` of the steps (a share, 1: all of them) it falls to 0 in half a
    cosine. A network whose mean squared error falls to `stop_loss` stops there; the others go on.
    """

    steps: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    stop_loss: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        bounded(self, "steps", 1)
        bounded(self, "learning_rate", above=0)
        bounded(self, "stop_loss", 0)
        bounded(self, "decay", 0, most=1)
        bounded(self, "betas", 0, below=1)
        if len(self.betas) != 2:
            raise InputError(f"betas must be two numbers, got {self.betas}")

    def table(self) -> Tensor:
        """(S, 3): per step the rate and Adam's two bias corrections."""
        t = torch.arange(self.steps, dtype=torch.float64)
        falling = self.decay * self.steps
        share = (t - (self.steps - falling)).clamp(min=0) / falling if falling else torch.zeros_like(t)
        rate = self.learning_rate * 0.5 * (1 + torch.cos(math.pi * share))
        columns = [rate, *(1 - beta ** (t + 1) for beta in self.betas)]
        return torch.stack(columns, dim=1).float()


def fit(
    start: Weights, coordinates_PI: Tensor, targets_BCP: Tensor, descent: Descent, mode: Mode = "auto"
) -> tuple[Weights, Tensor]:
    """Fit network b of `start` to `targets_BCP[b]` at the coordinates; gives the networks and their final errors (B,).

    Every network is fitted as if alone: same result in any batch. Runs where `start` lives. Raises InputError for
    targets that are not finite, or a spec that is not dense layers of known activations with a linear last one.
    """
    _check(start.spec, coordinates_PI, targets_BCP, len(start))
    mode = choose(mode, start.device, start.dtype)
    given = (start, coordinates_PI, targets_BCP, descent.table(), descent.betas, descent.stop_loss)
    return kernel.fit(*given) if mode == "native" else batched.fit(*given, compiles=mode == "compiled")


def choose(mode: Mode, device: torch.device, dtype: torch.dtype = torch.float32) -> Mode:
    """What `auto` is here; it never looks at how many networks there are, because that must not change a fit."""
    if mode == "native" and (device.type != "cpu" or dtype != torch.float32):
        raise InputError(
            f"the mode 'native' fits float32 networks on the CPU, got {dtype} on {device}; use the mode 'auto'"
        )
    if mode == "native" and not kernel.available():
        raise InputError(
            "expected a C++ compiler for the mode 'native', found none that works; install g++, or use the mode 'eager'"
        )
    if mode != "auto":
        return mode
    if device.type == "cpu":
        return "native" if dtype == torch.float32 and kernel.available() else "eager"
    return "compiled" if batched.can_compile(device) else "eager"


def task_size(device: torch.device, pixels: int) -> int:
    """How many networks to fit in one go: a second or so of a core, whole groups of a device."""
    return max(64, batched.group_size(device, pixels))


def _check(spec: NetworkSpec, coordinates_PI: Tensor, targets_BCP: Tensor, num_networks: int) -> None:
    layers = spec.layers
    if any(layer.kind != "dense" or not layer.bias for layer in layers):
        raise InputError(f"the fitting engine fits dense layers with biases, got {spec}")
    if (
        len(layers) < 2
        or any(layer.activation not in FITTED for layer in layers[:-1])
        or (layers[-1].activation, layers[-1].omega) != ("identity", 1.0)
    ):
        raise InputError(
            f"the fitting engine fits hidden layers of {', '.join(FITTED)} with a linear last one, got {spec}"
        )
    if not num_networks:
        raise InputError("expected at least one network to fit, got none")
    if coordinates_PI.dim() != 2 or coordinates_PI.shape[1] != spec.widths[0]:
        raise InputError(
            f"expected coordinates (pixels, {spec.widths[0]}) for {spec}, got {tuple(coordinates_PI.shape)}"
        )
    expected = (num_networks, spec.widths[-1], len(coordinates_PI))
    if tuple(targets_BCP.shape) != expected:
        raise InputError(
            f"expected targets of shape {expected} (networks, channels, pixels), got {tuple(targets_BCP.shape)}"
        )
    finite = torch.isfinite(targets_BCP).flatten(1).all(dim=1)
    if not finite.all():
        raise InputError(
            f"targets must be finite numbers, but signal {int(finite.logical_not().nonzero()[0])} is not; mend or "
            "leave it out"
        )

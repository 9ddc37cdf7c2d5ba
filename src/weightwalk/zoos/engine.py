"""The fitting engine: many small SIRENs, each onto its own signal, at once and by hand.

One step of a group of G networks is two batched products per layer and direction; sine and cosine are
taken together, and Adam runs in the same compiled graph. Groups are always full (short ones are padded
with copies), so every network sees the same shapes, hence the same arithmetic, whatever is fitted beside it.

Axes: G networks of a group, I fan-in, O fan-out, C channels, P pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights

GROUP = 16  # activations of 16 networks stay in a core's cache: measured faster than 8, 32 or 128 at 28 x 28
COMPILE_FROM_PIXELS = 256  # below, compiling costs more than it saves on any zoo of that kind
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's, as every published zoo has them

Mode = Literal["auto", "compiled", "eager"]


@dataclass(frozen=True)
class Descent:
    """Full-batch Adam on the mean squared error.

    Step t of `steps` has the rate `learning_rate`, or half-cosine decayed to 0 with `schedule="cosine"`. A network whose
    mean squared error falls below `stop_loss` stops there; the others go on.
    """

    steps: int
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    stop_loss: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0 or self.stop_loss < 0:
            raise InputError(f"a fit needs steps >= 1, a positive learning rate and stop_loss >= 0, got {self}")

    def table(self) -> Tensor:
        """(steps, 3): per step the rate and Adam's two bias corrections."""
        t = torch.arange(self.steps, dtype=torch.float64)
        decay = 0.5 * (1 + torch.cos(math.pi * t / self.steps)) if self.schedule == "cosine" else torch.ones_like(t)
        columns = [self.learning_rate * decay, 1 - BETAS[0] ** (t + 1), 1 - BETAS[1] ** (t + 1)]
        return torch.stack(columns, dim=1).float()


def fit(start: Weights, coordinates_PI: Tensor, targets_BCP: Tensor, descent: Descent, mode: Mode = "auto") -> tuple[Weights, Tensor]:
    """Fit network b of `start` to `targets_BCP[b]` at the given coordinates; returns the networks and their final errors (B,).

    Every network is fitted as if alone: same result in any batch. Runs where `start` lives. Raises InputError for
    targets that are not finite, or a spec that is not sine layers with a linear last one.
    """
    spec = start.spec
    _check(spec, coordinates_PI, targets_BCP, len(start))
    step = _stepper(tuple(layer.omega for layer in spec.layers[:-1]), descent.stop_loss, _compiles(mode, coordinates_PI))
    inputs = coordinates_PI.T.contiguous()
    table = descent.table().to(start.device)
    finished, errors = [], []
    with torch.no_grad():
        for first in range(0, len(start), GROUP):
            count = min(GROUP, len(start) - first)
            rows = torch.arange(first, first + GROUP, device=start.device).clamp(max=len(start) - 1)
            group, targets = start[rows], targets_BCP[rows].contiguous()
            values = [t for w, b in zip(group.weights, group.biases, strict=True) for t in (w.clone(), _column(b))]
            means, squares = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values]
            active = torch.ones(GROUP, 1, 1, device=start.device)
            for rate, correct1, correct2 in table:
                step.advance(values, means, squares, active, inputs, targets, rate, correct1, correct2)
            flat = torch.cat([v.reshape(GROUP, -1) for v in values], dim=1)
            finished.append(flat[:count])
            errors.append((_render(values, step.omegas, inputs) - targets).square().mean(dim=(1, 2))[:count])
    return Weights.from_flat(spec, torch.cat(finished)), torch.cat(errors)


def _column(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return bias.unsqueeze(-1).clone()


def _render(values: list[Tensor], omegas: tuple[float, ...], inputs_IP: Tensor) -> Tensor:
    h = inputs_IP.expand(len(values[0]), -1, -1)
    for layer, omega in enumerate(omegas):
        h = torch.sin(omega * torch.baddbmm(values[2 * layer + 1], values[2 * layer], h))
    return torch.baddbmm(values[-1], values[-2], h)


class _Step:
    """One Adam step of a group, in place on its parameters and moments; `advance` is it, compiled or not."""

    def __init__(self, omegas: tuple[float, ...], stop_loss: float, compiles: bool):
        self.omegas, self.stop_loss = omegas, stop_loss
        self.advance: Callable[..., None] = torch.compile(self._advance, dynamic=False, fullgraph=True) if compiles else self._advance

    def _advance(
        self,
        values: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        active_G11: Tensor,
        inputs_IP: Tensor,
        targets_GCP: Tensor,
        rate: Tensor,
        correct1: Tensor,
        correct2: Tensor,
    ) -> None:
        loss, gradients = self._gradients(values, inputs_IP, targets_GCP)
        if self.stop_loss > 0:
            active_G11.mul_((loss > self.stop_loss).to(active_G11.dtype)[:, None, None])
        for value, mean, square, gradient in zip(values, means, squares, gradients, strict=True):
            mean.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            update = rate * (mean / correct1) / ((square / correct2).sqrt() + EPSILON)
            value.sub_(update * active_G11 if self.stop_loss > 0 else update)

    def _gradients(self, values: list[Tensor], inputs_IP: Tensor, targets_GCP: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean squared error (G,) and its gradients, in the order of `values`: W^1, b^1, ..., W^L, b^L."""
        hidden: list[Tensor] = []  # h^1 .. h^{L-1}, each (G, O, P)
        slopes: list[Tensor] = []  # dh/dz of each
        for layer, omega in enumerate(self.omegas):
            weight, bias = values[2 * layer], values[2 * layer + 1]
            z = omega * (torch.baddbmm(bias, weight, hidden[-1]) if hidden else torch.matmul(weight, inputs_IP) + bias)
            hidden.append(torch.sin(z))
            slopes.append(omega * torch.cos(z))
        error = torch.baddbmm(values[-1], values[-2], hidden[-1]) - targets_GCP
        loss = error.square().mean(dim=(1, 2))

        gradients: list[Tensor] = []
        delta = error * (2.0 / error[0].numel())
        for layer in range(len(self.omegas), 0, -1):
            gradients += [delta.sum(2, keepdim=True), torch.bmm(delta, hidden[layer - 1].mT)]
            delta = torch.bmm(values[2 * layer].mT, delta) * slopes[layer - 1]
        gradients += [delta.sum(2, keepdim=True), torch.matmul(delta, inputs_IP.T)]
        return loss, gradients[::-1]


@cache
def _stepper(omegas: tuple[float, ...], stop_loss: float, compiles: bool) -> _Step:
    return _Step(omegas, stop_loss, compiles)


def _compiles(mode: Mode, coordinates: Tensor) -> bool:
    """`auto` looks at the signal and the machine only, never at how many networks there are: that must not change a fit."""
    return mode == "compiled" or (mode == "auto" and len(coordinates) >= COMPILE_FROM_PIXELS and _can_compile(coordinates.device))


@cache
def _can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here, found out by doing it: a compiler without Python's headers, say, does not."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception:  # whatever the compiler's back end raises; eager steps do the same work
        return False
    return True


def _check(spec: NetworkSpec, coordinates_PI: Tensor, targets_BCP: Tensor, num_networks: int) -> None:
    layers = spec.layers
    if len(layers) < 2 or any(layer.activation != "sine" for layer in layers[:-1]) or layers[-1].activation != "identity":
        raise InputError(f"the fitting engine fits sine layers with a linear last one, got {spec}")
    if not num_networks:
        raise InputError("expected at least one network to fit, got none")
    if any(layer.kind != "dense" or not layer.bias for layer in layers):
        raise InputError(f"the fitting engine fits dense layers with biases, got {spec}")
    expected = (num_networks, spec.widths[-1], len(coordinates_PI))
    if tuple(targets_BCP.shape) != expected:
        raise InputError(f"expected targets of shape {expected} (networks, channels, pixels), got {tuple(targets_BCP.shape)}")
    finite = torch.isfinite(targets_BCP).flatten(1).all(dim=1)
    if not finite.all():
        raise InputError(
            f"targets must be finite numbers, but signal {int(finite.logical_not().nonzero()[0])} is not; mend or leave it out"
        )

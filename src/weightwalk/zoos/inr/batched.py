"""Adam on a group of small MLPs in plain torch: wherever torch runs, and what the compiled kernel is checked against.

One step of a group of G networks is two batched products per layer and direction, with gradients by hand; torch.compile
makes it a few kernels where it can. Groups are always full (short ones are padded with copies), so every network sees
the same shapes, hence the same arithmetic, whatever is fitted beside it.

Axes: G networks of a group, I fan-in, O fan-out, C channels, P pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from weightwalk.spec import Layer, NetworkSpec
from weightwalk.weights import Weights

EPSILON = 1e-8  # Adam's, as every published zoo has it
GROUP_CPU = 16  # networks, whose activations stay in a core's cache
GROUP_CUDA = 512  # networks, enough to fill a device; of more than 1,024 pixels fewer,
PIXELS_CUDA = 2**19  # so that a group has at most so many pixels, whose activations the memory holds


def group_size(device: torch.device, pixels: int) -> int:
    """How many networks step together: by device and signal alone, never by how many there are."""
    return GROUP_CPU if device.type == "cpu" else max(1, min(GROUP_CUDA, PIXELS_CUDA // pixels))


def fit(
    start: Weights,
    coordinates_PI: Tensor,
    targets_BCP: Tensor,
    table_S3: Tensor,
    betas: tuple[float, float],
    stop_loss: float,
    compiles: bool,
) -> tuple[Weights, Tensor]:
    """`engine.fit` with the rates and Adam's two bias corrections of all steps (S, 3)."""
    step = _stepper(start.spec, betas, stop_loss, compiles)
    inputs = coordinates_PI.T.contiguous()
    table = table_S3.to(start.device)
    size = group_size(start.device, len(coordinates_PI))
    finished, errors = [], []
    with torch.no_grad():
        for first in range(0, len(start), size):
            count = min(size, len(start) - first)
            rows = torch.arange(first, first + size, device=start.device).clamp(max=len(start) - 1)
            group, targets = start[rows], targets_BCP[rows].contiguous()
            values = [t for w, b in zip(group.weights, group.biases, strict=True) for t in (w.clone(), _column(b))]
            means, squares = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values]
            active = torch.ones(size, 1, 1, device=start.device)
            for rate, correct1, correct2 in table:
                step.advance(values, means, squares, active, inputs, targets, rate, correct1, correct2)
            finished.append(torch.cat([v.reshape(size, -1) for v in values], dim=1)[:count])
            errors.append(step.loss(values, inputs, targets)[:count])
    return Weights(start.spec, torch.cat(finished)), torch.cat(errors)


def _column(bias: Tensor | None) -> Tensor:
    assert bias is not None
    return bias.unsqueeze(-1).clone()


def _activate(layer: Layer, z: Tensor) -> tuple[Tensor, Tensor]:
    """a(omega z) and its derivative by z."""
    if layer.activation == "sine":
        return torch.sin(layer.omega * z), layer.omega * torch.cos(layer.omega * z)
    if layer.activation == "relu":
        return torch.relu(layer.omega * z), layer.omega * (z > 0)
    if layer.activation == "tanh":
        value = torch.tanh(layer.omega * z)
        return value, layer.omega * (1 - value * value)
    assert layer.activation == "gaussian"
    value = torch.exp(-0.5 * (layer.omega * z) ** 2)
    return value, -(layer.omega**2) * z * value


class Step:
    """One Adam step of a group, in place on its parameters and moments; `advance` is it, compiled or not."""

    def __init__(self, spec: NetworkSpec, betas: tuple[float, float], stop_loss: float, compiles: bool):
        self.hidden, self.betas, self.stop_loss = spec.layers[:-1], betas, stop_loss
        self.advance: Callable[..., None] = (
            torch.compile(self._advance, dynamic=False, fullgraph=True) if compiles else self._advance
        )

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
        loss, gradients = self.gradients(values, inputs_IP, targets_GCP)
        if self.stop_loss > 0:
            active_G11.mul_((loss > self.stop_loss).to(active_G11.dtype)[:, None, None])
        beta1, beta2 = self.betas
        for value, mean, square, gradient in zip(values, means, squares, gradients, strict=True):
            mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            update = rate * (mean / correct1) / ((square / correct2).sqrt() + EPSILON)
            value.sub_(update * active_G11 if self.stop_loss > 0 else update)

    def _forward(
        self, values: list[Tensor], inputs_IP: Tensor, targets_GCP: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Errors (G, C, P), then h^1 .. h^{L-1} and dh/dz of each, (G, O, P)."""
        hidden: list[Tensor] = []
        slopes: list[Tensor] = []
        for index, layer in enumerate(self.hidden):
            weight, bias = values[2 * index], values[2 * index + 1]
            z = torch.baddbmm(bias, weight, hidden[-1]) if hidden else torch.matmul(weight, inputs_IP) + bias
            for found, tensor in zip((hidden, slopes), _activate(layer, z), strict=True):
                found.append(tensor)
        return torch.baddbmm(values[-1], values[-2], hidden[-1]) - targets_GCP, hidden, slopes

    def loss(self, values: list[Tensor], inputs_IP: Tensor, targets_GCP: Tensor) -> Tensor:
        """Mean squared errors (G,)."""
        return self._forward(values, inputs_IP, targets_GCP)[0].square().mean(dim=(1, 2))

    def gradients(self, values: list[Tensor], inputs_IP: Tensor, targets_GCP: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean squared errors (G,) and their gradients, in the order of `values`: W^1, b^1, ..., W^L, b^L."""
        error, hidden, slopes = self._forward(values, inputs_IP, targets_GCP)
        gradients: list[Tensor] = []
        delta = error * (2.0 / error[0].numel())
        for index in range(len(self.hidden), 0, -1):
            gradients += [delta.sum(2, keepdim=True), torch.bmm(delta, hidden[index - 1].mT)]
            delta = torch.bmm(values[2 * index].mT, delta) * slopes[index - 1]
        gradients += [delta.sum(2, keepdim=True), torch.matmul(delta, inputs_IP.T)]
        return error.square().mean(dim=(1, 2)), gradients[::-1]


@cache
def _stepper(spec: NetworkSpec, betas: tuple[float, float], stop_loss: float, compiles: bool) -> Step:
    return Step(spec, betas, stop_loss, compiles)


@cache
def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here, found out by doing it: a compiler without Python's headers, say, does not."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception:  # whatever the compiler's back end raises; eager steps do the same work
        return False
    return True

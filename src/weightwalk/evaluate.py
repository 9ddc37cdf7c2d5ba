"""Evaluate a batch of input networks of one spec at once.

Axes: B networks, P points, N images, I fan-in, O fan-out, K kernel taps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import Conv, Dense, Layer, NetworkSpec

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sine": torch.sin,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": F.leaky_relu,
    "gaussian": lambda z: torch.exp(-0.5 * z * z),
}


def activate(layer: Layer, z: Tensor) -> Tensor:
    """a(omega z), the activation of one layer."""
    return _FUNCTIONS[layer.activation](z if layer.omega == 1.0 else layer.omega * z)


def run(spec: NetworkSpec, weights: Sequence[Tensor], biases: Sequence[Tensor | None], x: Tensor) -> Tensor:
    """The output of every network on `x`.

    Dense networks: `x` (P, n_0) is shared by all networks, (B, P, n_0) is one set of points each; gives (B, P, n_L).
    Convolutional networks: `x` (N, C, H, W) is shared, (B, N, C, H, W) is one set each; gives (B, N, n_L[, H', W']).
    """
    convolutional = isinstance(spec.steps[0], Conv)
    shared_dim = 4 if convolutional else 2
    num_networks, channel_axis = weights[0].shape[0], -3 if convolutional else -1
    if x.dim() not in (shared_dim, shared_dim + 1) or x.shape[channel_axis] != spec.widths[0]:
        wanted = f"(N, {spec.widths[0]}, H, W)" if convolutional else f"(P, {spec.widths[0]})"
        raise InputError(f"expected inputs {wanted}, or the same with a leading axis of networks, got {tuple(x.shape)}")
    if x.dim() == shared_dim:
        x = x.expand(num_networks, *x.shape)
    elif x.shape[0] != num_networks:
        raise InputError(f"expected inputs for {num_networks} networks, got {x.shape[0]}; leave the first axis out to share one input")

    parameters = iter(zip(weights, biases, strict=True))
    for step in spec.steps:
        if not isinstance(step, Layer):
            x = x.mean(dim=(-2, -1))
            continue
        weight, bias = next(parameters)
        x = activate(step, _dense(weight, bias, x) if isinstance(step, Dense) else _conv(step, weight, bias, x))
    return x


def _dense(w_BOI: Tensor, b_BO: Tensor | None, x_BPI: Tensor) -> Tensor:
    wt_BIO = w_BOI.transpose(1, 2)
    return torch.bmm(x_BPI, wt_BIO) if b_BO is None else torch.baddbmm(b_BO[:, None, :], x_BPI, wt_BIO)


def _conv(step: Layer, w_BOIK: Tensor, b_BO: Tensor | None, x_BNIHW: Tensor) -> Tensor:
    """All networks in one grouped convolution: network b owns channels b*I ... (b+1)*I."""
    assert isinstance(step, Conv)
    num_networks, num_images = x_BNIHW.shape[:2]
    y = F.conv2d(
        x_BNIHW.transpose(0, 1).flatten(1, 2),
        w_BOIK.reshape(num_networks * step.fan_out, step.fan_in, *step.kernel),
        None if b_BO is None else b_BO.flatten(),
        stride=step.stride,
        padding=step.padding,
        groups=num_networks,
    )
    return y.reshape(num_images, num_networks, step.fan_out, *y.shape[-2:]).transpose(0, 1)

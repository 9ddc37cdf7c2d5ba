"""Scalars of a graph (weights, biases) as features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def fourier(x: Tensor, frequencies: Tensor) -> Tensor:
    """phi(x) = [sin(2 pi x f), cos(2 pi x f)]. Shapes: (...), (F / 2,) -> (..., F)."""
    angles = (2 * math.pi) * x.unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class FourierFeatures(nn.Module):
    """`fourier` with fixed frequencies f ~ N(0, scale^2) (DNG paper, section 4).

    Shapes: (...) -> (..., 2 * num_frequencies). The frequencies are saved with the model and never trained.
    """

    frequencies: Tensor

    def __init__(self, num_frequencies: int, scale: float):
        super().__init__()
        self.register_buffer("frequencies", scale * torch.randn(num_frequencies))

    @property
    def dim(self) -> int:
        """Features per scalar."""
        return 2 * len(self.frequencies)

    def forward(self, x: Tensor) -> Tensor:
        return fourier(x, self.frequencies)

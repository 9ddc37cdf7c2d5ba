"""Scalars of a graph (weights, biases) as features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FourierFeatures(nn.Module):
    """phi(x) = [sin(2 pi x f), cos(2 pi x f)] with fixed frequencies f ~ N(0, scale^2) (DNG paper, section 4).

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
        angles = (2 * math.pi) * x.unsqueeze(-1) * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

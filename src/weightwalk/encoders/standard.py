"""Standardisation by the training networks, which encoders without parameters read through."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

CONSTANT = 1e-6  # a feature that varies less among the training networks is only centred


class Standardise(nn.Module):
    """(x - mean) / std per feature. Shapes: (B, D) -> (B, D).

    `mean` and `std` are buffers: saved with the model, never trained. They are 0 and 1 until `measure` has seen the
    training networks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Take the mean and standard deviation over the rows of all batches (B, D), summed in float64."""
        count, total, squares = (
            0,
            torch.zeros_like(self.mean, dtype=torch.float64),
            torch.zeros_like(self.mean, dtype=torch.float64),
        )
        for batch in batches:
            x = batch.double()
            count, total, squares = count + len(x), total + x.sum(0), squares + x.square().sum(0)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(std.where(std > CONSTANT, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

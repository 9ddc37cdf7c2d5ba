"""What a core can do at best: the speed of large matrix products."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

MATMUL = 1024  # rows and columns of the square products whose speed is called the peak


@cache
def _square() -> Tensor:
    return torch.randn(MATMUL, MATMUL, generator=torch.Generator().manual_seed(0))


def matmul(state: object, repeats: int) -> None:
    """Large products, for a `Team`, whatever its state."""
    for _ in range(repeats):
        torch.mm(_square(), _square())

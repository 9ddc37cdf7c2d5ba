"""Nodes of several networks as the rows of one tensor.

Axes: B networks, N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Several (B, N, ...) as (1, sum of B N, ...); one alone as it is."""
    return parts[0] if len(parts) == 1 else torch.cat([part.flatten(0, 1) for part in parts])[None]


def parted(rows: Tensor, sizes: Sequence[tuple[int, int]]) -> Sequence[Tensor]:
    """The inverse of `joined`: so many networks and nodes each."""
    if len(sizes) == 1:
        return [rows]
    return [part.unflatten(0, size) for part, size in zip(rows[0].split([b * n for b, n in sizes]), sizes, strict=True)]


def taps_and_sources(weights: Tensor) -> tuple[int, int]:
    """Of a layer's weights (B, O, I[, K]): K, or 1, and I."""
    return (weights.shape[3] if weights.dim() == 4 else 1), weights.shape[2]

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


def parted(rows: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """The inverse of `joined`: as many networks and nodes as the tensors `like` have."""
    if len(like) == 1:
        return [rows]
    sizes = [part.shape[:2] for part in like]
    return [part.unflatten(0, size) for part, size in zip(rows[0].split([b * n for b, n in sizes]), sizes, strict=True)]

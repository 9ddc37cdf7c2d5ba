"""What the edges of a static neural graph carry, taken out of the layers' weights."""

from __future__ import annotations

import torch
from torch import Tensor

from weightwalk.graphs.blocks import Block, Nodes


def scalars(block: Block, weight: Tensor) -> Tensor:
    """What a block's edges carry, (B, T, S, taps), out of their layer's weight (B, O, I[, K]) or, of a norm, (B, O)."""
    if block.kind == "norm":
        assert block.columns is not None
        return pick(weight, block.columns, 1)[:, :, None, None]
    assert block.rows is not None
    x = weight if block.rows == range(weight.shape[1]) else pick(weight, block.rows, 1)
    x = x if block.columns is None else pick(x, block.columns, 2)
    return x.reshape(len(x), *block.shape, len(block.channels))


def pick(x: Tensor, nodes: Nodes, dim: int = 1) -> Tensor:
    """Entries along `dim`: a view where they follow one another."""
    if isinstance(nodes, range):
        return x.narrow(dim, nodes.start, len(nodes))
    return x.index_select(dim, torch.tensor(nodes, device=x.device))

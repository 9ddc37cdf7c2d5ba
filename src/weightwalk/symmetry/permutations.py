"""Permutations of hidden neurons, in the form that `Weights.permute` takes: one per group of `spec.hidden_widths`, (n,)
or (B, n).

New neuron i is old neuron `permutation[i]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weightwalk import exchange
from weightwalk.spec import NetworkSpec


def random_permutations(
    spec: NetworkSpec, num_networks: int | None = None, *, generator: torch.Generator
) -> list[Tensor]:
    """A uniformly drawn permutation of every hidden group: (n,), the same for all networks, or (B, n) for
    `num_networks` each its own.

    Attention heads, and other blocks that belong together, change places as wholes.
    """
    drawn = exchange.draw(spec, 1 if num_networks is None else num_networks, generator)
    return [order[0] if num_networks is None else order for order in drawn]


def inverse(permutations: Sequence[Tensor]) -> list[Tensor]:
    """What undoes them: `weights.permute(p).permute(inverse(p))` is `weights`."""
    return [order.argsort(dim=-1) for order in permutations]


def compose(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Both in one: `weights.permute(first).permute(second)` is `weights.permute(compose(first, second))`."""
    pairs = zip(first, second, strict=True)
    return [one[two] if one.dim() == 1 else one.gather(1, two.expand_as(one)) for one, two in pairs]

"""Permutations of exchangeable neurons as tensors: drawn at random, checked, and carried to every value of a network.

A permutation of group g (`weightwalk.axes`) is (n,) or (B, n): new neuron i is old neuron `permutation[i]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weightwalk.axes import Group
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec


def draw(spec: NetworkSpec, num_networks: int, generator: torch.Generator) -> list[Tensor]:
    """A uniformly drawn permutation (B, n) of every group: blocks among themselves, and neurons within each block."""
    frames: dict[int, Tensor] = {}
    drawn = []
    for group in spec.axes.groups:
        if group.frame is None:
            drawn.append(_within(group, num_networks, generator))
            continue
        members = torch.tensor(group.members)  # (blocks, neurons of one)
        count, size = members.shape
        if group.frame not in frames:
            frames[group.frame] = _random(num_networks, count, generator)
        within = _random(num_networks * count, size, generator).view(num_networks, count, size)
        old = members[frames[group.frame]].gather(2, within)  # per new block, the old block's neurons in a new order
        order = torch.empty(num_networks, count * size, dtype=torch.int64)
        order[:, members.flatten()] = old.flatten(1)
        drawn.append(order)
    return drawn


def _random(rows: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, width, generator=generator, dtype=torch.float64).argsort(dim=1)


def _within(group: Group, num_networks: int, generator: torch.Generator) -> Tensor:
    """Blocks that stay where they are."""
    order = torch.empty(num_networks, len(group.classes), dtype=torch.int64)
    for places in group.members:
        old = torch.tensor(places)
        order[:, old] = old[_random(num_networks, len(places), generator)]
    return order


def orders(
    spec: NetworkSpec, permutations: Sequence[Tensor | None], num_networks: int, device: torch.device
) -> list[Tensor | None]:
    """Per value, the order of its channels (B, C) that permuted groups come to; None where nothing moves."""
    groups, values = spec.axes.groups, spec.axes.values
    if len(permutations) != len(groups):
        raise InputError(f"{spec} has {len(groups)} groups of hidden neurons, got {len(permutations)} permutations")
    num_classes = 1 + max(max(value) for value in values)
    moved = torch.arange(num_classes, device=device).repeat(num_networks, 1)
    frames: dict[int, Tensor] = {}
    for number, (group, permutation) in enumerate(zip(groups, permutations, strict=True)):
        if permutation is None and group.frame is None:
            continue
        width = len(group.classes)
        order = torch.arange(width, device=device) if permutation is None else permutation.to(device)
        shapes, once = ((width,), (num_networks, width)), torch.arange(width, device=device)
        if order.shape not in shapes or order.dtype != torch.int64 or not (order.sort(dim=-1).values == once).all():
            raise InputError(
                f"permutations[{number}] must hold each of 0..{width - 1} once, int64 of shape {shapes[0]} or "
                f"{shapes[1]}, "
                f"got {order.dtype} {tuple(order.shape)}; draw them with weightwalk.symmetry.random_permutations"
            )
        order = order.expand(num_networks, -1)
        _check_blocks(number, group, order, frames)
        classes = torch.tensor(group.classes, device=device)
        moved[:, classes] = classes[order]
    return [_order(torch.tensor(value, device=device), moved) for value in values]


def _check_blocks(number: int, group: Group, order: Tensor, frames: dict[int, Tensor]) -> None:
    """Blocks move as wholes, those of one frame together; without a frame they stay."""
    blocks = torch.tensor(group.blocks, device=order.device)
    if group.frame is None and not blocks.any():
        return
    came = blocks[order]  # (B, n): the block that each new place's neuron comes from
    firsts = torch.tensor([places[0] for places in group.members], device=order.device)
    of_block = came[:, firsts]  # (B, blocks)
    whole = bool((came == of_block[:, blocks]).all())
    wanted = (
        torch.arange(len(firsts), device=order.device)
        if group.frame is None
        else frames.setdefault(group.frame, of_block)
    )
    if not whole or not bool((of_block == wanted).all()):
        raise InputError(
            f"permutations[{number}] tears blocks apart (attention heads, convolution or norm groups), or moves them "
            "otherwise than those "
            "that they belong to; draw permutations with weightwalk.symmetry.random_permutations"
        )


def _order(value_C: Tensor, moved: Tensor) -> Tensor | None:
    """Where in the old value each channel of the new one lies; the j-th channel of a class goes to the j-th of the
    other.
    """
    target = moved[:, value_C]  # (B, C): the class that each new channel has to come from
    if bool((target == value_C).all()):
        return None
    by_class = torch.argsort(value_C, stable=True)
    sorted_classes = value_C[by_class]
    first = torch.searchsorted(sorted_classes, value_C)
    occurrence = torch.empty_like(value_C)
    occurrence[by_class] = torch.arange(len(value_C), device=value_C.device) - first[by_class]
    return by_class[torch.searchsorted(sorted_classes, target.contiguous()) + occurrence]

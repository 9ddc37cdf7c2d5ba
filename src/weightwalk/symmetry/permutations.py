"""Permutations of exchangeable neurons: drawn at random, checked, and applied to what belongs to a network's layers.

There is one per group of `axes(spec).groups`: (n,), the same for all networks, or (B, n), each network its own. New
neuron i is old neuron `permutation[i]`. Where a group has blocks (attention heads, convolution groups), blocks move as
wholes, and so do those of groups tied to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.symmetry.axes import Group, axes


def random_permutations(
    spec: NetworkSpec, num_networks: int | None = None, *, generator: torch.Generator
) -> list[Tensor]:
    """A uniformly drawn permutation of every group: blocks among themselves, and neurons within each block.

    Each is (n,), the same for all networks, or (B, n) for `num_networks` each its own.
    """
    rows = 1 if num_networks is None else num_networks
    frames: dict[int, Tensor] = {}
    drawn = []
    for group in axes(spec).groups:
        if group.frame is None:
            drawn.append(_within(group, rows, generator))
            continue
        members = torch.tensor(group.members)  # (blocks, neurons of one)
        count, size = members.shape
        if group.frame not in frames:
            frames[group.frame] = _random(rows, count, generator)
        within = _random(rows * count, size, generator).view(rows, count, size)
        old = members[frames[group.frame]].gather(2, within)  # per new block, the old block's neurons in a new order
        order = torch.empty(rows, count * size, dtype=torch.int64)
        order[:, members.flatten()] = old.flatten(1)
        drawn.append(order)
    return [order[0] if num_networks is None else order for order in drawn]


def _random(rows: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, width, generator=generator, dtype=torch.float64).argsort(dim=1)


def _within(group: Group, num_networks: int, generator: torch.Generator) -> Tensor:
    """A drawn order of a group's neurons within each of its blocks, which stay where they are."""
    order = torch.empty(num_networks, len(group.classes), dtype=torch.int64)
    for places in group.members:
        old = torch.tensor(places)
        order[:, old] = old[_random(num_networks, len(places), generator)]
    return order


def inverse(permutations: Sequence[Tensor]) -> list[Tensor]:
    """The permutations that undo others: `weights.permute(p).permute(inverse(p))` is `weights`."""
    return [order.argsort(dim=-1) for order in permutations]


def compose(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Two permutations in one: `w.permute(first).permute(second)` is `w.permute(compose(first, second))`."""
    pairs = zip(first, second, strict=True)
    return [one[two] if one.dim() == 1 else one.gather(1, two.expand_as(one)) for one, two in pairs]


def permuted(
    spec: NetworkSpec, weights: Sequence[Tensor], biases: Sequence[Tensor | None], permutations: Sequence[Tensor | None]
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """What the weights and biases of permuted networks are, or any features per edge and node of the layers.

    `weights[l]` is shaped like those of layer l, (B, O, I[, K], ...), and `biases[l]` is (B, O, ...) or None, with any
    axes behind. A permutation that is None leaves its group alone.
    """
    moved = orders(spec, permutations, len(weights[0]), weights[0].device)
    found = []
    for value, layer, w in zip(spec.layer_values, spec.layers, weights, strict=True):
        w = _take(w, moved[value], 1)
        right = moved[spec.sources(value)[0]] if layer.mixes else None
        groups = layer.fan_in // w.shape[2] if layer.mixes else 1
        if groups > 1 and right is not None:  # within each block of rows, the order of its own block of sources
            within = right.unflatten(1, [groups, -1]) % w.shape[2]  # (B, G, I / G)
            rows = within.repeat_interleave(layer.fan_out // groups, dim=1)  # (B, O, I / G)
            w = torch.take_along_dim(w, rows.reshape(*rows.shape, *[1] * (w.dim() - 3)), dim=2)
        else:
            w = _take(w, right, 2)
        found.append(w)
    targets = zip(spec.layer_values, biases, strict=True)
    return tuple(found), tuple(None if b is None else _take(b, moved[value], 1) for value, b in targets)


def permuted_nodes(
    spec: NetworkSpec, nodes: Sequence[Tensor], permutations: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Features (B, n_l, ...) of the nodes of the input and of every layer, as those of permuted networks are."""
    moved = orders(spec, permutations, len(nodes[0]), nodes[0].device)
    return tuple(_take(x, moved[value], 1) for value, x in zip((0, *spec.layer_values), nodes, strict=True))


def _take(tensor: Tensor, order: Tensor | None, axis: int) -> Tensor:
    """tensor[b, ..., order[b, i], ...] along `axis`, per network."""
    if order is None:
        return tensor
    shape = [1] * tensor.dim()
    shape[0], shape[axis] = order.shape
    return torch.take_along_dim(tensor, order.reshape(shape), dim=axis)


def orders(
    spec: NetworkSpec, permutations: Sequence[Tensor | None], num_networks: int, device: torch.device
) -> list[Tensor | None]:
    """Per value, the order of its channels (B, C) that permuted groups come to; None where nothing moves."""
    groups, values = axes(spec).groups, axes(spec).values
    if not isinstance(permutations, list | tuple) or len(permutations) != len(groups):
        got = len(permutations) if isinstance(permutations, list | tuple) else type(permutations).__name__
        raise InputError(f"expected a list of permutations for the {len(groups)} groups of {spec}, got {got}")
    num_classes = 1 + max(max(value) for value in values)
    moved = torch.arange(num_classes, device=device).repeat(num_networks, 1)
    frames: dict[int, Tensor] = {}
    for number, (group, permutation) in enumerate(zip(groups, permutations, strict=True)):
        if permutation is None and group.frame is None:
            continue
        width = len(group.classes)
        once, shapes = torch.arange(width, device=device), ((width,), (num_networks, width))
        order = permutation.to(device) if isinstance(permutation, Tensor) else once
        known = permutation is None or (isinstance(permutation, Tensor) and order.dtype == torch.int64)
        if not known or order.shape not in shapes or not (order.sort(dim=-1).values == once).all():
            got = f"{order.dtype} {tuple(order.shape)}" if isinstance(permutation, Tensor) else repr(permutation)
            raise InputError(
                f"permutations[{number}] must hold each of 0..{width - 1} once, int64 of shape {shapes[0]} or "
                f"{shapes[1]}, got {got}; draw them with weightwalk.symmetry.random_permutations"
            )
        order = order.expand(num_networks, -1)
        _check_blocks(number, group, order, frames)
        classes = torch.tensor(group.classes, device=device)
        moved[:, classes] = classes[order]
    return [_order(torch.tensor(value, device=device), moved) for value in values]


def _check_blocks(number: int, group: Group, order: Tensor, frames: dict[int, Tensor]) -> None:
    """InputError unless blocks move as wholes, those of one frame alike; without a frame they stay."""
    blocks = torch.tensor(group.blocks, device=order.device)
    if group.frame is None and not blocks.any():
        return
    came = blocks[order]  # (B, n): the block that each new place's neuron comes from
    firsts = torch.tensor([places[0] for places in group.members], device=order.device)
    of_block = came[:, firsts]  # (B, blocks)
    whole, stay = bool((came == of_block[:, blocks]).all()), torch.arange(len(firsts), device=order.device)
    wanted = stay if group.frame is None else frames.setdefault(group.frame, of_block)
    if not whole or not bool((of_block == wanted).all()):
        raise InputError(
            f"permutations[{number}] tears blocks apart (attention heads, convolution or norm groups), or moves them "
            "otherwise than those that they belong to; draw permutations with weightwalk.symmetry.random_permutations"
        )


def _order(value_C: Tensor, moved: Tensor) -> Tensor | None:
    """Where in the old value each new channel lies (B, C); a class's j-th channel goes to the other's j-th."""
    target = moved[:, value_C]  # (B, C): the class that each new channel has to come from
    if bool((target == value_C).all()):
        return None
    by_class = torch.argsort(value_C, stable=True)
    sorted_classes = value_C[by_class]
    first = torch.searchsorted(sorted_classes, value_C)
    occurrence = torch.empty_like(value_C)
    occurrence[by_class] = torch.arange(len(value_C), device=value_C.device) - first[by_class]
    return by_class[torch.searchsorted(sorted_classes, target.contiguous()) + occurrence]

"""Layers of neural functional networks (Zhou et al., Permutation Equivariant Neural Functionals, NeurIPS 2023).

What such a layer reads and writes are features of a network's parameters: weights[l] (B, O, I, K, C), biases[l]
(B, O, C), with K the taps of a kernel. Channels come last, so every map is one product of long contiguous rows.
Axes: B networks, O target nodes, I source nodes, K taps, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Activate, Affine, Conv, Dense, MeanPool, Pool, Resize, Upsample

Variant = Literal["hnp", "np"]
_PASSING = (Activate, Affine, MeanPool, Pool, Resize, Upsample)


class Features(NamedTuple):
    """Features of every parameter: weights[l] (B, O, I, K, C), biases[l] (B, O, C)."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]


@dataclass(frozen=True)
class Matrix:
    """One layer of the networks that are read: its sizes, and whose nodes are free to change places."""

    num_targets: int
    num_sources: int
    num_taps: int
    free_targets: bool = True
    free_sources: bool = True

    @property
    def per_target(self) -> int:
        """Numbers per channel that one target node sees of this weight."""
        return self.num_taps * self.fixed[1]

    @property
    def per_source(self) -> int:
        """Numbers per channel that one source node sees of this weight."""
        return self.num_taps * self.fixed[0]

    @property
    def per_network(self) -> int:
        """Numbers per channel of the mean over whatever is free."""
        return self.num_taps * math.prod(self.fixed)

    @property
    def fixed(self) -> tuple[int, int]:
        """Targets and sources that are not free, 1 for a side that is."""
        return 1 if self.free_targets else self.num_targets, 1 if self.free_sources else self.num_sources

    def seen_by_targets(self, weight: Tensor) -> Tensor:
        """(B, O, I, K, C) -> (B, O, per_target C): the mean over free sources, or all of them one after another."""
        return (weight.sum(2) / self.num_sources if self.free_sources else weight).flatten(2)

    def seen_by_sources(self, weight: Tensor) -> Tensor:
        """(B, O, I, K, C) -> (B, I, per_source C): the mean over free targets, or all of them one after another."""
        return (weight.sum(1) / self.num_targets if self.free_targets else weight.transpose(1, 2)).flatten(2)


def matrices(spec: NetworkSpec, variant: Variant) -> tuple[Matrix, ...]:
    """The layers of a chain of dense layers and convolutions; InputError for another network.

    "np" takes all nodes as free, inputs and outputs too; "hnp" hidden ones alone.
    """
    for at in spec.schedule:
        step = at.step
        plain = (isinstance(step, Dense) and step.tied is None) or (isinstance(step, Conv) and step.groups == 1)
        if at.sources != (at.value - 1,) or not (plain or isinstance(step, _PASSING)):
            raise InputError(
                f"nfn reads chains of dense layers and convolutions, step {at.value - 1} ({step.kind}) of {spec} is "
                "not of them; choose an encoder that reads any network, such as dng"
            )
    sizes = [(layer.fan_out, layer.fan_in, math.prod(layer.weight_shape[2:])) for layer in spec.layers]
    return with_ends([Matrix(*size) for size in sizes], variant)


def with_ends(of: Sequence[Matrix], variant: Variant) -> tuple[Matrix, ...]:
    """The same layers with their ends free ("np") or not ("hnp")."""
    last = len(of) - 1
    return tuple(
        replace(matrix, free_targets=variant == "np" or number < last, free_sources=variant == "np" or number > 0)
        for number, matrix in enumerate(of)
    )


def pool(of: Sequence[Matrix], features: Features) -> Tensor:
    """What no order of free nodes changes: (B, num_pooled C), per layer the means of its weight and its bias.

    A weight has K numbers per channel, and as many for every node of an axis that is not free, targets first; channels
    change fastest.
    """
    means = []
    for matrix, weight, bias in zip(of, *features, strict=True):
        seen = matrix.seen_by_targets(weight)
        means += [x.mean(1) if matrix.free_targets else x.flatten(1) for x in (seen, bias)]
    return torch.cat(means, dim=1)


def num_pooled(of: Sequence[Matrix]) -> int:
    """Numbers per channel of `pool`."""
    return sum(matrix.per_network + matrix.fixed[0] for matrix in of)


def node_widths(of: Sequence[Matrix]) -> list[int]:
    """Numbers per channel that a node of each group sees: of weights into it, its bias, and weights out of it."""
    into = [0, *(matrix.per_target + 1 for matrix in of)]
    out_of = [*(matrix.per_source for matrix in of), 0]
    return [a + b for a, b in zip(into, out_of, strict=True)]


class NFNLayer(nn.Module):
    """All that a linear map can do that commutes with permutations of the free nodes.

    A node i of layer l sees n_i = [mean of the weights into it ; its bias ; mean of the weights out of it], where what
    comes from or goes to nodes that are not free is not averaged but put side by side; the network is seen by g, all
    means (`pool`). With target i and source j

        W'_ij = M [g ; n_i ; n_j ; W_ij] + c,      b'_i = D [g ; n_i] + d

    one M, c, D, d per layer; taps are channels. A side that is not free is part of what the other side sees, and what
    is written has a row of M for each of its nodes. No concatenation is made: each part is mapped by columns of M of
    its own, where it is small, and the sum is taken over nodes in the end.

    This is the paper's layer, whose maps per term are the blocks of M; its linear maps see some means twice (R^1 beside
    all of W^1 and the like), which ours don't, and its last W of HNP does not see the bias of the layer before.

    Initialisation: M and D from N(0, 2 / width of the concatenation), c = d = 0, so that differences between networks
    are as large behind three layers as before them; the published U(-1, 1) / sqrt(width) makes them fifteen times
    smaller, which a head takes long to undo. With `learned_ends` learned numbers of every input and output are added to
    what is read, N(0, 1) to begin with, which is how NP tells them apart.

    Shapes: Features of C channels -> Features of C' channels. Time and memory: linear in parameters of the network.
    """

    def __init__(self, of: Sequence[Matrix], in_channels: int, out_channels: int, learned_ends: bool = False):
        super().__init__()
        self.of, self.in_channels, self.out_channels = tuple(of), in_channels, out_channels
        nodes = [width * in_channels for width in node_widths(of)]
        network = num_pooled(of) * in_channels
        self.of_weights, self.of_biases = nn.ModuleList(), nn.ModuleList()
        for number, matrix in enumerate(of):
            sources, targets = nodes[number] * matrix.free_sources, nodes[number + 1] * matrix.free_targets
            own = matrix.num_taps * in_channels * (matrix.free_sources and matrix.free_targets)
            rows = matrix.num_taps * math.prod(matrix.fixed) * out_channels
            self.of_weights.append(nn.Linear(network + targets + sources + own, rows))
            self.of_biases.append(nn.Linear(network + targets, matrix.fixed[0] * out_channels))
        for linear in (*self.of_weights, *self.of_biases):
            assert isinstance(linear, nn.Linear)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
        inputs, outputs = (of[0].num_sources, of[0].num_taps), (of[-1].num_targets, of[-1].num_taps)
        self.ends = nn.ParameterList(
            torch.randn(*shape, in_channels) for shape in (inputs, outputs, outputs[:1]) if learned_ends
        )

    def forward(self, features: Features) -> Features:
        if len(self.ends):
            features = self._told_apart(features)
        nodes, network = self._nodes(features), pool(self.of, features)
        weights, biases = [], []
        for number, (matrix, weight) in enumerate(zip(self.of, features.weights, strict=True)):
            terms = [network[:, None, None]]
            if matrix.free_targets:
                terms.append(nodes[number + 1][:, :, None])
            of_biases = _mixed(self.of_biases[number], [x.squeeze(2) for x in terms])
            if matrix.free_sources:
                terms.append(nodes[number][:, None])
            if matrix.free_sources and matrix.free_targets:
                terms.append(weight.flatten(3))
            weights.append(self._placed(matrix, _mixed(self.of_weights[number], terms)))
            biases.append(of_biases.reshape(len(of_biases), matrix.num_targets, self.out_channels))
        return Features(tuple(weights), tuple(biases))

    def _told_apart(self, features: Features) -> Features:
        """With what was learned of every input and output added."""
        inputs, outputs, of_biases = self.ends
        (*weights,), (*biases, bias) = features
        weights[0] = weights[0] + inputs
        weights[-1] = weights[-1] + outputs[:, None]
        return Features(tuple(weights), (*biases, bias + of_biases))

    def _nodes(self, features: Features) -> list[Tensor]:
        """(B, n_l, node_widths[l] C) per group; of one that is not free nobody asks."""
        seen: list[list[Tensor]] = [[] for _ in range(len(self.of) + 1)]
        for number, (matrix, weight, bias) in enumerate(zip(self.of, *features, strict=True)):
            if matrix.free_sources:
                seen[number].append(matrix.seen_by_sources(weight))
            if matrix.free_targets:
                seen[number + 1] += [matrix.seen_by_targets(weight), bias]
        return [torch.cat(parts, dim=2) if parts else bias for parts in seen]

    def _placed(self, matrix: Matrix, x: Tensor) -> Tensor:
        """(B, O or 1, I or 1, rows of M) -> (B, O, I, K, C'): rows of M are targets, sources, taps, channels."""
        x = x.unflatten(3, (*matrix.fixed, matrix.num_taps, self.out_channels)).transpose(2, 3)
        return x.reshape(len(x), matrix.num_targets, matrix.num_sources, matrix.num_taps, self.out_channels)


def _mixed(m: nn.Module, terms: Sequence[Tensor]) -> Tensor:
    """M [x_1 ; x_2 ; ...] + c of what is broadcast together, without the concatenation."""
    assert isinstance(m, nn.Linear)
    columns = m.weight.split([x.shape[-1] for x in terms], dim=1)
    y = F.linear(terms[0], columns[0], m.bias)
    for x, own in zip(terms[1:], columns[1:], strict=True):
        if x.shape[:-1] == y.shape[:-1]:  # in one go
            y = torch.addmm(y.flatten(0, -2), x.flatten(0, -2), own.T).unflatten(0, x.shape[:-1])
        else:
            y = y + F.linear(x, own)
    return y


class EndEncoding(nn.Module):
    """Sinusoidal encodings of layers, inputs and outputs, appended to the channels: what NP tells them apart by.

    An index spread over p in [-1, 1] has [sin(pi f p), cos(pi f p), p] with `num_bands` frequencies f from 1 to
    `max_frequency` / 2; every parameter gets its layer's, those at an input or output that node's in addition.

    Shapes: Features of C channels -> Features of C + `dim` channels.
    """

    def __init__(self, of: Sequence[Matrix], max_frequency: float, num_bands: int):
        super().__init__()
        self.dim = 2 * num_bands + 1
        layers, inputs, outputs = (
            _waves(count, max_frequency, num_bands) for count in (len(of), of[0].num_sources, of[-1].num_targets)
        )
        for number in range(len(of)):
            weight, bias = layers[number].expand(1, 1, -1), layers[number].expand(1, -1)
            weight = weight + inputs if number == 0 else weight
            weight = weight + outputs[:, None] if number == len(of) - 1 else weight
            bias = bias + outputs if number == len(of) - 1 else bias
            self.register_buffer(f"weight_{number}", weight[:, :, None], persistent=False)
            self.register_buffer(f"bias_{number}", bias, persistent=False)

    def forward(self, features: Features) -> Features:
        found = []
        for role, tensors in zip(("weight", "bias"), features, strict=True):
            beside = [self.get_buffer(f"{role}_{number}") for number in range(len(tensors))]
            found.append(
                tuple(
                    torch.cat([x, encoding.expand(*x.shape[:-1], -1)], dim=-1)
                    for x, encoding in zip(tensors, beside, strict=True)
                )
            )
        return Features(*found)


def _waves(count: int, max_frequency: float, num_bands: int) -> Tensor:
    places = torch.linspace(-1, 1, count)[:, None]
    angles = math.pi * places * torch.linspace(1, max_frequency / 2, num_bands)
    return torch.cat([angles.sin(), angles.cos(), places], dim=1)

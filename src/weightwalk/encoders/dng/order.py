"""Walks over a chain of layers in another order than that of inference.

Axes: B networks, N nodes, D memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from weightwalk.encoders.dng.walk import Ends, Walk
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Conv
from weightwalk.weights import Weights


def shuffled(num_layers: int, seed: int) -> tuple[int, ...]:
    """An order of layers that is not that of inference, unless there is one layer alone; a function of both numbers, by
    a linear congruential generator, which a compiler sees through.
    """
    order, state = list(range(num_layers)), seed * 1_000_003 + num_layers
    while num_layers > 1 and order == list(range(num_layers)):
        for place in reversed(range(1, num_layers)):
            for _ in range(3):
                state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
            other = (state >> 33) % (place + 1)
            order[place], order[other] = order[other], order[place]
    return tuple(order)


def early(order: Sequence[int]) -> tuple[int, ...]:
    """The layers that are read as sources before they have been updated: layer l where l + 1 comes before l."""
    return tuple(sorted(layer - 1 for place, layer in enumerate(order) if layer and layer - 1 not in order[:place]))


class Reordered(Walk):
    """Every layer's nodes are updated once, in the order `order` of layers. A source that has not been updated gives
    what it remembers of the pass before, or in the first pass its row of `initial` (rows, D): a layer's row is its
    place among the `early` ones, or the only one.
    """

    def __init__(
        self,
        weights: Weights,
        inputs: Tensor,
        earlier: Sequence[Tensor],
        keeps: bool,
        order: Sequence[int],
        initial: Tensor | None,
    ):
        super().__init__(weights, inputs, earlier, keeps)
        self._groups: dict[int, Tensor] = {0: inputs, **dict(enumerate(earlier[1:], start=1))}
        if not earlier:
            for row, layer in enumerate(early(order)):
                assert initial is not None
                vector = initial[min(row, len(initial) - 1)]
                self._groups[layer + 1] = vector.expand(1, weights.spec.layers[layer].fan_out, -1)
        layers = [at for at in weights.spec.schedule if at.layer is not None]
        self._steps = iter([layers[layer] for layer in order])
        self.at = next(self._steps, None)

    @property
    def source(self) -> Tensor:
        return self._groups[self.layer]

    def put(self, memory: Tensor) -> None:
        if self.keeps:
            self._ends[self.layer] = (self.source, memory)
        self._groups[self.layer + 1] = memory
        if self.is_last:
            self.output = memory
        self.at = next(self._steps, None)

    @property
    def nodes(self) -> list[Tensor]:
        layers = range(1, len(self.weights.spec.layers) + 1)
        return [self.inputs.expand(self.size, -1, -1), *(self._groups[layer] for layer in layers)]


class Backward(Walk):
    """From the outputs to the inputs: the nodes that a layer reads hear those that it writes, over the same edges, and
    are updated by what they remember of the walk `before`. The outputs start from `start` (B, n_L, D).
    """

    def __init__(self, weights: Weights, start: Tensor, earlier: Sequence[Tensor]):
        super().__init__(weights, earlier[0], earlier)
        self._groups = {len(earlier) - 1: start}
        self._steps = iter([at for at in reversed(weights.spec.schedule) if at.layer is not None])
        self.at = next(self._steps, None)

    @property
    def is_last(self) -> bool:
        return self.layer == 0

    @property
    def heard(self) -> Tensor:
        """Of a convolution in groups, block by block."""
        w, step = self.weights.weights[self.layer], self.here.step
        groups = step.groups if isinstance(step, Conv) else 1
        if groups == 1:
            return w.transpose(1, 2)
        of_blocks: Tensor = w.unflatten(1, (groups, -1)).transpose(2, 3)
        return of_blocks.flatten(1, 2)

    @property
    def num_targets(self) -> int:
        return self.earlier[self.layer].shape[1]

    @property
    def before(self) -> Tensor:
        return self.earlier[self.layer]

    @property
    def source(self) -> Tensor:
        return self._groups[self.layer + 1]

    def put(self, memory: Tensor) -> None:
        self._groups[self.layer] = memory
        self.at = next(self._steps, None)

    @property
    def nodes(self) -> list[Tensor]:
        return [self._groups[group] for group in range(len(self.earlier))]

    @property
    def ends(self) -> list[Ends]:
        """Of every layer's edges as in the forward walk: of its sources, and of its targets."""
        nodes = self.nodes
        return list(pairwise(nodes))


def both_walks(forward: Sequence[Ends], backward: Sequence[Ends]) -> list[Ends]:
    """At the ends of every layer's edges the memories of both walks, one behind the other."""
    return [
        (torch.cat([s.expand(len(r), -1, -1), r], dim=2), torch.cat([t, u], dim=2))
        for (s, t), (r, u) in zip(forward, backward, strict=True)
    ]


def num_initial(spec: NetworkSpec, order: Sequence[int], shared: bool) -> int:
    """How many initial memories of hidden layers an encoder learns: one each that is `early`, or one of all."""
    return min(len(early(order)), 1 if shared else len(spec.layers))

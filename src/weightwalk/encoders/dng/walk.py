"""Networks of several architectures on their walk through the steps, in lockstep: those that wait for the same maps are
read at once.

Axes: B networks, N nodes, D memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from weightwalk.encoders.dng.maps import StepMaps, TapMaps, moved
from weightwalk.encoders.dng.rows import taps_and_sources
from weightwalk.spec import Scheduled
from weightwalk.weights import Weights

Ends = tuple[Tensor, Tensor]
"""The memories at the ends of a layer's edges: of its sources when they were used, (B, I, D), or (1, I, D) of all
networks, and of its targets after the update, (B, O, D).
"""


class Walk:
    """One batch of networks, of one architecture: the step `at` that it has come to, None at the end, and the memories
    (B, N, D) of every value that somebody still reads; the input's are (1, N, D), the same for all networks.

    `earlier` are those of the input's and all layers' nodes after the pass before, or none. With `keeps`, `ends` are
    the memories at both ends of every layer's edges: of the sources when they were used, of the targets when written.
    """

    def __init__(self, weights: Weights, inputs: Tensor, earlier: Sequence[Tensor] = (), keeps: bool = False):
        self.weights, self.flow, self.earlier = weights, weights.spec.flow, earlier
        self.size, self.keeps = weights.flat.shape[0], keeps
        self._ends: dict[int, Ends] = {}
        self._steps = iter(weights.spec.schedule)
        self._values = {0: inputs}
        self._settled: dict[int, Tensor] = {}
        self.inputs = self.output = inputs
        self.at = next(self._steps, None)

    @property
    def here(self) -> Scheduled:
        """The step that it has come to, before the end."""
        assert self.at is not None
        return self.at

    @property
    def layer(self) -> int:
        """The number of the layer that it has come to."""
        assert self.here.layer is not None
        return self.here.layer

    @property
    def is_last(self) -> bool:
        """Whether that is the last layer."""
        return self.layer == len(self.flow.settled) - 1

    @property
    def heard(self) -> Tensor:
        """The weights of the edges over which the layer's targets hear its sources, (B, targets, sources[, K])."""
        return self.weights.weights[self.layer]

    @property
    def num_targets(self) -> int:
        """How many nodes the step writes."""
        return self.here.step.fan_out

    @property
    def biases(self) -> Tensor | None:
        """Of the layer's targets."""
        return self.weights.biases[self.layer]

    @property
    def before(self) -> Tensor:
        """What the layer's targets remember of the pass before, if there was one."""
        return self.earlier[self.layer + 1]

    @property
    def source(self) -> Tensor:
        """The memories of the first value that the step reads, (1, N, D) if all networks have the same."""
        return self._values[self.here.sources[0]]

    @property
    def read(self) -> list[Tensor]:
        """The memories of all values that the step reads."""
        found = [self._values[source] for source in self.here.sources]
        return [x if x.shape[0] == self.size else x.expand(self.size, -1, -1) for x in found]

    def put(self, memory: Tensor) -> None:
        """Take what the step writes, and go on to the next."""
        at = self.here
        if self.keeps and at.layer is not None:
            self._ends[at.layer] = (self.source, memory)
        self.output = self._values[at.value] = memory
        if at.value in self.flow.settled:
            self._settled[at.value] = memory
        for value in at.done:
            del self._values[value]
        self.at = next(self._steps, None)

    @property
    def nodes(self) -> list[Tensor]:
        """At the end: the memories of the input's nodes and of every layer's, after the additions to them."""
        return [
            self.inputs.expand(self.size, -1, -1),
            *(self._settled[value] for value in self.flow.settled),
        ]

    @property
    def ends(self) -> list[Ends]:
        """At the end, of every layer in order, if they are kept."""
        return [self._ends[layer] for layer in sorted(self._ends)]


def lockstep(
    walks: Sequence[Walk], maps: Callable[[Scheduled], Any], read: Callable[[Any, list[Walk]], Sequence[Tensor]]
) -> None:
    """Bring all walks to their ends. `maps` are a step's, None for one without; `read` gives what the steps of several
    walks write, which all have the same maps.

    Messages are what costs, so other steps are done first: then as many networks as possible wait for messages. Last
    layers, which are alike, wait for those of all networks.
    """
    while True:
        waiting: list[tuple[Walk, Any]] = []
        for walk in walks:
            while walk.at is not None:
                own = maps(walk.at)
                if own is not None:
                    waiting.append((walk, own))
                    break
                walk.put(moved(walk.at.step, walk.read))
        if not waiting:
            return
        chosen = next((own for _, own in waiting if not isinstance(own, (StepMaps, TapMaps))), waiting[0][1])
        together = [walk for walk, own in waiting if own is chosen]
        if isinstance(chosen, (StepMaps, TapMaps)):
            together = [walk for walk in together if not walk.is_last] or together
        if isinstance(chosen, TapMaps):  # in the order in which they are summed
            together.sort(key=lambda walk: taps_and_sources(walk.heard))
        for walk, memory in zip(together, read(chosen, together), strict=True):
            walk.put(memory)

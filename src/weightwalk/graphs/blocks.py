"""What a static neural graph is made of: groups of nodes, blocks of edges, channels of an edge; pure Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weightwalk.spec import NetworkSpec

ROLES = ("query", "key", "gate")
"""Edges that are no kernels: each role has a channel of its own, which is 1 on them."""

Nodes = Sequence[int]
"""Node numbers: a `range` where they follow one another, else a tuple."""


@dataclass(frozen=True)
class NodeGroup:
    """The nodes `start` ... `start + size - 1` of one step, or of the input.

    `kind` is "input", "hidden", "output" (some of them are the network's outputs) or "constant" (the node that learned
    values come from); `value` the value that the step writes, `layer` its number among the steps with parameters;
    `activation` what a hidden group's values meet next, "identity" for the others.
    """

    kind: str
    size: int
    start: int
    value: int
    layer: int | None
    activation: str

    @property
    def nodes(self) -> range:
        return range(self.start, self.start + self.size)


@dataclass(frozen=True)
class Block:
    """Edges from sources to targets, all pairs within each of `groups` equal parts of both.

    `targets` (G T) and `sources` (G S) are nodes, each at most once; edge (g, t, s) carries `taps` numbers in the
    channels `channels` of an edge. They are those of layer `layer`: of a "weight" its rows `rows`, and of the second
    axis `columns`, S groups of sources after one another, or all if None; of a "norm" its entries `columns`. Edges of
    other kinds ("residual", "value", "query", "key", "gate") carry the number 1, and their layer is None.
    """

    kind: str
    layer: int | None
    targets: Nodes
    sources: Nodes
    groups: int
    channels: tuple[int, ...]
    rows: range | None = None
    columns: Nodes | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Targets, and sources of each: what tensors of the block's edges are shaped like, (B, T, S, ...)."""
        return len(self.targets), len(self.sources) // self.groups

    @property
    def num_edges(self) -> int:
        return self.shape[0] * self.shape[1]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """(source, target) of every edge, in the order of (T, S)."""
        per_target, per_source = len(self.targets) // self.groups, len(self.sources) // self.groups
        for place, target in enumerate(self.targets):
            first = place // per_target * per_source
            for source in self.sources[first : first + per_source]:
                yield source, target


@dataclass(frozen=True)
class Channels:
    """What the numbers of an edge are: a kernel of `kernel_size` taps along each of `axes` axes, row by row, then
    `positions` numbers that no kernel holds, then a channel for each of `roles`.
    """

    kernel_size: int = 1
    axes: int = 0
    positions: int = 0
    roles: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return self.taps + self.positions + len(self.roles)

    @property
    def taps(self) -> int:
        """Of a kernel."""
        return int(self.kernel_size**self.axes)

    def kernel(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The channels of a kernel's taps; a kernel of fewer axes, or of none, lies at the centre of the others."""
        places = [0]
        for size in (1,) * (self.axes - len(sizes)) + tuple(sizes):
            before = (self.kernel_size - size) // 2
            places = [place * self.kernel_size + before + tap for place in places for tap in range(size)]
        return tuple(places)

    def listed(self, count: int) -> tuple[int, ...]:
        """The channels of `count` numbers that no kernel holds."""
        return tuple(range(self.taps, self.taps + count))

    def role(self, name: str) -> tuple[int, ...]:
        """The channel of a role."""
        return (self.count - len(self.roles) + self.roles.index(name),)

    def hold(self, other: Channels) -> bool:
        """Whether edges of a graph with channels like `other` fit in."""
        sizes = (self.kernel_size >= other.kernel_size, self.axes >= other.axes, self.positions >= other.positions)
        return all(sizes) and set(other.roles) <= set(self.roles)


@dataclass(frozen=True)
class StaticGraph:
    """The graph of one spec: N nodes in `groups`, one per timestamp (0 the input), the constant node last.

    - `blocks`: the edges; of a layer's weights and norms in their order, then whatever follows from its values.
    - `outputs`: the nodes that are the network's outputs, in order.
    - `positions[i]`: the row of node i in a table of embeddings: one per input node, one for each hidden group, one per
      output node, and one for the constant. `rows` is how many of each there are.
    """

    spec: NetworkSpec
    groups: tuple[NodeGroup, ...]
    blocks: tuple[Block, ...]
    outputs: Nodes
    positions: tuple[int, ...]
    rows: tuple[int, int, int, int]
    channels: Channels

    @property
    def num_nodes(self) -> int:
        return self.groups[-1].start + self.groups[-1].size

    @property
    def num_edges(self) -> int:
        return sum(block.num_edges for block in self.blocks)

    @property
    def layer_groups(self) -> tuple[NodeGroup, ...]:
        """The groups of the input and of every layer, as the nodes of an `Encoding` lie."""
        return (self.groups[0], *(group for group in self.groups if group.layer is not None))

    def rows_in(self, rows: Sequence[int]) -> tuple[int, ...]:
        """`positions` in a larger table of so many rows of each sort: inputs and hidden groups from the front, outputs
        the last rows but the constant's.
        """
        starts, wider, found = starts_of(self.rows), starts_of(rows), []
        for position in self.positions:
            sort = sum(position >= start for start in starts[1:])
            back = rows[sort] - self.rows[sort] if sort == 2 else 0
            found.append(wider[sort] + back + position - starts[sort])
        return tuple(found)

    def in_degrees(self, reverse: bool = False) -> list[int]:
        """How many edges end at each node; with `reverse`, begin there as well."""
        found = [0] * self.num_nodes
        for block in self.blocks:
            for nodes, others in ((block.targets, block.sources), (block.sources, block.targets))[: 1 + reverse]:
                for node in nodes:
                    found[node] += len(others) // block.groups
        return found


def starts_of(counts: Sequence[int]) -> list[int]:
    """Where each of so many rows begin that lie behind one another."""
    return [sum(counts[:sort]) for sort in range(len(counts))]

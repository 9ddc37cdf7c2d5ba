"""The static neural graph: all nodes and edges of a network at once (Kofinas et al., ICLR 2024, section 3).

A node is a neuron or a channel, the inputs included; its scalar is its bias. A directed edge runs from the node that
is read to the node that reads it, and carries a kernel: the weights of a pair of channels, of a dense step one number.

| steps | nodes | edges |
|---|---|---|
| dense, conv, embed | one per output (tokens are input nodes) | one per pair; in `groups`, within a block |
| norm | one per channel, ours | its scale on the diagonal, c -> c |
| attention | one per output, ours | 1 from v's channel; 1 from q and k of the head in channels of their own |
| learned values | one per channel | their positions on an edge from one constant node, ours |
| add, append | none | 1 from each older value's node to the newest's, at the centre of a kernel |
| multiply | none | the same in a channel of its own, ours |
| all others | none | what they write is made of nodes that are there already |

Kernels are padded with zeros to `kernel_size` along every axis, symmetrically, the odd row or column at the bottom and
the right; so a dense step is a kernel of one tap at the centre. Numbers that no kernel holds, the positions of a dense
step behind a flatten and those of learned values, are channels of their own behind the kernel.

The graph is a description without tensors: edges lie in bipartite `Block`s, so what a reader makes of them is as large
as the network, never all pairs of nodes. This module is pure Python; `graphs/exchange.py` gives graphs to others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from weightwalk import steps as kinds
from weightwalk.errors import InputError
from weightwalk.graphs.blocks import ROLES, Block, Channels, NodeGroup, Nodes, StaticGraph, starts_of
from weightwalk.spec import NetworkSpec, Scheduled

__all__ = ["Block", "Channels", "NodeGroup", "Nodes", "StaticGraph", "channels_of", "static_graph"]


def static_graph(spec: NetworkSpec, channels: Channels | None = None) -> StaticGraph:
    """The static neural graph of a spec, made once; `channels` that hold more than it needs, for mixtures.

    InputError where a step mixes channels with positions, so that a channel is no longer a node, and where `channels`
    do not hold the spec's kernels.
    """
    return _made(spec, channels)


@lru_cache(1024)
def _made(spec: NetworkSpec, channels: Channels | None) -> StaticGraph:
    return _Builder(spec, channels).graph()


def channels_of(spec: NetworkSpec) -> Channels:
    """What the edges of a spec's graph need."""
    return static_graph(spec).channels


def _packed(nodes: Sequence[int]) -> Nodes:
    """A range where the nodes follow one another."""
    follow = all(after == before + 1 for before, after in pairwise(nodes))
    return range(nodes[0], nodes[0] + len(nodes)) if nodes and follow else tuple(nodes)


class _Builder:
    """Goes through the steps and notes nodes and edges; channels are known at the end, when blocks are made."""

    def __init__(self, spec: NetworkSpec, channels: Channels | None):
        self.spec, self.given = spec, channels
        self.made = [at for at in spec.schedule if at.step.has_timestamp]
        sizes = [spec.widths[0], *(at.step.fan_out for at in self.made)]
        starts = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        self.start_of = {0: 0} | {at.value: starts[number] for number, at in enumerate(self.made, start=1)}
        self.constant = starts[-1] if any(at.step.is_constant for at in self.made) else None
        # per value the node of every channel, None for padding
        first = spec.first.fan_in if isinstance(spec.first, kinds.Embed) else spec.first.reads[0]
        self.nodes: list[list[int | None]] = [list(range(first))]
        self.kernels: list[tuple[int, ...]] = []
        self.positions = 0
        self.roles: list[str] = []
        self.found: list[tuple[str, Block, object]] = []  # a block, and what its channels are: sizes, a count, a role

    def graph(self) -> StaticGraph:
        for at in self.spec.schedule:
            self._visit(at)
        outputs = [node for node in dict.fromkeys(self.nodes[-1]) if node is not None]
        groups = self._groups(set(outputs))
        own = Channels(
            max((size for sizes in self.kernels for size in sizes), default=1),
            max(map(len, self.kernels), default=0),
            self.positions,
            tuple(role for role in ROLES if role in self.roles),
        )
        channels = own if self.given is None else self.given
        if not channels.hold(own):
            raise InputError(f"expected networks whose edges fit into {channels}, got {own} in {self.spec}")
        placed = {"kernel": channels.kernel, "listed": channels.listed, "role": channels.role}
        blocks = []
        for sort, block, argument in self.found:
            held = placed[sort](argument)  # type: ignore[operator]
            blocks.append(Block(**vars(block) | {"channels": held}))
        positions, rows = self._positions(groups, outputs)
        return StaticGraph(self.spec, groups, tuple(blocks), _packed(outputs), positions, rows, channels)

    def _groups(self, outputs: set[int]) -> tuple[NodeGroup, ...]:
        groups = [NodeGroup("input", self.spec.widths[0], 0, 0, None, "identity")]
        for at in self.made:
            size, start = at.step.fan_out, self.start_of[at.value]
            hidden = outputs.isdisjoint(range(start, start + size))
            activation = self.spec.flow.activations[at.layer] if hidden and at.layer is not None else "identity"
            groups.append(NodeGroup("hidden" if hidden else "output", size, start, at.value, at.layer, activation))
        if self.constant is not None:
            groups.append(NodeGroup("constant", 1, self.constant, -1, None, "identity"))
        return tuple(groups)

    def _positions(
        self, groups: Sequence[NodeGroup], outputs: list[int]
    ) -> tuple[tuple[int, ...], tuple[int, int, int, int]]:
        place = {node: number for number, node in enumerate(outputs)}
        own = [all(node in place for node in group.nodes) for group in groups]
        hidden = [group for group, whole in zip(groups[1:], own[1:], strict=True) if not whole]
        hidden = [group for group in hidden if group.kind != "constant"]
        rows = (groups[0].size, len(hidden), len(outputs), int(self.constant is not None))
        starts, number_of = starts_of(rows), {group.start: number for number, group in enumerate(hidden)}
        positions: list[int] = []
        for group in groups:
            for node in group.nodes:
                if node in place:
                    positions.append(starts[2] + place[node])
                elif group.kind in ("input", "constant"):
                    positions.append((starts[0] if group.kind == "input" else starts[3]) + node - group.start)
                else:
                    positions.append(starts[1] + number_of[group.start])
        return tuple(positions), rows

    def _visit(self, at: Scheduled) -> None:
        step = at.step
        if not step.has_timestamp:
            self.nodes.append(self._join(at) if step.joins else self._pass(at))
            return
        own = list(range(self.start_of[at.value], self.start_of[at.value] + step.fan_out))
        read = [self.nodes[source] for source in at.sources]
        if isinstance(step, kinds.Attention):
            self._attend(step, own, read)
        elif isinstance(step, kinds.Norm):
            self._pairs([(node, own[c], c) for c, node in enumerate(read[0]) if node is not None], "norm", at.layer)
        elif isinstance(step, kinds.Learned):
            self._full(at, [own], [[self.constant]], 1)
        elif isinstance(step, kinds.Embed):
            self._full(at, [own], [self.nodes[0]], 1)
        else:
            groups = step.groups if isinstance(step, kinds.Conv) else 1
            wide, read_each = step.fan_out // groups, step.fan_in // groups
            targets = [own[g * wide : (g + 1) * wide] for g in range(groups)]
            self._full(at, targets, [read[0][g * read_each : (g + 1) * read_each] for g in range(groups)], groups)
        self.nodes.append(list(own))

    def _pass(self, at: Scheduled) -> list[int | None]:
        """The nodes of what a step writes that makes none of its own."""
        written: list[set[int]] = [set() for _ in range(at.step.fan_out)]
        for link in at.step.links():
            for channel, place in zip(link.channels, link.others, strict=True):
                node = self.nodes[at.sources[link.source]][channel]
                written[place] |= set() if node is None else {node}
        if any(len(nodes) > 1 for nodes in written):
            raise InputError(
                f"step {at.value - 1} ({at.step.kind}) puts several channels into one, so that channels are not nodes "
                "of a static neural graph; choose an encoder that reads such networks, such as dng"
            )
        return [next(iter(nodes), None) for nodes in written]

    def _join(self, at: Scheduled) -> list[int | None]:
        """The newest value's nodes, to which the others send; where that is padding, the others' own."""
        newest = self.spec.flow.targets[at.value]
        joined = list(self.nodes[at.sources[newest]])
        for place, source in enumerate(at.sources):
            if place == newest:
                continue
            pairs = [(node, joined[c], -1) for c, node in enumerate(self.nodes[source])]
            both = [(node, to, -1) for node, to, _ in pairs if node is not None and to is not None and node != to]
            self._pairs(list(dict.fromkeys(both)), "gate" if isinstance(at.step, kinds.Multiply) else "residual", None)
            joined = [node if to is None else to for node, to, _ in pairs]
        return joined

    def _attend(self, step: kinds.Attention, own: list[int], read: list[list[int | None]]) -> None:
        count = step.kv_heads or step.heads
        for nodes, heads, role in zip(read, (step.heads, count), ROLES, strict=False):
            sources = [nodes[h * len(nodes) // heads : (h + 1) * len(nodes) // heads] for h in range(heads)]
            targets = [own[h * len(own) // heads : (h + 1) * len(own) // heads] for h in range(heads)]
            self.roles.append(role)
            for part in _alike(targets, sources):
                self._note(role, None, *part[:3], None, None, "role", role)
        values = step._repeated(len(read[2]))  # the value channel of every output
        pairs = [(read[2][channel], own[c], -1) for c, channel in enumerate(values)]
        self._pairs([(node, to, at) for node, to, at in pairs if node is not None], "value", None)

    def _full(
        self, at: Scheduled, targets: list[list[int]], sources: Sequence[Sequence[int | None]], groups: int
    ) -> None:
        """A layer's weight: all pairs of targets and sources, in groups. Channels of one node are parallel edges."""
        step, first = at.step, 0
        assert isinstance(step, kinds.Layer)
        for part in _alike(targets, sources):
            num_targets, _, num_groups, columns, repeats = len(part[0]), *part[1:]
            sort, argument = self._taps(step, repeats)
            rows = range(first, first + num_targets) if num_groups == groups else None
            if rows is None:  # groups that differ are blocks of their own
                start = part[0][0] - targets[0][0]
                rows = range(start, start + num_targets)
            self._note("weight", at.layer, *part[:3], rows, columns, sort, argument)

    def _taps(self, step: kinds.Layer, repeats: int) -> tuple[str, object]:
        if isinstance(step, kinds.Conv) and repeats == 1:
            self.kernels.append(step.kernel)
            return "kernel", step.kernel
        taps = step.weight_shape[2] if len(step.weight_shape) > 2 else 1
        if taps * repeats == 1 and not isinstance(step, kinds.Learned):
            return "kernel", ()
        self.positions = max(self.positions, taps * repeats)
        return "listed", taps * repeats

    def _pairs(self, pairs: Sequence[tuple[int, int, int]], kind: str, layer: int | None) -> None:
        """Edges (source, target, entry of the layer's weight), in blocks in which every node is once."""
        left = list(pairs)
        if kind == "gate":
            self.roles.append(kind)
        while left:
            sources: set[int] = set()
            targets: set[int] = set()
            now: list[tuple[int, int, int]] = []
            later: list[tuple[int, int, int]] = []
            for pair in left:
                fits = pair[0] not in sources and pair[1] not in targets
                (now if fits else later).append(pair)
                if fits:
                    sources.add(pair[0])
                    targets.add(pair[1])
            columns = [entry for _, _, entry in now] if layer is not None else None
            sort, argument = ("role", kind) if kind == "gate" else ("kernel", ())
            ends = [target for _, target, _ in now], [source for source, _, _ in now]
            self._note(kind, layer, *ends, len(now), None, columns, sort, argument)
            left = later

    def _note(
        self,
        kind: str,
        layer: int | None,
        targets: Sequence[int],
        sources: Sequence[int],
        groups: int,
        rows: range | None,
        columns: Sequence[int] | None,
        sort: str,
        argument: object,
    ) -> None:
        chosen = None if columns is None else _packed(columns)
        block = Block(kind, layer, _packed(targets), _packed(sources), groups, (), rows, chosen)
        self.found.append((sort, block, argument))


def _alike(
    targets: Sequence[Sequence[int]], sources: Sequence[Sequence[int | None]]
) -> Iterator[tuple[list[int], list[int], int, list[int] | None, int]]:
    """(targets, distinct sources, groups, columns of the weight or None for all in order, channels per source): all
    groups at once where they are alike, else one by one, and there sources of equally many channels together.
    """
    channels: list[dict[int, list[int]]] = []
    for part in sources:
        channels.append(defaultdict(list))
        for column, node in enumerate(part):
            if node is not None:
                channels[-1][node].append(column)
    orders = [[column for columns in part.values() for column in columns] for part in channels]
    counts = {len(columns) for part in channels for columns in part.values()}
    every = [node for part in channels for node in part]
    if len(counts) == 1 and all(order == orders[0] for order in orders) and len(set(every)) == len(every):
        whole = orders[0] == list(range(len(sources[0])))
        yield (
            [node for part in targets for node in part],
            every,
            len(targets),
            None if whole else orders[0],
            counts.pop(),
        )
        return
    for own, of_node in zip(targets, channels, strict=True):
        for count in sorted({len(columns) for columns in of_node.values()}):
            nodes = {node: columns for node, columns in of_node.items() if len(columns) == count}
            yield list(own), list(nodes), 1, [column for columns in nodes.values() for column in columns], count

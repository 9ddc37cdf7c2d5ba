"""The dynamic neural graph: the forward pass as a sequence of snapshots (Dynamic Neural Graphs, TMLR 2026, section 3,
Eq 3).

Time is depth. One timestamp per step with parameters, and per attention; `+` adds and `-` deletes nodes or edges:

    t_1                +V v^1, +E e^1                       (the input nodes v^0 are there from the start)
    t_l, 1 < l <= L    +V v^l, +E e^l, -V v^{l-2}, -E e^{l-1}

so the snapshot of a chain at t_l is the bipartite block v^{l-1} -> v^l, the l-th step of inference. In any network v^l
is there from t_l until the timestamp after the last one that reads it, which is later where a residual connection or a
concatenation does. Steps that pass nodes on (pooling, activations, slices, additions) happen with the next timestamp,
those behind the last layer with the last one; an addition's edges r^l run from the nodes of earlier groups to those of
v^l, one each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weightwalk.graphs.flow import Flow, flow, has_timestamp, joins
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Attention, Layer, Learned, Step


@dataclass(frozen=True)
class Event:
    """`sign` is + or -, `kind` is V (nodes), E (edges) or R (residual edges), `group` is the l of v^l, e^l or r^l,
    `count` how many.
    """

    sign: str
    kind: str
    group: int
    count: int

    def __str__(self) -> str:
        return f"{self.sign}{self.kind} {self.kind.lower()}^{self.group} ({self.count})"


@dataclass(frozen=True)
class Snapshot:
    """The graph at one timestamp: the block from the node groups `sources` to node group `target` = `timestamp`, made
    by `step`.

    `passing` are the values of the steps without a timestamp that happen with it, `residual_edges` the edges that those
    bring.
    """

    timestamp: int
    sources: tuple[int, ...]
    step: Step
    value: int
    passing: tuple[int, ...]
    residual_edges: int
    events: tuple[Event, ...]

    @property
    def target(self) -> int:
        return self.timestamp

    @property
    def name(self) -> str:
        """The kind of its step, and the activation behind that if there is one: `conv relu`."""
        activation = self.step.activation if isinstance(self.step, Layer) else "identity"
        return self.step.kind + ("" if activation == "identity" else f" {activation}")

    @property
    def num_edges(self) -> int:
        """Parallel edges of a kernel count one each."""
        return _num_edges(self.step) + self.residual_edges


@dataclass(frozen=True)
class DynamicGraph:
    """All snapshots of one network spec; `print(DynamicGraph.of(spec))` shows the timeline."""

    spec: NetworkSpec
    snapshots: tuple[Snapshot, ...]

    @classmethod
    def of(cls, spec: NetworkSpec) -> DynamicGraph:
        """The graph of a spec; the snapshots are those of its layers and attentions, in order."""
        found = flow(spec)
        values = [value for value, step in enumerate(spec.steps, start=1) if has_timestamp(step)]
        passing = _passing(spec, values)
        counts = [spec.widths[0], *(spec.steps[value - 1].fan_out for value in values)]
        read, side = _reads(spec, values, passing, found)
        edges = [_num_edges(spec.steps[value - 1]) for value in values]
        outputs = set(found.groups[-1])
        snapshots = []
        for t, value in enumerate(values, start=1):
            events = [Event("+", "V", t, counts[t]), Event("+", "E", t, edges[t - 1])]
            events += [Event("+", "R", group, count) for group, count in side[t - 1]]
            if t > 1:
                gone = [group for group in range(t) if _last_read(read, group) == t - 1 and group not in outputs]
                events += [Event("-", "V", group, counts[group]) for group in gone]
                events.append(Event("-", "E", t - 1, edges[t - 2]))
                events += [Event("-", "R", group, count) for group, count in side[t - 2]]
            step = spec.steps[value - 1]
            sources = (
                () if isinstance(step, Learned) else [g for source in spec.sources(value) for g in found.groups[source]]
            )
            residual_edges = sum(count for _, count in side[t - 1])
            snapshots.append(
                Snapshot(t, tuple(dict.fromkeys(sources)), step, value, passing[t - 1], residual_edges, tuple(events))
            )
        return cls(spec, tuple(snapshots))

    def __str__(self) -> str:
        lines = [f"{self.spec}: t_0 has v^0 ({self.spec.widths[0]} nodes)"]
        for shot in self.snapshots:
            events = ", ".join(map(str, shot.events))
            block = f"{', '.join(f'v^{group}' for group in shot.sources)} -> v^{shot.target}".lstrip()
            activation = shot.step.activation if isinstance(shot.step, Layer) else ""
            moves = [self.spec.steps[value - 1].kind for value in shot.passing]
            beside = f"  ({', '.join(moves)})" if moves else ""
            lines.append(f"t_{shot.timestamp}  {block}  {shot.step.kind} {activation:<8}  {events}{beside}")
        return "\n".join(lines)


def _last_read(read: Sequence[Sequence[int]], group: int) -> int:
    """The last timestamp that reads a group; its own, where none does."""
    return max([t for t, groups in enumerate(read, start=1) if group in groups], default=group)


def _passing(spec: NetworkSpec, values: list[int]) -> list[tuple[int, ...]]:
    """Per timestamp, the values of the steps that happen with it."""
    starts = [0, *values[:-1]]
    stops = [*values[:-1], len(spec.steps) + 1]
    last = values[-1]
    return [tuple(v for v in range(start + 1, stop) if v != last) for start, stop in zip(starts, stops, strict=True)]


def _reads(
    spec: NetworkSpec, values: list[int], passing: list[tuple[int, ...]], found: Flow
) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
    """Per timestamp, the groups that it reads, and the residual edges (to which group, how many) that come with it."""
    read: list[list[int]] = []
    side: list[list[tuple[int, int]]] = []
    for value, along in zip(values, passing, strict=True):
        step = spec.steps[value - 1]
        groups = (
            [] if isinstance(step, Learned) else [g for source in spec.sources(value) for g in found.groups[source]]
        )
        edges = []
        for passed in along:
            if joins(spec.steps[passed - 1]):
                sources = spec.sources(passed)
                others = [source for place, source in enumerate(sources) if place != found.targets[passed]]
                groups += [group for source in sources for group in found.groups[source]]
                count = sum(sum(found.present[source]) for source in others)
                edges.append((found.groups[sources[found.targets[passed]]][0], count))
        read.append(groups)
        side.append(edges)
    return read, side


def _num_edges(step: Step) -> int:
    """A scalar of the weight each; in an attention, to each output of a head from that head's queries, keys and
    values.
    """
    if isinstance(step, Attention):
        return step.values * (2 * step.fan_in + step.values) // step.heads
    assert isinstance(step, Layer)
    return math.prod(step.weight_shape)

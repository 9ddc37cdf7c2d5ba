"""The dynamic neural graph: the forward pass as a sequence of snapshots (Dynamic Neural Graphs, TMLR 2026, Eq 3).

Time is depth. One timestamp per step with parameters, and per attention; `+` adds and `-` deletes nodes or edges:

    t_1                +V v^1, +E e^1                       (the input nodes v^0 are there from the start)
    t_l, 1 < l <= L    +V v^l, +E e^l, -V v^{l-2}, -E e^{l-1}

so the snapshot of a chain at t_l is the bipartite block v^{l-1} -> v^l, the l-th step of inference. In any network v^l
is there from t_l until the timestamp after the last one that reads it, which is later where a residual connection or a
concatenation does. Steps that pass nodes on (pooling, activations, slices, additions) happen with the next timestamp,
those behind the last layer with the last one; an addition's edges r^l run from nodes of earlier groups to those of v^l.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from weightwalk.flow import Flow
from weightwalk.spec import NetworkSpec, Scheduled
from weightwalk.steps import Layer, Step


@dataclass(frozen=True)
class Event:
    """`count` nodes v^l (`kind` V), edges e^l (E) or residual edges r^l (R) come (`sign` +) or go (-); l is `group`."""

    sign: str
    kind: str
    group: int
    count: int

    def __str__(self) -> str:
        return f"{self.sign}{self.kind} {self.kind.lower()}^{self.group} ({self.count})"


class Residual(NamedTuple):
    """The edges r^l that an addition brings: `edges` of them from nodes of the groups `sources` to those of `group`."""

    group: int
    sources: tuple[int, ...]
    edges: int


@dataclass(frozen=True)
class Snapshot:
    """The graph at one timestamp: the block from the node groups `sources` to group `target` = `timestamp`, by `step`.

    `passing` are the values of the steps without a timestamp that happen with it, `residuals` its additions' edges.
    """

    timestamp: int
    sources: tuple[int, ...]
    step: Step
    value: int
    passing: tuple[int, ...]
    residuals: tuple[Residual, ...]
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
    def residual_edges(self) -> int:
        return sum(residual.edges for residual in self.residuals)

    @property
    def num_edges(self) -> int:
        """Parallel edges of a kernel count one each."""
        return self.step.num_edges + self.residual_edges


@dataclass(frozen=True)
class DynamicGraph:
    """All snapshots of one network spec; `print(DynamicGraph.of(spec))` shows the timeline."""

    spec: NetworkSpec
    snapshots: tuple[Snapshot, ...]

    @classmethod
    def of(cls, spec: NetworkSpec) -> DynamicGraph:
        """The graph of a spec; the snapshots are those of its layers and attentions, in order."""
        made = [at for at in spec.schedule if at.step.has_timestamp]
        passing = _passing(spec, made)
        counts = [spec.widths[0], *(at.step.fan_out for at in made)]
        edges = [at.step.num_edges for at in made]
        sources = [() if at.step.is_constant else _groups(spec.flow, at) for at in made]
        joining = [[at for at in along if at.step.joins] for along in passing]
        residuals = [tuple(_residual(spec.flow, at) for at in along) for along in joining]
        last_read = list(range(len(counts)))  # the last timestamp that reads each group, its own where none does
        for t, (own, along) in enumerate(zip(sources, joining, strict=True), start=1):
            for group in chain(own, *(_groups(spec.flow, at) for at in along)):
                last_read[group] = t
        outputs = set(spec.flow.groups[-1])
        snapshots = []
        for t, at in enumerate(made, start=1):
            events = [Event("+", "V", t, counts[t]), Event("+", "E", t, edges[t - 1])]
            events += [Event("+", "R", group, count) for group, _, count in residuals[t - 1]]
            if t > 1:
                gone = [group for group in range(t) if last_read[group] == t - 1 and group not in outputs]
                events += [Event("-", "V", group, counts[group]) for group in gone]
                events.append(Event("-", "E", t - 1, edges[t - 2]))
                events += [Event("-", "R", group, count) for group, _, count in residuals[t - 2]]
            values = tuple(passed.value for passed in passing[t - 1])
            snapshots.append(Snapshot(t, sources[t - 1], at.step, at.value, values, residuals[t - 1], tuple(events)))
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


def _passing(spec: NetworkSpec, made: list[Scheduled]) -> list[list[Scheduled]]:
    """Per timestamp, the steps that happen with it: those before its own, and behind the last one."""
    passing: list[list[Scheduled]] = [[] for _ in made]
    t = 0
    for at in spec.schedule:
        if at.step.has_timestamp:
            t = min(t + 1, len(made) - 1)
        else:
            passing[t].append(at)
    return passing


def _groups(facts: Flow, at: Scheduled) -> tuple[int, ...]:
    """The groups of nodes that a step reads."""
    return tuple(dict.fromkeys(group for source in at.sources for group in facts.groups[source]))


def _residual(facts: Flow, at: Scheduled) -> Residual:
    target = facts.targets[at.value]
    others = [source for place, source in enumerate(at.sources) if place != target]
    sources = tuple(group for source in others for group in facts.groups[source])
    return Residual(facts.groups[at.sources[target]][0], sources, sum(sum(facts.present[source]) for source in others))

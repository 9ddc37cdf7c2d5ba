"""The dynamic neural graph: the forward pass as a sequence of snapshots (Dynamic Neural Graphs, TMLR 2026, section 3, Eq 3).

Time is depth. One timestamp per step with parameters; `+` adds and `-` deletes nodes or edges:

    t_1                +V v^1, +E e^1                       (the input nodes v^0 are there from the start)
    t_l, 1 < l <= L    +V v^l, +E e^l, -V v^{l-2}, -E e^{l-1}

so the snapshot at t_l is the bipartite block v^{l-1} -> v^l, the l-th step of inference. A step without
parameters (pooling) passes its nodes on unchanged and has no timestamp.
"""

from __future__ import annotations

from dataclasses import dataclass

from weightwalk.spec import Layer, NetworkSpec


@dataclass(frozen=True)
class Event:
    """`sign` is + or -, `kind` is V (nodes) or E (edges), `group` is the l of v^l or e^l, `count` how many come or go."""

    sign: str
    kind: str
    group: int
    count: int

    def __str__(self) -> str:
        return f"{self.sign}{self.kind} {'v' if self.kind == 'V' else 'e'}^{self.group} ({self.count})"


@dataclass(frozen=True)
class Snapshot:
    """The graph at one timestamp: the block from node group `source` to node group `target`, made by `layer`."""

    timestamp: int
    source: int
    target: int
    layer: Layer
    events: tuple[Event, ...]

    @property
    def num_edges(self) -> int:
        """Parallel edges of a kernel count one each."""
        return _num_edges(self.layer)


@dataclass(frozen=True)
class DynamicGraph:
    """All snapshots of one network spec; `print(DynamicGraph.of(spec))` shows the timeline."""

    spec: NetworkSpec
    snapshots: tuple[Snapshot, ...]

    @classmethod
    def of(cls, spec: NetworkSpec) -> DynamicGraph:
        """The graph of a spec; snapshot l - 1 belongs to layer l, which has the tensors `weights[l - 1]` and `biases[l - 1]`."""
        layers, widths = spec.layers, spec.widths
        snapshots = []
        for t, layer in enumerate(layers, start=1):
            events = [Event("+", "V", t, layer.fan_out), Event("+", "E", t, _num_edges(layer))]
            if t > 1:
                events += [Event("-", "V", t - 2, widths[t - 2]), Event("-", "E", t - 1, _num_edges(layers[t - 2]))]
            snapshots.append(Snapshot(t, t - 1, t, layer, tuple(events)))
        return cls(spec, tuple(snapshots))

    def __str__(self) -> str:
        lines = [f"{self.spec}: t_0 has v^0 ({self.spec.widths[0]} nodes)"]
        for shot in self.snapshots:
            events = ", ".join(map(str, shot.events))
            block = f"v^{shot.source} -> v^{shot.target}"
            lines.append(f"t_{shot.timestamp}  {block}  {shot.layer.kind} {shot.layer.activation:<8}  {events}")
        return "\n".join(lines)


def _num_edges(layer: Layer) -> int:
    count = 1
    for size in layer.weight_shape:
        count *= size
    return count

"""What a DNG-Encoder has to do at every timestamp of a network, by counting."""

from __future__ import annotations

from weightwalk.graphs.dynamic import DynamicGraph, Snapshot
from weightwalk.steps import Layer, Norm


def multiply_adds(graph: DynamicGraph, dim: int = 128, num_frequencies: int = 128, head_dim: int = 16) -> list[int]:
    """Multiply-adds of one pass over one network, per snapshot, for memories of d = `dim`, F = 2 * `num_frequencies`.

    With E edges from S sources to T targets, P pairs of nodes among them, and heads of a numbers
    (`weightwalk.encoders.dng`, Eq 4 to 6):

        message, one edge per pair     E d (F + 1) + S d^2
        message, parallel edges        E a (F + 1 + d) + P d + S K a d, K the most edges of a pair,
                                      if some layer has several
        update                         T d (F + 6 d)
        norm                           2 T F d
        addition, attention            E d^2 at most: a map per edge between nodes
    """
    F, K = 2 * num_frequencies, max(_taps(shot) for shot in graph.snapshots)
    nodes = node_counts(graph)
    counts = []
    for shot in graph.snapshots:
        targets, sources = nodes[shot.target], sum(nodes[group] for group in shot.sources)
        edges = shot.num_edges - shot.residual_edges
        if isinstance(shot.step, Norm):
            count = 2 * targets * F * dim
        elif isinstance(shot.step, Layer):
            one = edges * dim * (F + 1) + sources * dim**2
            parallel = edges * head_dim * (F + 1 + dim) + edges // _taps(shot) * dim + sources * K * head_dim * dim
            count = (parallel if K > 1 else one) + targets * dim * (F + 6 * dim)
        else:
            count = edges * dim**2
        counts.append(count + shot.residual_edges * dim**2)
    return counts


def node_counts(graph: DynamicGraph) -> list[int]:
    """Nodes of every group v^0, v^1, ..."""
    return [graph.spec.widths[0], *(shot.step.fan_out for shot in graph.snapshots)]


def lifetimes(graph: DynamicGraph) -> list[tuple[int, int]]:
    """The first and the last timestamp at which every group v^0, v^1, ... is there."""
    last = len(graph.snapshots)
    events = [(shot.timestamp, event) for shot in graph.snapshots for event in shot.events]
    gone = {event.group: t - 1 for t, event in events if (event.sign, event.kind) == ("-", "V")}
    return [(group, gone.get(group, last)) for group in range(last + 1)]


def _taps(shot: Snapshot) -> int:
    return shot.step.taps if isinstance(shot.step, Layer) else 1

"""A network's dynamic graph as a picture: when groups of nodes come and go, and what happens at each timestamp."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from weightwalk.graphs.dynamic import DynamicGraph
from weightwalk.report.cost import lifetimes, node_counts
from weightwalk.report.look import INK, PALETTE, QUIET, RULE, STYLE, draw

_ROW, _MOST = 0.24, 120  # inches per timestamp, and how many of them fit a picture


@matplotlib.rc_context(STYLE)
def timeline(graph: DynamicGraph, cost: Sequence[int]) -> bytes:
    """One row per group of nodes: a bar for the timestamps at which it is there, lines from the groups it is made from.

    Dotted lines are residual edges. At the right the edges of each timestamp and its `cost`, as bars on logarithmic
    axes. Of more than 120 groups the first are shown.
    """
    nodes, lives = node_counts(graph)[:_MOST], lifetimes(graph)[:_MOST]
    shots = graph.snapshots[: _MOST - 1]
    rows = len(nodes)
    figure = Figure(figsize=(9.6, 1.3 + _ROW * rows))
    left, edges, costs = figure.subplots(1, 3, sharey=True, width_ratios=(4, 1.3, 1.3))
    kinds = list(dict.fromkeys(shot.step.kind for shot in shots))
    colors = {kind: PALETTE[index % len(PALETTE)] for index, kind in enumerate(kinds)}
    of_row = [QUIET, *(colors[shot.step.kind] for shot in shots)]
    first, last = np.array(lives).T
    left.barh(range(rows), np.minimum(last, rows - 1) - first + 0.8, left=first - 0.4, height=0.5, color=of_row)
    lines = [(shot.timestamp - 0.4, source, shot.target) for shot in shots for source in shot.sources]
    left.vlines(*np.array(lines).reshape(-1, 3).T, color=RULE, linewidth=1.2, zorder=0)
    meeting = [(shot.timestamp, source, r.group) for shot in shots for r in shot.residuals for source in r.sources]
    for t, *ends in (places for places in meeting if max(places) < rows):
        left.plot([t - 0.2, t - 0.2], ends, color=INK, linewidth=1.2, linestyle=":", marker=".", markersize=4)
    left.set_yticks(range(rows), _labels(graph, nodes))
    left.set_xlabel("timestamp")
    left.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    cut = f" (the first {_MOST})" if rows < len(graph.snapshots) + 1 else ""
    left.set_title(f"Groups of nodes, and when they are there{cut}")
    num_edges = [shot.num_edges for shot in shots]
    for axes, values, title in ((edges, num_edges, "Edges"), (costs, list(cost), "Multiply-adds")):
        bars = axes.barh(range(1, rows), np.maximum(values[: rows - 1], 1), height=0.5, color=of_row[1:])
        axes.bar_label(bars, [_short(value) for value in values[: rows - 1]], padding=3, fontsize=7.5, color=QUIET)
        axes.set_xscale("log")
        axes.set_title(title)
        axes.margins(x=0.3)
        axes.xaxis.set_major_formatter(NullFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines["bottom"].set_visible(False)
    left.set_ylim(rows - 0.4, -0.6)
    for axes in (left, edges, costs):
        axes.tick_params(which="both", length=0)
    return draw(figure)


def _short(value: int) -> str:
    """`960`, `12.3 k`, `4.0 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {letter}"
    return str(value)


def _labels(graph: DynamicGraph, nodes: Sequence[int]) -> list[str]:
    names = ["input", *(shot.name for shot in graph.snapshots)]
    return [f"{name}, {count:,}" for name, count in zip(names, nodes, strict=False)]

"""Predicted against true values, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.report.look import PALETTE, PAPER, QUIET, RULE, STYLE, draw

Array = NDArray[Any]


@matplotlib.rc_context(STYLE)
def agreement(
    true: Array, predicted: Array, groups: Mapping[str, Array] | None = None, what: str = "value", by: str | None = None
) -> bytes:
    """A point per entry of `true` and `predicted` (n,), and the diagonal where both are equal.

    At most ten `groups` of positions, by name, are coloured: what is in several groups by the last of them, what is in
    none in grey. `by` says what the groups are.
    """
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true) or not np.isfinite([true, predicted]).all():
        raise InputError(f"expected two equally long rows of finite numbers, got {true.shape} and {predicted.shape}")
    named = dict(groups or {})
    if len(named) > len(PALETTE):
        raise InputError(f"expected at most {len(PALETTE)} groups to tell apart by colour, got {len(named)}")
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    margin = 0.04 * (high - low) or 0.01
    ends = (low - margin, high + margin)
    figure = Figure(figsize=(5.8 if named else 4.6, 4.2))
    axes = figure.subplots()
    axes.plot(ends, ends, color=RULE, linewidth=1.4, zorder=0)
    style: dict[str, Any] = {"s": float(np.clip(30_000 / len(true), 6, 30)), "linewidths": 0.2, "edgecolors": PAPER}
    alone = np.ones(len(true), bool)
    for positions in named.values():
        alone[positions] = False
    layers = [("", QUIET if named else PALETTE[0], np.flatnonzero(alone))]
    layers += [(name, color, positions) for color, (name, positions) in zip(PALETTE, named.items(), strict=False)]
    for name, color, at in layers:
        if len(at):
            axes.scatter(true[at], predicted[at], color=color, label=name, alpha=0.8, **style)
    axes.set(xlabel=f"true {what}", ylabel=f"predicted {what}", xlim=ends, ylim=ends)
    axes.set_box_aspect(1)
    axes.grid()
    axes.tick_params(length=0)
    if named:
        figure.legend(loc="outside right upper", markerscale=1.6, title=by, alignment="left")
    return draw(figure)

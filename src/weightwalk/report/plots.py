"""Arrays in, PNG bytes out: curves, confusions and maps, in one look.

Drawn with matplotlib's objects alone: no pyplot, and its settings are as they were afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.report.look import INK, PALETTE, PAPER, QUIET, STYLE, draw

Array = NDArray[Any]

_MARKERS = "osD^vPX<>*"
_RIGHT = LinearSegmentedColormap.from_list("right", ["#ffffff", "#cfe1f4", "#3f90da", "#174f8f"])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#ffffff", "#fbd3b4", "#e76300", "#a83c00"])


@matplotlib.rc_context(STYLE)
def curves(log: Sequence[Mapping[str, float]], x: str = "step", y: Sequence[str] | None = None) -> bytes:
    """Quantities of a training log over `x`; without `y`, all that the log holds.

    Keys share a panel when their last words agree (`loss` and `val_loss`, but not `val_accuracy`). A quantity that
    falls by more than ten times gets a logarithmic axis; a long noisy curve is drawn faintly, its moving mean boldly.
    Rows without a key, and values that are not finite, are left out.
    """
    known = list(dict.fromkeys(key for row in log for key in row if key != x))
    series = {key: _series(log, x, key) for key in (known if y is None else y)}
    for key, (at, _) in series.items():
        if not len(at):
            raise InputError(f"{unknown('curve', key, known)}; it needs finite values in rows that also have {x!r}")
    if not series:
        raise InputError(f"expected a log with numbers over {x!r}, got {len(log)} rows without any")
    panels: dict[str, list[str]] = {}
    for key in series:
        panels.setdefault(re.split(r"[\W_]+", key)[-1] or key, []).append(key)

    num_columns = min(len(panels), 3)
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=((6.6, 9.2, 9.6)[num_columns - 1], 2.9 * num_rows))
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for spare in grid[len(panels) :]:
        spare.set_visible(False)
    for axes, (title, keys) in zip(grid, panels.items(), strict=False):
        for color, key in zip(PALETTE * len(keys), keys, strict=False):
            _curve(axes, *series[key], color=color, label=re.sub(r"[_/]+", " ", key))
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.grid(axis="y")
        axes.tick_params(which="both", length=0)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
        _scale(axes, [series[key][1] for key in keys])
        axes.legend(fontsize=8.5)
    return draw(figure)


def _series(log: Sequence[Mapping[str, float]], x: str, key: str) -> tuple[Array, Array]:
    found = [(row[x], row[key]) for row in log if x in row and row.get(key) is not None]
    points = np.array(found, dtype=float).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    return points[:, 0], points[:, 1]


def _curve(axes: Axes, at: Array, values: Array, color: str, label: str) -> None:
    label, marker = f"{label}, last {values[-1]:.4g}", "o" if len(values) < 40 else ""
    if len(values) >= 120:
        axes.plot(at, values, color=color, alpha=0.25, linewidth=0.8)
        window = np.ones(len(values) // 40)
        values = np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
    axes.plot(at, values, color=color, label=label, linewidth=1.8, marker=marker, markersize=3)


def _scale(axes: Axes, values: Sequence[Array]) -> None:
    """A logarithmic axis for what falls far and stays positive."""
    lowest = min(v.min() for v in values)
    if lowest > 0 and any(v[0] > 10 * v[-1] for v in values):
        decades = np.log10(max(v.max() for v in values) / lowest)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.5g}"))


@matplotlib.rc_context(STYLE)
def confusion(matrix: Array, names: Sequence[str]) -> bytes:
    """Counts `matrix[true, predicted]` (K, K): right answers in blue, mistakes in orange, by their share of the row.

    Up to 20 classes carry their counts and the shares that are right. The full orange is the worst mistake, or 10 %.
    """
    counts = np.asarray(matrix)
    size = len(names)
    if counts.shape != (size, size) or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(f"expected whole counts ({size}, {size}) for {size} names, got {counts.dtype} {counts.shape}")
    totals = counts.sum(1)
    shares = counts / np.maximum(totals, 1)[:, None]
    right = np.eye(size, dtype=bool)
    worst = max(shares[~right].max(initial=0), 0.1)
    colors = np.where(right[..., None], _RIGHT(shares), _WRONG(shares / worst))

    with_text = size <= 20
    shown = list(range(0, size, 1 if with_text else -(-size // 25)))
    ticks = [names[k] for k in shown]
    longest = max(map(len, ticks), default=0)
    turned = longest > 3
    side = 0.37 * max(size, 4) if with_text else 5.8
    figure = Figure(figsize=(side + 0.9 + 0.07 * longest, side + 0.5 + 0.05 * longest * turned))
    axes = figure.subplots()
    axes.imshow(colors, interpolation="nearest")
    axes.set(xlabel="predicted", ylabel="true")
    axes.xaxis.set_label_position("top")
    angle, side_of_tick = (45, "left") if turned else (0, "center")
    axes.set_xticks(shown, ticks, rotation=angle, ha=side_of_tick, rotation_mode="anchor")
    axes.set_yticks(shown, ticks)
    axes.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=9 if with_text else 7)
    axes.spines[:].set_visible(not with_text)
    if with_text:
        _counts(axes, counts, colors)
        for true, total in enumerate(totals):
            share = f"{100 * shares[true, true]:.0f} %" if total else "–"
            axes.text(1.01, true, share, color=QUIET, va="center_baseline", transform=axes.get_yaxis_transform())
    return draw(figure)


def _counts(axes: Axes, counts: Array, colors: Array) -> None:
    """What is not zero, on a fine grid."""
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.grid(which="minor", color="#eef1f4", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for true, predicted in np.argwhere(counts):
        color = PAPER if np.dot(colors[true, predicted, :3], (0.3, 0.59, 0.11)) < 0.6 else INK
        axes.text(predicted, true, str(counts[true, predicted]), color=color, ha="center", va="center_baseline")


@matplotlib.rc_context(STYLE)
def scatter_map(points: Array, labels: Array, names: Sequence[str], wrong: Array | None = None) -> bytes:
    """Points (n, 2) coloured and shaped by class, `labels` (n,) into `names`; those that are `wrong` (n,) get a ring.

    A hundred classes are told apart: ten colours, and past ten classes ten shapes. Up to twenty are also named.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    mistaken = np.zeros(len(points), dtype=bool) if wrong is None else np.asarray(wrong, dtype=bool)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != (len(points),) or mistaken.shape != labels.shape:
        raise InputError(
            f"expected points (n, 2), labels (n,) and wrong (n,), got {points.shape}, {labels.shape} and "
            f"{mistaken.shape}"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        got = f"{labels.min()}..{labels.max()}"
        raise InputError(f"labels must lie in 0..{len(names) - 1} for {len(names)} names, got {got}")

    legend_columns = -(-len(names) // 26)
    figure = Figure(figsize=(4.4 + 1.1 * legend_columns, 4.3 if legend_columns == 1 else 5.2))
    axes = figure.subplots()
    area = float(np.clip(20_000 / max(len(points), 1), 7, 36))
    handles = []
    for kind, name in enumerate(names):
        color, marker = PALETTE[kind % 10], _MARKERS[kind // 10 % 10]
        x, y = points[labels == kind].T
        axes.scatter(x, y, s=area, color=color, marker=marker, linewidths=0.3 if area > 10 else 0, edgecolors=PAPER)
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="", markersize=5.5, label=name))
        if len(x) and len(names) <= 20:
            (at_x, at_y), halo = np.median([x, y], axis=1), [withStroke(linewidth=3.5, foreground=PAPER)]
            axes.text(at_x, at_y, name, ha="center", va="center", size=11, weight="bold", path_effects=halo)
    if wrong is not None:
        x, y = points[mistaken].T
        axes.scatter(x, y, s=3 * area + 10, facecolors="none", edgecolors=INK, linewidths=0.9)
        ring: dict[str, Any] = {"marker": "o", "linestyle": "", "markersize": 8, "mfc": "none", "mec": INK}
        handles.append(Line2D([], [], label=f"wrong ({mistaken.sum():,})", **ring))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.margins(0.04)
    size, columns = 7 if len(names) > 26 else 8.5, max(legend_columns, 1)
    figure.legend(handles=handles, loc="outside right upper", ncols=columns, fontsize=size, columnspacing=0.8)
    return draw(figure)

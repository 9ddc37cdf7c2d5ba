"""Means and maxima over positions, other sizes of grids, and softmaxes over channels."""

from __future__ import annotations

import math
from typing import Any

from torch.fx import Node

from weightwalk.networks.trace.layout import BATCH, CHANNELS, COPIES, Unreadable, View, of_kind, size
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.reader import Reader, per_axis, reads, shape_of, view_of
from weightwalk.networks.trace.scores import KEYS, Scores
from weightwalk.steps import MeanPool, Pool, Resize, Softmax, Step, Upsample


@reads("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program, view = reader.program, reader.program.channels_first(view_of(a["self"]))
    shape = program.shapes[view.source]
    axes = len(shape) - 1
    kernel, padding = per_axis(a["kernel_size"], axes), per_axis(a["padding"], axes)
    stride = per_axis(a["stride"], axes) if a["stride"] not in ((), []) else kernel
    if any(d != 1 for d in per_axis(a.get("dilation", 1), axes)) or a.get("divisor_override") is not None:
        raise Unreadable("its windows have gaps, or another divisor")
    op, counts = "max" if "max" in str(node.target) else "mean", a.get("count_include_pad", True)
    step = Pool(shape[0], op, kernel, stride, padding, bool(a["ceil_mode"]), counts, sources=(view.source,))
    return program.view(program.emit(step, shape_of(node)[1:]))


@reads("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_mean(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    return _adaptive(reader, node, view_of(a["self"]), "mean")


@reads("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max(reader: Reader, node: Node, a: dict[str, Any]) -> list[Any]:
    return [_adaptive(reader, node, view_of(a["self"]), "max"), None]


def _adaptive(reader: Reader, node: Node, view: View, op: str) -> View:
    meta = node.meta["val"]
    wanted = tuple((meta[0] if isinstance(meta, (tuple, list)) else meta).shape[2:])
    if math.prod(wanted) == 1:
        return reduce(reader.program, view, tuple(range(2, len(view.axes))), op, keep=True)
    view = reader.program.channels_first(view)
    shape = reader.program.shapes[view.source]
    if shape[1:] == wanted:
        return view
    step: Step = Resize(shape[0], wanted, op, sources=(view.source,))
    if not any(have % want for have, want in zip(shape[1:], wanted, strict=True)):  # windows of one size
        kernel = tuple(have // want for have, want in zip(shape[1:], wanted, strict=True))
        step = Pool(shape[0], op, kernel, kernel, (0,) * len(kernel), sources=(view.source,))
    return reader.program.view(reader.program.emit(step, (shape[0], *wanted)))


@reads("mean", "sum", "amax")
def _statistic(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view = view_of(a["self"])
    axes = a.get("dim")
    axes = tuple(range(len(view.axes))) if axes in (None, []) else (axes,) if isinstance(axes, int) else tuple(axes)
    axes = tuple(sorted(view.axis(axis) for axis in axes))
    op = "max" if "amax" in str(node.target) else "mean"
    count = math.prod(view.shape[axis] for axis in axes)
    found = reduce(reader.program, view, axes, op, keep=bool(a.get("keepdim", False)))
    return reader.program.affine(found, float(count), 0.0) if "sum" in str(node.target) else found


@reads("max")
def _maximum(reader: Reader, node: Node, a: dict[str, Any]) -> list[Any]:
    if a.get("dim") is None:
        raise Unreadable("it takes the maximum of everything")
    view = view_of(a["self"])
    return [reduce(reader.program, view, (view.axis(a["dim"]),), "max", keep=a["keepdim"]), None]


def reduce(program: Program, view: View, axes: tuple[int, ...], op: str, *, keep: bool) -> View:
    """The mean or the maximum over axes of positions."""
    over = [f for axis in axes for f in view.axes[axis]]
    if any(f.dim in (BATCH, COPIES) for f in over):
        raise Unreadable("it goes over the examples, so that an example's output depends on the others")
    if any(f.dim == CHANNELS for f in over):
        raise Unreadable("it goes over channels; only positions are pooled")
    if size(over) > 1:
        shape = program.shapes[view.source]
        if op == "mean" and size(over) == math.prod(shape[1:]):
            value = program.emit(MeanPool(shape[0], sources=(view.source,)), shape[:1])
            view = View(value, view.axes)
        else:
            view = _pooled(program, view, axes, over, op)
    pooled = [() if number in axes else axis for number, axis in enumerate(view.axes)]
    return View(view.source, tuple(axis for number, axis in enumerate(pooled) if keep or number not in axes))


def _pooled(program: Program, view: View, axes: tuple[int, ...], over: list[Any], op: str) -> View:
    """The view after a pool step whose one window spans whole axes of the grid."""
    shape = program.shapes[view.source]
    dims = {f.dim for f in over}
    if size(over) != math.prod(shape[dim] for dim in dims) or len(shape) > 4:
        kept = [f for axis in view.besides(*axes, least=1) for f in axis]
        view = program.arrange(view, [view.channels(), over, *([kept] if kept else [])])
        shape, dims = program.shapes[view.source], {1}
    kernel = tuple(count if dim in dims else 1 for dim, count in enumerate(shape) if dim)
    step = Pool(shape[0], op, kernel, kernel, (0,) * len(kernel), sources=(view.source,))
    left = tuple(1 if dim in dims else count for dim, count in enumerate(shape) if dim)
    return View(program.emit(step, (shape[0], *left)), view.axes)


@reads(
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d"),
    *("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_trilinear3d"),
)
def _upsample(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    program, view = reader.program, reader.program.channels_first(view_of(a.get("input", a.get("self"))))
    shape, wanted = program.shapes[view.source], shape_of(node)[2:]
    mode = "nearest" if "nearest" in str(node.target) else "linear"
    corners = bool(a.get("align_corners", False))
    ratios = [want / have for have, want in zip(shape[1:], wanted, strict=True)]
    if all(ratio.is_integer() for ratio in ratios):
        step: Step = Upsample(shape[0], tuple(map(int, ratios)), mode, corners, sources=(view.source,))
    else:
        if "exact" in str(node.target):
            raise Unreadable('"nearest-exact" is read for whole numbers of times alone; use "nearest"')
        if not corners and list(a.get("scale_factors") or ratios) != ratios:
            told = f"it makes a grid of {wanted} of one of {shape[1:]} by a factor that is not their ratio"
            raise Unreadable(f"{told}; give it the size")
        step = Resize(shape[0], wanted, mode, corners, sources=(view.source,))
    return program.view(program.emit(step, (shape[0], *wanted)))


@reads("softmax", "_softmax", "log_softmax", "_log_softmax")
def _softmax(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, number = a["self"], a["self"].axis(a["dim"])
    log = "log" in str(node.target)
    if isinstance(view.source, Scores):
        if log or [f.dim for f in view.axes[number]] != [KEYS]:
            raise Unreadable("it is not over the keys of an attention")
        return View(view.source.softened(), view.axes)
    if not of_kind(view.axes[number], "channels"):
        raise Unreadable("it is over positions or examples, and not over channels or the keys of an attention")
    view = reader.program.channels_in(view_of(view), number)
    shape = reader.program.shapes[view.source]
    return View(reader.program.emit(Softmax(shape[0], log, sources=(view.source,)), shape), view.axes)

"""Normalisations, and formulas of several operations that are one, such as x * rsqrt(mean(x^2) + eps)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from weightwalk.networks.trace.layout import BATCH, COPIES, Unreadable, View
from weightwalk.networks.trace.pointwise import SAME, operation
from weightwalk.networks.trace.program import Parameters, Program
from weightwalk.steps import Norm

_SPREAD = SAME | {"expand", "expand_as"}
_TINY = 1e-5  # what is added to, or bounds, a norm without changing it


@dataclass(frozen=True)
class NormForm:
    """A normalisation over some axes of a tensor, times `factor`."""

    kind: str
    axes: tuple[int, ...]
    eps: float
    factor: float = 1.0


def normalise(program: Program, view: View, form: NormForm) -> View:
    """The norm step with scales of `form.factor`; scales and shifts that follow become its own (`tidy`)."""
    axes = sorted({view.axis(axis) for axis in form.axes})
    over = [f for axis in axes for f in view.axes[axis]]
    if any(f.dim in (BATCH, COPIES) for f in over):
        raise Unreadable("it normalises over examples")
    rest = view.besides(*axes)
    if len(axes) == 1:
        view, kind = program.channels_in(view, axes[0]), form.kind
    elif not rest and form.kind == "layer":
        kind = "group"
    else:
        view, kind = program.arrange(view, [over, *rest]), form.kind
    shape = program.shapes[view.source]
    step = Norm(shape[0], shape[0], bias=False, norm=kind, eps=form.eps, sources=(view.source,))
    weight = torch.full((shape[0],), form.factor, dtype=torch.float64)
    return View(program.emit(step, shape, Parameters(weight, None)), view.axes)


def match_norm(node: Node, constants: dict[Node, Any]) -> tuple[Node, NormForm] | None:
    """What is normalised, and how, where a node is the last operation of a written-out normalisation."""
    name, args = operation(node), node.args
    if name in ("mul", "multiply") and len(args) == 2:
        for one, other in (args, args[::-1]):
            deviation = _inverse(other, constants) if isinstance(other, Node) else None
            if deviation is not None:
                return _match(one, deviation, constants)
    if name in ("div", "divide", "true_divide") and len(args) == 2 and isinstance(args[1], Node):
        return _match(args[0], args[1], constants)
    return None


def _inverse(node: Node, constants: dict[Node, Any]) -> Any:
    """s, or (s,) for a variance, where the node is 1 / s or 1 / sqrt(s)."""
    node = _plain(node)
    name = operation(node)
    if name == "rsqrt" or (name == "pow" and node.args[1:] == (-0.5,)):
        return (node.args[0],)
    if name == "reciprocal" or (name in ("div", "true_divide") and node.args[0] in (1, 1.0)):
        return node.args[-1 if name != "reciprocal" else 0]
    return None


def _match(x: Any, deviation: Any, constants: dict[Node, Any]) -> tuple[Node, NormForm] | None:
    if not isinstance(x, Node):
        return None
    x = _plain(x, SAME)
    if not isinstance(deviation, tuple):
        deviation = _plain(deviation)
        bounded = operation(deviation) in ("clamp_min", "clamp", "add")
        bounded = bounded and _number(deviation.args[-1], constants, 1.0) <= _TINY
        norm = _plain(deviation.args[0]) if bounded and isinstance(deviation.args[0], Node) else deviation
        if operation(norm) in ("linalg_vector_norm", "norm"):
            return _match_length(x, norm)
        if operation(deviation) == "sqrt" or (operation(deviation) == "pow" and deviation.args[1:] == (0.5,)):
            deviation = (deviation.args[0],)
        else:
            return None
    variance, eps = _plain(deviation[0]), 0.0
    if operation(variance) == "add":
        eps = _number(variance.args[1], constants, -1.0)
        if eps < 0 or not isinstance(variance.args[0], Node):
            return None
        variance = _plain(variance.args[0])
    elif operation(variance) in ("clamp", "clamp_min"):
        variance = _plain(variance.args[0])
    return _match_variance(x, variance, eps)


def _match_length(x: Node, norm: Node) -> tuple[Node, NormForm] | None:
    """x / |x|, |x| over one axis: a root mean square norm times 1 / sqrt(n)."""
    arguments = _arguments(norm)
    order, axes = arguments.get("ord", arguments.get("p", 2)), _axes(norm, x)
    if _plain(arguments["self"], SAME) is not x or order not in (None, 2, 2.0) or not axes:
        return None
    count = math.prod(int(x.meta["val"].shape[axis]) for axis in axes)
    return x, NormForm("rms", axes, 0.0, count**-0.5)


def _match_variance(x: Node, variance: Node, eps: float) -> tuple[Node, NormForm] | None:
    mean = _centred(x)
    name = operation(variance)
    if name == "var":
        arguments = _arguments(variance)
        biased = arguments.get("unbiased") is False or arguments.get("correction", 1) == 0
        spread = (_plain(arguments["self"], SAME), _axes(variance, x))
        return (spread[0], NormForm("layer", spread[1], eps)) if biased and spread == mean else None
    if name != "mean":
        return None
    axes, base = _axes(variance, x), _squared(_plain(_arguments(variance)["self"], SAME))
    if base is None or not axes:
        return None
    if base is x:
        if mean is not None and mean[1] == axes:
            return mean[0], NormForm("layer", axes, eps)
        return x, NormForm("rms", axes, eps)
    twin = _centred(base)  # (x - mean)^2 may have been computed apart
    if mean is not None and twin is not None and twin[0] is mean[0] and twin[1] == mean[1] == axes:
        return mean[0], NormForm("layer", axes, eps)
    return None


def _centred(node: Node) -> tuple[Node, tuple[int, ...]] | None:
    """x and the axes, where a node is x - mean(x)."""
    if operation(node) != "sub" or not all(isinstance(arg, Node) for arg in node.args[:2]):
        return None
    x, mean = _plain(node.args[0], SAME), _plain(node.args[1])
    if operation(mean) != "mean" or _plain(_arguments(mean)["self"], SAME) is not x:
        return None
    return (x, _axes(mean, x)) if _axes(mean, x) else None


def _squared(node: Node) -> Node | None:
    name, args = operation(node), node.args
    squared = (name == "pow" and args[1] in (2, 2.0)) or name == "square" or (name == "mul" and args[0] is args[1])
    base = _plain(args[0], SAME) if squared else None
    return base if isinstance(base, Node) else None


def _plain(node: Any, names: frozenset[str] = _SPREAD) -> Any:
    """The node behind operations that change nothing but the type, or spread a statistic over an axis."""
    while isinstance(node, Node) and operation(node) in names and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _arguments(node: Node) -> dict[str, Any]:
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    return dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _axes(node: Node, x: Node) -> tuple[int, ...]:
    """The axes of x that a statistic is over, if it keeps them with length one; else none."""
    arguments = _arguments(node)
    axes = arguments.get("dim")
    axes = (axes,) if isinstance(axes, int) else tuple(axes or ())
    return tuple(sorted(axis % x.meta["val"].dim() for axis in axes)) if arguments.get("keepdim") else ()


def _number(value: Any, constants: dict[Node, Any], otherwise: float) -> float:
    if isinstance(value, Node) and isinstance(constants.get(value), Tensor) and constants[value].numel() == 1:
        return float(constants[value])
    return float(value) if isinstance(value, (int, float)) else otherwise

"""Operations in which several values meet: sums, products, concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from weightwalk.networks.trace.constants import laid_like, learned, scale, shift
from weightwalk.networks.trace.layout import (
    BATCH,
    CHANNELS,
    COPIES,
    Axis,
    Factor,
    Unreadable,
    View,
    axis_of,
    copies,
    of_kind,
    paired,
    size,
)
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.reader import Reader, constant, reads, shape_of, view_of
from weightwalk.networks.trace.scores import Scores, seen_by
from weightwalk.networks.trace.viewing import take
from weightwalk.steps import Add, Append, Concat, Multiply, Upsample


@reads("add", "sub", "subtract", "rsub")
def _add(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    one, two, program = a["self"], a["other"], reader.program
    signs = [1.0, float(a.get("alpha", 1)) * (-1 if "sub" in str(node.target) else 1)]
    if "rsub" in str(node.target):
        signs = [-float(a.get("alpha", 1)), 1.0]
    if isinstance(one, View) and isinstance(two, View):
        for view in (one, two):
            reader.check_numbers(view_of(view))
        first, second = program.affine(one, signs[0], 0.0), program.affine(two, signs[1], 0.0)
        return together(program, first, second, "add", shape_of(node))
    place = 0 if isinstance(one, View) else 1
    view, term = (one, two)[place], torch.as_tensor((one, two)[1 - place]) * signs[1 - place]
    if isinstance(view.source, Scores):
        return View(view.source.masked(seen_by(term)), view.axes)
    reader.check_numbers(view)
    scaled = program.affine(view, signs[place], 0.0)
    return shift(program, scaled, term, is_learned=reader.is_learned(node.args[1 - place]))


@reads("mul", "multiply")
def _multiply(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    one, two = a["self"], a["other"]
    if isinstance(one, View) and isinstance(two, View):
        return together(reader.program, view_of(one), view_of(two), "multiply", shape_of(node))
    place = 0 if isinstance(one, View) else 1
    tensor = torch.as_tensor((one, two)[1 - place])
    return scale(reader.program, view_of((one, two)[place]), tensor, is_learned=reader.is_learned(node.args[1 - place]))


@reads("div", "divide", "true_divide")
def _divide(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    if isinstance(a["other"], View):
        raise Unreadable("it divides by a value that depends on the input")
    if a.get("rounding_mode"):
        raise Unreadable("it rounds")
    view, factor = view_of(a["self"]), 1.0 / torch.as_tensor(a["other"])
    return scale(reader.program, view, factor, is_learned=reader.is_learned(node.args[1]))


@reads("pow", "square")
def _power(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, power = view_of(a["self"]), a.get("exponent", 2)
    if not isinstance(power, (int, float)) or power != int(power) or not 2 <= power <= 8:
        raise Unreadable(f"it raises to the power {power}")
    shape = reader.program.shapes[view.source]
    return View(reader.program.emit(Multiply(shape[0], sources=(view.source,) * int(power)), shape), view.axes)


@reads("glu")
def _gate(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, program = view_of(a["self"]), reader.program
    number = view.axis(a["dim"])
    half = view.shape[number] // 2
    gate = program.activate(take(program, view, number, half, 2 * half), "sigmoid")
    return together(program, take(program, view, number, 0, half), gate, "multiply", shape_of(node))


def together(program: Program, one: View, two: View, kind: str, shape: Sequence[int]) -> View:
    """The sum ("add") or product ("multiply") of two views, which gives a tensor of `shape`."""
    views = [_bare(view, len(shape)) for view in (one, two)]
    axes = [view.axes for view in views]
    covers = [all(a or not b for a, b in zip(*pair, strict=True)) for pair in (axes, axes[::-1])]
    if not any(covers):
        raise Unreadable("two values are spread over each other's axes (an outer sum or product)")
    base = 0 if covers[0] and (views[0].source != 0 or not covers[1]) else 1
    views[base], views[1 - base] = alike(program, views[base], views[1 - base])
    width = program.shapes[views[base].source]
    sources = (views[0].source, views[1].source)
    value = program.emit((Add if kind == "add" else Multiply)(width[0], sources=sources), width)
    own = zip(views[base].axes, shape, strict=True)
    return View(value, tuple(axis or copies(n) for axis, n in own))


def _bare(view: View, count: int) -> View:
    """The view with `count` axes, of which those that only repeat have length one."""
    axes = tuple(() if of_kind(axis, "copies") else axis for axis in view.axes)
    return View(view.source, ((),) * (count - len(axes)) + axes)


def alike(program: Program, base: View, other: View) -> tuple[View, View]:
    """Both views, `other` on a value whose channels and positions lie as those of `base` do, or have length one."""
    pairs = [pair for a, b in zip(base.axes, other.axes, strict=True) for pair in paired(a, b)]
    if any((a.dim == BATCH) != (b is not None and b.dim == BATCH) for a, b in pairs):
        raise Unreadable("examples of one value meet positions or channels of another")
    dims: list[list[tuple[Factor, Factor | None]]] = []
    for dim in range(len(program.shapes[base.source])):
        dims.append(sorted((pair for pair in pairs if pair[0].dim == dim), key=lambda pair: -pair[0].stride))
    present = [[b is not None for _, b in dim] for dim in dims]
    if any(any(some) and not all(some) for some in present[1:]):  # an axis of the grid is met in part: it is cut
        cut = program.arrange(base, [[a for a, _ in dims[0]], *([a] for dim in dims[1:] for a, _ in dim)])
        return alike(program, cut, other)
    if any(present[0]) and not all(present[0]):
        raise Unreadable("a value is spread over some of the channels of another")
    wanted: list[Axis] = [tuple(b for _, b in dim if b is not None) for dim in dims]
    if not any(wanted[1:]):
        wanted[1:] = [()] * (len(program.shapes[other.source]) - 1)
    other = program.arrange(other, wanted)
    width = program.shapes[base.source][0]
    if not any(present[0]) and width > 1:  # one channel meets many
        shape = (width, *program.shapes[other.source][1:])
        value = program.emit(Concat(width, sources=(other.source,) * width, widths=(1,) * width), shape)
        other = View(value, other.axes)
    return base, other


@reads("cat", "concat", "concatenate", "stack")
def _concatenate(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    parts, number = a["tensors"], a["dim"] % len(shape_of(node))
    if "stack" in str(node.target):
        parts = [_stacked(part, number) for part in parts]
    views = [view_of(part) for part in parts if isinstance(part, View)]
    for view in views:
        reader.check_numbers(view)
    base = next((view for view in views if view.source), views[0])
    of_positions = any(of_kind(view.axes[number], "grid") for view in views)
    others = [axis for view in views for place, axis in enumerate(view.axes) if place != number]
    whole_grid = all(f.dim <= CHANNELS for axis in others for f in axis)
    if of_positions and whole_grid and not any(of_kind(view.axes[number], "channels") for view in views):
        return _appended(reader, node, base, parts, number)
    return _channels_joined(reader, node, base, parts, number)


def _stacked(part: View | Tensor, number: int) -> View | Tensor:
    if isinstance(part, View):
        return View(part.source, (*part.axes[:number], (), *part.axes[number:]))
    return part.unsqueeze(number)


def _beside(base: View, part: View, number: int) -> list[tuple[Factor, Factor | None]]:
    """The factors of all axes of `base` but `number` beside those of `part`, those of long strides first."""
    axes = [place for place in range(len(base.axes)) if place != number]
    pairs = [pair for place in axes for pair in paired(base.axes[place], part.axes[place])]
    return sorted(pairs, key=lambda pair: -pair[0].stride)


def _joined_like(program: Program, base: View, part: View, number: int, front: bool) -> View:
    """A part with its other axes laid like those of `base`; axis `number` leads the channels or is all positions."""
    pairs = _beside(base, part, number)
    if any(b is None for _, b in pairs):
        if not front or any((b is None) != (a.dim > CHANNELS) for a, b in pairs):
            raise Unreadable("values of other shapes are put behind one another")
        return _spread(program, base, part, number)
    dims: list[list[Factor]] = []
    for dim in range(len(program.shapes[base.source])):
        dims.append([b for a, b in pairs if a.dim == dim and b is not None])
    own = [f for f in part.axes[number] if f.dim != COPIES]
    if front:
        return program.arrange(part, [[*own, *dims[0]], *dims[1:]])
    return program.arrange(part, [dims[0], own] if own or len(program.shapes[part.source]) > 1 else [dims[0]])


def _spread(program: Program, base: View, part: View, number: int) -> View:
    """A part without positions, repeated at those of `base`, with channels laid like them behind axis `number`."""
    grid = program.shapes[base.source][1:]
    if len(grid) > 3:
        raise Unreadable("it repeats a value along more than three axes")
    channels = [b for a, b in _beside(base, part, number) if a.dim == CHANNELS and b is not None]
    found = program.arrange(part, [[*part.axes[number], *channels], *([()] * len(grid))])
    shape = (program.shapes[found.source][0], *grid)
    return View(program.emit(Upsample(shape[0], grid, sources=(found.source,)), shape), found.axes)


def _appended(reader: Reader, node: Node, base: View, parts: Sequence[View | Tensor], number: int) -> View:
    """Join parts along an axis of positions, each behind the one before."""
    program, sources, count = reader.program, [], 0
    base = _joined_like(program, base, base, number, False)
    for part, argument in zip(parts, _listed(node), strict=True):
        count += part.shape[number]
        if isinstance(part, View):
            sources.append(_joined_like(program, base, part, number, False).source)
        else:
            laid = laid_like(program, base, part, number)
            channels = program.shapes[base.source][0]
            laid = laid.reshape(len(laid), -1).expand(channels, -1)
            sources.append(learned(program, laid, fixed=not reader.is_learned(argument)))
    channels = program.shapes[base.source][0]
    value = program.emit(Append(channels, sources=tuple(sources)), (channels, count))
    return View(value, base.axes).with_axis(number, axis_of(1, count))


def _listed(node: Node) -> list[Any]:
    """The nodes whose values are put one behind another."""
    listed: Any = node.args[0] if node.args else node.kwargs["tensors"]
    return list(listed)


def _channels_joined(reader: Reader, node: Node, base: View, parts: Sequence[View | Tensor], number: int) -> View:
    """Join parts along an axis of channels; another axis becomes one of channels."""
    program, sources, widths = reader.program, [], []
    base = _joined_like(program, base, base, number, True)
    grid = program.shapes[base.source][1:]
    rest = program.shapes[base.source][0] // size(base.axes[number])
    bare = base.with_axis(number, tuple(f for f in base.axes[number] if f.dim != COPIES))
    for part, argument in zip(parts, _listed(node), strict=True):
        if isinstance(part, View):
            found = _joined_like(program, bare, part, number, True).source
        else:
            constant(part, "what it joins")
            laid = laid_like(program, bare, part, number).movedim(-1, 0)
            laid = laid.expand(len(laid), rest, *grid).reshape(-1, *grid)
            found = learned(program, laid, fixed=not reader.is_learned(argument), grid=grid)
        sources.append(found)
        widths.append(program.shapes[found][0])
    total = sum(widths)
    value = program.emit(Concat(total, sources=tuple(sources), widths=tuple(widths)), (total, *grid))
    return View(value, bare.axes).with_axis(number, axis_of(CHANNELS, total // rest, rest))

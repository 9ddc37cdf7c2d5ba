"""Operations that only put numbers elsewhere: reshapes, transpositions, slices, splits, expansions."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from weightwalk.networks.trace.layout import (
    BATCH,
    CHANNELS,
    Axis,
    Unreadable,
    View,
    axis_of,
    copies,
    merged,
    of_kind,
    permute,
    reshape,
    size,
    split,
    transpose,
)
from weightwalk.networks.trace.program import Program
from weightwalk.networks.trace.reader import Reader, constant, reads, shape_of, view_of
from weightwalk.steps import Crop, Pad, Pick, Slice

_ALL = 2**31  # a slice's stop, where it has none, is at least this


@reads(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as", "reshape_as", "ravel"
)
def _reshape(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    return reshape(a["self"], shape_of(node))


@reads("transpose", "swapaxes", "swapdims", "t", "mT", "adjoint", "numpy_T")
def _transpose(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view = a["self"]
    axes = [a[name] for name in ("dim0", "dim1", "axis0", "axis1") if name in a] or [-2, -1]
    return transpose(view, view.axis(axes[0]), view.axis(axes[1])) if len(view.axes) > 1 else view


@reads("permute")
def _permute(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    return permute(a["self"], [a["self"].axis(axis) for axis in a["dims"]])


@reads("movedim", "moveaxis")
def _movedim(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view = a["self"]
    listed = [[value] if isinstance(value, int) else list(value) for value in (a["source"], a["destination"])]
    moved = {view.axis(to): view.axis(source) for source, to in zip(*listed, strict=True)}
    rest = iter([axis for axis in range(len(view.axes)) if axis not in moved.values()])
    return permute(view, [moved[axis] if axis in moved else next(rest) for axis in range(len(view.axes))])


@reads("expand", "expand_as", "broadcast_to", "repeat", "tile")
def _expand(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, shape = a["self"], shape_of(node)
    axes: list[Axis] = [()] * (len(shape) - len(view.axes)) + list(view.axes)
    for number, (axis, count) in enumerate(zip(axes, shape, strict=True)):
        if count != size(axis):
            if count % size(axis):
                raise Unreadable(f"an axis of {size(axis)} becomes one of {count}")
            axes[number] = (*copies(count // size(axis)), *axis)
    return View(view.source, tuple(axes))


@reads("repeat_interleave")
def _repeat_interleave(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, times = view_of(a["self"]), a["repeats"]
    if not isinstance(times, int) or a["dim"] is None:
        raise Unreadable("it repeats along no one axis, or each entry its own number of times")
    number = view.axis(a["dim"])
    return view.with_axis(number, (*view.axes[number], *copies(times)))


@reads("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def _split(reader: Reader, node: Node, a: dict[str, Any]) -> list[View]:
    number, start, pieces = a["self"].axis(a["dim"]), 0, []
    for piece in node.meta["val"]:
        pieces.append((start, start + piece.shape[number]))
        start += piece.shape[number]
    used = {user.args[1] for user in node.users}
    view, program = a["self"], reader.program
    return [take(program, view, number, *piece) if place in used else view for place, piece in enumerate(pieces)]


@reads("unbind")
def _unbind(reader: Reader, node: Node, a: dict[str, Any]) -> list[View]:
    view, number = a["self"], a["self"].axis(a["dim"])
    used = {user.args[1] for user in node.users}
    places = range(view.shape[number])
    return [_select(reader.program, view, number, place) if place in used else view for place in places]


@reads("<built-in function getitem>", "getitem")
def _getitem(reader: Reader, node: Node, a: dict[str, Any]) -> Any:
    return a["0"][a["1"]]


@reads("slice", "narrow")
def _slice(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, number = a["self"], a["self"].axis(a["dim"])
    count = view.shape[number]
    if "length" in a:
        start = a["start"] % count if a["start"] < 0 else a["start"]
        return take(reader.program, view, number, start, start + a["length"])
    start, stop, _ = slice(a["start"], None if (a["end"] or 0) >= _ALL else a["end"]).indices(count)
    return take(reader.program, view, number, start, stop, a["step"])


@reads("select")
def _select_one(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    number = a["self"].axis(a["dim"])
    return _select(reader.program, a["self"], number, a["index"] % a["self"].shape[number], last=a["index"] < 0)


@reads("index", "index_select")
def _index(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    indices = a.get("indices") or [*[None] * a["self"].axis(a["dim"]), a["index"]]
    chosen = [(number, index) for number, index in enumerate(indices) if index is not None]
    number, index = chosen[0]
    places = constant(index, "its index").reshape(-1)
    if len(chosen) != 1 or index.dim() > 1 or places.dtype == torch.bool or not len(places):
        raise Unreadable("it picks entries one by one")
    count = a["self"].shape[number]
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    start = int(places[0]) % count
    if step < 1 or not torch.equal(places.cpu() % count, start + step * torch.arange(len(places))):
        raise Unreadable("it picks entries out of order")
    stop = start + step * (len(places) - 1) + 1
    found = take(reader.program, a["self"], number, start, stop, step, last=int(places[0]) < 0)
    return found.with_axis(number) if index.dim() == 0 else found


@reads("unfold")
def _unfold(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, number = a["self"], a["self"].axis(a["dimension"])
    count = view.shape[number]
    if a["size"] != a["step"] or count % a["size"]:
        raise Unreadable("its windows overlap or leave gaps")
    rows, width = split(view.axes[number], (count // a["size"], a["size"]))
    cut = view.with_axis(number, rows)
    return View(cut.source, (*cut.axes, width))


@reads("pixel_shuffle", "pixel_unshuffle", "channel_shuffle")
def _shuffle(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, shape = a["self"], shape_of(node)
    n, c, *grid = view.shape
    if "groups" in a:
        return reshape(transpose(reshape(view, (n, a["groups"], c // a["groups"], *grid)), 1, 2), shape)
    if len(grid) != 2:
        raise Unreadable("it needs pictures (N, C, H, W)")
    if "upscale_factor" in a:
        r = a["upscale_factor"]
        return reshape(permute(reshape(view, (n, c // r**2, r, r, *grid)), (0, 1, 4, 2, 5, 3)), shape)
    r = a["downscale_factor"]
    return reshape(permute(reshape(view, (n, c, grid[0] // r, r, grid[1] // r, r)), (0, 1, 3, 5, 2, 4)), shape)


@reads("pad", "constant_pad_nd")
def _pad(reader: Reader, node: Node, a: dict[str, Any]) -> View:
    view, amounts = view_of(a["self"]), list(a["pad"])
    if a.get("mode", "constant") != "constant" or a.get("value") not in (None, 0, 0.0):
        raise Unreadable(f"it pads by {a.get('mode', 'constant')!r}, and not with zeros")
    for place in range(0, len(amounts), 2):
        number, (before, behind) = len(view.axes) - 1 - place // 2, amounts[place : place + 2]
        count = view.shape[number]
        if before < 0 or behind < 0:
            view = take(reader.program, view, number, max(0, -before), count - max(0, -behind))
        view = pad(reader.program, view, number, max(0, before), max(0, behind))
    return view


def pad(program: Program, view: View, number: int, before: int, behind: int) -> View:
    """Zeros in front of and behind the entries of an axis."""
    if not before and not behind:
        return view
    if of_kind(view.axes[number], "grid"):
        view, dim = _own_axis(program, view, number)
        shape = list(program.shapes[view.source])
        amounts = [0] * (2 * len(shape) - 2)
        amounts[2 * dim - 2 : 2 * dim] = [before, behind]
        shape[dim] += before + behind
        step = Pad(shape[0], shape[0], grid=tuple(amounts), sources=(view.source,))
        return View(program.emit(step, shape), view.axes).with_axis(number, axis_of(dim, shape[dim]))
    view, rest = _leading(program, view, number, view.axes[number])
    shape = list(program.shapes[view.source])
    wide = shape[0] + (before + behind) * rest
    value = program.emit(Pad(shape[0], wide, before=before * rest, sources=(view.source,)), (wide, *shape[1:]))
    return View(value, view.axes).with_axis(number, axis_of(CHANNELS, wide // rest, rest))


def _select(program: Program, view: View, number: int, place: int, *, last: bool = False) -> View:
    """The entry at `place` of an axis, which goes."""
    return take(program, view, number, place, place + 1, last=last).with_axis(number)


def take(
    program: Program, view: View, number: int, start: int, stop: int, step: int = 1, *, last: bool = False
) -> View:
    """Entries start, start + step, ... below stop of an axis; `last` says that its user counted from the end."""
    axis, count = view.axes[number], view.shape[number]
    if (start, step) == (0, 1) and stop >= count:
        return view
    taken = len(range(start, min(stop, count), step))
    if taken < 1:
        raise Unreadable("it takes no entry at all")
    if any(f.dim == BATCH for f in axis):
        raise Unreadable("it takes some of the examples, so that an example's output depends on the others")
    if of_kind(axis, "copies"):
        return view.with_axis(number, copies(taken))
    if not isinstance(view.source, int):
        raise Unreadable("it takes some of the scores of an attention")
    if of_kind(axis, "grid"):
        return _crop(program, view, number, range(start, min(stop, count), step), last=last)
    if step > 1:
        if count % step or start >= step or taken != count // step:
            raise Unreadable("it takes every few channels, but not evenly")
        major, minor = split(axis, (count // step, step))
        apart = view.with_axis(number, major, minor)
        return take(program, apart, number + 1, start, start + 1).with_axis(number + 1)
    if count % taken == 0 and start % taken == 0:  # one of several blocks: the order within blocks may stay
        major, minor = split(axis, (count // taken, taken))
        apart = view.with_axis(number, major, minor)
        if of_kind(major, "grid"):
            return _select(program, apart, number, start // taken)
        apart, rest = _leading(program, apart, number, major)
        return View(_sliced(program, apart, start // taken * rest, rest), apart.axes).with_axis(number)
    view, rest = _leading(program, view, number, axis)
    value = _sliced(program, view, start * rest, taken * rest)
    return View(value, view.axes).with_axis(number, axis_of(CHANNELS, taken, rest))


def _sliced(program: Program, view: View, start: int, count: int) -> int:
    shape = program.shapes[view.source]
    return program.emit(Slice(shape[0], count, start, sources=(view.source,)), (count, *shape[1:]))


def _leading(program: Program, view: View, number: int, axis: Axis) -> tuple[View, int]:
    """The view with the factors of an axis leading the channels, and how many channels each entry of the axis has."""
    others = [f for place, other in enumerate(view.axes) if place != number for f in other]
    channels = sorted((f for f in others if f.dim == CHANNELS), key=lambda f: -f.stride)
    held = {f.dim for f in axis if f.dim > CHANNELS}
    shape = program.shapes[view.source]
    grid = [] if held else list(program.view(view.source).axes[2:])
    if held:  # positions become channels
        for dim in range(1, len(shape)):
            if dim not in held:
                grid.append(merged(sorted((f for f in others if f.dim == dim), key=lambda f: -f.stride)))
        grid += [(f,) for f in others if f.dim in held]
    found = program.arrange(view, [[*axis, *channels], *grid])
    return found, program.shapes[found.source][0] // size(axis)


def _own_axis(program: Program, view: View, number: int) -> tuple[View, int]:
    """The view with an axis of positions as one whole axis of the grid, and which."""
    axis = view.axes[number]
    shape = program.shapes[view.source]
    if len(axis) != 1 or axis[0].size != shape[axis[0].dim]:
        view = program.arrange(view, [view.channels(), axis, *view.besides(number, least=1)])
    return view, view.axes[number][0].dim


def _crop(program: Program, view: View, number: int, places: range, *, last: bool) -> View:
    view, dim = _own_axis(program, view, number)
    shape = program.shapes[view.source]
    if len(places) == 1 and len(shape) == 2:
        position = places[0] - shape[1] if last or (places[0] == shape[1] - 1 and places[0] > 0) else places[0]
        value = program.emit(Pick(shape[0], position, sources=(view.source,)), shape[:1])
        return View(value, view.axes).with_axis(number, ())
    windows = [places if axis == dim else range(count) for axis, count in enumerate(shape) if axis]
    start, stop, step = zip(*((window[0], window[-1] + 1, window.step) for window in windows), strict=True)
    crop = Crop(shape[0], start, stop, step, sources=(view.source,))
    value = program.emit(crop, (shape[0], *map(len, windows)))
    return View(value, view.axes).with_axis(number, axis_of(dim, len(places)))

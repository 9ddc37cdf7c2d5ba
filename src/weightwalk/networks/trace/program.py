"""The steps that a trace has found so far, with their parameters, and the order of numbers that steps need.

`Program.emit` adds a step and gives the number of the value that it writes; `Program.arrange` puts the numbers of a
view in the order (channels, grid) that a step wants to read, which takes no step where they lie so already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from weightwalk.networks.trace.layout import (
    BATCH,
    CHANNELS,
    COPIES,
    Axis,
    Factor,
    Unreadable,
    View,
    merged,
    refined,
    size,
    whole,
)
from weightwalk.steps import Activate, Affine, Move, Patches, Rearrange, Reshape, Step


@dataclass(frozen=True)
class Parameters:
    """A layer's weight, as `Weights` has it but without the axis of networks, and its bias."""

    weight: Tensor
    bias: Tensor | None
    tensor: Tensor | None = None  # the module's own, where the weight is it as it is: for ties


@dataclass
class Program:
    """`steps[v - 1]` writes value v, (C, *grid) = `shapes[v]`; value 0 is the input."""

    num_examples: int
    shapes: list[tuple[int, ...]]
    moves: bool = True  # the input's channels may lie last, and a step moves them
    steps: list[Step] = field(default_factory=list)
    parameters: dict[int, Parameters] = field(default_factory=dict)
    _known: dict[Step, int] = field(default_factory=dict)

    def emit(self, step: Step, shape: Sequence[int], parameters: Parameters | None = None) -> int:
        """The number of the value (C, *grid) that `step` writes; no step without parameters is there twice."""
        if parameters is None and step in self._known:
            return self._known[step]
        self.steps.append(step)
        self.shapes.append(tuple(shape))
        value = len(self.steps)
        if parameters is None:
            self._known[step] = value
        else:
            self.parameters[value] = parameters
        return value

    def view(self, value: int) -> View:
        """A value as it is, (N, C, *grid)."""
        return View(value, whole((self.num_examples, *self.shapes[value])))

    def activate(self, view: View, activation: str, omega: float = 1.0, slope: float | None = None) -> View:
        """Every number through an activation."""
        shape = self.shapes[view.source]
        step = Activate(shape[0], activation, omega, sources=(view.source,))
        return View(self.emit(step if slope is None else replace(step, slope=slope), shape), view.axes)

    def affine(self, view: View, factor: float, offset: float) -> View:
        """factor x + offset for every number, the view itself where that is x."""
        if (factor, offset) == (1.0, 0.0):
            return view
        shape = self.shapes[view.source]
        return View(self.emit(Affine(shape[0], factor, offset, sources=(view.source,)), shape), view.axes)

    def arrange(self, view: View, dims: Sequence[Sequence[Factor]]) -> View:
        """The view on a value whose channels are the factors `dims[0]` and whose axis g of the grid is `dims[g]`."""
        value, shape = view.source, self.shapes[view.source]
        wanted = [merged(dim) for dim in dims]
        own = list(whole((1, *shape))[1:])
        if wanted == own:
            return view
        if any(f.dim == BATCH for dim in wanted for f in dim):
            raise Unreadable("it computes across examples, which are what the first axis of the input is for")
        if any(f.dim == COPIES for dim in wanted for f in dim):
            raise Unreadable("it computes with an axis along which a value is repeated")
        held = [f for axis in view.axes for f in axis if f.dim not in (BATCH, COPIES)]
        fine = [refined(dim, held) for dim in wanted]
        flat = [f for dim in fine for f in dim]
        places = sorted(range(len(flat)), key=lambda place: (flat[place].dim, -flat[place].stride))
        if math.prod(f.size for f in flat) != math.prod(shape) or len({(f.dim, f.stride) for f in flat}) != len(flat):
            raise Unreadable("only a part of a value's numbers, or some of them twice, are used together")
        moved: dict[Factor, Factor] = {}
        for number, dim in enumerate(fine):
            stride = size(dim)
            for f in dim:
                stride //= f.size
                moved[f] = Factor(number, stride, f.size)
        sizes = [flat[place].size for place in places]
        order = [places.index(place) for place in range(len(flat))]
        written = (size(fine[0]), *(size(dim) for dim in fine[1:]))
        new = self._rearranged(value, sizes, order, written)
        return View(new, tuple(merged([moved.get(f, f) for f in _cut(axis, flat)]) for axis in view.axes))

    def _rearranged(self, value: int, sizes: list[int], order: list[int], written: tuple[int, ...]) -> int:
        shape = self.shapes[value]
        channels, grid = written[0], written[1:]
        if order == sorted(order) and channels == shape[0]:
            return self.emit(Reshape(channels, grid, sources=(value,)), written)
        if value == 0 and self.moves and written == (shape[-1], *shape[:-1]) and _is_rotation(sizes, order, shape):
            return self.emit(Move(channels, last=False, num_axes=len(grid), sources=(value,)), written)
        if len(shape) == 3 and len(grid) == 1 and _are_patches(sizes, order, shape):
            return self.emit(Patches(shape[0], channels, (sizes[-3], sizes[-1]), sources=(value,)), written)
        return self.emit(Rearrange(shape[0], channels, tuple(sizes), tuple(order), grid, sources=(value,)), written)

    def channels_in(self, view: View, axis: int) -> View:
        """The view on a value whose channels are just what `axis` runs over, in any order; other axes are positions."""
        if all(f.dim == CHANNELS for f in view.axes[axis]) and size(view.axes[axis]) == self.shapes[view.source][0]:
            return view
        return self.arrange(view, [view.axes[axis], *view.besides(axis)])

    def channels_first(self, view: View) -> View:
        """The view (N, C, *grid) as a value of just this shape."""
        if len(view.axes) < 2 or [f.dim for f in view.axes[0]] not in ([BATCH], []):
            raise Unreadable("its first axis is not that of the examples alone")
        return self.arrange(view, view.axes[1:])

    def producer(self, value: Any) -> Step | None:
        """The step that wrote a value; None for the input."""
        return self.steps[value - 1] if value else None


def _cut(axis: Axis, flat: Sequence[Factor]) -> Axis:
    return tuple(g for f in axis for g in ((f,) if f.dim in (BATCH, COPIES) else refined((f,), flat)))


def _are_patches(sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether (C, H, W) is cut into (C, rows, height, columns, width), and height, width and C become the channels."""
    if shape[0] == 1:
        return order == [1, 3, 0, 2] and sizes[0] * sizes[1] == shape[1]
    return order == [2, 4, 0, 1, 3] and sizes[0] == shape[0] and sizes[1] * sizes[2] == shape[1]


def _is_rotation(sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether the last axis of the value (none of its axes of length one) comes first, and nothing else moves."""
    long = [count for count in shape if count > 1]
    return list(sizes) == long and list(order) == [len(long) - 1, *range(len(long) - 1)]

"""Where the numbers of a tensor lie in a value of the program: axes as products of factors.

A value is (N, C, *grid), N examples. A tensor that user code handles holds the numbers of one value in some order: each
of its axes is a row-major product of *factors*, and a factor (dim, stride, size) runs over index = stride * (0 .. size
- 1) of one axis of the value. Reshapes and transpositions only regroup factors, so they need no step.

Example: q of 3 heads of 4 numbers out of a value (12, T), as a tensor (N, 3, T, 4), has the axes [batch], [(channels,
4, 3)], [(grid 1, 1, T)], [(channels, 1, 4)].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

COPIES, BATCH, CHANNELS = -2, -1, 0  # dims of factors; the axes of the grid are 1, 2, ...


class Unreadable(Exception):  # noqa: N818 (it is a reason, which becomes an InputError)
    """Why an operation can't be read, as the end of a sentence."""


class Factor(NamedTuple):
    """Part of an axis. A factor of COPIES repeats the same numbers (an expanded axis); its stride is 0."""

    dim: int
    stride: int
    size: int


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class View:
    """A tensor of user code: the numbers of `source`, a value's number or `scores.Scores`, in the order of `axes`."""

    source: Any
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size(axis) for axis in self.axes)

    def axis(self, number: int) -> int:
        """The number of an axis from the start, given it from the start or the end (-1)."""
        return number % len(self.axes)

    def with_axis(self, number: int, *axes: Axis) -> View:
        """The view with other `axes`, one, several or none, in the place of axis `number`."""
        return View(self.source, (*self.axes[:number], *axes, *self.axes[number + 1 :]))

    def channels(self) -> tuple[Factor, ...]:
        """The factors of channels, in the value's order."""
        found = [f for axis in self.axes for f in axis if f.dim == CHANNELS]
        return merged(sorted(found, key=lambda f: -f.stride))

    def besides(self, *axes: int, least: int = CHANNELS) -> list[Axis]:
        """The other axes than `axes`: their factors of dims from `least` on, where there are any."""
        others = [axis for number, axis in enumerate(self.axes) if number not in axes]
        return [own for axis in others if (own := tuple(f for f in axis if f.dim >= least))]


def axis_of(dim: int, count: int, stride: int = 1) -> Axis:
    """An axis of one factor, or of none where its length is one."""
    return (Factor(dim, stride, count),) if count > 1 else ()


def copies(count: int) -> Axis:
    """An axis along which the same numbers are repeated."""
    return axis_of(COPIES, count, stride=0)


def size(axis: Sequence[Factor]) -> int:
    """The length of an axis."""
    return math.prod(f.size for f in axis)


def of_kind(axis: Axis, kind: str) -> bool:
    """Whether an axis has factors, all of them of channels ("channels"), positions ("grid") or examples ("batch")."""
    names = {COPIES: "copies", BATCH: "batch", CHANNELS: "channels"}
    return {names.get(f.dim, "grid") for f in axis} == {kind}


def whole(shape: Sequence[int]) -> tuple[Axis, ...]:
    """The axes of a value (N, C, *grid) as it is."""
    return tuple(axis_of(dim, count) for dim, count in enumerate(shape, start=BATCH))


def merged(factors: Sequence[Factor]) -> Axis:
    """The factors, those neighbours joined that together are one run."""
    found: list[Factor] = []
    for f in factors:
        if f.size == 1:
            continue
        last = found[-1] if found else None
        if last is not None and last.dim == f.dim and last.stride == f.stride * f.size:
            found[-1] = Factor(f.dim, f.stride, last.size * f.size)
        else:
            found.append(f)
    return tuple(found)


def split(factors: Sequence[Factor], sizes: Sequence[int]) -> tuple[Axis, ...]:
    """A row-major product of factors cut into axes of these sizes."""
    left = list(merged(factors))[::-1]
    axes = []
    for wanted in sizes:
        axis: list[Factor] = []
        while wanted > 1:
            if not left:
                raise Unreadable("a reshape of another number of elements")
            f = left.pop()
            if wanted % f.size == 0:
                axis.append(f)
                wanted //= f.size
            elif f.size % wanted == 0:
                inner = f.size // wanted
                axis.append(Factor(f.dim, f.stride * inner, wanted))
                left.append(Factor(f.dim, f.stride, inner))
                wanted = 1
            else:
                raise Unreadable(f"a reshape cuts an axis of {f.size} into pieces of {wanted}, which mixes two axes")
        axes.append(merged(axis))
    if left:
        raise Unreadable("a reshape of another number of elements")
    return tuple(axes)


def reshape(view: View, shape: Sequence[int]) -> View:
    """The same numbers, row by row, in another shape."""
    return View(view.source, split([f for axis in view.axes for f in axis], shape))


def permute(view: View, order: Sequence[int]) -> View:
    """The view whose axis i is the old axis order[i]."""
    return View(view.source, tuple(view.axes[axis] for axis in order))


def transpose(view: View, one: int, two: int) -> View:
    """The view with two axes in each other's place."""
    order = list(range(len(view.axes)))
    order[one], order[two] = order[two], order[one]
    return permute(view, order)


def refined(factors: Sequence[Factor], others: Sequence[Factor]) -> Axis:
    """`factors`, cut wherever one of `others` begins or ends in the same dim."""
    cuts = {(f.dim, cut) for f in others for cut in (f.stride, f.stride * f.size)}
    found = []
    for f in factors:
        inner = sorted((cut for dim, cut in cuts if dim == f.dim and f.stride < cut < f.stride * f.size), reverse=True)
        top = f.stride * f.size
        for cut in (*inner, f.stride):
            if top % cut or cut % f.stride:
                raise Unreadable("a reshape mixes two axes")
            found.append(Factor(f.dim, cut, top // cut))
            top = cut
    return tuple(found)


def paired(one: Axis, two: Axis) -> list[tuple[Factor, Factor | None]]:
    """The factors of an axis beside those of another as long, both cut alike; None beside an axis of length one."""
    two = tuple(f for f in two if f.dim != COPIES)
    if not two:
        return [(f, None) for f in one]
    if size(one) != size(two):
        raise Unreadable(f"axes of {size(one)} and {size(two)} meet")
    pairs: list[tuple[Factor, Factor | None]] = []
    left, right = list(one)[::-1], list(two)[::-1]
    while left and right:
        a, b = left.pop(), right.pop()
        if a.size % b.size and b.size % a.size:
            raise Unreadable(f"axes that are cut into {a.size} and {b.size} meet")
        if a.size > b.size:
            inner = a.size // b.size
            left.append(Factor(a.dim, a.stride, inner))
            a = Factor(a.dim, a.stride * inner, b.size)
        elif b.size > a.size:
            inner = b.size // a.size
            right.append(Factor(b.dim, b.stride, inner))
            b = Factor(b.dim, b.stride * inner, a.size)
        pairs.append((a, b))
    return pairs

"""Numbers that don't depend on the input, where they meet numbers that do: scales, shifts, learned values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightwalk.networks.trace.layout import BATCH, COPIES, Factor, Unreadable, View, size
from weightwalk.networks.trace.program import Parameters, Program
from weightwalk.steps import Add, Learned, Multiply, Norm

_OWN = Factor(COPIES, -1, 0)  # stands for an axis along which a constant has its own length


def laid_like(program: Program, view: View, tensor: Tensor, own_axis: int | None = None) -> Tensor:
    """A constant that is broadcast to `view`, as (C, *grid) of the view's value, of length one where it doesn't vary.

    `own_axis` is an axis of the view along which the constant has its own length; it comes last.
    """
    while tensor.dim() < len(view.axes):
        tensor = tensor.unsqueeze(0)
    while tensor.dim() > len(view.axes) and tensor.shape[0] == 1:
        tensor = tensor[0]
    given = tuple(tensor.shape)
    sizes: list[int] = []
    factors: list[Factor] = []
    for number, axis in enumerate(view.axes):
        count = given[number] if len(given) == len(view.axes) else 0
        if number == own_axis:
            sizes.append(count)
            factors.append(_OWN)
        elif count in (1, size(axis)):
            sizes += [1 if count == 1 else f.size for f in axis]
            factors += axis
        else:
            raise Unreadable(f"a constant of {given} meets a value of {view.shape}")
    tensor = tensor.reshape(sizes)
    for place, f in enumerate(factors):
        if f.dim in (BATCH, COPIES) and f is not _OWN:
            if not torch.equal(tensor, tensor.narrow(place, 0, 1).expand_as(tensor)):
                raise Unreadable("a constant differs from example to example")
            tensor = tensor.narrow(place, 0, 1)
    groups: list[list[int]] = []
    for dim in range(len(program.shapes[view.source])):
        places = [place for place, f in enumerate(factors) if f.dim == dim]
        groups.append(sorted(places, key=lambda place: -factors[place].stride))
        if any(tensor.shape[place] > 1 for place in places):
            tensor = tensor.expand([factors[at].size if at in places else n for at, n in enumerate(tensor.shape)])
    order = [place for places in groups for place in places]
    written = [math.prod(tensor.shape[place] for place in places) for places in groups]
    rest = sorted(set(range(len(factors))) - set(order), key=lambda place: factors[place] is _OWN)
    return tensor.permute(*order, *rest).reshape(*written, *([] if own_axis is None else [given[own_axis]]))


def learned(program: Program, tensor: Tensor, *, fixed: bool, grid: tuple[int, ...] | None = None) -> int:
    """Learned values (C, *grid), for as many examples as the input has; `fixed` ones are constants but no parameters.

    Left out, `grid` is the tensor's, or () for a single position.
    """
    if grid is None:
        grid = tuple(tensor.shape[1:]) if math.prod(tensor.shape[1:]) > 1 else ()
    step = Learned(1, len(tensor), bias=False, grid=grid, fixed=fixed, sources=(0,))
    return program.emit(step, (len(tensor), *grid), Parameters(tensor.reshape(len(tensor), 1, -1), None))


def per_channel(program: Program, view: View, weight: Tensor, bias: Tensor | None = None) -> View:
    """A scale for every channel (and a shift): what a batch norm is in evaluation mode."""
    shape = program.shapes[view.source]
    step = Norm(shape[0], shape[0], bias=bias is not None, norm="batch", sources=(view.source,))
    return View(program.emit(step, shape, Parameters(weight, bias)), view.axes)


def scale(program: Program, view: View, tensor: Tensor, *, is_learned: bool) -> View:
    """The view times a constant; a single number that isn't learned belongs to the architecture."""
    laid = laid_like(program, view, tensor)
    shape = program.shapes[view.source]
    if laid.numel() == 1 and not is_learned:
        return program.affine(view, float(laid), 0.0)
    if laid.numel() == len(laid):
        return per_channel(program, view, laid.reshape(-1).expand(shape[0]))
    factor = learned(program, laid.expand(shape[0], *laid.shape[1:]), fixed=not is_learned)
    return View(program.emit(Multiply(shape[0], sources=(view.source, factor)), shape), view.axes)


def shift(program: Program, view: View, tensor: Tensor, *, is_learned: bool) -> View:
    """The view plus a constant."""
    laid = laid_like(program, view, tensor)
    shape = program.shapes[view.source]
    if laid.numel() == 1 and not is_learned:
        return program.affine(view, 1.0, float(laid))
    laid = laid.expand(shape[0], *laid.shape[1:])
    if view.source == 0 and laid.numel() == len(laid):
        return per_channel(program, view, torch.ones_like(laid).reshape(-1), laid.reshape(-1))
    term = learned(program, laid, fixed=not is_learned)
    return View(program.emit(Add(shape[0], sources=(view.source, term)), shape), view.axes)

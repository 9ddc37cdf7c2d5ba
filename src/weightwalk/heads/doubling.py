"""Transposed convolutions of kernel 4, stride 2, padding 1 on a CPU, with 25 products where their definition has 64.

Along one axis the even outputs are out[2a] = k_1 x[a] + k_3 x[a-1] and the odd ones out[2a+1] = k_2 x[a] + k_0 x[a+1]:
coefficient a of x(z) (k_1 + k_3 z), and coefficient a+1 of x(z) (k_0 + k_2 z). So the input is cut into tiles of at
most four, each a polynomial of degree 3, and a tile's product with a kernel of two taps is known from its values at the
five points 0, 1, -1, 2 and infinity (Toom-Cook; for convolutions Lavin and Gray 2016, arXiv:1509.09308). Evaluation,
products and interpolation, which adds up where tiles overlap, are matrix products, and so are their derivatives.

Axes: N pictures, I and O channels, H and W rows and columns of the input. A parity is a pair (p, q): the outputs of
rows 2a + p and columns 2b + q. Pictures lie behind the grid, so that every matrix product has contiguous rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.heads import by_hand

_POINTS = (0.0, 1.0, -1.0, 2.0, None)  # None: infinity, where a polynomial's value is its leading coefficient
_OF_TILE = ((), (0, 4), (0, 1, 4), (0, 1, 2, 4), (0, 1, 2, 3, 4))  # the points of a tile of that many inputs
_PARITIES = tuple(product((0, 1), repeat=2))
_TAPS = (1, 3, 0, 2)  # of the even outputs, then of the odd ones
_CHUNK_BYTES = 10 * 2**20  # of the products of one parity: they stay in the last-level cache until interpolated


def decode(maps_NIHW: Tensor, *parameters: Tensor) -> Tensor:
    """Transposed convolutions with ReLU between them, at least two; parameters are weight, bias, weight, bias, ...

    All layers but the last go by tiles, the last is one product with all its taps. Shapes: those of `ConvDecoder`.
    """
    last, bias = parameters[-2:]
    hidden = [(_taps(weight), bias) for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True)]
    pictures = []
    for chunk in maps_NIHW.split(_pictures_at_once(maps_NIHW, parameters)):
        parts = chunk.permute(2, 3, 0, 1)[None, None]
        for taps, of_layer in hidden:
            parts = _Doubled.apply(_whole(parts), taps, of_layer)  # type: ignore[no-untyped-call]
        patches = parts.flatten(0, -2) @ last.flatten(1)
        columns = _whole(patches.view(*parts.shape[:-1], -1)).permute(2, 3, 0, 1)
        size = (2 * columns.shape[2], 2 * columns.shape[3])
        pictures.append(F.fold(columns.flatten(2), size, 4, padding=1, stride=2) + bias[:, None, None])
    return torch.cat(pictures)


def pays(maps_NIHW: Tensor, *parameters: Tensor) -> bool:
    """Whether `decode` has less to do than torch's convolutions."""
    tiles = len(maps_NIHW) * prod(-(-length // 4) for length in maps_NIHW.shape[2:])
    return len(parameters) > 2 and min(*maps_NIHW.shape[2:], len(parameters[1])) > 0 and tiles >= 128


@dataclass(frozen=True)
class Axis:
    """One axis cut into tiles. Its nodes are the points of all tiles, ordered by point, then tile."""

    evaluate: Tensor
    """(nodes, H): from inputs to the values of every tile at its points."""
    interpolate: Tensor
    """(2, H, nodes): from products at the nodes to even and odd outputs."""
    of_point: tuple[slice, ...]
    """The nodes of each point."""


@cache
def axis(length: int, dtype: torch.dtype) -> Axis:
    """The tiles of an axis of that many inputs: as few as there can be, their sizes equal or one apart."""
    tiles = [len(tile) for tile in torch.arange(length).tensor_split(-(-length // 4))]
    nodes = sorted((point, tile) for tile, size in enumerate(tiles) for point in _OF_TILE[size])
    evaluate = torch.zeros(len(nodes), length, dtype=torch.float64)
    interpolate = torch.zeros(2, length, len(nodes), dtype=torch.float64)
    start = 0
    for tile, size in enumerate(tiles):
        own = [nodes.index((point, tile)) for point in _OF_TILE[size]]
        evaluate[own, start : start + size] = _powers(_OF_TILE[size], size)
        inverse = torch.linalg.inv(_powers(_OF_TILE[size], size + 1))
        for parity, coefficient in product((0, 1), range(size + 1)):
            if 0 <= start + coefficient - parity < length:
                interpolate[parity, start + coefficient - parity, own] = inverse[coefficient]
        start += size
    ends = [sum(point < stop for point, _ in nodes) for stop in range(len(_POINTS) + 1)]
    return Axis(evaluate.to(dtype), interpolate.to(dtype), tuple(map(slice, ends, ends[1:])))


def _powers(points: Sequence[int], degree: int) -> Tensor:
    """(points, degree): what evaluates polynomials of that many coefficients at these points."""
    values = [_POINTS[point] for point in points]
    rows = [[float(k == degree - 1) if x is None else x**k for k in range(degree)] for x in values]
    return torch.tensor(rows, dtype=torch.float64)


@cache
def _kernel_points(dtype: torch.dtype) -> Tensor:
    """(25, 4): what evaluates a kernel of 2 x 2 taps at all pairs of points, the column's first."""
    along = _powers(range(len(_POINTS)), 2)
    at_pairs: Tensor = torch.einsum("cw,rh->crhw", along, along)
    return at_pairs.reshape(-1, 4).to(dtype)


def _taps(weight_IO44: Tensor) -> Tensor:
    """(2, 2, 4, I, O): the taps of each parity."""
    taps = weight_IO44.permute(2, 3, 0, 1)[_TAPS, :][:, _TAPS]
    return taps.unflatten(1, (2, 2)).unflatten(0, (2, 2)).transpose(1, 2).flatten(2, 3).contiguous()


def _whole(parts: Tensor) -> Tensor:
    """(p, q, H, W, N, C) -> (p H, q W, N, C)."""
    return parts.permute(2, 0, 3, 1, 4, 5).flatten(2, 3).flatten(0, 1).contiguous()


def _pictures_at_once(maps_NIHW: Tensor, parameters: Sequence[Tensor]) -> int:
    numbers = max(
        len(bias) * prod(len(axis(2**layer * length, maps_NIHW.dtype).evaluate) for length in maps_NIHW.shape[2:])
        for layer, bias in enumerate(parameters[1:-2:2])
    )
    return max(1, _CHUNK_BYTES // (numbers * maps_NIHW.element_size()))


@dataclass(frozen=True)
class _Nodes:
    """The nodes of a grid. What is there at them is, for each point of W, a tensor (nodes of H, tiles of W, N, C)."""

    rows: Axis
    columns: Axis

    def empty(self, like: Tensor, channels: int) -> list[Tensor]:
        """Room for as many pictures as `like` (H, W, N, C) has."""
        size = len(self.rows.evaluate)
        return [like.new_empty(size, s.stop - s.start, like.shape[2], channels) for s in self.columns.of_point]

    def each(self, there: Sequence[Tensor]) -> Iterator[Tensor]:
        """(tiles and pictures, C) at each of the 25 pairs of points, in the order of `_kernel_points`."""
        return (at[nodes].flatten(0, 2) for at in there for nodes in self.rows.of_point)

    def spread(self, x_HWNC: Tensor, by_rows: Tensor, by_columns: Tensor, there: Sequence[Tensor]) -> None:
        """Matrices (nodes, H) and (nodes, W), applied to a grid."""
        half = by_columns @ x_HWNC.flatten(2)
        for nodes, at in zip(self.columns.of_point, there, strict=True):
            torch.mm(by_rows, half[:, nodes].flatten(1), out=at.flatten(1))

    def gather(self, there: Sequence[Tensor], by_rows: Tensor, by_columns: Tensor, x_HWNC: Tensor) -> None:
        """Matrices (H, nodes) and (W, nodes), applied to what is at the nodes."""
        half = x_HWNC.new_empty(len(by_rows), by_columns.shape[1], x_HWNC[0, 0].numel())
        for nodes, at in zip(self.columns.of_point, there, strict=True):
            torch.mm(by_rows, at.flatten(1), out=half[:, nodes].flatten(1))
        torch.matmul(by_columns, half, out=x_HWNC.flatten(2))


class _Doubled(torch.autograd.Function):
    """ReLU of a transposed convolution: (H, W, N, I), taps of each parity and a bias -> (2, 2, H, W, N, O)."""

    @staticmethod
    def forward(ctx: Any, x_HWNI: Tensor, taps: Tensor, bias_O: Tensor) -> Tensor:
        rows, columns = (axis(length, x_HWNI.dtype) for length in x_HWNI.shape[:2])
        grid, channels = _Nodes(rows, columns), len(bias_O)
        values, products = grid.empty(x_HWNI, x_HWNI.shape[3]), grid.empty(x_HWNI, channels)
        grid.spread(x_HWNI, rows.evaluate, columns.evaluate, values)
        kernel = taps.new_empty(len(_POINTS) ** 2, *taps.shape[3:])
        answer = x_HWNI.new_empty(2, 2, *x_HWNI.shape[:3], channels)
        for p, q in _PARITIES:
            torch.mm(_kernel_points(taps.dtype), taps[p, q].flatten(1), out=kernel.flatten(1))
            for value, matrix, made in zip(grid.each(values), kernel, grid.each(products), strict=True):
                torch.mm(value, matrix, out=made)
            grid.gather(products, rows.interpolate[p], columns.interpolate[q], answer[p, q])
            answer[p, q].add_(bias_O).relu_()
        ctx.save_for_backward(x_HWNI, taps, bias_O, answer)
        return answer

    @staticmethod
    def backward(ctx: Any, of_answer: Tensor) -> tuple[Tensor | None, ...]:
        x_HWNI, taps, bias_O, answer = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_hand.gradients(_doubled, (x_HWNI, taps, bias_O), of_answer)
        rows, columns = (axis(length, x_HWNI.dtype) for length in x_HWNI.shape[:2])
        grid = _Nodes(rows, columns)
        values, products = grid.empty(x_HWNI, x_HWNI.shape[3]), grid.empty(x_HWNI, len(bias_O))
        grid.spread(x_HWNI, rows.evaluate, columns.evaluate, values)
        of_values = [torch.zeros_like(value) for value in values]
        kernel = taps.new_empty(len(_POINTS) ** 2, *taps.shape[3:])
        of_kernel, of_taps, of_bias = torch.empty_like(kernel), torch.empty_like(taps), torch.zeros_like(bias_O)
        of_part = torch.empty_like(answer[0, 0])
        for p, q in _PARITIES:
            torch.ops.aten.threshold_backward.grad_input(of_answer[p, q], answer[p, q], 0, grad_input=of_part)
            of_bias += of_part.sum((0, 1, 2))
            grid.spread(of_part, rows.interpolate[p].T, columns.interpolate[q].T, products)
            torch.mm(_kernel_points(taps.dtype), taps[p, q].flatten(1), out=kernel.flatten(1))
            for value, of_value, matrix, of_matrix, made in zip(
                grid.each(values), grid.each(of_values), kernel, of_kernel, grid.each(products), strict=True
            ):
                of_value.addmm_(made, matrix.T)
                torch.mm(value.T, made, out=of_matrix)
            torch.mm(_kernel_points(taps.dtype).T, of_kernel.flatten(1), out=of_taps[p, q].flatten(1))
        of_x = torch.empty_like(x_HWNI)
        grid.gather(of_values, rows.evaluate.T, columns.evaluate.T, of_x)
        return of_x, of_taps, of_bias


def _doubled(x_HWNI: Tensor, taps: Tensor, bias_O: Tensor) -> Tensor:
    """`_Doubled` by its definition, from which autograd derives any order."""
    back = [_TAPS.index(tap) for tap in range(4)]
    kernel = taps.unflatten(2, (2, 2)).transpose(1, 2).flatten(2, 3).flatten(0, 1)[back, :][:, back]
    whole = F.conv_transpose2d(x_HWNI.permute(2, 3, 0, 1), kernel.permute(2, 3, 0, 1), bias_O, stride=2, padding=1)
    parts = whole.permute(2, 3, 0, 1).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))
    return torch.relu(parts.permute(1, 3, 0, 2, 4, 5))

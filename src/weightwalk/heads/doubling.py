"""Transposed convolutions of kernel 4, stride 2, padding 1 on a CPU, with 25 products where their definition has 64.

Along one axis the even outputs are out[2a] = k_1 x[a] + k_3 x[a-1] and the odd ones out[2a+1] = k_2 x[a] + k_0 x[a+1]:
coefficient a of x(z) (k_1 + k_3 z), and coefficient a+1 of x(z) (k_0 + k_2 z). So the input is cut into tiles of at
most four, each a polynomial of degree 3, and a tile's product with a kernel of two taps is known from its values at the
five points 0, 1, -1, 2 and infinity (Toom-Cook; for convolutions Lavin and Gray 2016, arXiv:1509.09308). Evaluating,
multiplying and interpolating, which adds up where tiles overlap, are linear, and so are their derivatives. All of it is
in `doubling.cpp`, which the machine's compiler builds once (`zoos/compiled.py`).

Axes: N pictures, I and O channels, H and W rows and columns of the input.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.heads import by_hand
from weightwalk.zoos.compiled import address, library, loads

_SOURCE = Path(__file__).with_name("doubling.cpp")
_HEADERS = (_SOURCE.with_suffix(".h"),)
_LANES = 16  # channels come in vectors of so many
_CHUNK_BYTES = 4 * 2**20  # of the values at all points, which are read again and again

_POINTS = (0.0, 1.0, -1.0, 2.0, None)  # None: infinity, where a polynomial's value is its leading coefficient
_OF_TILE = ((), (0, 4), (0, 1, 4), (0, 1, 2, 4), (0, 1, 2, 3, 4))  # the points of a tile of that many inputs


def decode(maps_NIHW: Tensor, *parameters: Tensor) -> Tensor:
    """Transposed convolutions with ReLU between them, at least two; parameters are weight, bias, weight, bias, ...

    All layers but the last go by tiles, the last is one product with all its taps. Shapes: those of `ConvDecoder`.
    """
    last, bias = parameters[-2:]
    hidden = [
        (weight.permute(2, 3, 0, 1).contiguous(), bias)
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True)
    ]
    pictures = []
    for chunk in maps_NIHW.tensor_split(_chunks(maps_NIHW, parameters)):
        maps = chunk.permute(0, 2, 3, 1).contiguous()
        for taps, of_layer in hidden:
            maps = _Doubled.apply(maps, taps, of_layer)  # type: ignore[no-untyped-call]
        pictures.append(_Last.apply(maps, last, bias))  # type: ignore[no-untyped-call]
    return torch.cat(pictures)


def pays(maps_NIHW: Tensor, *parameters: Tensor) -> bool:
    """Whether `decode` can do it, which is then faster than torch's convolutions."""
    channels = [size for weight in parameters[:-2:2] for size in weight.shape[:2]]
    return len(channels) > 0 and not any(size % _LANES for size in channels) and maps_NIHW.numel() > 0 and available()


@cache
def available() -> bool:
    """Whether the compiled part can be built and loaded here, found out by doing it."""
    return loads(_library)


@dataclass(frozen=True)
class Axis:
    """One axis cut into tiles. Its nodes are the points of all tiles, ordered by point, then tile."""

    evaluate: Tensor
    """(nodes, H): from inputs to the values of every tile at its points."""
    interpolate: Tensor
    """(2, H, nodes): from products at the nodes to even and odd outputs."""
    ends: tuple[int, ...]
    """Where the nodes of each point begin, and where the last point's end."""


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
    ends = tuple(sum(point < stop for point, _ in nodes) for stop in range(len(_POINTS) + 1))
    return Axis(evaluate.to(dtype), interpolate.to(dtype), ends)


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


def _chunks(maps_NIHW: Tensor, parameters: Sequence[Tensor]) -> int:
    """In how many chunks of pictures they are decoded."""
    numbers = max(
        len(weight) * prod(axis(2**layer * length, maps_NIHW.dtype).ends[-1] for length in maps_NIHW.shape[2:])
        for layer, weight in enumerate(parameters[:-2:2])
    )
    return min(len(maps_NIHW), -(-len(maps_NIHW) * numbers * maps_NIHW.element_size() // _CHUNK_BYTES))


def _doubled(x_NHWI: Tensor, taps: Tensor, bias_O: Tensor) -> Tensor:
    """ReLU of a transposed convolution: (N, H, W, I), taps (4, 4, I, O) -> (N, 2H, 2W, O)."""
    maps = F.conv_transpose2d(x_NHWI.permute(0, 3, 1, 2), taps.permute(2, 3, 0, 1), bias_O, stride=2, padding=1)
    return torch.relu(maps.permute(0, 2, 3, 1))


class _Doubled(torch.autograd.Function):
    """`_doubled`, of which it keeps operands and answer."""

    @staticmethod
    def forward(ctx: Any, x_NHWI: Tensor, taps: Tensor, bias_O: Tensor) -> Tensor:
        num, height, width, _ = x_NHWI.shape
        answer = x_NHWI.new_empty(num, 2 * height, 2 * width, len(bias_O))
        _call("doubled", x_NHWI, bias_O, *_axes(x_NHWI), x_NHWI, taps, bias_O, answer)
        ctx.save_for_backward(x_NHWI, taps, bias_O, answer)
        return answer

    @staticmethod
    def backward(ctx: Any, of_answer: Tensor) -> tuple[Tensor | None, ...]:
        x_NHWI, taps, bias_O, answer = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_hand.gradients(_doubled, (x_NHWI, taps, bias_O), of_answer)
        found = tuple(map(torch.empty_like, (x_NHWI, taps, bias_O)))
        turned = taps.transpose(2, 3).contiguous()
        operands = x_NHWI, turned, answer, of_answer.contiguous()
        _call("doubled_back", x_NHWI, bias_O, *_axes(x_NHWI), *operands, *found)
        return found


def _last(x_NHWI: Tensor, weight: Tensor, bias_O: Tensor) -> Tensor:
    """A transposed convolution: (N, H, W, I), weight (I, O, 4, 4) -> (N, O, 2H, 2W)."""
    return F.conv_transpose2d(x_NHWI.permute(0, 3, 1, 2), weight, bias_O, stride=2, padding=1)


class _Last(torch.autograd.Function):
    """`_last`."""

    @staticmethod
    def forward(ctx: Any, x_NHWI: Tensor, weight: Tensor, bias_O: Tensor) -> Tensor:
        num, height, width, _ = x_NHWI.shape
        answer = x_NHWI.new_empty(num, len(bias_O), 2 * height, 2 * width)
        _call("last", x_NHWI, bias_O, x_NHWI, weight.contiguous(), bias_O, answer)
        ctx.save_for_backward(x_NHWI, weight, bias_O)
        return answer

    @staticmethod
    def backward(ctx: Any, of_answer: Tensor) -> tuple[Tensor | None, ...]:
        x_NHWI, weight, bias_O = ctx.saved_tensors
        if torch.is_grad_enabled():
            return by_hand.gradients(_last, (x_NHWI, weight, bias_O), of_answer)
        of_x, of_weight = torch.empty_like(x_NHWI), weight.new_empty(weight.shape)
        turned = weight.permute(1, 2, 3, 0).contiguous()
        _call("last_back", x_NHWI, bias_O, x_NHWI, turned, of_answer.contiguous(), of_x, of_weight)
        return of_x, of_weight, of_answer.sum((0, 2, 3))


def _axes(x_NHWI: Tensor) -> list[Any]:
    """What the compiled part is told of rows and columns."""
    axes = [axis(length, x_NHWI.dtype) for length in x_NHWI.shape[1:3]]
    ends = [(ctypes.c_int * len(one.ends))(*one.ends) for one in axes]
    return [
        (ctypes.POINTER(ctypes.c_int) * 2)(*(ctypes.cast(one, ctypes.POINTER(ctypes.c_int)) for one in ends)),
        (ctypes.c_void_p * 2)(*(one.evaluate.data_ptr() for one in axes)),
        (ctypes.c_void_p * 2)(*(one.interpolate.data_ptr() for one in axes)),
        _kernel_points(x_NHWI.dtype),
    ]


def _call(name: str, x_NHWI: Tensor, bias_O: Tensor, *arguments: Any) -> None:
    num, height, width, into = x_NHWI.shape
    getattr(_library(), f"weightwalk_{name}_{str(x_NHWI.dtype).removeprefix('torch.')}")(
        (ctypes.c_int * 5)(height, width, num, into, len(bias_O)),
        *(address(one) if isinstance(one, Tensor) else one for one in arguments),
    )


@cache
def _library() -> ctypes.CDLL:
    return library(_SOURCE, _HEADERS)

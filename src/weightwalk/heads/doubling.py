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
from functools import cache, partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk import lanes
from weightwalk.heads import by_hand
from weightwalk.zoos.compiled import address, library, loads

_SOURCE = Path(__file__).with_name("doubling.cpp")
_HEADERS = (_SOURCE.with_suffix(".h"),)
_LANES = 16  # channels come in vectors of so many
_CHUNK_BYTES = 4 * 2**20  # of the values at all points, which are read again and again

_POINTS = (0.0, 1.0, -1.0, 2.0, None)  # None: infinity, where a polynomial's value is its leading coefficient
_OF_TILE = ((), (0, 4), (0, 1, 4), (0, 1, 2, 4), (0, 1, 2, 3, 4))  # the points of a tile of that many inputs


def takes(maps_NIHW: Tensor, *parameters: Tensor) -> bool:
    """Whether `decode` can do this, which is then faster than torch's convolutions.

    In bfloat16 too, which it computes in float32: values at points keep three bits less of it than inputs do, and
    without tiles there is 2.6 times as much to multiply. A processor with matrix instructions for it does that faster.
    """
    into = [weight.shape[0] for weight in parameters[::2]]
    ordinary = by_hand.possible(maps_NIHW, *parameters) and not any(size % _LANES for size in into)
    matrices = by_hand.dtype_of(maps_NIHW) == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
    return ordinary and not matrices and maps_NIHW.numel() > 0 and available()


def decode(maps_NIHW: Tensor, *parameters: Tensor) -> Tensor:
    """Transposed convolutions with ReLU between them; parameters are weight, bias, weight, bias, ...

    All layers but the last go by tiles, the last is one product with all its taps. Shapes: those of `ConvDecoder`.
    """
    operands = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (maps_NIHW, *parameters))
    pictures: Tensor = _Decode.apply(*operands)  # type: ignore[no-untyped-call]
    return pictures.to(by_hand.dtype_of(maps_NIHW))


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
    return at_pairs.reshape(-1, 4).to(dtype).contiguous()


def _plain(maps_NIHW: Tensor, *parameters: Tensor) -> Tensor:
    """What `decode` computes, by its definition."""
    for layer in range(0, len(parameters), 2):
        maps_NIHW = torch.relu(maps_NIHW) if layer else maps_NIHW
        weight, bias = parameters[layer : layer + 2]
        maps_NIHW = F.conv_transpose2d(maps_NIHW, weight, bias, stride=2, padding=1)
    return maps_NIHW


class _Decode(torch.autograd.Function):
    """Chunks of pictures, through all layers one after another: side by side where torch has several threads.

    Between forward and backward it keeps its operands and what ReLU leaves of each hidden layer.
    """

    @staticmethod
    def forward(ctx: Any, maps_NIHW: Tensor, *parameters: Tensor) -> Tensor:
        chunks = maps_NIHW.tensor_split(_chunks(maps_NIHW, parameters))
        of_layers = [*_in_order(parameters, (2, 3, 0, 1)), parameters[-2].contiguous()]
        biases = [bias.contiguous() for bias in parameters[1::2]]
        found = lanes.run([partial(_forward, chunk, of_layers, biases) for chunk in chunks])
        ctx.save_for_backward(maps_NIHW, *parameters, *(maps for _, kept in found for maps in kept))
        ctx.operands = 1 + len(parameters)
        return torch.cat([pictures for pictures, _ in found])

    @staticmethod
    def backward(ctx: Any, of_pictures: Tensor) -> tuple[Tensor | None, ...]:
        operands, kept = ctx.saved_tensors[: ctx.operands], ctx.saved_tensors[ctx.operands :]
        if torch.is_grad_enabled():
            return by_hand.gradients(_plain, operands, of_pictures)
        maps_NIHW, parameters = operands[0], operands[1:]
        count, hidden = _chunks(maps_NIHW, parameters), len(parameters) // 2 - 1
        of_layers = [*_in_order(parameters, (2, 3, 1, 0)), parameters[-2].permute(1, 2, 3, 0).contiguous()]
        biases = [bias.contiguous() for bias in parameters[1::2]]
        found = lanes.run(
            [
                partial(_backward, chunk, kept[k * hidden : (k + 1) * hidden], of_layers, biases, of_chunk)
                for k, (chunk, of_chunk) in enumerate(
                    zip(maps_NIHW.tensor_split(count), of_pictures.tensor_split(count), strict=True)
                )
            ]
        )
        of_maps = torch.cat([of_chunk for of_chunk, _ in found])
        sums = [sum(parts[1:], parts[0]) for parts in zip(*(of_parameters for _, of_parameters in found), strict=True)]
        sums[: 2 * hidden : 2] = [of_taps.permute(2, 3, 0, 1) for of_taps in sums[: 2 * hidden : 2]]
        return of_maps, *sums


def _in_order(parameters: Sequence[Tensor], axes: tuple[int, ...]) -> list[Tensor]:
    """The hidden layers' weights with their axes so, each with its taps one after another."""
    return [weight.permute(axes).contiguous() for weight in parameters[:-2:2]]


def _chunks(maps_NIHW: Tensor, parameters: Sequence[Tensor]) -> int:
    """In how many chunks pictures are decoded."""
    channels = [len(weight) for weight in parameters[::2]]
    values = [
        width * prod(axis(2**layer * length, maps_NIHW.dtype).ends[-1] for length in maps_NIHW.shape[2:])
        for layer, width in enumerate(channels[:-1] or channels)
    ]
    return min(len(maps_NIHW), -(-len(maps_NIHW) * max(values) * maps_NIHW.element_size() // _CHUNK_BYTES))


def _forward(maps_NIHW: Tensor, of_layers: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Pictures, and the hidden layers (N, H, W, channels). Weights are (4, 4, I, O), the last (I, O, 4, 4)."""
    maps, kept = maps_NIHW.permute(0, 2, 3, 1).contiguous(), []
    num, height, width, _ = maps.shape
    for taps, bias in zip(of_layers[:-1], biases[:-1], strict=True):
        height, width = 2 * height, 2 * width
        kept.append(maps.new_empty(num, height, width, len(bias)))
        _call("doubled", maps, bias, *_axes(maps), maps, taps, bias, kept[-1])
        maps = kept[-1]
    pictures = maps.new_empty(num, len(biases[-1]), 2 * height, 2 * width)
    _call("last", maps, biases[-1], maps, of_layers[-1], biases[-1], pictures)
    return pictures, kept


def _backward(
    maps_NIHW: Tensor,
    kept: Sequence[Tensor],
    of_layers: Sequence[Tensor],
    biases: Sequence[Tensor],
    of_pictures: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of a chunk and, by it, of all parameters in the order of `_forward`; weights are (4, 4, O, I), the last
    (O, 4, 4, I).
    """
    inputs = [maps_NIHW.permute(0, 2, 3, 1).contiguous(), *kept]
    of_maps, of_pictures = torch.empty_like(inputs[-1]), of_pictures.contiguous()
    of_weight = of_maps.new_empty(inputs[-1].shape[-1], len(biases[-1]), 4, 4)
    _call("last_back", inputs[-1], biases[-1], inputs[-1], of_layers[-1], of_pictures, of_maps, of_weight)
    found = [of_weight, of_pictures.sum((0, 2, 3))]
    for x, answer, taps, bias in reversed(list(zip(inputs, kept, of_layers, biases, strict=False))):
        of_answer, of_maps = of_maps, torch.empty_like(x)
        of_taps, of_bias = taps.new_empty(taps.transpose(2, 3).shape), torch.empty_like(bias)
        _call("doubled_back", x, bias, *_axes(x), x, taps, answer, of_answer, of_maps, of_taps, of_bias)
        found = [of_taps, of_bias, *found]
    return of_maps.permute(0, 3, 1, 2), found


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

"""Query: a network's own answers at learned points, read by a small network.

The baseline that papers on weight spaces leave out: it looks at no parameter and runs the network instead, so its
`access` is "query". Of INRs at 256 such points a classifier is told most of what their weights hold.

Axes: B networks, K points, C numbers in an answer, D dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.standard import Standardise
from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Embed
from weightwalk.weights import Weights

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_POOLS = (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)


@lru_cache(256)
def answer_shape(spec: NetworkSpec, example: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a network's answer on one example of such a shape; InputError if it has none.

    The network is run on torch's device "meta", which computes shapes alone.
    """
    network = Weights(spec, torch.empty(1, spec.num_parameters, device="meta"))
    return tuple(network.run(torch.empty(1, *example, device="meta")).shape[2:])


@encoders.register("query")
class QueryEncoder(Encoder):
    """K learned points go through the network, and a reader is given its K answers.

        answers_k = f_theta(x_k),   pooled = Reader([(answers_1 - mean) / std, ..., (answers_K - mean) / std])

    A point of a network of vectors (an INR) starts in U(-1, 1); with `grid` = (G_1, ..., G_n0) there is one per cell of
    a regular grid over [-1, 1]^n0 to begin with, first axis slowest, and they are learned from there. Networks of
    pictures are run on `num_points` learned pictures of `input_shape` (C, H, W), numbers from U(-1, 1); networks of
    tokens, which have no gradient, are refused, and so are those that can't be run on such a shape. Mean and standard
    deviation are one per output channel, over points and training networks: buffers that `prepare` sets, 0 and 1 before
    it; one per point would be out of date as soon as points have moved.

    Readers: "mlp", `num_hidden` times [Linear, ReLU, Dropout] `dim` wide, on all answers; "cnn", for a `grid` of one to
    three axes, `num_hidden` times [convolution of width 3, ReLU, pooling to half the size], `dim` channels in the last
    and half as many in each one before, then [Linear, ReLU, Dropout]. Nothing depends on parameters in any other way
    than by the function, so the encoding is invariant to whatever leaves the function as it is: permutations, signs of
    sine neurons, scales of ReLU neurons.

    With `shared`, networks of other architectures are read if they take the same inputs and give answers of one shape.

    Shapes: Weights of B networks -> no nodes, no edges, pooled (B, dim). Memory: K forward passes of every network.
    """

    access = "query"

    def __init__(
        self,
        spec: NetworkSpec,
        num_points: int = 64,
        grid: tuple[int, ...] = (),
        input_shape: tuple[int, ...] = (),
        reader: Literal["mlp", "cnn"] = "mlp",
        dim: int = 128,
        num_hidden: int = 2,
        dropout: float = 0.0,
        shared: bool | None = None,
    ):
        self.validate(SimpleNamespace(**locals()))
        super().__init__(spec)
        self.shared, self.grid, self.pooled_dim = bool(shared), tuple(grid), dim
        self.example = _example(spec, tuple(input_shape))
        if grid and len(grid) != self.example[0]:
            raise InputError(
                f"a grid of points has an axis per input, {self.example[0]} of {spec}, got "
                f"grid={','.join(map(str, grid))}; change it, or leave it out and set num_points"
            )
        self.answer = answer_shape(spec, self.example)
        self.points = nn.Parameter(_centres(grid) if grid else torch.rand(num_points, *self.example) * 2 - 1)
        self.standardise = Standardise(self.answer[0])
        count = len(self.points) * math.prod(self.answer)
        self.reader = _cnn(self.answer[0], self.grid, dim, num_hidden) if reader == "cnn" else nn.Sequential()
        if reader == "cnn":
            count = _cnn_outputs(self.grid, dim, num_hidden)
        for number in range(num_hidden if reader == "mlp" else 1):
            self.reader += nn.Sequential(nn.Linear(dim if number else count, dim), nn.ReLU(), nn.Dropout(dropout))

    @classmethod
    def validate(cls, options: Any) -> None:
        bounded(options, "num_points dim num_hidden grid input_shape", 1)
        bounded(options, "dropout", 0, below=1)
        if options.reader not in ("mlp", "cnn"):
            raise InputError(unknown("reader", options.reader, ["mlp", "cnn"]))
        if options.grid and options.input_shape:
            raise InputError("a grid is of points and input_shape of pictures, got both; leave one out")
        if options.reader == "cnn" and not 1 <= len(options.grid) <= 3:
            raise InputError(
                f"the cnn reads answers on a grid of one to three axes, got grid={options.grid}; set encoder.grid=16,16"
            )
        if options.reader == "cnn" and options.dim % 2 ** (options.num_hidden - 1):
            raise InputError(
                f"channels of the cnn double {options.num_hidden - 1} times up to dim, got dim={options.dim}; make "
                f"it a multiple of {2 ** (options.num_hidden - 1)}"
            )

    def check(self, spec: NetworkSpec) -> None:
        """InputError for another shape; with `shared`, for other inputs or answers."""
        if not self.shared:
            super().check(spec)
        elif spec.shape != self.spec.shape:
            takes = spec.input_axes == len(self.example) and spec.widths[0] == self.spec.widths[0]
            gives = answer_shape(spec, _example(spec, self.example)) if takes else None
            if gives != self.answer:
                raise InputError(
                    f"this model reads networks from {self.example} to {self.answer}, got {spec}; use a model trained "
                    "on such networks"
                )

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set the mean and standard deviation of every channel of the answers, at the points as they are."""
        with torch.no_grad():
            self.standardise.measure(weights.run(self.points).movedim(2, -1).flatten(0, -2) for weights in batches)

    def read(self, weights: Weights) -> Encoding:
        answers_BKSC = self.standardise(weights.run(self.points).movedim(2, -1))
        if isinstance(self.reader[0], nn.Linear):
            pooled: Tensor = self.reader(answers_BKSC.flatten(1))
        else:  # answers of a network of vectors are (B, K, C)
            pooled = self.reader(answers_BKSC.transpose(1, 2).unflatten(2, self.grid))
        return Encoding(pooled=pooled)


def _example(spec: NetworkSpec, given: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what goes into such networks, `given` unless it is a vector's."""
    if isinstance(spec.first, Embed):
        raise InputError(f"query points must have gradients, but {spec} reads tokens; choose another encoder")
    shape = given or ((spec.widths[0],) if spec.input_axes == 1 else ())
    if len(shape) != spec.input_axes:
        example = ",".join(map(str, (spec.widths[0], *[32] * (spec.input_axes - 1))))
        raise InputError(
            f"to run {spec} it takes the shape of its inputs, {spec.input_axes} numbers, got "
            f"{','.join(map(str, shape)) or 'none'}; set encoder.input_shape={example} or whatever it was made for"
        )
    return shape


def _centres(grid: tuple[int, ...]) -> Tensor:
    """The centres of the cells of a grid over [-1, 1]^n, (K, n)."""
    axes = [(2 * torch.arange(size) + 1) / size - 1 for size in grid]
    return torch.cartesian_prod(*axes).reshape(-1, len(grid))


def _cnn(channels: int, grid: tuple[int, ...], dim: int, num_hidden: int) -> nn.Sequential:
    """(B, C, *grid) -> (B, `_cnn_outputs`)."""
    widths = [channels, *(dim // 2 ** (num_hidden - 1 - block) for block in range(num_hidden))]
    blocks: list[nn.Module] = []
    for block in range(num_hidden):
        conv = _CONVS[len(grid) - 1](widths[block], widths[block + 1], 3, padding=1)
        blocks += [conv, nn.ReLU(), _POOLS[len(grid) - 1](_halved(grid, block + 1))]
    return nn.Sequential(*blocks, nn.Flatten())


def _cnn_outputs(grid: tuple[int, ...], dim: int, num_hidden: int) -> int:
    return dim * math.prod(_halved(grid, num_hidden))


def _halved(grid: tuple[int, ...], times: int) -> tuple[int, ...]:
    return tuple(max(1, size // 2**times) for size in grid)

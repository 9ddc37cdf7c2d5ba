"""Layers: the steps that have parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from weightwalk.errors import InputError
from weightwalk.registry import unknown
from weightwalk.steps.activations import LEAK, check_activation
from weightwalk.steps.base import Link, Sized, Step

NORMS = ("batch", "layer", "group", "rms")


@dataclass(frozen=True)
class Layer(Sized):
    """What steps with parameters share: nodes in, nodes out, a bias, an activation: `activation(omega * (W x + b))`.

    omega is 1 except for sine and gaussian; `slope` is leaky_relu's below zero.
    """

    has_timestamp: ClassVar[bool] = True
    mixes: ClassVar[bool] = True
    """Whether the weight's second axis are the channels read (in blocks, with fewer of them than fan_in)."""
    activation: str = "identity"
    omega: float = 1.0
    bias: bool = True
    slope: float = field(default=LEAK, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.activation)
        if self.omega <= 0:
            raise InputError(f"omega must be a positive number, got {self.omega}")

    @property
    def taps(self) -> int:
        """Parallel edges per pair of nodes: kernel taps, or positions of a flattened grid."""
        return 1

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of one network's weight: (O, I), or (O, I, K) with K taps."""
        return (self.fan_out, self.fan_in) if self.taps == 1 else (self.fan_out, self.fan_in, self.taps)

    @property
    def num_edges(self) -> int:
        return math.prod(self.weight_shape)  # one per number of the weight

    def links(self) -> Iterator[Link]:
        yield from ()  # it writes nodes of its own

    @property
    def tied(self) -> int | None:
        """The layer whose weight this one uses as well (tied weights), or None."""
        return None


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected step, at every position: (I, *grid) -> (O, *grid), one edge per node pair.

    With `positions` = P > 1 it reads a flattened grid of P positions: (I, *grid) -> (O,), P parallel edges per pair, so
    that a dense layer after a flatten still has channels for nodes. `ties` names a layer (by its number among
    `NetworkSpec.layers`) whose weight, transposed, is used here, as the head of a language model uses its embedding.
    """

    kind: ClassVar[str] = "dense"
    positions: int = field(default=1, kw_only=True)
    ties: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions < 1:
            raise InputError(f"a dense step reads at least one position, got {self.positions}")

    @property
    def taps(self) -> int:
        return self.positions

    @property
    def tied(self) -> int | None:
        return self.ties

    @property
    def input_axes(self) -> int | None:
        return 1 if self.positions == 1 else None


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution over 1, 2 or 3 axes: (I, *grid) -> (O, *grid'), K parallel edges per node (channel) pair.

    `stride`, `padding` and `dilation` are one number for all axes or one for each. With `groups` = G, output block g
    reads input block g only. The weight is (O, I / G, K), also of a `transposed` convolution.
    """

    kind: ClassVar[str] = "conv"
    kernel: tuple[int, ...] = (3, 3)
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = field(default=1, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    transposed: bool = field(default=False, kw_only=True)
    output_padding: int | tuple[int, ...] = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("stride", "dilation", "padding", "output_padding")
        for name in names:  # equal sizes for all axes are kept as one number
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == len(self.kernel) and len(set(value)) == 1:
                object.__setattr__(self, name, value[0])
        per_axis = [self.per_axis(name) for name in names]
        axes = len(self.kernel)
        if not 1 <= axes <= 3 or min(self.kernel) < 1 or any(len(sizes) != axes for sizes in per_axis):
            raise InputError(
                f"a conv step needs a kernel over one to three axes, and other sizes of as many, got {self}"
            )
        if min(*per_axis[0], *per_axis[1]) < 1 or min(*per_axis[2], *per_axis[3]) < 0:
            raise InputError(f"a conv step needs stride and dilation >= 1 and padding >= 0, got {self}")
        if self.groups < 1 or self.fan_in % self.groups or self.fan_out % self.groups:
            raise InputError(f"a conv step's groups divide both of its widths, got {self}")

    def per_axis(self, name: str) -> tuple[int, ...]:
        """A size for each axis of the kernel."""
        value = getattr(self, name)
        return (value,) * len(self.kernel) if isinstance(value, int) else value

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    def blocks(self) -> Iterator[tuple[int | None, int]]:
        if self.groups > 1:
            yield from ((0, self.groups), (None, self.groups))

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.fan_out, self.fan_in // self.groups, self.taps)

    @property
    def input_axes(self) -> int | None:
        return 1 + len(self.kernel)


@dataclass(frozen=True)
class Norm(Layer):
    """A normalisation and its scale (the weight, (O,)) and shift (the bias): (C, *grid) -> the same.

    `norm`: "layer" and "rms" standardise over the channels at every position, "group" over blocks of channels and all
    positions, by the values at hand. "batch" is a batch norm in evaluation mode, whose running statistics are folded
    into the scale and the shift.
    """

    kind: ClassVar[str] = "norm"
    mixes: ClassVar[bool] = False
    norm: str = field(default="layer", kw_only=True)
    eps: float = field(default=1e-5, kw_only=True)
    groups: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise InputError(unknown("norm", self.norm, list(NORMS)))
        if self.fan_in != self.fan_out or self.groups < 1 or self.fan_in % self.groups or self.eps < 0:
            raise InputError(
                f"a norm step writes the nodes that it reads, in groups that divide them, eps >= 0, got {self}"
            )

    def links(self) -> Iterator[Link]:
        return Step.links(self)

    def blocks(self) -> Iterator[tuple[int | None, int]]:
        if self.norm == "group" and self.groups > 1:
            yield 0, self.groups

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.fan_out,)


@dataclass(frozen=True)
class Embed(Layer):
    """A table of vectors: tokens (T,) in 0 .. I - 1 -> (O, T). The weight (O, I) is a dense one's on one-hot tokens."""

    kind: ClassVar[str] = "embed"
    mixes: ClassVar[bool] = False  # the second axis are tokens

    @property
    def input_axes(self) -> int | None:
        return 1

    @property
    def reads(self) -> tuple[int, ...]:
        return (1,)  # tokens are numbers, not channels


@dataclass(frozen=True)
class Learned(Layer):
    """Learned values that depend on no input, such as positional embeddings or a class token: () -> (O, *grid).

    The weight is (O, 1, P) with P the positions of `grid`. It reads nothing: its one source only says how many examples
    there are. `fixed` values are given and not trained, such as a table of sines.
    """

    kind: ClassVar[str] = "learned"
    is_constant: ClassVar[bool] = True
    mixes: ClassVar[bool] = False
    grid: tuple[int, ...] = field(default=(1,), kw_only=True)
    fixed: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fan_in != 1 or self.bias or not self.sources or min(self.grid, default=1) < 1:
            raise InputError(
                f"a learned step has fan_in 1, no bias, sizes of a grid, and sources to count examples by, got {self}"
            )

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.fan_out, 1, math.prod(self.grid))

    @property
    def reads(self) -> tuple[int, ...]:
        return (0,)  # a source of any width will do

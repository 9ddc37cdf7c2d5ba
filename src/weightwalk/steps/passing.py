"""Steps without parameters that work on channels, or on channels and positions: they pass values on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul
from typing import ClassVar

from weightwalk.errors import InputError
from weightwalk.steps.activations import LEAK, check_activation
from weightwalk.steps.base import Link, Passing, Sized, Step


@dataclass(frozen=True)
class Activate(Passing):
    """An activation on its own, where it can't belong to the layer before it."""

    kind: ClassVar[str] = "activate"
    activation: str = "relu"
    omega: float = 1.0
    slope: float = field(default=LEAK, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation(self.activation)


@dataclass(frozen=True)
class Affine(Passing):
    """factor x + offset, two fixed numbers."""

    kind: ClassVar[str] = "affine"
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Add(Passing):
    """Sum of values of equally many channels: a residual connection. A vector is added at every position."""

    kind: ClassVar[str] = "add"
    joins: ClassVar[bool] = True
    commutes: ClassVar[bool] = True
    num_sources: ClassVar[tuple[int, int]] = (2, 64)


@dataclass(frozen=True)
class Multiply(Passing):
    """Product of values of equally many channels: a gate. A vector multiplies every position."""

    kind: ClassVar[str] = "multiply"
    joins: ClassVar[bool] = True
    commutes: ClassVar[bool] = True
    num_sources: ClassVar[tuple[int, int]] = (2, 64)


@dataclass(frozen=True)
class Concat(Passing):
    """Channels of several values, one after another: `widths` are theirs."""

    kind: ClassVar[str] = "concat"
    num_sources: ClassVar[tuple[int, int]] = (1, 4096)
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(self.widths) != self.fan_in or len(self.sources) != len(self.widths):
            raise InputError(f"a concat step has a source for each of its widths, which sum to fan_in, got {self}")

    @property
    def reads(self) -> tuple[int, ...]:
        return self.widths

    def links(self) -> Iterator[Link]:
        for source, (width, stop) in enumerate(zip(self.widths, accumulate(self.widths), strict=True)):
            yield Link(source, range(width), range(stop - width, stop))


@dataclass(frozen=True)
class Slice(Sized):
    """Channels start .. start + fan_out - 1 of a value."""

    kind: ClassVar[str] = "slice"
    start: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start <= self.fan_in - self.fan_out:
            raise InputError(f"a slice step takes channels that are there, got {self}")

    def links(self) -> Iterator[Link]:
        yield Link(0, range(self.start, self.start + self.fan_out), range(self.fan_out))


@dataclass(frozen=True)
class Pad(Sized):
    """Zeros beside a value's channels, `before` of them in front of the first, up to fan_out, and beside its positions.

    `grid` is (in front, behind) of the first axis of the grid, then of the next; left out, the grid stays as it is.
    """

    kind: ClassVar[str] = "pad"
    before: int = field(default=0, kw_only=True)
    grid: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.before <= self.fan_out - self.fan_in or len(self.grid) % 2 or min(self.grid, default=0) < 0:
            raise InputError(
                f"a pad step writes at least what it reads, with two counts per axis of the grid, got {self}"
            )

    def links(self) -> Iterator[Link]:
        yield Link(0, range(self.fan_in), range(self.before, self.before + self.fan_in))


@dataclass(frozen=True)
class Patches(Sized):
    """Patches of a picture as tokens: (C, H, W) -> (C ph pw, T), all row by row, the channels of a pixel together."""

    kind: ClassVar[str] = "patches"
    size: tuple[int, int] = (4, 4)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fan_out != self.fan_in * math.prod(self.size):
            raise InputError(f"a patches step writes a channel per number in a patch, got {self}")

    def links(self) -> Iterator[Link]:
        yield Link(0, [channel % self.fan_in for channel in range(self.fan_out)], range(self.fan_out))

    @property
    def input_axes(self) -> int | None:
        return 3


@dataclass(frozen=True)
class Rearrange(Sized):
    """Channels and positions in another order: flatten, unflatten, shuffle channels, transpose the grid.

    (C, *grid) is seen as an array of `sizes`, row by row, whose axes are then put into `order`; the result, row by row,
    is (fan_out, *grid') with `grid` for the new grid. An axis of `sizes` is of channels or positions, before and after.
    """

    kind: ClassVar[str] = "rearrange"
    sizes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        ordered = sorted(self.order) == list(range(len(self.sizes)))
        written = [self.sizes[axis] for axis in self.order] if ordered else []
        split = self.fan_in in accumulate(self.sizes, mul, initial=1)
        split = split and self.fan_out in accumulate(written, mul, initial=1)
        total = self.fan_out * math.prod(self.grid)
        if not ordered or not split or math.prod(self.sizes) != total:
            raise InputError(
                f"a rearrange step has sizes that split channels and positions, and an order of all of them, got {self}"
            )

    @property
    def input_axes(self) -> int | None:
        return 1 if math.prod(self.sizes) == self.fan_in else None

    def links(self) -> Iterator[Link]:
        pairs = [(channel, place) for place, origin in enumerate(self.origins) for channel in origin]
        yield Link(0, [channel for channel, _ in pairs], [place for _, place in pairs])

    @property
    def origins(self) -> tuple[tuple[int, ...], ...]:
        """Per channel written, the channels read whose numbers its positions hold."""
        strides = [math.prod(self.sizes[axis + 1 :]) for axis in range(len(self.sizes))]
        found = [0]
        for axis in self.order:
            found = [place + step * strides[axis] for place in found for step in range(self.sizes[axis])]
        positions = math.prod(self.sizes) // self.fan_in
        channels, each = [place // positions for place in found], len(found) // self.fan_out
        return tuple(tuple(dict.fromkeys(channels[first : first + each])) for first in range(0, len(found), each))


@dataclass(frozen=True)
class Softmax(Passing):
    """Softmax over the channels at every position, or its logarithm."""

    kind: ClassVar[str] = "softmax"
    log: bool = False


@dataclass(frozen=True)
class Move(Passing):
    """Where the channels lie: `last` moves them behind the positions, (C, *grid) -> (*grid, C), else they come back.

    Only a network's own input and output have channels last, as the module has them; values in between have them first.
    """

    kind: ClassVar[str] = "move"
    last: bool = True
    num_axes: int = 1  # of the grid

    @property
    def input_axes(self) -> int | None:
        return 1 + self.num_axes


@dataclass(frozen=True)
class Attention(Step):
    """Softmax attention of `heads` heads over a grid of one axis: q, k (fan_in, T), v (values, T) -> (values, T).

    Head h has channels h D .. (h + 1) D - 1 of each. With `causal` position t sees positions up to t. `scale`
    multiplies q k before the softmax; 0 means 1 / sqrt(D). With `kv_heads` = G, not 0, keys (fan_in G / heads, T) and
    values (values G / heads, T) have G heads, each for heads / G heads in a row (grouped-query attention).
    """

    kind: ClassVar[str] = "attention"
    has_timestamp: ClassVar[bool] = True
    num_sources: ClassVar[tuple[int, int]] = (3, 3)
    heads: int = 1
    values: int = 0  # 0: as many as fan_in
    causal: bool = False
    scale: float = 0.0
    kv_heads: int = field(default=0, kw_only=True)  # 0: as many as heads

    def __post_init__(self) -> None:
        if not self.values:
            object.__setattr__(self, "values", self.fan_in)
        super().__post_init__()
        divides = self.heads > 0 and self.fan_in % self.heads == self.values % self.heads == 0
        if len(self.sources) != 3 or not divides or self.scale < 0:
            raise InputError(f"an attention step has three sources, and heads that divide its widths, got {self}")
        if self.kv_heads < 0 or self.heads % (self.kv_heads or self.heads):
            raise InputError(f"an attention step's heads are so many times its key and value heads, got {self}")

    @property
    def fan_out(self) -> int:
        return self.values

    @property
    def reads(self) -> tuple[int, ...]:
        shared = self.heads // (self.kv_heads or self.heads)
        return (self.fan_in, self.fan_in // shared, self.values // shared)

    @property
    def num_edges(self) -> int:
        """To each output of a head, from that head's queries, keys and values."""
        return self.values * (2 * self.fan_in + self.values) // self.heads

    def links(self) -> Iterator[Link]:
        _, keys, values = (self._repeated(width) for width in self.reads)
        yield Link(0, range(self.fan_in), keys, other=1)
        yield Link(2, values, range(self.values))

    def blocks(self) -> Iterator[tuple[int | None, int]]:
        count = self.kv_heads or self.heads
        yield from ((1, count), (2, count))

    def _repeated(self, width: int) -> list[int]:
        """0 ... width - 1 in blocks, one per key and value head, each repeated for all heads that it serves."""
        count = self.kv_heads or self.heads
        size, times = width // count, self.heads // count
        return [block * size + place for block in range(count) for _ in range(times) for place in range(size)]

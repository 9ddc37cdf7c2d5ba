"""Steps without parameters that change the grid of positions and leave channels as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from weightwalk.errors import InputError
from weightwalk.steps.base import Passing


@dataclass(frozen=True)
class MeanPool(Passing):
    """Mean over all positions: (C, *grid) -> (C,)."""

    kind: ClassVar[str] = "mean_pool"


@dataclass(frozen=True)
class Pool(Passing):
    """Maximum or mean over windows: (C, *grid) -> (C, *grid'). A mean counts its padding, unless told not to."""

    kind: ClassVar[str] = "pool"
    op: str = "max"
    kernel: tuple[int, ...] = (2, 2)
    stride: tuple[int, ...] = (2, 2)
    padding: tuple[int, ...] = (0, 0)
    ceil: bool = False
    counts_padding: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = {len(self.kernel), len(self.stride), len(self.padding)}
        if self.op not in ("max", "mean") or axes not in ({1}, {2}, {3}):
            raise InputError(f"a pool step is a max or mean over one to three axes, got {self}")

    @property
    def input_axes(self) -> int | None:
        return 1 + len(self.kernel)


@dataclass(frozen=True)
class Upsample(Passing):
    """Every position becomes `factor` positions along each axis: copies ("nearest") or interpolated ("linear")."""

    kind: ClassVar[str] = "upsample"
    factor: tuple[int, ...] = (2, 2)
    mode: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("nearest", "linear") or not 1 <= len(self.factor) <= 3 or min(self.factor) < 1:
            raise InputError(f"an upsample step is nearest or linear over one to three axes, got {self}")


@dataclass(frozen=True)
class Resize(Passing):
    """Positions onto another grid, whatever its size: (C, *grid) -> (C, *size).

    `mode` "mean" or "max" is adaptive pooling: the windows of n positions onto m, floor(i n / m) to ceil((i + 1) n / m)
    - 1 along an axis, may differ in size and overlap. "nearest" or "linear" is interpolation.
    """

    kind: ClassVar[str] = "resize"
    size: tuple[int, ...] = (7, 7)
    mode: str = "mean"
    align_corners: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in ("mean", "max", "nearest", "linear") or not 1 <= len(self.size) <= 3 or min(self.size) < 1:
            raise InputError(f"a resize step is mean, max, nearest or linear over one to three axes, got {self}")

    @property
    def input_axes(self) -> int | None:
        return 1 + len(self.size)


@dataclass(frozen=True)
class Append(Passing):
    """Positions of several values of equally many channels, one after another on a grid of one axis."""

    kind: ClassVar[str] = "append"
    joins: ClassVar[bool] = True
    num_sources: ClassVar[tuple[int, int]] = (1, 4096)


@dataclass(frozen=True)
class Crop(Passing):
    """Positions start, start + stride, ... below stop, along each axis of the grid: (C, *grid) -> (C, *grid')."""

    kind: ClassVar[str] = "crop"
    start: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = {len(self.start), len(self.stop), len(self.stride)}
        windows = zip(self.start, self.stop, self.stride, strict=False)
        if len(axes) != 1 or any(not 0 <= start < stop or step < 1 for start, stop, step in windows):
            raise InputError(f"a crop step has 0 <= start < stop and stride >= 1 for each axis of the grid, got {self}")

    @property
    def input_axes(self) -> int | None:
        return 1 + len(self.start)


@dataclass(frozen=True)
class Pick(Passing):
    """One position of a grid of one axis, counted from the end if negative: (C, T) -> (C,)."""

    kind: ClassVar[str] = "pick"
    position: int = 0


@dataclass(frozen=True)
class Reshape(Passing):
    """The same positions, row by row, on another grid: (C, H, W) -> (C, H W) makes tokens of a picture."""

    kind: ClassVar[str] = "reshape"
    grid: tuple[int, ...] = ()

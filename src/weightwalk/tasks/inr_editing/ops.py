"""Operations on pictures: what an edited INR should show. A function under `@OPS.register("name")` adds one.

Pictures are (N, C, H, W) uint8, and so is what becomes of them. The published targets of dilation are OpenCV's on the
uint8 picture (3 x 3 ones, one iteration), and those of contrast its CLAHE; conventions are OpenCV's:

- beyond the border there is nothing: a maximum or minimum is over the pixels of its window that are in the picture;
- the anchor of a window of size k is its pixel k // 2, so the window of a 2 x 2 kernel is a pixel with its neighbours
  above, to the left, and above left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.frameworks.views import VIEWS
from weightwalk.registry import Registry
from weightwalk.tasks.inr_editing import contrast

Pictures = NDArray[np.uint8]

OPS: Registry[Callable[[Pictures], Pictures]] = Registry("operation")

_TURNS = {"rotate": "rot90", "hflip": "hflip", "vflip": "vflip"}


def check(op: str, image_shape: Sequence[int]) -> None:
    """InputError for an unknown operation, signals that are no pictures, and a quarter turn of what is not square."""
    OPS[op]
    channels, *grid = image_shape
    if len(grid) != 2 or channels not in (1, 3):
        raise InputError(
            f"the operation {op!r} is one of grey or RGB pictures, got signals of the shape {tuple(image_shape)}; use "
            "a zoo of pictures"
        )
    if op == "rotate" and grid[0] != grid[1]:
        raise InputError(f"the operation 'rotate' needs square pictures, got {grid[0]} x {grid[1]}; choose another one")


def to_bytes(pictures: NDArray[Any]) -> Pictures:
    """Pictures as uint8; of floats nominally in -1 ... 1 the nearest of 256 levels."""
    if pictures.dtype == np.uint8:
        return pictures
    return np.clip(np.rint((pictures + 1) * 127.5), 0, 255).astype(np.uint8)


def _extreme(pictures: Pictures, size: int, largest: bool) -> Pictures:
    from scipy import ndimage  # half a second, which commands of other tasks need not wait

    find = ndimage.maximum_filter if largest else ndimage.minimum_filter
    # 0 changes no maximum of uint8, 255 no minimum; an even window of scipy's is anchored at size // 2 as well
    found: Pictures = find(pictures, (1, 1, size, size), mode="constant", cval=0 if largest else 255)
    return found


@OPS.register("dilate")
def dilate(pictures: Pictures) -> Pictures:
    """The maximum over 3 x 3."""
    return _extreme(pictures, 3, largest=True)


@OPS.register("erode")
def erode(pictures: Pictures) -> Pictures:
    """The minimum over 2 x 2."""
    return _extreme(pictures, 2, largest=False)


@OPS.register("gradient")
def gradient(pictures: Pictures) -> Pictures:
    """The maximum minus the minimum over 2 x 2."""
    return _extreme(pictures, 2, largest=True) - _extreme(pictures, 2, largest=False)


@OPS.register("contrast")
def more_contrast(pictures: Pictures) -> Pictures:
    """CLAHE with clip limit 1 on 3 x 3 tiles, of an RGB picture on the L of LAB (see `contrast.py`)."""
    return contrast.on_lightness(pictures, clip_limit=1.0, tiles=3)


@OPS.register("invert")
def invert(pictures: Pictures) -> Pictures:
    """255 minus every value."""
    return 255 - pictures


def _turn(view: str) -> Callable[[Pictures], Pictures]:
    return lambda pictures: np.ascontiguousarray(VIEWS[view](torch.from_numpy(pictures)).numpy())


for _name, _view in _TURNS.items():  # a quarter turn to the left, left to right, upside down
    OPS.register(_name)(_turn(_view))

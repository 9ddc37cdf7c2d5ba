"""A folder of volumes, one subfolder per class: ROOT/class/name.npy, (D, H, W) or (C, D, H, W).

Occupancy is bool, or uint8 with no other values than 0 and 1 in the whole folder; it becomes 0 and 255. Other uint8 are
0 ... 255 as they are. Floats (signed distances) become float32, nominally -1 ... 1. Nothing is unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals, classes, opened
from weightwalk.zoos.formats.lazy import Lazy


def load(root: Path) -> Signals:
    """Volumes (N, C, D, H, W), uint8 or float32."""
    grids, labels, names = classes.load(root, "grids", (".npy",), _header, _read)
    if grids.dtype == np.uint8 and all(grids[[row]].max() <= 1 for row in range(len(grids))):
        whole = grids
        grids = Lazy(whole.shape, whole.dtype, lambda row: whole[[row]][0] * np.uint8(255))
    return grids, labels, names


def _header(path: Path) -> classes.Header:
    grid = _mapped(path)
    if grid.ndim not in (3, 4) or grid.dtype.kind not in "bf" + "u" * (grid.dtype == np.uint8) or not grid.size:
        raise InputError(
            f"expected a grid (D, H, W) or (C, D, H, W) of bool, uint8 or floats in {path}, got {grid.shape} "
            f"{grid.dtype}; convert it"
        )
    shape = grid.shape if grid.ndim == 4 else (1, *grid.shape)
    dtype = "float32" if grid.dtype.kind == "f" else "uint8"
    return classes.Header(f"{' x '.join(map(str, grid.shape))} {grid.dtype}", shape, dtype)


def _read(path: Path) -> NDArray[Any]:
    grid = _mapped(path)
    grid = grid if grid.ndim == 4 else grid[None]
    if grid.dtype == bool:
        return np.where(grid, np.uint8(255), np.uint8(0))
    if grid.dtype.kind == "f":
        with np.errstate(over="ignore"):
            grid = grid.astype(np.float32)
        if not np.isfinite(grid).all():
            raise InputError(f"expected finite numbers in {path}, got NaN or infinity among them; mend it or remove it")
    return grid


def _mapped(path: Path) -> NDArray[Any]:
    with opened(path):  # which tells what the system has against it
        pass
    try:
        return open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:  # among them: Python objects, which would have to be unpickled
        raise InputError(
            f"expected an array in {path}, got a file that cannot be read ({error}); save it again with numpy.save"
        ) from None

"""SVHN's cropped digits: Matlab files of `X` (32, 32, 3, N) uint8 and `y` (N, 1), 1 ... 10, where 10 means the digit 0.

Source: http://ufldl.stanford.edu/housenumbers (format 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals, first_existing, opened

_DIGITS = tuple("0123456789")


def load(root: Path, part: str) -> Signals:
    """Pictures (N, 3, 32, 32) and digits (N,), from `root`/{part}_32x32.mat or a folder svhn in it."""
    name = f"{part}_32x32.mat"
    path = first_existing([root / "svhn", root / "SVHN", root], [name], f"the {part} pictures")
    values = _read(path)
    pixels, labels = values["X"], np.asarray(values["y"])
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or not pixels.shape[3]:
        raise InputError(
            f"expected X (32, 32, 3, N) of uint8 in {path}, got {pixels.dtype} {pixels.shape}; get a whole copy of the "
            "file"
        )
    if labels.dtype.kind not in "iuf" or labels.size != pixels.shape[3] or not np.isin(labels, np.arange(11)).all():
        raise InputError(
            f"expected y with one of 1 ... 10 for each of {pixels.shape[3]:,} pictures in {path}, "
            f"got {labels.size:,} numbers ({labels.dtype}); get a whole copy of the file"
        )
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels.reshape(-1).astype(np.int64) % 10, _DIGITS


def _read(path: Path) -> dict[str, Any]:
    with opened(path):  # which tells what the system has against it
        pass
    try:
        values: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # what a damaged or foreign file raises depends on the damage
        raise InputError(
            f"expected a whole Matlab file at {path}, got one that cannot be read ({type(error).__name__}: {error}); "
            "get a fresh copy"
        ) from None
    if {"X", "y"} - set(values):
        raise InputError(
            f"expected X and y in {path}, found {', '.join(k for k in values if k[0] != '_') or 'nothing'}; is it "
            "format 2?"
        )
    return values

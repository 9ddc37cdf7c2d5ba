"""Numbers of a zoo's rows: out of whatever names rows, and some of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.errors import InputError

Rows = NDArray[np.int64] | Sequence[int] | slice | int | Tensor
"""Numbers of rows, those below 0 from the end; a slice of all; or a mask with a bool for every row."""


def numbers_of(rows: Rows, count: int, described: Callable[[], str]) -> NDArray[np.int64]:
    """The numbers (B,) that `rows` names among `count`; `described` tells in an InputError which rows there are."""
    if isinstance(rows, slice):
        return np.arange(count)[rows]
    found = np.atleast_1d(np.asarray(rows))
    if not found.size:
        return np.empty(0, np.int64)
    if found.dtype == bool and found.shape == (count,):
        return np.flatnonzero(found)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise InputError(f"expected numbers of rows (B,), got {found.dtype} {found.shape}")
    if not -count <= found.min() <= found.max() < count:
        raise InputError(f"expected rows of {count}, got {found.min()} to {found.max()}; {described()}")
    return np.where(found < 0, found + count, found).astype(np.int64)


def evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, spread over all of them."""
    if not len(rows):
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]

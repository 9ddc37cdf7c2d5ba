"""Signals that stay on disk until they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Lazy:
    """An array `shape` (N, ...) of which `read` gives one row by its number; an index gives its rows as one array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[int], NDArray[Any]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        rows = np.arange(len(self))[index]
        content = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows.tolist()):
            content[place] = self.read(row)
        return content

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def first(self, limit: int) -> Lazy:
        """The first `limit` rows, still on disk."""
        return replace(self, shape=(min(limit, len(self)), *self.shape[1:]))

"""What edited INRs should show: a picture per source, made when it is asked for, and kept where all of them fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from weightwalk.tasks.inr_editing import ops
from weightwalk.tasks.stages import CACHE_BYTES, Rows
from weightwalk.zoos.store import Zoo

_AT_ONCE = 2048  # pictures that an operation is done on together


class Wanted:
    """The pictures of a zoo after an operation; several threads may ask, and then the same is done twice at worst."""

    def __init__(self, zoo: Zoo, op: str):
        ops.check(op, zoo.image_shape)
        self._zoo, self._op = zoo, op
        self._groups, self._source = np.unique(zoo.groups, return_inverse=True)
        shape = (len(self._groups), *zoo.image_shape)
        self._kept = np.empty(shape, np.uint8) if np.prod(shape, dtype=np.int64) <= CACHE_BYTES else None
        self._known = np.zeros(len(self._groups), bool)

    def of(self, rows: Rows) -> Tensor:
        """(n, C, H, W) uint8, of rows in their order."""
        rows = np.asarray(rows, np.int64)
        if self._kept is None:
            return torch.from_numpy(self._made(rows))
        sources, first = np.unique(self._source[rows], return_index=True)
        lacking = ~self._known[sources]
        for start in range(0, int(lacking.sum()), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            new = sources[lacking][part]
            self._kept[new] = self._made(rows[first[lacking][part]])
            self._known[new] = True
        return torch.from_numpy(self._kept[self._source[rows]])

    def _made(self, rows: Rows) -> ops.Pictures:
        if not len(rows):
            return np.empty((0, *self._zoo.image_shape), np.uint8)
        return ops.OPS[self._op](ops.to_bytes(self._zoo.images(rows).numpy()))

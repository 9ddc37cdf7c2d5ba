"""Results of long work that are put together and written as shards, soon and in few files.

How a zoo is cut into shards depends on its settings alone, so that it has the same bytes however often the work was
interrupted, and whoever did it; two commands that do the same work at once write the same shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightwalk.zoos.writer import ZooWriter

WAITING = 24  # blocks that may wait in memory to be written together
_COST = 5e10  # multiply-adds of a block, four seconds of a core: what a process loses that is killed
_FEWEST, _MOST = 16, 512

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


def block_size(cost: float) -> int:
    """How many groups one shard holds, where each takes `cost` multiply-adds: a power of two from 16 to 512."""
    return int(2 ** np.floor(np.log2(np.clip(_COST / cost, _FEWEST, _MOST))))


def blocks(indices: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Increasing indices cut at the multiples of `size`, so that a zoo is cut the same however often it is added to."""
    if len(indices):
        yield from np.split(indices, np.flatnonzero(np.diff(indices // size)) + 1)


class Blocks(Generic[K, R]):
    """Collects results by block; `settle` writes those that are complete by `write_block(key, results)`, for a
    twentieth of the time, but before there are more than `WAITING` of them.

    `missing` says how many results each block still lacks.
    """

    def __init__(self, writer: ZooWriter, missing: dict[K, int], write_block: Callable[[K, list[R]], None]):
        self._writer, self._missing, self._write_block = writer, missing, write_block
        self._found: dict[K, list[R]] = {}
        self._next = 0.0

    def add(self, key: K, result: R, count: int = 1) -> None:
        """A result that stands for `count` of those that the block lacks; one that it does not lack is dropped."""
        if not self._missing.get(key):
            return
        self._found.setdefault(key, []).append(result)
        self._missing[key] -= count

    def settle(self) -> None:
        """To be called when all blocks of a result were added: who is killed before the next one keeps them."""
        if time.monotonic() >= self._next or len(self._found) > WAITING:
            self.write()

    def write(self) -> None:
        """Write the blocks that are complete."""
        began = time.monotonic()
        with self._writer.together():
            for key in [key for key in self._found if not self._missing[key]]:
                self._write_block(key, self._found.pop(key))
        now = time.monotonic()
        self._next = now + 20 * (now - began)

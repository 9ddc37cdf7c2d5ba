"""Which samples a step sees, as a function of (seed, step) alone: nothing to save, nothing to restore."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import memory
from weightwalk.errors import InputError

BATCH = 256  # networks that are read at once where nothing is trained


def batch_indices(num_samples: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The samples of batch `step`, counted from 0: (batch_size,) int64.

    Positions step * batch_size ... (step + 1) * batch_size - 1 of one endless sequence, in which every epoch is a fresh
    permutation of 0 ... num_samples - 1. No sample is dropped: a batch may straddle epochs, or hold several.
    """
    first, stop = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // num_samples, (stop - 1) // num_samples + 1):
        start = epoch * num_samples
        parts.append(_permutation(num_samples, seed, epoch)[max(first - start, 0) : stop - start])
    return torch.cat(parts)


@lru_cache(maxsize=2)
def _permutation(num_samples: int, seed: int, epoch: int) -> Tensor:
    """One epoch's order: (num_samples,) int64, the argsort of Philox's bits, which no release of numpy changes."""
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(num_samples)
    return torch.from_numpy(np.argsort(bits, kind="stable").astype(np.int64, copy=False))


def batches(rows: NDArray[np.int64], size: int = BATCH) -> Iterator[NDArray[np.int64]]:
    """Consecutive pieces of at most `size` rows, for what reads them all once."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def step_seed(seed: int, step: int) -> int:
    """A seed of 64 bits for whatever step `step` draws, dropout for example."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def check_sampling(num_samples: int, batch_size: int, seed: int) -> None:
    """Refuse what cannot be sampled: no samples, batches beyond memory, or a seed out of 0 ... 2**64 - 1."""
    memory.check(64 * batch_size, f"batch_size={batch_size:,}", "choose smaller batches")
    if num_samples < 1:
        raise InputError(
            f"expected at least one sample to train on, got {num_samples}; check the data, the split and the limit"
        )
    if not 0 <= seed < 2**64:
        raise InputError(f"expected a seed from 0 to 2**64 - 1, got {seed}")

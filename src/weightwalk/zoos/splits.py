"""Which split an image belongs to: a function of its part and its index, so that all fits of one image share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.registry import unknown

PARTS = ("train", "test", "all")
"""The parts that a data set is published in; `all` is the one part of a data set that comes without a test part."""

SPLITS = ("train", "val", "test")
"""The splits of a zoo; a split's code is its position here."""


@dataclass(frozen=True)
class SplitRule:
    """Image index i of a part goes to the split...

    - part `test`: test;
    - part `train`: val where i % val_every = val_every - 1, else train;
    - part `all`: val where i ends in one of `val_digits`, test where in one of `test_digits`, else train.

    >>> SplitRule(val_every=3).assign("train", np.arange(6)).tolist()
    [0, 0, 1, 0, 0, 1]
    """

    val_every: int = 10
    val_digits: tuple[int, ...] = (7,)
    test_digits: tuple[int, ...] = (8, 9)

    def __post_init__(self) -> None:
        digits = (*self.val_digits, *self.test_digits)
        if self.val_every < 2:
            raise InputError(f"val_every must be at least 2 so that some images are left to train on, got {self.val_every}")
        if len(set(digits)) != len(digits) or not set(digits) < set(range(10)):
            raise InputError(f"val_digits and test_digits must be different digits that leave some for train, got {digits}")

    def assign(self, part: str, indices: NDArray[np.int64]) -> NDArray[np.int8]:
        """Codes into `SPLITS` of the images `indices` (n,) of one part: (n,)."""
        if part not in PARTS:
            raise InputError(unknown("part", part, list(PARTS)))
        indices = np.asarray(indices)
        codes = np.full(indices.shape, SPLITS.index("train"), np.int8)
        if part == "test":
            codes[:] = SPLITS.index("test")
        elif part == "train":
            codes[indices % self.val_every == self.val_every - 1] = SPLITS.index("val")
        else:
            codes[np.isin(indices % 10, self.val_digits)] = SPLITS.index("val")
            codes[np.isin(indices % 10, self.test_digits)] = SPLITS.index("test")
        return codes

"""Which split an image belongs to: a function of its part and its index, so that all fits of one image share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk import config
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
    - part `train`: val where i % val_every = val_every - 1, else train; with `val_images`, val where i is one of these;
    - part `all`: val where i ends in one of `val_digits`, test where in one of `test_digits`, else train;
      with `bounds` (a, b), train where i < a, val where a <= i < b, test where b <= i.

    `val_images` and `bounds` are the splits of published zoos.

    >>> SplitRule(val_every=3).assign("train", np.arange(6)).tolist()
    [0, 0, 1, 0, 0, 1]
    >>> SplitRule(bounds=(3, 4)).assign("all", np.arange(6)).tolist()
    [0, 0, 0, 1, 2, 2]
    """

    val_every: int = 10
    val_digits: tuple[int, ...] = (7,)
    test_digits: tuple[int, ...] = (8, 9)
    bounds: tuple[int, int] | None = None
    val_images: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        digits = (*self.val_digits, *self.test_digits)
        if self.val_every < 2:
            raise InputError(
                f"val_every must be at least 2 so that some images are left to train on, got {self.val_every}"
            )
        if len(set(digits)) != len(digits) or not set(digits) < set(range(10)):
            raise InputError(
                f"val_digits and test_digits must be different digits that leave some for train, got {digits}"
            )
        if self.bounds is not None and not (len(self.bounds) == 2 and 0 < self.bounds[0] <= self.bounds[1]):
            raise InputError(
                "bounds must be two image indices a, b with 0 < a <= b that leave some images for train, got "
                f"{self.bounds}"
            )

    def assign(self, part: str, indices: NDArray[np.int64]) -> NDArray[np.int8]:
        """Codes into `SPLITS` of the images `indices` (n,) of one part: (n,)."""
        if part not in PARTS:
            raise InputError(unknown("part", part, list(PARTS)))
        indices = np.asarray(indices)
        codes = np.full(indices.shape, SPLITS.index("train"), np.int8)
        if part == "test":
            codes[:] = SPLITS.index("test")
        elif part == "train":
            mine = (
                indices % self.val_every == self.val_every - 1
                if self.val_images is None
                else np.isin(indices, self.val_images)
            )
            codes[mine] = SPLITS.index("val")
        elif self.bounds is not None:
            codes[:] = np.searchsorted(self.bounds, indices, side="right")  # 0, 1, 2: train, val, test
        else:
            codes[np.isin(indices % 10, self.val_digits)] = SPLITS.index("val")
            codes[np.isin(indices % 10, self.test_digits)] = SPLITS.index("test")
        return codes

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without what is not set: the files of zoos that do without it stay as they were."""
        return {name: value for name, value in config.to_dict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> SplitRule:
        """The inverse of `to_dict`."""
        return config.from_dict(cls, {"bounds": None, "val_images": None, **value})

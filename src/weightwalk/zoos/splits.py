"""Which split a group of rows belongs to: a function of its part and index, so that all members of a group share it.

A *group* is an image with the INRs that were fitted to it, or a run with its checkpoints. Its number is its index
within its part, plus 2^40 for the part `train` and 2^41 for `test`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.registry import unknown

Part = Literal["train", "test", "all"]
PARTS: tuple[Part, ...] = ("train", "test", "all")
"""The parts that a data set is published in; `all` is the one part of a data set that comes without a test part."""

SPLITS = ("train", "val", "test")
"""The splits of a zoo; a split's code is its position here."""

MAX_INDEX = 2**40
_PART_OF = np.array([PARTS.index(part) for part in ("all", "train", "test")])  # by a group's number // MAX_INDEX


def group_numbers(part: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of the groups `indices` (n,) of one part."""
    code = int(np.flatnonzero(PARTS.index(part) == _PART_OF)[0])
    return np.asarray(indices, np.int64) + code * MAX_INDEX


def parts_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes into `PARTS` of groups (n,)."""
    codes: NDArray[np.int64] = _PART_OF[groups // MAX_INDEX]
    return codes


def indices_of(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of groups (n,) within their parts."""
    return groups % MAX_INDEX


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

    def of_groups(self, groups: NDArray[np.int64]) -> NDArray[np.int8]:
        """Codes into `SPLITS` of the groups with these numbers (n,): (n,)."""
        codes = np.zeros(len(groups), np.int8)
        for code in np.unique(parts := parts_of(groups)).tolist():
            codes[parts == code] = self.assign(PARTS[code], indices_of(groups[parts == code]))
        return codes

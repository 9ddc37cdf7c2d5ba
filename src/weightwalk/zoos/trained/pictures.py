"""The pictures that the networks of a zoo are trained and tested on: as arrays, and as files that workers map.

Axes: N pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.splits import SPLITS, SplitRule
from weightwalk.zoos.trained.recipes import TrainRecipe


@dataclass(frozen=True, eq=False)
class Pictures:
    """uint8 pixels (N, C, H, W) and int64 labels (N,), to train on and to test on."""

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @classmethod
    def of(cls, sets: Sequence[ImageSet], recipe: TrainRecipe) -> Pictures:
        """The parts of a data set, cut to the recipe's limits and grey if it wants that.

        Of a data set without a test part, the images that a zoo of INRs would test on test.
        """
        shape = sets[0].image_shape
        if len(shape) != 3 or sets[0].image_dtype != "uint8" or any(s.image_shape != shape for s in sets):
            raise InputError(
                f"expected pictures (C, H, W) of uint8 to train networks on, got {shape} {sets[0].image_dtype}"
            )
        rows = {(s.part, test): _rows(s, test) for s in sets for test in (False, True)}
        arrays: list[NDArray[np.uint8] | NDArray[np.int64]] = []
        for test, limit in ((False, recipe.train_images), (True, recipe.test_images)):
            chosen = [(s, found) for s in sets if len(found := rows[s.part, test])]
            if len(chosen) != 1:
                raise InputError(
                    f"expected a data set with pictures to train and to test on, got the parts {[s.part for s in sets]}"
                )
            images, found = chosen[0][0], chosen[0][1][:limit]
            pixels = images.pixels[found]
            arrays += [_grey(pixels) if recipe.grey else np.ascontiguousarray(pixels), images.labels[found]]
        return cls(*arrays)  # type: ignore[arg-type]

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(map(int, self.train.shape[1:]))

    def save(self, folder: Path) -> None:
        """One .npy per array, for `mapped`."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))


@lru_cache(maxsize=2)
def mapped(folder: str) -> Pictures:
    """What `save` wrote, mapped: processes share the memory. What is written to it stays in this process."""
    return Pictures(*(np.load(Path(folder) / f"{field.name}.npy", mmap_mode="c") for field in fields(Pictures)))


def _rows(images: ImageSet, test: bool) -> NDArray[np.int64]:
    codes = SplitRule().assign(images.part, np.arange(len(images)))
    return np.flatnonzero((codes == SPLITS.index("test")) == test)


def _grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean of the channels, rounded."""
    if pixels.shape[1] == 1:
        return np.ascontiguousarray(pixels)
    grey: NDArray[np.uint8] = np.rint(pixels.mean(axis=1, keepdims=True, dtype=np.float32)).astype(np.uint8)
    return grey

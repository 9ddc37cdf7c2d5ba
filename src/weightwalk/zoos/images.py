"""Images: files of a named data set, or arrays, -> one container of uint8 pixels.

Legend: N images, C channels (1 grey, 3 red green blue), H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightwalk.errors import InputError
from weightwalk.registry import Registry
from weightwalk.zoos.formats import Pictures, cifar, folder, idx
from weightwalk.zoos.splits import PARTS

_DIGITS = tuple("0123456789")
_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size; `part` is "all" for data sets that come without a published split."""

    dataset: str
    part: str
    pixels: NDArray[np.uint8]  # (N, C, H, W)
    labels: NDArray[np.int64]  # (N,), indices into label_names
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_names", tuple(self.label_names))
        if self.part not in PARTS:
            raise InputError(f"expected a part {', '.join(PARTS)}, got {self.part!r}")
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or 0 in self.pixels.shape:
            raise InputError(
                f"expected uint8 pixels (N, C, H, W) of at least one image, got {self.pixels.dtype} {self.pixels.shape}; "
                "ImageSet.from_arrays takes other arrays"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.pixels),):
            raise InputError(f"expected {len(self.pixels)} int64 labels, one per image, got {self.labels.dtype} {self.labels.shape}")
        if self.labels.min() < 0 or self.labels.max() >= self.num_classes:
            raise InputError(
                f"expected labels between 0 and {self.num_classes - 1}, one per label name, "
                f"got labels from {self.labels.min()} to {self.labels.max()}; name every label"
            )

    @classmethod
    def from_arrays(
        cls,
        pixels: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        dataset: str = "arrays",
        part: str = "all",
        label_names: tuple[str, ...] | None = None,
    ) -> ImageSet:
        """Images from arrays (N, H, W) or (N, C, H, W): uint8, or floats in [0, 1], which are rounded to 1/255.

        Without `labels` there is one class, named "unlabelled" if `label_names` does not; labels without names are named by their numbers.
        """
        array = np.asarray(pixels)
        if array.ndim not in (3, 4):
            raise InputError(f"expected pixels (N, H, W) or (N, C, H, W), got the shape {array.shape}; add the axis of images")
        array = array[:, None] if array.ndim == 3 else array
        if labels is None:
            indices = np.zeros(len(array), np.int64)
            names = label_names or ("unlabelled",)
        else:
            given = np.asarray(labels)
            if given.dtype.kind not in "iu" or given.ndim != 1:
                raise InputError(f"expected integer labels (N,), got {given.dtype} {given.shape}; give each image the index of its class")
            indices = given.astype(np.int64)
            names = label_names or tuple(map(str, range(int(indices.max(initial=0)) + 1)))
        return cls(dataset, part, np.ascontiguousarray(_to_bytes(array)), indices, names)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """Classes that have a name, whether or not this part has images of them."""
        return len(self.label_names)


def _to_bytes(x_NCHW: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats in [0, 1] as uint8; uint8 stays as it is."""
    if x_NCHW.dtype == np.uint8:
        return x_NCHW
    if x_NCHW.dtype.kind != "f":
        raise InputError(f"expected pixels of uint8 or of floats in [0, 1], got {x_NCHW.dtype}; convert them first")
    bad_NCHW = ~((x_NCHW >= 0) & (x_NCHW <= 1))
    if bad_NCHW.any():
        where = np.unravel_index(bad_NCHW.argmax(), bad_NCHW.shape)
        image, channel, row, column = map(int, where)
        value = float(x_NCHW[where])
        remedy = "scale the pixels first" if np.isfinite(value) else "repair the image or leave it out"
        raise InputError(
            f"expected pixels in [0, 1], got {value:g} in image {image}, channel {channel}, row {row}, column {column}; {remedy}"
        )
    rounded: NDArray[np.uint8] = np.rint(x_NCHW * 255).astype(np.uint8)
    return rounded


@dataclass(frozen=True)
class Dataset:
    """A data set that is known by name: its parts, and how to read one of them from a folder, which an embedded one ignores."""

    parts: tuple[str, ...]
    read: Callable[[Path, str], Pictures]
    embedded: bool = False


DATASETS: Registry[Dataset] = Registry("data set")


def parts(dataset: str) -> tuple[str, ...]:
    """The parts that `load` knows of a data set: ("train", "test"), or ("all",) if there is no published split."""
    return DATASETS[dataset].parts


def load(dataset: str, root: Path | None, part: str) -> ImageSet:
    """One part of a data set from the published files under `root`, which embedded data sets ignore; downloads nothing."""
    entry = DATASETS[dataset]
    if part not in entry.parts:
        raise InputError(f"expected part {' or '.join(entry.parts)} of {dataset}, got {part!r}; choose one of these")
    if root is None and not entry.embedded:
        raise InputError(f"expected the folder of the {dataset} files as root, got none; name it (nothing is downloaded)")
    return ImageSet(dataset, part, *entry.read(Path(root or "."), part))


def _digits(root: Path, part: str) -> Pictures:
    """The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, 0 ... 16 scaled to 0 ... 255."""
    from sklearn.datasets import load_digits  # a second to import, for this data set only

    digits = load_digits()
    return np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64), _DIGITS


_TRAIN_TEST = ("train", "test")
DATASETS.register("digits")(Dataset(("all",), _digits, embedded=True))
DATASETS.register("mnist")(Dataset(_TRAIN_TEST, partial(idx.load, subfolders=("mnist", "MNIST/raw"), label_names=_DIGITS)))
DATASETS.register("fashion-mnist")(
    Dataset(_TRAIN_TEST, partial(idx.load, subfolders=("fashion-mnist", "FashionMNIST/raw"), label_names=_GARMENTS))
)
DATASETS.register("cifar10")(Dataset(_TRAIN_TEST, partial(cifar.load, layout=cifar.CIFAR10)))
DATASETS.register("cifar100")(Dataset(_TRAIN_TEST, partial(cifar.load, layout=cifar.CIFAR100)))
DATASETS.register("folder")(Dataset(("all",), lambda root, part: folder.load(root)))

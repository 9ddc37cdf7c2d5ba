"""Images: files of a named data set, or arrays, -> one container of labelled signals.

An image is what an INR is fitted to: a sound on a grid (T,), a picture on (H, W), a volume on (D, H, W).
Legend: N images, C channels (1 grey, 3 red green blue), T samples, D planes, H rows, W columns.
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
from weightwalk.zoos.formats import Pixels, Signals, cifar, folder, grids, idx, sounds
from weightwalk.zoos.formats.lazy import Lazy
from weightwalk.zoos.manifest import check_name
from weightwalk.zoos.splits import PARTS, Part

_AXES = {1: ("sample",), 2: ("row", "column"), 3: ("plane", "row", "column")}  # what places on a grid are called
_DIGITS = tuple("0123456789")
_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images of one size; `part` is "all" for data sets that come without a published split.

    `pixels` are uint8 0 ... 255, or float32, nominally -1 ... 1. They need not lie in memory (see `formats.Pixels`).
    """

    dataset: str
    part: Part
    pixels: Pixels  # (N, C, *grid)
    labels: NDArray[np.int64]  # (N,), indices into label_names
    label_names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_names", tuple(self.label_names))
        check_name(self.dataset)
        if self.part not in PARTS:
            raise InputError(f"expected a part {', '.join(PARTS)}, got {self.part!r}")
        shape = self.pixels.shape
        if self.pixels.dtype not in (np.uint8, np.float32) or not 3 <= len(shape) <= 5 or 0 in shape:
            raise InputError(
                f"expected uint8 or float32 pixels (N, C, *grid) of at least one image, on a grid of 1 to 3 axes, "
                f"got {self.pixels.dtype} {shape}; ImageSet.from_arrays takes other arrays"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.pixels),):
            raise InputError(
                f"expected {len(self.pixels)} int64 labels, one per image, got {self.labels.dtype} {self.labels.shape}"
            )
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
        part: Part = "all",
        label_names: tuple[str, ...] | None = None,
        keep_floats: bool = False,
        num_axes: int | None = None,
    ) -> ImageSet:
        """Images from arrays (N, *grid) or (N, C, *grid): bool (0 and 255), uint8, or floats in [0, 1], which are
        rounded to 1/255.

        With `keep_floats` floats stay as they are, as float32; full scale is then -1 ... 1. `num_axes` is that of the
        grid; left out, (N, T) with `keep_floats` are sounds, (N, H, W) and (N, C, H, W) pictures, (N, C, D, H, W)
        volumes. Without `labels` there is one class, named "unlabelled" if `label_names` does not; labels without names
        are named by their numbers.
        """
        array = np.asarray(pixels)
        axes = num_axes or {2: 1 if keep_floats else None, 3: 2, 4: 2, 5: 3}.get(array.ndim)
        if axes not in _AXES or array.ndim not in (axes + 1, axes + 2):
            kind = f"on a grid of {num_axes} axes" if num_axes else "(N, H, W) or (N, C, H, W)"
            raise InputError(
                f"expected pixels {kind}, got the shape {array.shape}; add the axis of images, or give num_axes 1, 2 "
                "or 3"
            )
        array = _storable(array[:, None] if array.ndim == axes + 1 else array, keep_floats)
        if labels is None:
            indices = np.zeros(len(array), np.int64)
            names = label_names or ("unlabelled",)
        else:
            given = np.asarray(labels)
            if given.dtype.kind not in "iu" or given.ndim != 1:
                raise InputError(
                    f"expected integer labels (N,), got {given.dtype} {given.shape}; give each image the index of its "
                    "class"
                )
            indices = given.astype(np.int64)
            names = label_names or tuple(map(str, range(int(indices.max(initial=0)) + 1)))
        return cls(dataset, part, np.ascontiguousarray(array), indices, names)

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, limit: int | None) -> ImageSet:
        """The first `limit` images, or all of them."""
        if limit is None:
            return self
        pixels = self.pixels.first(limit) if isinstance(self.pixels, Lazy) else self.pixels[:limit]
        return ImageSet(self.dataset, self.part, pixels, self.labels[:limit], self.label_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, *grid) of every image."""
        return tuple(map(int, self.pixels.shape[1:]))

    @property
    def image_dtype(self) -> str:
        """uint8 or float32."""
        return str(self.pixels.dtype)

    @property
    def num_classes(self) -> int:
        """Classes that have a name, whether or not this part has images of them."""
        return len(self.label_names)


def _storable(x: NDArray[Any], keep_floats: bool) -> NDArray[Any]:
    """(N, C, *grid) as uint8, or as float32 where floats are kept."""
    if x.dtype == bool:
        return np.where(x, np.uint8(255), np.uint8(0))
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f":
        raise InputError(f"expected pixels of bool, uint8 or floats, got {x.dtype}; convert them first")
    with np.errstate(over="ignore"):
        kept = x.astype(np.float32) if keep_floats else x
    bad = ~(np.isfinite(kept) if keep_floats else (x >= 0) & (x <= 1))
    if bad.any():
        where = np.unravel_index(bad.argmax(), bad.shape)
        place = ", ".join(
            f"{name} {index}" for name, index in zip(("image", "channel", *_AXES[x.ndim - 2]), where, strict=True)
        )
        value = float(x[where])
        remedy = "repair the image or leave it out"
        if np.isfinite(value):
            remedy = "scale the pixels first" + (
                "" if keep_floats else ", or keep them with keep_floats=True (full scale is -1 ... 1)"
            )
        raise InputError(
            f"expected {'finite pixels' if keep_floats else 'pixels in [0, 1]'}, got {value:g} in {place}; {remedy}"
        )
    return kept if keep_floats else np.rint(x * 255).astype(np.uint8)


@dataclass(frozen=True)
class Dataset:
    """A data set known by name: its parts, and how to read one from a folder, which an embedded one does not need."""

    parts: tuple[Part, ...]
    read: Callable[[Path, str], Signals]
    embedded: bool = False


DATASETS: Registry[Dataset] = Registry("data set")


def parts(dataset: str) -> tuple[Part, ...]:
    """The parts that `load` knows of a data set: ("train", "test"), or ("all",) if there is no published split."""
    return DATASETS[dataset].parts


def load(dataset: str, root: Path | None, part: Part) -> ImageSet:
    """One part of a data set from the published files in `root` (None: embedded data sets); downloads nothing."""
    entry = DATASETS[dataset]
    if part not in entry.parts:
        raise InputError(f"expected part {' or '.join(entry.parts)} of {dataset}, got {part!r}; choose one of these")
    if root is not None and entry.embedded:
        raise InputError(f"expected no folder of {dataset}, which scikit-learn brings, got {root}; leave --root out")
    if root is None and not entry.embedded:
        raise InputError(
            f"expected the folder of the {dataset} files as root, got none; name it with --root (nothing is downloaded)"
        )
    return ImageSet(dataset, part, *entry.read(Path(root or "."), part))


def _digits(root: Path, part: str) -> Signals:
    """The 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, 0 ... 16 scaled to 0 ... 255."""
    from sklearn.datasets import load_digits  # a second to import, for this data set only

    digits = load_digits()
    return np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64), _DIGITS


def _svhn(root: Path, part: str) -> Signals:
    from weightwalk.zoos.formats import svhn  # and with it scipy, for this data set only

    return svhn.load(root, part)


_TRAIN_TEST: tuple[Part, ...] = ("train", "test")
DATASETS.register("digits")(Dataset(("all",), _digits, embedded=True))
DATASETS.register("mnist")(
    Dataset(_TRAIN_TEST, partial(idx.load, subfolders=("mnist", "MNIST/raw"), label_names=_DIGITS))
)
DATASETS.register("fashion-mnist")(
    Dataset(_TRAIN_TEST, partial(idx.load, subfolders=("fashion-mnist", "FashionMNIST/raw"), label_names=_GARMENTS))
)
DATASETS.register("cifar10")(Dataset(_TRAIN_TEST, partial(cifar.load, layout=cifar.CIFAR10)))
DATASETS.register("cifar100")(Dataset(_TRAIN_TEST, partial(cifar.load, layout=cifar.CIFAR100)))
DATASETS.register("svhn")(Dataset(_TRAIN_TEST, _svhn))
DATASETS.register("folder")(Dataset(("all",), lambda root, part: folder.load(root)))
DATASETS.register("audio")(Dataset(("all",), lambda root, part: sounds.load(root)))
DATASETS.register("grids")(Dataset(("all",), lambda root, part: grids.load(root)))

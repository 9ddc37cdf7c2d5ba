"""CIFAR-10 and CIFAR-100 in the published binary and Python layouts.

Binary: records of one label byte (CIFAR-100: coarse, then fine) and 3,072 pixel bytes in the order
channel, row, column. Python: pickled dictionaries with `data` (N, 3072) uint8 and a list of labels.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Pixels, Signals, first_existing, opened, pickles, read_bytes
from weightwalk.zoos.formats.lazy import Lazy

_SHAPE = (3, 32, 32)
_NUM_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """Where one data set's files lie, and where a record's label is. Names come without the binary layout's `.bin`."""

    folders: tuple[str, str]
    files: Mapping[str, tuple[str, ...]]
    num_label_bytes: int
    labels_key: str
    names_files: tuple[str, str]
    names_key: str
    default_names: tuple[str, ...]


CIFAR10 = Layout(
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    files={"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)},
    num_label_bytes=1,
    labels_key="labels",
    names_files=("batches.meta.txt", "batches.meta"),
    names_key="label_names",
    default_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Layout(
    folders=("cifar-100-binary", "cifar-100-python"),
    files={"train": ("train",), "test": ("test",)},
    num_label_bytes=2,
    labels_key="fine_labels",
    names_files=("fine_label_names.txt", "meta"),
    names_key="fine_label_names",
    default_names=tuple(map(str, range(100))),
)


def load(root: Path, part: str, layout: Layout) -> Signals:
    """Pixels (N, 3, 32, 32), labels (N,) (CIFAR-100: fine) and names; `root` is the published folder or its parent."""
    first, *others = layout.files[part]
    what = f"the {part} records"
    found = first_existing([*(root / folder for folder in layout.folders), root], [f"{first}.bin", first], what)
    paths = [found, *(first_existing([found.parent], [other + found.suffix], what) for other in others)]
    binary = found.suffix == ".bin"
    names = _names(found.parent / layout.names_files[0 if binary else 1], layout, binary)
    if binary:
        labels = [_binary_labels(path, layout) for path in paths]
        stops = np.cumsum([len(of_file) for of_file in labels])

        def record(row: int) -> NDArray[np.uint8]:
            number = int(np.searchsorted(stops, row, side="right"))
            start = (row - (stops[number] - len(labels[number]))) * (layout.num_label_bytes + _NUM_PIXELS)
            return np.fromfile(paths[number], np.uint8, _NUM_PIXELS, offset=start + layout.num_label_bytes).reshape(
                _SHAPE
            )

        pixels: Pixels = Lazy((int(stops[-1]), *_SHAPE), np.dtype(np.uint8), record)
    else:
        batches = [_pickled(path, layout) for path in paths]
        labels = [of_file for _, of_file in batches]
        pixels = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, *_SHAPE)
    for path, of_file in zip(paths, labels, strict=True):
        _check_labels(path, of_file, len(names))
    return pixels, np.concatenate(labels).astype(np.int64), names


def _binary_labels(path: Path, layout: Layout) -> NDArray[np.uint8]:
    """Of every record of a file, without reading its pixels."""
    with opened(path) as file:
        got, size = file.seek(0, os.SEEK_END), layout.num_label_bytes + _NUM_PIXELS
        if not got or got % size:
            raise InputError(
                f"expected whole records of {size:,} bytes in {path}, got {got:,} bytes, that is {got // size:,} "
                f"records and {got % size:,} bytes; get a whole copy of the file"
            )
        return np.memmap(file, np.uint8, "r").reshape(-1, size)[:, layout.num_label_bytes - 1].copy()


def _pickled(path: Path, layout: Layout) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    batch = pickles.load_dict(path)
    pixels, labels = batch.get("data"), batch.get(layout.labels_key)
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 2
        or pixels.shape[1] != _NUM_PIXELS
        or not len(pixels)
    ):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise InputError(
            f"expected 'data' (N, {_NUM_PIXELS}) of uint8 in {path}, got {got}; get a fresh copy of the file"
        )
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(label, int) for label in labels)
    ):
        got = f"a list of {len(labels):,}" if isinstance(labels, list) else type(labels).__name__
        raise InputError(
            f"expected {len(pixels):,} integers as {layout.labels_key!r} in {path}, got {got}; get a fresh copy of the "
            "file"
        )
    return pixels, np.array(labels)


def _check_labels(path: Path, labels: NDArray[Any], num_classes: int) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputError(
            f"expected labels 0 to {num_classes - 1} in {path}, got {labels[wrong[0]]} for image {wrong[0]}; get a "
            "fresh copy of the file"
        )


def _names(path: Path, layout: Layout, binary: bool) -> tuple[str, ...]:
    """The label names beside the records, or the built-in ones where that file was not kept."""
    if not path.is_file():
        return layout.default_names
    lines = read_bytes(path).split(b"\n") if binary else pickles.load_dict(path).get(layout.names_key)
    texts = (
        [line.decode(errors="replace") if isinstance(line, bytes) else str(line) for line in lines]
        if isinstance(lines, list)
        else []
    )
    names = tuple(text.strip() for text in texts if text.strip())
    if len(names) != len(layout.default_names):
        raise InputError(
            f"expected {len(layout.default_names)} label names in {path}, got {len(names)}; get a fresh copy of the "
            "file, or remove it"
        )
    return names

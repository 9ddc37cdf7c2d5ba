"""Readers of file formats, one per file: paths in; signals, labels and label names out.

Legend: N signals, C channels, T samples of a sound, H and W rows and columns of a picture, D planes of a volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError


class Pixels(Protocol):
    """Signals (N, C, *grid), uint8 or float32: an array, or what reads rows as one when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> NDArray[Any]: ...


Signals = tuple[Pixels, NDArray[np.int64], tuple[str, ...]]
"""What every reader gives: signals (N, C, *grid), labels (N,), and the name of each label."""


def first_existing(folders: Sequence[Path], names: Sequence[str], what: str) -> Path:
    """The first of `names` in the first of `folders` that has one; the error lists everything that was tried."""
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"expected {what} as {' or '.join(names)} in {' or '.join(map(str, folders))}, found no such file; "
        "put the published files there or name the folder that has them (nothing is downloaded)"
    )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read from; one that cannot be read is the user's to fix."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"expected a readable file at {path}, got {error.strerror or error}; check its path and permissions"
        ) from error


def read_bytes(path: Path) -> bytes:
    """A file's content."""
    with opened(path) as file:
        return file.read()

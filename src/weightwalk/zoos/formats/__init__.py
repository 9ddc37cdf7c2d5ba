"""Readers of published file formats, one per file: paths in, plain arrays out.

Legend: N images, C channels (1 grey, 3 red green blue), H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError

# What every image reader gives: pixels (N, C, H, W), labels (N,), and the name of each label.
Pictures = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]


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


def read_bytes(path: Path) -> bytes:
    """A file's content; one that cannot be read is the user's to fix."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"expected a readable file at {path}, got {error.strerror or error}; check its path and permissions") from error

"""The idx format of MNIST and its kin, gzipped or not.

A file is a big-endian magic number 0x0000TTDD (TT = 0x08: unsigned bytes, DD: number of axes), one
32-bit size per axis, and the values in row-major order. Source: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals, first_existing, opened

_STEMS = {"train": "train", "test": "t10k"}


def load(root: Path, part: str, subfolders: Sequence[str], label_names: tuple[str, ...]) -> Signals:
    """Grey images (N, 1, H, W) and labels (N,) of `part`, from the first of `subfolders` with the images, or `root`."""
    images_name, labels_name = f"{_STEMS[part]}-images-idx3-ubyte", f"{_STEMS[part]}-labels-idx1-ubyte"
    folders = [*(root / subfolder for subfolder in subfolders), root]
    images_path = first_existing(folders, [images_name, f"{images_name}.gz"], f"the {part} images")
    labels_path = first_existing([images_path.parent], [labels_name, f"{labels_name}.gz"], f"the {part} labels")
    images, labels = read(images_path, num_axes=3), read(labels_path, num_axes=1)
    if len(images) != len(labels):
        raise InputError(
            f"expected one label per image, got {len(images):,} images in {images_path} but {len(labels):,} labels in "
            f"{labels_path}; get both files from the same place"
        )
    if labels.max() >= len(label_names):
        at = int(labels.argmax())
        raise InputError(
            f"expected labels 0 to {len(label_names) - 1} in {labels_path}, got {labels[at]} for image {at}; get a "
            "whole copy of the file"
        )
    return images[:, None], labels.astype(np.int64), label_names


def read(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in one idx file of `num_axes` axes, mapped: what is written to it stays in memory."""
    with _unzipped(path) as file:
        got, header_size, magic = file.seek(0, os.SEEK_END), 4 + 4 * num_axes, 0x0800 + num_axes
        if got < header_size:
            raise InputError(
                f"expected an idx header of {header_size} bytes in {path}, got {got} bytes in all; get a whole copy of "
                "the file"
            )
        file.seek(0)
        got_magic, *shape = struct.unpack(f">{1 + num_axes}I", file.read(header_size))
        if got_magic != magic:
            raise InputError(
                f"expected the idx magic number 0x{magic:08x} in {path}, got 0x{got_magic:08x}; "
                "it is another file or a damaged one: get a fresh copy"
            )
        expected = header_size + math.prod(shape)
        if expected != got:
            raise InputError(
                f"expected {expected:,} bytes in {path} (its header says {' x '.join(map(str, shape))}), got {got:,}; "
                "get a whole copy of the file"
            )
        if 0 in shape:
            raise InputError(
                f"expected at least one value in {path}, got the shape {' x '.join(map(str, shape))}; get a whole copy "
                "of the file"
            )
        return np.memmap(file, np.uint8, "c", header_size, tuple(shape))


@contextmanager
def _unzipped(path: Path) -> Iterator[BinaryIO]:
    """The file, or a nameless one of what is in it, if it begins as gzip: browsers unzip without renaming."""
    with opened(path) as file:
        if file.read(2) != b"\x1f\x8b":
            yield file
            return
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with tempfile.TemporaryFile() as content:
            try:
                shutil.copyfileobj(gzip.GzipFile(fileobj=file), content)
                content.flush()
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise InputError(
                    f"expected a whole gzip file at {path}, got {size:,} bytes that do not unpack ({error}); get a "
                    "fresh copy"
                ) from None
            except OSError as error:
                raise InputError(
                    f"expected room to unpack {path} in {tempfile.gettempdir()}, got {error.strerror or error}; "
                    "free some, or name another folder in the variable TMPDIR"
                ) from error
            yield content

"""The idx format of MNIST and its kin, gzipped or not.

A file is a big-endian magic number 0x0000TTDD (TT = 0x08: unsigned bytes, DD: number of axes), one
32-bit size per axis, and the values in row-major order. Source: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Pictures, first_existing, read_bytes

_STEMS = {"train": "train", "test": "t10k"}


def load(root: Path, part: str, subfolders: Sequence[str], label_names: tuple[str, ...]) -> Pictures:
    """Grey images (N, 1, H, W) and labels (N,) of `part`, from the first of `subfolders` that has the images, or `root` itself."""
    images_name, labels_name = f"{_STEMS[part]}-images-idx3-ubyte", f"{_STEMS[part]}-labels-idx1-ubyte"
    folders = [*(root / subfolder for subfolder in subfolders), root]
    images_path = first_existing(folders, [images_name, f"{images_name}.gz"], f"the {part} images")
    labels_path = first_existing([images_path.parent], [labels_name, f"{labels_name}.gz"], f"the {part} labels")
    images, labels = read(images_path, num_axes=3), read(labels_path, num_axes=1)
    if len(images) != len(labels):
        raise InputError(
            f"expected one label per image, got {len(images):,} images in {images_path} but {len(labels):,} labels in {labels_path}; "
            "get both files from the same place"
        )
    if labels.max() >= len(label_names):
        at = int(labels.argmax())
        raise InputError(
            f"expected labels 0 to {len(label_names) - 1} in {labels_path}, got {labels[at]} for image {at}; get a whole copy of the file"
        )
    return images[:, None], labels.astype(np.int64), label_names


def read(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in one idx file of `num_axes` axes."""
    content = _unzipped(path)
    header_size = 4 + 4 * num_axes
    magic = 0x0800 + num_axes
    if len(content) < header_size:
        raise InputError(
            f"expected an idx header of {header_size} bytes in {path}, got {len(content)} bytes in all; get a whole copy of the file"
        )
    got_magic, *shape = struct.unpack(f">{1 + num_axes}I", content[:header_size])
    if got_magic != magic:
        raise InputError(
            f"expected the idx magic number 0x{magic:08x} in {path}, got 0x{got_magic:08x}; "
            "it is another file or a damaged one: get a fresh copy"
        )
    expected, got = header_size + math.prod(shape), len(content)
    if expected != got:
        raise InputError(
            f"expected {expected:,} bytes in {path} (its header says {' x '.join(map(str, shape))}), got {got:,}; "
            "get a whole copy of the file"
        )
    if 0 in shape:
        raise InputError(
            f"expected at least one value in {path}, got the shape {' x '.join(map(str, shape))}; get a whole copy of the file"
        )
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape).copy()


def _unzipped(path: Path) -> bytes:
    """A file's content, told to be gzipped by its first bytes: browsers unzip without renaming."""
    content = read_bytes(path)
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"expected a whole gzip file at {path}, got {len(content):,} bytes that do not unpack ({error}); get a fresh copy"
        ) from None

"""A folder of pictures, one subfolder per class: ROOT/class/name.png, all grey (C = 1) or all RGB (C = 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Signals, classes

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
# Bilevel and grey pictures are read as grey, palette and RGB ones as RGB; all others would lose something on the way.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
_KINDS = {"L": ("grey", 1), "RGB": ("RGB", 3)}


def load(root: Path) -> Signals:
    """Signals (N, C, H, W) as stored, of one size and kind."""
    return classes.load(root, "pictures", _SUFFIXES, _header, _read)


def _header(path: Path) -> classes.Header:
    with _opened(path) as image:
        transparent, mode = "transparency" in image.info, image.mode
        width, height = image.size
    if transparent or mode not in _MODES:
        got = f"mode {mode}{' with transparency' if transparent else ''}"
        raise InputError(f"expected a grey or RGB picture of 8 bits at {path}, got {got}; convert it first")
    kind, channels = _KINDS[_MODES[mode]]
    return classes.Header(f"{width} x {height} {kind}", (channels, height, width), "uint8")


def _read(path: Path) -> NDArray[np.uint8]:
    with _opened(path) as image:
        pixels = np.array(image.convert(_MODES[image.mode]))
    return pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
            yield image
    except Exception as error:  # what a damaged picture raises depends on the damage
        raise InputError(
            f"expected a PNG, JPEG or BMP picture at {path}, got one that cannot be read ({error}); replace it"
        ) from None

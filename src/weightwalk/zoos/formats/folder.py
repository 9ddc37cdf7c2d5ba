"""A folder of pictures, one subfolder per class: ROOT/class/name.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from weightwalk.errors import InputError
from weightwalk.zoos.formats import Pictures

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
# Bilevel and grey pictures are read as grey, palette and RGB ones as RGB; all others would lose something on the way.
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
_WORDS = {"L": "grey", "RGB": "RGB"}


def load(root: Path) -> Pictures:
    """Pictures (N, C, H, W) as stored, of one size and all grey (C = 1) or all RGB (C = 3).

    Classes and, within them, files come in the order of their names; hidden entries and files of other
    kinds are passed over.
    """
    folders = _visible(root) if root.is_dir() else []
    classes = {folder.name: [path for path in _visible(folder) if _is_picture(path)] for folder in folders if folder.is_dir()}
    if not classes:
        raise InputError(f"expected one folder per class in {root} ({root}/class/name.png), found none; check the path")
    for name, paths in classes.items():
        if not paths:
            raise InputError(f"expected pictures ({', '.join(_SUFFIXES)}) in {root / name}, found none; add some or remove the folder")

    first_path, *other_paths = (path for paths in classes.values() for path in paths)
    first_shape, first_pixels = _read(first_path)
    pictures = [first_pixels]
    for path in other_paths:
        shape, pixels = _read(path)
        if shape != first_shape:
            raise InputError(
                f"expected pictures of one size, all grey or all RGB, got {path} with {shape} but {first_path} with {first_shape}; "
                "make them alike or remove the odd ones"
            )
        pictures.append(pixels)
    labels = np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()]).astype(np.int64)
    return np.ascontiguousarray(np.stack(pictures)), labels, tuple(classes)


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file()


def _read(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """Size and kind of one picture in words, and its pixels (C, H, W)."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
            transparent = "transparency" in image.info
            mode = image.mode
            pixels = None if transparent or mode not in _MODES else np.array(image.convert(_MODES[mode]))
    except Exception as error:  # what a damaged picture raises depends on the damage
        raise InputError(f"expected a PNG, JPEG or BMP picture at {path}, got one that cannot be read ({error}); replace it") from None
    if pixels is None:
        got = f"mode {mode}{' with transparency' if transparent else ''}"
        raise InputError(f"expected a grey or RGB picture of 8 bits at {path}, got {got}; convert it first")
    height, width = pixels.shape[:2]
    return f"{width} x {height} {_WORDS[_MODES[mode]]}", pixels.reshape(height, width, -1).transpose(2, 0, 1)

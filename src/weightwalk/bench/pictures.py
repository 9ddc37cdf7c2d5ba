"""Pictures to measure on that need no files: what scikit-learn ships. Each set is (N, C, H, W) uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightwalk.errors import InputError
from weightwalk.zoos import images
from weightwalk.zoos.formats import Pixels

_STRIDE = 97  # through the crops of the photographs: neighbours look alike
_CONTRAST = 3.0  # enlarged digits are blurred; with this, recipe nfn ends within 1 dB of what it does on MNIST


def by_size(count: int, dataset: str | None = None, root: Path | None = None) -> dict[str, NDArray[Any]]:
    """`count` pictures of each size under its name: 28 x 28 grey and 32 x 32 RGB without files, or those of a data set.

    Where there are fewer pictures, they come again.
    """
    sets: list[Pixels] = (
        [_digits(), _photographs()]
        if dataset is None
        else [images.load(dataset, root, images.parts(dataset)[0]).pixels]
    )
    axes = len(sets[0].shape) - 2
    if axes != 2:
        raise InputError(f"expected a data set of pictures, got {dataset}, of {axes} axes; choose another")
    return {_name(pixels): pixels[np.arange(count) % len(pixels)] for pixels in sets}


def _name(pixels: Pixels) -> str:
    channels, *grid = pixels.shape[1:]
    return f"{'x'.join(map(str, grid))} {({1: 'grey', 3: 'RGB'}).get(channels, f'in {channels} channels')}"


def _digits() -> NDArray[np.uint8]:
    """Handwritten digits as MNIST has them: sharp, 20 x 20 pixels amid a black 28 x 28. (1797, 1, 28, 28)."""
    from PIL import Image

    small = images.load("digits", None, "all").pixels[:, 0]
    size = (20, 20)
    grey = np.stack(
        [np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC), np.float32) for digit in small]
    )
    sharp = np.clip(_CONTRAST * (grey - 127.5) + 127.5, 0, 255)
    return np.pad(np.rint(sharp).astype(np.uint8), ((0, 0), (4, 4), (4, 4)))[:, None]


def _photographs() -> NDArray[np.uint8]:
    """The two photographs, cut into (520, 3, 32, 32)."""
    from sklearn.datasets import load_sample_images  # a second to import

    crops = []
    for photograph in load_sample_images().images:
        rows, columns = photograph.shape[0] // 32, photograph.shape[1] // 32
        cut = photograph[: rows * 32, : columns * 32].reshape(rows, 32, columns, 32, 3)
        crops.append(cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32))
    together = np.concatenate(crops)
    return together[np.arange(len(together)) * _STRIDE % len(together)]

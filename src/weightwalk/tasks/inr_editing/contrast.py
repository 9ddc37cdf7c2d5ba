"""Contrast-limited adaptive histogram equalisation (Zuiderveld 1994), with the conventions of OpenCV's.

Axes: N pictures, H rows, W columns, T tiles a side, 256 levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# sRGB (IEC 61966-2-1) to XYZ, and its white point D65.
_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.950456, 1.0, 1.088754])
_KNEE, _SLOPE, _OFFSET = 0.008856, 7.787, 16 / 116


def equalise(levels_NHW: NDArray[np.uint8], clip_limit: float, tiles: int) -> NDArray[np.uint8]:
    """Every level by the cumulative histogram of its neighbourhood: (N, H, W) uint8 -> the same.

    A picture is cut into `tiles` x `tiles` tiles; where a side does not divide, both are continued to the right and
    below by reflection without the border pixel (a side that divides, by a whole row of `tiles`). A histogram is
    cut at max(1, int(clip_limit * pixels of a tile / 256)), and what was above is spread evenly over all levels, the
    rest in steps. A pixel's level is the bilinear interpolation of what the four nearest tiles make of it.
    """
    num, height, width = levels_NHW.shape
    below, right = (0, 0) if not (height % tiles or width % tiles) else (tiles - height % tiles, tiles - width % tiles)
    padded = np.pad(levels_NHW, ((0, 0), (0, below), (0, right)), mode="reflect")
    rows, columns = padded.shape[1] // tiles, padded.shape[2] // tiles
    area = rows * columns
    cut = padded.reshape(num, tiles, rows, tiles, columns).transpose(0, 1, 3, 2, 4).reshape(num * tiles**2, area)
    number = np.arange(len(cut))[:, None]
    histograms = np.bincount((number * 256 + cut).ravel(), minlength=256 * len(cut)).reshape(-1, 256)
    histograms = _clipped(histograms, max(1, int(clip_limit * area / 256)))
    maps = np.rint(histograms.cumsum(1).astype(np.float32) * np.float32(255 / area)).clip(0, 255)
    maps_NTT = maps.reshape(num, tiles, tiles, 256)
    (top, bottom, down), (left, other, across) = _between(height, rows, tiles), _between(width, columns, tiles)

    def told(row: Array, column: Array) -> Array:
        """What the tiles at `row` (H,) and `column` (W,) make of every pixel."""
        found: Array = maps_NTT[np.arange(num)[:, None, None], row[:, None], column, levels_NHW]
        return found

    upper = told(top, left) * (1 - across) + told(top, other) * across
    lower = told(bottom, left) * (1 - across) + told(bottom, other) * across
    mixed = upper * (1 - down[:, None]) + lower * down[:, None]
    equalised: NDArray[np.uint8] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return equalised


def _clipped(histograms: Array, limit: int) -> Array:
    """Histograms (M, 256) cut at `limit`, the excess added again over all levels."""
    excess = np.maximum(histograms - limit, 0).sum(1, keepdims=True)
    cut = np.minimum(histograms, limit) + excess // 256
    rest = excess % 256
    step = np.maximum(256 // np.maximum(rest, 1), 1)
    level = np.arange(256)
    spread: Array = cut + ((level % step == 0) & (level // step < rest))
    return spread


def _between(size: int, tile: int, tiles: int) -> tuple[Array, Array, Array]:
    """Per position the tile before, the one after, and how near to the second, as fractions in float32."""
    place = np.arange(size, dtype=np.float32) * np.float32(1 / tile) - np.float32(0.5)
    first = np.floor(place)
    tile_of = first.astype(np.int64)
    return np.maximum(tile_of, 0), np.minimum(tile_of + 1, tiles - 1), place - first


def on_lightness(pictures: NDArray[np.uint8], clip_limit: float, tiles: int) -> NDArray[np.uint8]:
    """`equalise` of grey pictures (N, 1, H, W), or of the L of RGB ones (N, 3, H, W) in CIE LAB of 8 bits a value.

    Equalising makes a step of one level a step of several, so the levels of L are made as OpenCV makes them: in whole
    numbers. Grey pictures come out as OpenCV's to the bit. Deviation: on the way back to RGB, which amplifies nothing,
    four percent of the values are a level beside OpenCV's, and none is more than two.
    """
    if pictures.shape[1] == 1:
        return equalise(pictures[:, 0], clip_limit, tiles)[:, None]
    lab = to_lab(pictures)
    lab[:, 0] = equalise(lab[:, 0], clip_limit, tiles)
    return from_lab(lab)


# Whole numbers stand for fractions of these: light in 1 / (255 * 8), coefficients in 1 / 4096, cube roots in 1 / 2^15;
# on the way back everything in 1 / 2^14, and light in 1 / 4096.
_LIGHT, _COEFFICIENT, _ROOT, _BACK = 255 * 8, 12, 15, 14
_LEVELS = np.arange(256)


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """sRGB (N, 3, ...) to LAB of 8 bits: L times 255 / 100, a and b plus 128."""
    c = _LEVELS / 255
    light = np.rint(_LIGHT * np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)).astype(np.int64)
    share = np.arange(_LIGHT * 3 // 2) / _LIGHT
    curve = np.where(share < _KNEE, _SLOPE * share + _OFFSET, np.cbrt(share))
    roots = np.rint(curve * 2**_ROOT).astype(np.int64)
    to_xyz = np.rint(_XYZ / _WHITE[:, None] * 2**_COEFFICIENT).astype(np.int64)
    x, y, z = np.moveaxis(roots[_rounded(np.einsum("xc,nc...->nx...", to_xyz, light[rgb]), _COEFFICIENT)], 1, 0)
    middle = 128 * 2**_ROOT
    black = (16 * 255 * 2**_ROOT + 50) // 100  # 116 * 2.55 is 296 here
    lab = np.stack([296 * y - black, 500 * (x - y) + middle, 200 * (y - z) + middle], axis=1)
    levels: NDArray[np.uint8] = _rounded(lab, _ROOT).clip(0, 255).astype(np.uint8)
    return levels


def from_lab(lab: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `to_lab`."""
    lightness, a, b = np.moveaxis(lab.astype(np.int64), 1, 0)
    one, l_star = 2**_BACK, _LEVELS * 100 / 255
    dark = l_star <= 8
    light = np.where(dark, l_star / 903.3, ((l_star + 16) / 116) ** 3)
    root = np.where(dark, _SLOPE * light + _OFFSET, (l_star + 16) / 116)
    y, fy = (np.rint(values * one).astype(np.int64)[lightness] for values in (light, root))
    fx, fz = fy + (a - 128) * one // 500, fy - (b - 128) * one // 200
    knee = 6 / 29 * one
    x, z = (np.where(f <= knee, (f - 16 * one // 116) * 108 // 841, f * f // one * f // one) for f in (fx, fz))
    to_rgb = np.rint(np.linalg.inv(_XYZ) * _WHITE * 2**_COEFFICIENT).astype(np.int64)
    linear = _rounded(np.einsum("cx,nx...->nc...", to_rgb, np.stack([x, y, z], axis=1)), _BACK).clip(0, 4095)
    share = np.arange(4096) / 4095
    levels = np.rint(255 * np.where(share > 0.0031308, 1.055 * share ** (1 / 2.4) - 0.055, 12.92 * share))
    pictures: NDArray[np.uint8] = levels.astype(np.uint8)[linear]
    return pictures


def _rounded(numbers: Array, bits: int) -> Array:
    """Whole numbers divided by 2^bits, to the nearest."""
    nearest: Array = (numbers + (1 << (bits - 1))) >> bits
    return nearest

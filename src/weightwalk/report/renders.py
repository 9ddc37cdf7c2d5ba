"""Signals of any size as files: pictures .png, sounds .wav, everything else .npy.

They come as blocks: values (C, p), nominally -1 ... 1, on consecutive ranges of the points of a grid, row by row. What
is in memory is a block, however large the grid.
"""

from __future__ import annotations

import struct
import wave
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from weightwalk import files
from weightwalk.errors import InputError
from weightwalk.report.pictures import shades

Blocks = Iterable[tuple[range, NDArray[np.float32]]]

_PNG_COLOURS = {1: 0, 3: 2}  # channels -> the colour type of the PNG specification: grey, red green blue
_WAV_BYTES = 2**32 - 64


def suffix(channels: int, grid: Sequence[int]) -> str:
    """What a signal is written as."""
    if len(grid) == 1:
        return ".wav"
    return ".png" if len(grid) == 2 and channels in _PNG_COLOURS else ".npy"


def write(path: Path, blocks: Blocks, channels: int, grid: Sequence[int], rate: int) -> list[Path]:
    """Write a signal to `path`, wholly or not at all; `rate` is that of a sound in Hz. Returns the files.

    Pictures get 8 bits a channel and sounds 16, values beyond -1 ... 1 clipped. A .npy has all values, float32 (C,
    *grid) or, of one channel, (*grid); beside that of a volume lies a .png of the middle slice along its first axis.
    """
    kind = suffix(channels, grid)
    if kind == ".wav":
        _write_wav(path, blocks, channels, grid[0], rate)
        return [path]
    if kind == ".png":
        write_png(path, channels, grid, (shades(values).T.reshape(-1, grid[1], channels) for _, values in blocks))
        return [path]
    with files.replacing(path) as scratch:
        array = open_memmap(scratch, "w+", np.float32, (channels, *grid) if channels > 1 else tuple(grid))
        by_point = array.reshape(channels, -1)
        for points, values in blocks:
            by_point[:, points.start : points.stop] = values
        middle: NDArray[Any] = np.array(array.reshape(channels, *grid)[:, grid[0] // 2])
        array.flush()
    if len(grid) != 3 or channels not in _PNG_COLOURS:
        return [path]
    picture = path.with_suffix(".png")
    write_png(picture, channels, grid[1:], [np.moveaxis(shades(middle), 0, -1)])
    return [path, picture]


def write_png(path: Path, channels: int, grid: Sequence[int], bands: Iterable[NDArray[np.uint8]]) -> None:
    """A PNG of `grid` (H, W) out of bands (h, W, C) of its rows, from top to bottom; C is 1 or 3."""

    def chunk(kind: bytes, content: bytes) -> None:
        handle.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))

    (height, width), compressor = grid, zlib.compressobj()
    with files.replacing(path) as scratch, open(scratch, "wb") as handle:
        handle.write(b"\x89PNG\r\n\x1a\n")
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOURS[channels], 0, 0, 0))
        for band in bands:
            # Filter 1: every byte minus the one a pixel before it, which is small where a picture is smooth.
            rows = np.empty((len(band), 1 + width * channels), np.uint8)
            rows[:, 0] = 1
            rows[:, 1:] = np.diff(band, axis=1, prepend=np.uint8(0)).reshape(len(band), -1)
            chunk(b"IDAT", compressor.compress(rows.tobytes()))
        chunk(b"IDAT", compressor.flush())
        chunk(b"IEND", b"")


def _write_wav(path: Path, blocks: Blocks, channels: int, samples: int, rate: int) -> None:
    if rate < 1 or channels > 0xFFFF or 2 * channels * samples > _WAV_BYTES:
        raise InputError(
            f"a .wav holds up to 4 GiB at a rate from 1 Hz, got {samples:,} samples of {channels} channels at {rate} Hz"
        )
    with files.replacing(path) as scratch, wave.open(str(scratch), "wb") as sound:
        sound.setparams((channels, 2, rate, samples, "NONE", ""))
        for _, values in blocks:
            sound.writeframesraw((values.T * 2**15).round().clip(-(2**15), 2**15 - 1).astype("<i2").tobytes())

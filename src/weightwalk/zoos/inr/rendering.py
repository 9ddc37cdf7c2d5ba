"""INRs of a zoo at any resolution: which ones, on what grid, and their values a block of points at a time.

Axes: B networks, C channels, p points of a block. A grid is (T,) for a sound, (H, W) for a picture, (D, H, W) for a
volume.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import config, memory
from weightwalk.errors import InputError
from weightwalk.weights import Weights
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.store import Zoo

BLOCK_VALUES = 2**21  # numbers in a block's widest activation, of all its networks: 8 MB in float32
PICTURE_SIZE = 512

Blocks = Iterator[tuple[range, NDArray[np.float32]]]

_ROWS = re.compile(r"[0-9]{1,15}|[0-9]{0,15}:[0-9]{0,15}")
_SIZE = re.compile(r"[0-9]{1,9}(x[0-9]{1,9})*")


def pixel_format(zoo: Zoo) -> PixelFormat:
    """What the outputs of a zoo's networks mean, out of its settings; InputError if they do not say."""
    fit: Any = zoo.settings.get("fit")
    if not isinstance(fit, Mapping) or not isinstance(fit.get("pixels"), Mapping):
        raise InputError(
            f"expected settings with fit.pixels in the zoo {zoo.path}, found none: nobody knows what its networks' "
            "outputs mean"
        )
    return config.from_dict(PixelFormat, {"fourier": None, **fit["pixels"]})


def blocks(pixels: PixelFormat, weights: Weights, grid: Sequence[int]) -> Iterator[tuple[range, Tensor]]:
    """The outputs (B, C, p) on consecutive ranges of the grid's points, which are numbered row by row.

    A block of a picture or volume is whole rows (of the last axis). What is in memory does not depend on the grid's
    size.
    """
    line, total = grid[-1] if len(grid) > 1 else 1, math.prod(grid)
    memory.check(
        8 * len(weights) * max(weights.spec.widths) * line,
        f"a line of {line:,} points at once",
        "choose a smaller size",
    )
    step = max(1, BLOCK_VALUES // (len(weights) * max(weights.spec.widths) * line)) * line
    for start in range(0, total, step):
        points = range(start, min(start + step, total))
        inputs = pixels.coordinates(grid, weights.device, points).to(weights.dtype)
        yield points, weights.run(inputs).transpose(1, 2)


def to_values(pixels: PixelFormat, outputs: Tensor) -> Tensor:
    """Outputs `low` ... `high` as the values -1 ... 1 of signals, not clipped: what `PixelFormat.targets` undoes."""
    return (outputs - pixels.low) * (2 / (pixels.high - pixels.low)) - 1


def signal(zoo: Zoo, row: int, grid: Sequence[int], device: torch.device | str = "cpu") -> Blocks:
    """The values (C, p) of one INR on consecutive ranges of the grid's points; InputError if they are not finite."""
    pixels = pixel_format(zoo)
    for points, outputs in blocks(pixels, zoo.weights(np.array([row])).to(device), grid):
        values = to_values(pixels, outputs)[0]
        if not values.isfinite().all():
            [name] = zoo.names(np.array([row]))
            raise InputError(
                f"expected finite values of {name} in {zoo.path}, got NaN or infinity; look at it with weightwalk "
                "verify"
            )
        yield points, values.cpu().numpy()


def chosen(zoo: Zoo, ids: Sequence[str]) -> NDArray[np.int64]:
    """The rows of `ids`, each once, in order: names (`train-17-f0`), row numbers, ranges (`0:16`, `40:`, `:`)."""
    named = [text for text in ids if not _ROWS.fullmatch(text)]
    rows_of = {name: range(row, row + 1) for name, row in zip(named, zoo.find(named).tolist(), strict=True)}
    for text in ids:
        if text in rows_of:
            continue
        start, colon, stop = text.partition(":")
        rows_of[text] = range(int(start or 0), int(stop or len(zoo)) if colon else int(start) + 1)
        if not 0 <= rows_of[text].start < rows_of[text].stop <= len(zoo):
            what = "a range START:STOP of rows, with START below STOP" if colon else "a row"
            raise InputError(f"expected {what}, got {text}; {zoo.described()}")
    return np.array(list(dict.fromkeys(row for text in ids for row in rows_of[text])), np.int64)


def parsed_size(text: str | None, source: Sequence[int]) -> tuple[int, ...]:
    """The grid that `--size` means for signals on the grid `source`.

    One number is the longest axis, to which the others keep their ratio; `WIDTHxHEIGHT` is that of a picture, `DxHxW`
    that of a volume. Without a text, pictures have a longer side of `PICTURE_SIZE` and other signals their own size.
    """
    if text is None:
        return parsed_size(str(PICTURE_SIZE), source) if len(source) == 2 else tuple(source)
    sizes = [int(number) for number in text.split("x")] if _SIZE.fullmatch(text) else []
    if len(sizes) == 1 and sizes[0]:
        return tuple(max(1, round(sizes[0] * size / max(source))) for size in source)
    if len(sizes) == len(source) and all(sizes):
        return tuple(sizes[::-1] if len(source) == 2 else sizes)
    several = {2: ", or WIDTHxHEIGHT such as 512x384", 3: ", or DEPTHxHEIGHTxWIDTH such as 64x64x64"}.get(
        len(source), ""
    )
    raise InputError(f"expected --size of one number (the longest axis){several}, got {text!r}")

"""Many pictures, given as arrays, on one PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from weightwalk.errors import InputError
from weightwalk.report.look import DENSITY, INK, PAPER, QUIET, RULE, encode

Array = NDArray[Any]

_PAGE_WIDTH, _CELL, _GAP, _LINE = 1840, 128, 14, 34  # of sheets of pictures, in pixels of the PNG
_BROKEN = np.array([0xE7, 0x63, 0x00], np.uint8)


def picture_rows(rows: Mapping[str, Array], columns: Sequence[str] | None = None) -> bytes:
    """One labelled row per entry of pictures (n, C, H, W), uint8 or floats in [-1, 1]; `columns` are captions on top.

    Rows may differ in length and in picture size; every picture is enlarged by a whole factor. NaN pixels are orange.
    """
    pictures = {label: _to_rgb(array, f"row {label!r}") for label, array in rows.items()}
    if not pictures:
        raise InputError("expected at least one row of pictures, got none")
    longest = max(map(len, pictures.values()))
    if columns is not None and len(columns) != longest:
        raise InputError(f"expected {longest} column captions, one per picture, got {len(columns)}")
    return _sheet([list(row) for row in pictures.values()], labels=list(pictures), heads=columns or ())


def contact_sheet(pictures: Array | Sequence[Array], columns: int, captions: Sequence[str] | None = None) -> bytes:
    """Pictures (C, H, W) as in `picture_rows` in reading order, `columns` to a row, each with its caption below."""
    groups = [pictures] if isinstance(pictures, np.ndarray) else [picture[None] for picture in pictures]
    rgb = [picture for group in groups for picture in _to_rgb(group, "pictures")]
    if not rgb:
        raise InputError("expected at least one picture, got none")
    if columns < 1:
        raise InputError(f"a contact sheet needs at least one column, got {columns}")
    if captions is not None and len(captions) != len(rgb):
        raise InputError(f"expected {len(rgb)} captions, one per picture, got {len(captions)}")
    spans = [slice(start, start + columns) for start in range(0, len(rgb), columns)]
    return _sheet([rgb[span] for span in spans], captions=[captions[span] for span in spans] if captions else ())


def shades(values: Array) -> NDArray[np.uint8]:
    """Values -1 ... 1, clipped, as bytes 0 ... 255."""
    return ((values.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def _to_rgb(pictures: Array, what: str) -> NDArray[np.uint8]:
    """(n, C, H, W) -> (n, H, W, 3) bytes."""
    pictures = np.asarray(pictures)
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or 0 in pictures.shape:
        raise InputError(f"{what} must be pictures (n, C, H, W) with 1 or 3 channels, got an array {pictures.shape}")
    pixels = np.moveaxis(pictures, 1, -1)
    if pixels.dtype != np.uint8:
        if not np.issubdtype(pixels.dtype, np.floating):
            raise InputError(f"{what} must be uint8 or floats in [-1, 1], got {pixels.dtype}; convert them")
        broken = np.isnan(pixels).any(-1, keepdims=True)
        pixels = np.where(broken, _BROKEN, shades(np.nan_to_num(pixels)))
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def _sheet(
    rows: Sequence[Sequence[Array]],
    labels: Sequence[str] = (),
    heads: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
) -> bytes:
    """Rows of (H, W, 3) pictures, framed by hairlines on paper, with names at the left, on top, or below each."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), 12 * DENSITY)
    left = _GAP + (round(max(map(font.getlength, labels))) + _GAP if labels else 0)
    largest = max(max(picture.shape[:2]) for row in rows for picture in row)
    num_columns = max(map(len, rows))
    room = min(_CELL, (_PAGE_WIDTH - left) // num_columns - _GAP)
    cell = largest * max(1, room // largest)
    scales = [[max(1, cell // max(picture.shape[:2])) for picture in row] for row in rows]
    scaled = [list(zip(row, factors, strict=True)) for row, factors in zip(rows, scales, strict=True)]
    heights = [max(picture.shape[0] * scale for picture, scale in row) for row in scaled]
    top = _GAP + (_LINE if heads else 0)
    below = _GAP + (_LINE if captions else 0)
    canvas = Image.new("RGB", (left + num_columns * (cell + _GAP), top + sum(heights) + below * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)

    def caption(text: str, column: int, y: int) -> None:
        place = (left + column * (cell + _GAP) + cell / 2, y)
        draw.text(place, _shorten(text, font, cell + _GAP - 4), QUIET, font, anchor="mm")

    for column, text in enumerate(heads):
        caption(text, column, top - _LINE // 2 - 2)
    y = top
    for index, (row, height) in enumerate(zip(scaled, heights, strict=True)):
        if labels:
            draw.text((_GAP, y + height / 2), labels[index], INK, font, anchor="lm")
        for column, (picture, scale) in enumerate(row):
            tall, wide = picture.shape[0] * scale, picture.shape[1] * scale
            x = left + column * (cell + _GAP) + (cell - wide) // 2
            draw.rectangle((x - 1, y - 1, x + wide, y + tall), RULE)
            canvas.paste(Image.fromarray(picture).resize((wide, tall), Image.Resampling.NEAREST), (x, y))
            if captions:
                caption(captions[index][column], column, y + height + _LINE // 2)
        y += height + below
    return encode(canvas)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"

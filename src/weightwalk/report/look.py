"""The one look of every picture in a report.

A PNG has two pixels per pixel of the page (`DENSITY`) and aims to stay under 400 KB: a larger one is reduced to 256
colours. Colours are Petroff's ten (arXiv:2107.02270), chosen to stay apart for colour-blind readers.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

DENSITY = 2  # pixels of the PNG per pixel of the page
MAX_BYTES = 400_000
PALETTE = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
INK, QUIET, RULE, PAPER = "#1b2733", "#5d6b78", "#d8dee4", "#ffffff"
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": RULE,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e9edf1",
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "figure.dpi": 96 * DENSITY,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


def draw(figure: Figure) -> bytes:
    """PNG bytes of a figure, to be called under the settings `STYLE`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", pil_kwargs={"compress_level": 1})
    return encode(Image.open(buffer).convert("RGB"))


def encode(image: Image.Image) -> bytes:
    """PNG bytes, in 256 colours where all of them would take more than `MAX_BYTES`."""

    def png(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    content = png(image)
    return content if len(content) <= MAX_BYTES else png(image.quantize(256, dither=Image.Dither.NONE))

"""Zoos of INRs: a group is an image, its members are fits; a sample of them is rendered and compared with the image.

A stored PSNR stands for an error r = peak 10^(-PSNR / 20), root mean square, against the stored source image. Rendered
again, an INR has the error r'. By the triangle inequality |r' - r| is at most the root mean square difference of the
two renderings, which is rounding and nothing else. So errors are compared, not decibels, which tell little where r is
as small as rounding.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.progress import Progress
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.overview import psnr_figures, spread
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.inr.rendering import BLOCK_VALUES, blocks, pixel_format
from weightwalk.zoos.kinds import KINDS, Description, Kind, Sampled
from weightwalk.zoos.splits import PARTS, SPLITS
from weightwalk.zoos.store import Zoo

FIGURES = {"psnr": "float32"}
DECIBEL = 0.01  # what a stored PSNR may be off by, where its error is far above rounding
FLOOR = 1e-6  # of the peak, root mean square: what two float32 evaluations of an ordinary SIREN may differ by
_SOURCES = {"rendered": "rendered from the INRs", "edited": "what the edited INRs should show"}
ROUNDING, MOST_ROUNDING = 8.0, 1e-3  # times this network's own float32 rounding, but at most this share of the peak


class INR(Kind):
    """See the module."""

    networks, group, member = "INRs", "image", "fit"
    words = {part: part for part in PARTS}  # noqa: RUF012
    number, letter = "member", "f"
    sample = 256
    figures = FIGURES

    def dataset_to_look(self, path: Path, settings: Mapping[str, Any]) -> str:
        raise InputError(f"--root is for zoos of trained networks, but {path} holds INRs; leave it out")

    def describe(self, zoo: Zoo) -> Description:
        """PSNR by split, and the spread of the weights beside that of the published zoos of this shape."""
        psnr, rows = zoo.column("psnr"), {name: zoo.rows(name) for name in SPLITS}
        figures = {name: psnr_figures(psnr[mine]) for name, mine in rows.items() if len(mine)}
        header, stds = spread(zoo)
        columns = list(next(iter(figures.values())))
        fits, settings = int(zoo.members.max()) + 1, zoo.settings
        diverged = int(np.count_nonzero(~np.isfinite(psnr)))
        return Description(
            f"{len(zoo):,} INRs of {settings['dataset']}, PSNR {psnr_figures(psnr)['mean']:.1f} dB",
            {
                "signals": f"{'x'.join(map(str, zoo.image_shape))}, {settings['image_dtype']}",
                "classes": textwrap.shorten(", ".join(zoo.label_names), 80, placeholder=" ..."),
                "source images": _SOURCES.get(settings.get("images", ""), "of the data set"),
                **({"edit": f"{settings['edit']['op']} by {settings['edit']['by']}"} if "edit" in settings else {}),
                "init": settings.get("init"),
                "fit recipe": settings.get("fit", {}).get("name"),
                "fits per training image": fits,
                **({"diverged": f"{diverged:,} INRs, whose PSNR is not a number"} if diverged else {}),
            },
            [
                (
                    "INRs and their PSNR in dB",
                    ["split", "INRs", *columns],
                    [[name, len(rows[name]), *(f"{v:.1f}" for v in of.values())] for name, of in figures.items()],
                ),
                ("Standard deviation, beside the published zoos of this shape", header, stds),
            ],
            {
                "fits": fits,
                "diverged": diverged,
                "label_names": list(zoo.label_names),
                "psnr": figures,
                "stds": {"columns": header, "rows": stds},
            },
        )

    def doubtful(self, name: str, column: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(~np.isfinite(column))

    def look(self, zoo: Zoo, rows: NDArray[np.int64], sets: Sequence[ImageSet] | None, progress: Progress) -> Sampled:
        """Render `rows` and compare with the stored PSNR."""
        try:
            pixels = pixel_format(zoo)
        except InputError as unknown:
            return Sampled(why_not=str(unknown))
        peak = pixels.high - pixels.low
        together = max(1, BLOCK_VALUES // (max(zoo.spec.widths) * int(np.prod(zoo.image_shape[1:]))))
        wrong: dict[int, str] = {}
        worst = 0.0
        for first in range(0, len(rows), together):
            some = rows[first : first + together]
            error, rounding = _errors(zoo, pixels, some)
            psnr = torch.from_numpy(zoo.column("psnr")[some]).double()
            stored = peak * 10 ** (-psnr / 20)
            found, passes = pixels.psnr(error.square()), (error - stored).abs() <= tolerance(stored, rounding, peak)
            for row, value, said, passed in zip(some.tolist(), found.tolist(), psnr.tolist(), passes, strict=True):
                if not passed:
                    wrong[row] = f"{value:.2f} dB where {said:.2f} dB are stored"
            worst = max(worst, float((found - psnr).abs()[passes].max())) if passes.any() else worst
            progress("rendering", first + len(some), len(rows), {"off by dB": worst})
        return Sampled(len(rows), worst, wrong)


KINDS.register("inr")(INR())


def tolerance(stored: Tensor, rounding: Tensor, peak: float) -> Tensor:
    """What errors (B,), root mean square, may differ by from the `stored` ones: `DECIBEL` of these, and rounding.

    `rounding` (B,) is what each network's float32 rendering differs from its float64 one by; it is capped, because a
    network that was damaged may round as it likes.
    """
    return stored * (10 ** (DECIBEL / 20) - 1) + peak * FLOOR + (ROUNDING * rounding).clamp(max=peak * MOST_ROUNDING)


def _errors(zoo: Zoo, pixels: PixelFormat, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Root mean square (B,) float64 of: rendering minus source image, float32 rendering minus float64 rendering."""
    _, *grid = zoo.image_shape
    targets, weights = pixels.targets(zoo.images(rows)).double(), zoo.weights(rows)
    error, rounding = torch.zeros(2, len(rows), dtype=torch.float64)
    renderings = (blocks(pixels, networks, grid) for networks in (weights.to(torch.float64), weights))
    for (points, exact), (_, single) in zip(*renderings, strict=True):
        error += (exact - targets[:, :, points.start : points.stop]).square().sum(dim=(1, 2))
        rounding += (exact - single).square().sum(dim=(1, 2))
    return (error / targets[0].numel()).sqrt(), (rounding / targets[0].numel()).sqrt()

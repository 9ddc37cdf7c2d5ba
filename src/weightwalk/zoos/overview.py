"""What a zoo is like: its PSNR, the spread of its weights, its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightwalk import config
from weightwalk.errors import InputError
from weightwalk.zoos.pixels import PixelFormat
from weightwalk.zoos.store import Zoo

PERCENTILES = (1, 10, 50, 90, 99)
MAX_NETWORKS = 10_000  # that statistics are taken over: more change no digit that is shown


def evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, spread over all of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))] if len(rows) else rows


def psnr_figures(psnr: NDArray[np.float32]) -> dict[str, float]:
    """Mean, extremes and percentiles in dB of at least one network."""
    percentiles = {f"{p} %": float(value) for p, value in zip(PERCENTILES, np.percentile(psnr, PERCENTILES), strict=True)}
    return {"mean": float(psnr.mean()), "min": float(psnr.min()), **percentiles, "max": float(psnr.max())}


def layer_stds(zoo: Zoo) -> dict[str, list[float | None]]:
    """Standard deviations per layer, `{"weight": [...], "bias": [...]}`, over the networks of the zoo, `MAX_NETWORKS` at most."""
    networks = zoo.weights(evenly(zoo.rows(), MAX_NETWORKS))
    stds = {"weight": networks.weights, "bias": networks.biases}
    return {role: [None if t is None else float(t.double().std(correction=0)) for t in tensors] for role, tensors in stds.items()}


def render(zoo: Zoo, rows: NDArray[np.int64] | Tensor) -> Tensor:
    """The pictures that the INRs of `rows` (B,) hold, at the size of their images: (B, C, H, W) in [-1, 1], not clipped."""
    fit: Any = zoo.settings.get("fit")
    if not isinstance(fit, Mapping) or not isinstance(fit.get("pixels"), Mapping):
        raise InputError(
            f"expected settings with fit.pixels in the zoo {zoo.path}, found none: nobody knows what its networks' outputs mean"
        )
    _, height, width = zoo.image_shape
    return config.from_dict(PixelFormat, fit["pixels"]).render(zoo.weights(rows), height, width) * 2 - 1

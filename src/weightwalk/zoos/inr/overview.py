"""What a zoo is like: its PSNR, the spread of its weights, its pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.store import Zoo

PERCENTILES = (1, 10, 50, 90, 99)
MAX_NETWORKS = 10_000  # that statistics are taken over: more change no digit that is shown


def evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of `rows`, spread over all of them."""
    return (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
        if len(rows)
        else rows
    )


def psnr_figures(psnr: NDArray[np.float32]) -> dict[str, float]:
    """Mean, extremes and percentiles in dB of at least one network."""
    percentiles = {
        f"{p} %": float(value) for p, value in zip(PERCENTILES, np.percentile(psnr, PERCENTILES), strict=True)
    }
    return {"mean": float(psnr.mean()), "min": float(psnr.min()), **percentiles, "max": float(psnr.max())}


def layer_stds(zoo: Zoo) -> dict[str, list[float | None]]:
    """Standard deviations per layer, `{"weight": [...], "bias": [...]}`, over the networks of the zoo, `MAX_NETWORKS`
    at most.
    """
    networks = zoo.weights(evenly(zoo.rows(), MAX_NETWORKS))
    stds = {"weight": networks.weights, "bias": networks.biases}
    return {
        role: [None if t is None else float(t.double().std(correction=0)) for t in tensors]
        for role, tensors in stds.items()
    }


def render(zoo: Zoo, rows: NDArray[np.int64] | Tensor) -> Tensor:
    """What the INRs of `rows` (B,) hold, at the size of their images: (B, C, *grid), nominally in [-1, 1], not
    clipped.
    """
    _, *grid = zoo.image_shape
    return pixel_format(zoo).render(zoo.weights(rows), *grid) * 2 - 1

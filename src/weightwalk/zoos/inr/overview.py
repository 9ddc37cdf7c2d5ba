"""What a zoo is like: its PSNR, the spread of its weights beside that of the published zoos, its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightwalk.spec import NetworkSpec
from weightwalk.zoos.inr.rendering import pixel_format
from weightwalk.zoos.rows import evenly
from weightwalk.zoos.store import Zoo

PERCENTILES = (1, 10, 50, 90, 99)
MAX_NETWORKS = 10_000  # that statistics are taken over: more change no digit that is shown


@dataclass(frozen=True)
class PublishedZoo:
    """Standard deviations of all weights and of all biases of a layer, over every network of a zoo."""

    name: str
    widths: tuple[int, ...]
    weight_stds: tuple[float, ...]
    bias_stds: tuple[float, ...]


# NFN: Zhou et al. 2023, Permutation Equivariant Neural Functionals. DWS: Navon et al. 2023, Equivariant Architectures
# for Learning in Deep Weight Spaces. The normalisation constants of the code of Neural Graphs (Kofinas et al. 2024),
# measured on these zoos.
PUBLISHED = (
    PublishedZoo("NFN MNIST", (2, 32, 32, 1), (0.2868, 0.0171, 0.0639), (0.4090, 0.1041, 0.0970)),
    PublishedZoo("DWS MNIST", (2, 32, 32, 1), (0.0628, 0.0183, 0.118), (0.0213, 0.0110, 0.0999)),
    PublishedZoo("DWS Fashion-MNIST", (2, 32, 32, 1), (0.0782, 0.0324, 0.1345), (0.0286, 0.0167, 0.0960)),
    PublishedZoo("NFN CIFAR-10", (2, 32, 32, 3), (0.2803, 0.0177, 0.0546), (0.4087, 0.1039, 0.0873)),
)


def comparable(spec: NetworkSpec) -> list[PublishedZoo]:
    """The published zoos of networks of this shape."""
    return [
        zoo for zoo in PUBLISHED if zoo.widths == spec.widths and all(layer.kind == "dense" for layer in spec.layers)
    ]


def psnr_figures(psnr: NDArray[np.float32]) -> dict[str, float]:
    """Mean, extremes and percentiles in dB of at least one network; those that are not numbers count nowhere."""
    known = psnr[np.isfinite(psnr)] if np.isfinite(psnr).any() else psnr
    percentiles = {
        f"{p} %": float(value) for p, value in zip(PERCENTILES, np.percentile(known, PERCENTILES), strict=True)
    }
    return {"mean": float(known.mean()), "min": float(known.min()), **percentiles, "max": float(known.max())}


def layer_stds(zoo: Zoo) -> dict[str, list[float | None]]:
    """Standard deviations per layer, `{"weight": [...], "bias": [...]}`, over at most `MAX_NETWORKS` networks."""
    networks = zoo.weights(evenly(zoo.rows(), MAX_NETWORKS))
    stds = {"weight": networks.weights, "bias": networks.biases}
    return {
        role: [None if t is None else float(t.double().std(correction=0)) for t in tensors]
        for role, tensors in stds.items()
    }


def spread(zoo: Zoo) -> tuple[list[str], list[list[object]]]:
    """A header, and per layer and role this zoo's standard deviation and those of the published zoos of this shape."""
    others = comparable(zoo.spec)
    columns: list[Any] = [
        layer_stds(zoo),
        *({"weight": other.weight_stds, "bias": other.bias_stds} for other in others),
    ]
    rows: list[list[object]] = [
        [
            f"{role} {layer + 1}",
            *(None if column[role][layer] is None else round(column[role][layer], 4) for column in columns),
        ]
        for role in ("weight", "bias")
        for layer in range(len(zoo.spec.layers))
    ]
    return ["tensor", "this zoo", *(other.name for other in others)], rows


def render(zoo: Zoo, rows: NDArray[np.int64] | Tensor) -> Tensor:
    """What the INRs of `rows` (B,) show, at the size of their images: (B, C, *grid), nominally -1 ... 1, unclipped."""
    _, *grid = zoo.image_shape
    return pixel_format(zoo).render(zoo.weights(rows), *grid) * 2 - 1

"""Inputs that are small, valid and quick to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from weightwalk.spec import Conv, Dense, MeanPool, NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.engine import Descent
from weightwalk.zoos.fit import fit_zoo
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.recipe import FitRecipe
from weightwalk.zoos.store import Zoo


def tiny_specs() -> dict[str, NetworkSpec]:
    """One small spec of every kind that a reader of networks may meet, by name; no two hidden groups of one are equally wide."""
    return {
        "siren": NetworkSpec.mlp([2, 5, 4, 1]),
        "deep": NetworkSpec.mlp([3, 6, 4, 5, 3], activation="tanh"),
        "no hidden layer": NetworkSpec.mlp([3, 2]),
        "no bias": NetworkSpec.mlp([2, 6, 5, 2], activation="relu", bias=False),
        "mixed": NetworkSpec((Dense(2, 5, "gelu", bias=False), Dense(5, 4, "gaussian", omega=2.0), Dense(4, 2, "sigmoid"))),
        "conv": NetworkSpec((Conv(1, 4, "relu", padding=1), Conv(4, 5, "tanh", kernel=(2, 3), stride=2), MeanPool(5), Dense(5, 3))),
    }


def random_weights(spec: NetworkSpec, num_networks: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Weights:
    """B networks with parameters from N(0, 1 / (omega^2 fan_in K)): neither signals nor rounding errors grow with depth.

    They are drawn in float64, so that the same networks come in every `dtype`.
    """
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(num_networks, spec.num_parameters, generator=generator, dtype=torch.float64)
    for field in spec.fields:
        layer = spec.layers[field.layer]
        flat[:, field.start : field.stop] /= layer.omega * float(np.prod(layer.weight_shape[1:])) ** 0.5
    return Weights.from_flat(spec, flat.to(dtype))


def tiny_zoo(
    path: Path,
    *,
    num_images: int = 30,
    num_classes: int = 3,
    image_shape: tuple[int, int, int] = (1, 8, 8),
    hidden: tuple[int, ...] = (8, 8),
    fits: int = 1,
    init: str = "shared",
    steps: int = 20,
    seed: int = 0,
) -> Zoo:
    """A zoo of the data set "tiny" at `path`, fitted in a moment: image i is of class i mod `num_classes`.

    A picture is noise with one bright band per class, on a diagonal, so that no two views of it are equal. Of every ten
    images seven train, one validates and two test.
    """
    rng = np.random.default_rng(seed)
    _, height, width = image_shape
    labels = np.arange(num_images) % num_classes
    pixels = rng.integers(0, 60, (num_images, *image_shape), dtype=np.uint8)
    diagonal = 2 * np.arange(height)[:, None] + np.arange(width)
    bands = (diagonal * num_classes) // (2 * height + width) == labels[:, None, None]
    pixels += np.where(bands, 180, 0).astype(np.uint8)[:, None]
    pictures = ImageSet.from_arrays(pixels, labels, dataset="tiny", label_names=tuple(f"class {k}" for k in range(num_classes)))
    recipe = FitRecipe("tiny", hidden=hidden, descent=Descent(steps=steps, learning_rate=5e-3))
    fit_zoo([pictures], Path(path), recipe, init=init, fits=fits, seed=seed)
    return Zoo.open(path)

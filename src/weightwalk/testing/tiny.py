"""Inputs that are small, valid and quick to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from weightwalk.spec import NetworkSpec
from weightwalk.steps import (
    Activate,
    Add,
    Affine,
    Append,
    Attention,
    Concat,
    Conv,
    Crop,
    Dense,
    Embed,
    Learned,
    MeanPool,
    Move,
    Multiply,
    Norm,
    Pad,
    Patches,
    Pick,
    Pool,
    Rearrange,
    Slice,
    Softmax,
    Upsample,
)
from weightwalk.weights import Weights
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.recipe import FitRecipe
from weightwalk.zoos.store import Zoo


def tiny_specs() -> dict[str, NetworkSpec]:
    """One small spec of every kind that a reader of networks may meet, by name; the hidden widths of one all differ."""
    return {
        "siren": NetworkSpec.mlp([2, 5, 4, 1]),
        "deep": NetworkSpec.mlp([3, 6, 4, 5, 3], activation="tanh"),
        "no hidden layer": NetworkSpec.mlp([3, 2]),
        "no bias": NetworkSpec.mlp([2, 6, 5, 2], activation="relu", bias=False),
        "mixed": NetworkSpec(
            (Dense(2, 5, "gelu", bias=False), Dense(5, 4, "gaussian", omega=2.0), Dense(4, 2, "sigmoid"))
        ),
        "conv": NetworkSpec(
            (Conv(1, 4, "relu", padding=1), Conv(4, 5, "tanh", kernel=(2, 3), stride=2), MeanPool(5), Dense(5, 3))
        ),
        "residual": NetworkSpec((
            Conv(2, 4, padding=1),
            Norm(4, 4, "relu", norm="batch"),
            Conv(4, 4, padding=1, bias=False),
            Norm(4, 4, norm="batch"),
            Add(4, sources=(2, 4)),
            Activate(4),
            Pool(4),
            Conv(4, 7, "gelu", padding=1),
            Slice(4, 3, sources=(7,)),
            Pad(3, 7),
            Add(7, sources=(8, 10)),
            MeanPool(7),
            Dense(7, 2),
        )),
        "grouped": NetworkSpec((
            Conv(2, 6, "relu6", padding=1),
            Conv(6, 12, kernel=(3, 1), groups=6),
            Conv(12, 8, kernel=(1, 1), groups=2, bias=False),
            Norm(8, 8, "silu", norm="group", groups=4),
            Affine(8, factor=2.0),
            MeanPool(8),
            Dense(8, 3),
        )),
        "shuffled": NetworkSpec((
            Conv(1, 6, "relu", padding=1),
            Rearrange(6, 6, sizes=(2, 3, 16), order=(1, 0, 2), grid=(4, 4)),
            Conv(6, 8, padding=1, groups=2),
            Softmax(8),
            Crop(8, start=(0, 0), stop=(4, 4), stride=(2, 2)),
            Rearrange(8, 32, sizes=(8, 4), order=(0, 1)),
            Dense(32, 3),
        )),
        "dense block": NetworkSpec((
            Conv(1, 4, "relu", padding=1),
            Conv(4, 3, "tanh", padding=1),
            Concat(7, sources=(1, 2), widths=(4, 3)),
            Conv(7, 5, kernel=(2, 2), stride=2, transposed=True),
            Pool(5, op="mean"),
            Upsample(5),
            Dense(5, 2, positions=4),
        )),
        "vit": NetworkSpec((
            Patches(2, 8, size=(2, 2)),
            Norm(8, 8),
            Dense(8, 6),
            Learned(1, 6, bias=False, grid=(1,), sources=(0,)),
            Append(6, sources=(4, 3)),
            Learned(1, 6, bias=False, grid=(5,), sources=(0,)),
            Add(6, sources=(5, 6)),
            Norm(6, 6),
            Dense(6, 16, bias=False),
            Slice(16, 4, start=0, sources=(9,)),
            Slice(16, 4, start=4, sources=(9,)),
            Slice(16, 8, start=8, sources=(9,)),
            Attention(4, heads=2, values=8, sources=(10, 11, 12)),
            Dense(8, 6),
            Add(6, sources=(7, 14)),
            Norm(6, 6),
            Dense(6, 9, "gelu"),
            Dense(9, 6),
            Add(6, sources=(15, 18)),
            Pick(6),
            Dense(6, 3),
        )),
        "gpt": NetworkSpec((
            Embed(7, 6, bias=False),
            Norm(6, 6, norm="rms", bias=False),
            Dense(6, 8),
            Dense(6, 4, sources=(2,)),
            Dense(6, 10, sources=(2,)),
            Attention(8, heads=4, values=20, causal=True, kv_heads=2, sources=(3, 4, 5)),
            Dense(20, 6),
            Add(6, sources=(1, 7)),
            Dense(6, 5, "silu"),
            Dense(6, 5, sources=(8,)),
            Multiply(5, sources=(9, 10)),
            Dense(5, 6),
            Add(6, sources=(8, 12)),
            Dense(6, 7, bias=False, ties=0),
            Move(7),
        )),
    }  # fmt: skip


def random_weights(spec: NetworkSpec, num_networks: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Weights:
    """B networks with parameters from N(0, 1 / (omega^2 fan_in K)), which keeps signals of one size at any depth.

    They are drawn in float64, so that the same networks come in every `dtype`.
    """
    generator = torch.Generator().manual_seed(seed)
    flat = torch.randn(num_networks, spec.num_parameters, generator=generator, dtype=torch.float64)
    for field in spec.fields:
        layer = spec.layers[field.layer]
        flat[:, field.start : field.stop] /= layer.omega * float(np.prod(layer.weight_shape[1:])) ** 0.5
    return Weights(spec, flat.to(dtype))


def tiny_zoo(
    path: Path,
    *,
    num_images: int = 30,
    num_classes: int = 3,
    hidden: tuple[int, ...] = (8, 8),
    fits: int = 1,
    steps: int = 20,
    seed: int = 0,
) -> Zoo:
    """A zoo of the data set "tiny" at `path`, fitted in a moment: image i is of class i mod `num_classes`.

    A picture (1, 8, 8) is noise with one bright band per class, on a diagonal, so that no two views of it are equal. Of
    every ten images seven train, one validates and two test.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % num_classes
    pixels = rng.integers(0, 60, (num_images, 1, 8, 8), dtype=np.uint8)
    diagonal = 2 * np.arange(8)[:, None] + np.arange(8)
    bands = (diagonal * num_classes) // 24 == labels[:, None, None]
    pixels += np.where(bands, 180, 0).astype(np.uint8)[:, None]
    names = tuple(f"class {k}" for k in range(num_classes))
    pictures = ImageSet.from_arrays(pixels, labels, dataset="tiny", label_names=names)
    recipe = FitRecipe("tiny", hidden=hidden, descent=Descent(steps=steps, learning_rate=5e-3))
    fit_zoo([pictures], Path(path), recipe, init="shared", fits=fits, seed=seed)
    return Zoo.open(path)

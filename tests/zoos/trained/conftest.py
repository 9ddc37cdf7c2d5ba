"""Tiny data sets and recipes of trained networks."""

import numpy as np
import pytest

from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.trained.recipes import recipe

QUICK = {
    "cnn": [
        "epochs=3",
        "checkpoints=0,1",
        "batch_size=16",
        "train_images=64",
        "learning_rate=0.003,0.003",
        "dropout=0,0.1",
    ],
    "wild-park": [
        "epochs=2",
        "checkpoints=1",
        "batch_size=16",
        "layers=2,3",
        "channels=4,6",
        "kernels=3",
        "train_images=48",
    ],
    "vit": [
        "epochs=2",
        "checkpoints=",
        "stops=1,2",
        "dim=8",
        "heads=2",
        "dim_head=4",
        "mlp=8",
        "depth=1",
        "batch_size=16",
        "train_images=48",
    ],
}


@pytest.fixture(scope="session")
def sets():
    """Pictures 16 x 16 in colour of 4 classes, which are told by the quarter that is bright."""
    chance = np.random.default_rng(0)
    found = []
    for part, count in (("train", 80), ("test", 40)):
        labels = np.arange(count) % 4
        pixels = chance.integers(0, 120, (count, 3, 16, 16), dtype=np.uint8)
        for pixel, label in zip(pixels, labels, strict=True):
            pixel[:, 8 * (label // 2) :, 8 * (label % 2) :][:, :8, :8] += 120
        found.append(ImageSet.from_arrays(pixels, labels, dataset="quarters", part=part))
    return found


@pytest.fixture(scope="session")
def quick():
    """A recipe of a kind that takes a moment."""
    return lambda kind, *more: recipe(kind, None, [*QUICK[kind], *more])

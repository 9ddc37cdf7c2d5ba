"""Zoos without fitting: random networks, and the PSNR that they have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save

from weightwalk import NetworkSpec, config
from weightwalk.testing import random_weights
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.manifest import Manifest
from weightwalk.zoos.splits import SplitRule
from weightwalk.zoos.store import Zoo
from weightwalk.zoos.writer import ZooWriter

SHARD = 6


def draw(
    path: Path,
    *,
    grid: tuple[int, ...] = (4, 5),
    channels: int = 1,
    dtype: str = "uint8",
    pixels: PixelFormat | None = None,
    parts: tuple[tuple[str, int, int], ...] = (("train", 12, 2), ("test", 5, 1)),
    near: float | None = None,
) -> Zoo:
    """A zoo of (part, images, fits); `near` makes float32 images that differ from what fit 0 shows by so much."""
    pixels = pixels or PixelFormat()
    spec = NetworkSpec.mlp([pixels.num_inputs(len(grid)), 6, 5, channels])
    settings: dict[str, Any] = {
        "kind": "inr",
        "dataset": "drawn",
        "label_names": ["a", "b"],
        "image_shape": [channels, *grid],
        "image_dtype": dtype,
        "spec": spec.to_dict(),
        "fit": {"name": "drawn", "pixels": config.to_dict(pixels)},
        "seed": 0,
    }
    writer = ZooWriter.open(
        path, settings=settings, figures={"psnr": "float32"}, splits=SplitRule(val_every=4), provenance={}, sources=True
    )
    coordinates = pixels.coordinates(grid)
    for code, (part, count, fits) in enumerate(parts):
        networks = [random_weights(spec, count, seed=10 * code + fit) for fit in range(fits)]
        images = np.random.default_rng(code).integers(0, 256, (count, channels, *grid), dtype=np.uint8)
        if dtype == "float32":
            shown = pixels.render(networks[0], *grid).numpy() * 2 - 1
            images = (images / 127.5 - 1 if near is None else shown + near * (images / 127.5 - 1)).astype(np.float32)
        for start in range(0, count, SHARD):
            block = np.arange(start, min(start + SHARD, count))
            writer.add_sources(part, block, images[block], block % 2)
            for fit, of_fit in enumerate(networks):
                outputs = of_fit[torch.from_numpy(block)].run(coordinates).mT
                psnr = pixels.psnr(
                    (outputs - pixels.targets(torch.from_numpy(images[block]))).square().mean(dim=(1, 2))
                )
                writer.add_rows(part, fit, block, of_fit.flat[block], {"psnr": psnr})
    return Zoo.open(path)


@pytest.fixture(scope="session")
def draw_zoo() -> Callable[..., Zoo]:
    """See `draw`."""
    return draw


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., None]:
    """Changes tensors of a shard and writes its new hash into the manifest: a zoo whose bytes are right and whose
    content is not.
    """

    def rewritten(path: Path, file: str, change: Callable[[dict[str, np.ndarray]], None]) -> None:
        tensors = load_file(path / file)
        with safe_open(path / file, "np") as handle:
            metadata = handle.metadata()
        change(tensors)
        content = save(tensors, metadata)
        (path / file).write_bytes(content)
        manifest = Manifest.read(path)
        digest = hashlib.sha256(content).hexdigest()
        shards = tuple(replace(shard, sha256=digest) if shard.file == file else shard for shard in manifest.shards)
        replace(manifest, shards=shards).write(path)

    return rewritten

"""One task of fitting: some signals, the networks that they become. It touches no file (see `work.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from weightwalk.networks.starts import SHARED, Key, Scheme, initialise
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights
from weightwalk.zoos.inr import engine
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.pixels import PixelFormat
from weightwalk.zoos.splits import PARTS, Part


@dataclass(frozen=True)
class FitJob:
    """What all tasks of one zoo share; `start` is "independent", "shared" or one network's parameters (P,)."""

    spec: NetworkSpec
    scheme: Scheme
    start: str | NDArray[np.float32]
    seed: int
    pixels: PixelFormat
    descent: Descent
    grid: tuple[int, ...]
    device: str = "cpu"
    mode: engine.Mode = "auto"

    def do(self, task: FitTask, /) -> Fitted:
        device = torch.device(self.device)
        coordinates = self.pixels.coordinates(self.grid, device)
        targets = self.pixels.targets(torch.from_numpy(np.ascontiguousarray(task.signals)).to(device))
        networks, errors = engine.fit(self._starts(task).to(device), coordinates, targets, self.descent, self.mode)
        psnr = self.pixels.psnr(errors).cpu().numpy()
        return Fitted(task.part, task.fit, task.images, networks.flat.cpu().numpy(), psnr)

    def _starts(self, task: FitTask) -> Weights:
        count, part = len(task.images), PARTS.index(task.part)
        if not isinstance(self.start, str):
            return Weights(self.spec, torch.from_numpy(np.tile(self.start, (count, 1))))
        if self.start == "shared":
            return initialise(self.spec, [Key(self.seed, 0, SHARED, task.fit)], self.scheme)[[0] * count]
        keys = [Key(self.seed, part, int(image), task.fit) for image in task.images]
        return initialise(self.spec, keys, self.scheme)


@dataclass(frozen=True)
class FitTask:
    """Fit number `fit` of some images of a part: their indices (N,) and what is fitted, (N, C, *grid)."""

    part: Part
    fit: int
    images: NDArray[np.int64]
    signals: NDArray[Any]


@dataclass(frozen=True)
class Fitted:
    """Of one task: parameters (N, num_parameters) and PSNR in dB (N,)."""

    part: Part
    fit: int
    images: NDArray[np.int64]
    params: NDArray[np.float32]
    psnr: NDArray[np.float32]

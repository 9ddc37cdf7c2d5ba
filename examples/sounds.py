"""Sounds as networks: arrays in, one INR for each, and one of them played back at three times the sampling rate.

python examples/sounds.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightwalk.report import renders
from weightwalk.zoos.images import ImageSet
from weightwalk.zoos.inr import rendering
from weightwalk.zoos.inr.engine import Descent
from weightwalk.zoos.inr.fit import fit_zoo
from weightwalk.zoos.inr.recipe import FIT_RECIPES
from weightwalk.zoos.store import Zoo

RATE = 8_000  # Hz
QUICK = replace(
    FIT_RECIPES["audio"], omega=(600.0, 30.0, 30.0), descent=Descent(steps=150, learning_rate=1e-3, decay=1.0)
)


def plucked(pitch: float, samples: int = 1_000) -> NDArray[np.float64]:
    """A string of `pitch` Hz that dies away: five harmonics, the higher ones softer and shorter."""
    t = np.arange(samples) / RATE
    k = np.arange(1, 6)[:, None]
    wave: NDArray[np.float64] = (0.4 / k * np.exp(-12 * k * t) * np.sin(2 * np.pi * k * pitch * t)).sum(axis=0)
    return wave


if __name__ == "__main__":
    waves = np.stack([plucked(220 * 2 ** (note / 12)) for note in (0, 4, 7, 12)])
    sounds = ImageSet.from_arrays(waves, keep_floats=True)  # (N, T), full scale is -1 ... 1
    with tempfile.TemporaryDirectory() as folder:
        fit_zoo([sounds], Path(folder) / "zoo", QUICK, init="shared")
        zoo = Zoo.open(Path(folder) / "zoo")
        print(f"{len(zoo)} sounds of {waves.shape[1]:,} samples, each a {zoo.spec}: {zoo.column('psnr').round(1)} dB")

        grid = (3 * waves.shape[1],)  # three values where there was one: the same sound, sampled finer
        path = Path(folder) / "finer.wav"
        renders.write(path, rendering.signal(zoo, 0, grid), channels=1, grid=grid, rate=3 * RATE)
        print(f"INR 0 at {3 * RATE:,} Hz: {path.stat().st_size:,} bytes of .wav")

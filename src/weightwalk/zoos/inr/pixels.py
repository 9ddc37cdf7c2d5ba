"""How a signal lies in an INR: where its points are, what the network reads of a point, what its output means.

Axes: B signals or networks, C channels, P points of the grid (the last axis fastest), I coordinates, F random
frequencies. The grid is (T,) for a sound, (H, W) for a picture, (D, H, W) for a volume. P of a picture is H W, its
pixels row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from weightwalk.config import bounded
from weightwalk.errors import InputError
from weightwalk.networks.starts import FEATURES, Key, uniform
from weightwalk.weights import Weights


@dataclass(frozen=True)
class Fourier:
    """Random Fourier features of a point x: [sin(2 pi b x), cos(2 pi b x)] for `num` frequencies b from N(0, scale^2).

    A frequency is in periods per unit; a grid is 2 units wide. The same `seed` gives the same frequencies. Source:
    Tancik et al. 2020, Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains, eq. 5
    (there a grid is 1 unit wide).
    """

    num: int = 32
    scale: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounded(self, "num", 1)
        bounded(self, "scale", above=0)
        bounded(self, "seed", 0, below=2**63)

    def features(self, x_PI: Tensor) -> Tensor:
        """(P, I) -> (P, 2 num), the sines first."""
        num_axes = x_PI.shape[1]
        u = uniform(Key(self.seed, 0, FEATURES, 0), 2 * self.num * num_axes).reshape(2, self.num, num_axes)
        normal_FI = np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * math.pi * u[1])  # Box and Muller
        angles_PF = 2 * math.pi * x_PI @ torch.from_numpy(self.scale * normal_FI).to(x_PI).T
        return torch.cat([angles_PF.sin(), angles_PF.cos()], dim=1)


@dataclass(frozen=True)
class PixelFormat:
    """Outputs: black, empty or a sound's lower end is `low`, their opposite `high`; coordinates are -1 ... 1.

    The ends of an axis are its first and last point. `axes` "ij": coordinate 0 is that of the first axis, for pictures
    the row (the NFN zoo); "xy", for pictures only: coordinate 0 is the column (the DWS zoo). With `fourier` the network
    reads these features instead.
    """

    low: float = -1.0
    high: float = 1.0
    axes: Literal["ij", "xy"] = "ij"
    fourier: Fourier | None = None

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(f"expected outputs from low to a greater high, got {self.low} and {self.high}")

    def __str__(self) -> str:
        features = f", {self.fourier.num} Fourier features of them" if self.fourier else ""
        return f"outputs from {self.low:g} to {self.high:g} at points in the order {self.axes}{features}"

    def num_inputs(self, num_axes: int) -> int:
        """Numbers that the network reads of a point of a grid; InputError for "xy" on a grid of other than 2 axes."""
        if self.axes == "xy" and num_axes != 2:
            raise InputError(f"axes 'xy' are those of pictures, got a grid of {num_axes} axes; use axes 'ij'")
        return 2 * self.fourier.num if self.fourier else num_axes

    def coordinates(
        self, grid: Sequence[int], device: torch.device | None = None, points: range | None = None
    ) -> Tensor:
        """(P, `num_inputs`), one row per point of the grid, or of the `points` asked for."""
        num_inputs = self.num_inputs(len(grid))
        points = range(math.prod(grid)) if points is None else points
        index = torch.arange(points.start, points.stop, points.step, device=device)
        along = []
        for size in reversed(grid):
            along.append(torch.linspace(-1, 1, size, device=device)[index % size])
            index = index // size
        x_PI = torch.stack(along[::-1] if self.axes == "ij" else along, dim=1)
        inputs = self.fourier.features(x_PI) if self.fourier else x_PI
        assert inputs.shape[1] == num_inputs
        return inputs

    def targets(self, pixels: Tensor) -> Tensor:
        """Outputs (B, C, P) float32 for signals (B, C, *grid): linear in uint8 0 ... 255 or float32 -1 ... 1."""
        return (self.low + self.high) / 2 + (self.high - self.low) / 2 * to_unit(pixels.flatten(2))

    def psnr(self, error_B: Tensor) -> Tensor:
        """Peak signal-to-noise ratio in dB of mean squared errors in output units; the peak is `high` minus `low`."""
        return -10 * torch.log10(error_B.clamp_min(1e-20) / (self.high - self.low) ** 2)

    def render(self, weights: Weights, *grid: int) -> Tensor:
        """The signals that INRs hold, at any resolution: (B, C, *grid) float with `low` 0 and `high` 1, not clipped."""
        if weights.spec.widths[0] != self.num_inputs(len(grid)):
            raise InputError(
                f"a signal on {len(grid)} axes is a function of {self.num_inputs(len(grid))} inputs here, "
                f"but {weights.spec} takes {weights.spec.widths[0]}"
            )
        outputs_BPC = weights.run(self.coordinates(grid, weights.device).to(weights.dtype))
        signals_BCP = ((outputs_BPC - self.low) / (self.high - self.low)).transpose(1, 2)
        return signals_BCP.reshape(*signals_BCP.shape[:2], *grid)


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float32 in [-1, 1]; float32 is nominally there and stays as it is."""
    if pixels.dtype not in (torch.uint8, torch.float32):
        raise InputError(f"expected signals of uint8 or float32, got {pixels.dtype}")
    return pixels.float() / 127.5 - 1.0 if pixels.dtype == torch.uint8 else pixels

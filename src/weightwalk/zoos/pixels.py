"""How a picture is a signal: where its pixels lie, and what an INR's output means.

Axes: B pictures or networks, C channels, H rows, W columns, P = H W pixels (row-major).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.weights import Weights


@dataclass(frozen=True)
class PixelFormat:
    """Black is the output `low`, white is `high`; coordinates lie in [-1, 1], corners included.

    `axes` "ij": coordinate 0 is the row (the NFN zoo); "xy": coordinate 0 is the column (the DWS zoo).
    """

    low: float = -1.0
    high: float = 1.0
    axes: Literal["ij", "xy"] = "ij"

    def coordinates(self, height: int, width: int, device: torch.device | None = None) -> Tensor:
        """(P, 2), one row per pixel."""
        rows, columns = torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device)
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack((row, column) if self.axes == "ij" else (column, row), dim=-1).reshape(-1, 2)

    def targets(self, pixels_BCHW: Tensor) -> Tensor:
        """uint8 pixels -> the outputs that an INR should have, (B, C, P) float32."""
        return self.low + (self.high - self.low) * (pixels_BCHW.flatten(2).float() / 255)

    def psnr(self, error_B: Tensor) -> Tensor:
        """Peak signal-to-noise ratio in dB of mean squared errors in output units; the peak is white minus black."""
        return -10 * torch.log10(error_B.clamp_min(1e-20) / (self.high - self.low) ** 2)

    def render(self, weights: Weights, height: int, width: int) -> Tensor:
        """The pictures that INRs hold, at any resolution: (B, C, H, W) float with black 0 and white 1, not clipped."""
        if weights.spec.widths[0] != 2:
            raise InputError(f"a picture is a function of 2 coordinates, but {weights.spec} takes {weights.spec.widths[0]}")
        outputs_BPC = weights.run(self.coordinates(height, width, weights.device).to(weights.dtype))
        pictures_BCP = ((outputs_BPC - self.low) / (self.high - self.low)).transpose(1, 2)
        return pictures_BCP.reshape(*pictures_BCP.shape[:2], height, width)


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], as INR2JLS decodes pictures."""
    return pixels.float() / 127.5 - 1.0

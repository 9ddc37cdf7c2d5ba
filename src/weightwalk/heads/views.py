"""The head of latents that come as one feature map per view (Dynamic Neural Graphs, TMLR 2026, section 5 and appendix).

Axes: B networks, V views, C channels, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.errors import InputError
from weightwalk.heads.base import Head, heads
from weightwalk.heads.mlp import MLPHead


@heads.register("latent_cnn")
class LatentCNN(Head):
    """A small CNN on every view's map, down to a single position, then an MLP; the outputs are averaged over the views.

    Blocks of [conv 3x3, BatchNorm, ReLU, maxpool 2, dropout .2] while the map is larger than 2, the first with stride 2
    if the map's size is no power of two (the paper's 7 x 7); then [conv 1x1, BatchNorm, ReLU, maxpool]; then two hidden
    layers with dropout .5. For 7 x 7 and 8 x 8 maps these are the paper's two classifiers; other sizes follow the rule.
    The paper sums the views' logits, which names the same class; the mean keeps logits of the size that training saw.

    Shapes: (B, V, C, h, w) -> (B, num_outputs), of any number of views.
    """

    averages = True

    def __init__(self, in_shape: Sequence[int], num_outputs: int, hidden_dim: int = 256):
        super().__init__()
        if len(in_shape) != 4:
            raise InputError(
                f"the head latent_cnn reads a map for each view (V, C, h, w), got encodings {tuple(in_shape)}; "
                "choose --set head=mlp"
            )
        _, channels, *grid = in_shape
        size = max(grid)
        layers: list[nn.Module] = []
        while size > 2:
            stride = 2 if size & (size - 1) else 1
            layers += [nn.Conv2d(channels, hidden_dim, 3, stride=stride, padding=1), nn.BatchNorm2d(hidden_dim)]
            layers += [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(0.2)]
            size, channels = -(-size // (2 * stride)), hidden_dim
        layers += [nn.Conv2d(channels, hidden_dim, 1), nn.BatchNorm2d(hidden_dim), nn.ReLU()]
        layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
        self.trunk = nn.Sequential(*layers)
        self.mlp = MLPHead((hidden_dim,), num_outputs, hidden_dim, num_hidden=2, dropout=0.5)

    @classmethod
    def validate(cls, options: Any) -> None:
        bounded(options, "hidden_dim", 1)

    def forward(self, maps_BVChw: Tensor) -> Tensor:
        outputs: Tensor = self.mlp(self.trunk(maps_BVChw.flatten(0, 1))).unflatten(0, maps_BVChw.shape[:2])
        return outputs.mean(1)

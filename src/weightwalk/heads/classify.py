"""Classification heads (Dynamic Neural Graphs, TMLR 2026, section 5 and appendix)."""

from __future__ import annotations

from torch import Tensor, nn


class MLPHead(nn.Sequential):
    """Linear-ReLU-Dropout blocks of `hidden_dim`, then one Linear to the answer. Shapes: (B, E) -> (B, out_dim)."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_hidden: int = 1, dropout: float = 0.5):
        layers: list[nn.Module] = []
        for index in range(num_hidden):
            layers += [nn.Linear(hidden_dim if index else in_dim, hidden_dim), nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers, nn.Linear(hidden_dim if num_hidden else in_dim, out_dim))


class LatentClassifier(nn.Module):
    """A small CNN on one view's latent map, down to a single position, then an MLP head.

    Blocks of [conv 3x3, BatchNorm, ReLU, maxpool 2, dropout .2] while the map is larger than 2, the first with stride 2
    if the map's size is no power of two (the paper's 7 x 7); then [conv 1x1, BatchNorm, ReLU, maxpool]; then two hidden
    layers with dropout .5. For 7 x 7 and 8 x 8 maps these are the paper's two classifiers; other sizes follow the rule.
    Shapes: (N, C, h, w) -> (N, num_classes).
    """

    def __init__(self, latent_dim: int, grid: tuple[int, int], hidden_dim: int, num_classes: int):
        super().__init__()
        size, channels = max(grid), latent_dim
        layers: list[nn.Module] = []
        while size > 2:
            stride = 2 if size & (size - 1) else 1
            layers += [
                nn.Conv2d(channels, hidden_dim, 3, stride=stride, padding=1),
                nn.BatchNorm2d(hidden_dim),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(0.2)]
            size, channels = -(-size // (2 * stride)), hidden_dim
        layers += [
            nn.Conv2d(channels, hidden_dim, 1),
            nn.BatchNorm2d(hidden_dim),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        ]
        self.trunk = nn.Sequential(*layers)
        self.head = MLPHead(hidden_dim, hidden_dim, num_classes, num_hidden=2, dropout=0.5)

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(maps))
        return logits

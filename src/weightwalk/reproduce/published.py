"""Cells of the published tables: Dynamic Neural Graphs (TMLR 2026). They were measured on the authors' machine."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """What a reader of one network costs."""

    ms: float
    mb: float
    gflops: float


TABLE_5 = {
    "NFN": Cost(8.2, 273, 2.58),
    "NFT": Cost(52.7, 241, 10.60),
    "NG-GNN": Cost(12.4, 27.4, 2.13),
    "NG-T": Cost(9.2, 29.8, 14.82),
    "INR2JLS": Cost(4.7, 29.2, 1.31),
}
"""One MNIST INR, inference."""

TABLE_8 = {
    "NG-GNN": (Cost(5.94, 54.5, 3.22), 0.8844),
    "NG-T": (Cost(11.77, 447, 44.69), 0.8917),
    "DNG": (Cost(4.38, 25.4, 0.12), 0.9028),
}
"""One ViT of the ViT zoo; and Kendall's tau of the predicted test accuracy."""

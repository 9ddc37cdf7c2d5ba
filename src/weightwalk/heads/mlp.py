"""The head of pooled encodings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.heads.base import Head, heads


@heads.register("mlp")
class MLPHead(Head):
    """Blocks of [Linear, ReLU, Dropout] `hidden_dim` wide, `num_hidden` of them, then one Linear to the answer.

    Shapes: encodings (B, *in_shape), which are made flat, -> (B, num_outputs).
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_outputs: int,
        hidden_dim: int = 128,
        num_hidden: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        dims = [math.prod(in_shape), *[hidden_dim] * num_hidden]
        blocks: list[nn.Module] = []
        for i, o in pairwise(dims):
            blocks += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*blocks, nn.Linear(dims[-1], num_outputs))

    @classmethod
    def validate(cls, options: Any) -> None:
        bounded(options, "hidden_dim", 1)
        bounded(options, "num_hidden", 0)
        bounded(options, "dropout", 0, below=1)

    def forward(self, encodings: Tensor) -> Tensor:
        outputs: Tensor = self.layers(encodings.flatten(1))
        return outputs

"""Positional encoding, an ablation of the DNG paper (Table 6).

Axes: D memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weightwalk.encoders.dng.builder import kind_of, where
from weightwalk.errors import InputError
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Step


class Positions(nn.Module):
    """Learned vectors that are added to new memories: one of each hidden layer for all of its nodes, which may change
    places, and one of every output node. (Input nodes have learned memories of their own anyway.)

    InputError for a network whose outputs are not the nodes of its last layer.
    """

    def __init__(self, spec: NetworkSpec, dim: int):
        super().__init__()
        layers = [at for at in spec.schedule if kind_of(at.step) == "message"]
        for at in reversed(spec.schedule):
            if at is layers[-1]:
                break
            if at.step.joins or at.step.has_timestamp or type(at.step).links is not Step.links:
                raise InputError(
                    f"positional encoding counts the nodes of the last layer as outputs, but {where(at, spec)} stands "
                    "between them; set positional=false"
                )
        self.rows = {at.layer: number for number, at in enumerate(layers)}
        self.table = nn.Parameter(torch.randn(len(layers) - 1 + spec.num_outputs, dim))

    def of(self, layer: int) -> Tensor:
        """What is added to the memories of a layer's nodes, (1, D), or (n_L, D) of the last one."""
        row = self.rows[layer]
        return self.table[row:] if row == len(self.rows) - 1 else self.table[row : row + 1]

"""An encoder of one's own: statistics of every layer, in one file, through the conformance suite and into a recipe.

python examples/own_encoder.py
"""

import torch
from torch import nn

from weightwalk import Weights, config
from weightwalk.encoders import Encoder, Encoding, encoders
from weightwalk.recipes import RECIPES
from weightwalk.spec import NetworkSpec
from weightwalk.testing import check_encoder


@encoders.register("moments")
class Moments(Encoder):
    """Mean and deviation of a neuron's incoming weights as its features, summed over the hidden neurons of a layer."""

    def __init__(self, spec: NetworkSpec, width: int = 16):
        super().__init__(spec)
        self.lift = nn.ModuleList(nn.Linear(3, width) for _ in spec.layers)
        self.inputs = nn.Parameter(torch.zeros(spec.widths[0], width))
        self.pooled_dim = width * len(spec.layers)

    def read(self, weights: Weights) -> Encoding:
        """Every neuron on its own."""
        nodes = [self.inputs.expand(len(weights), -1, -1)]
        for lift, weight, bias in zip(self.lift, weights.weights, weights.biases, strict=True):
            incoming = weight.reshape(*weight.shape[:2], -1)
            bias = torch.zeros_like(incoming[..., 0]) if bias is None else bias
            nodes.append(lift(torch.stack([incoming.mean(-1), incoming.std(-1, unbiased=False), bias], dim=-1)).relu())
        return Encoding(nodes=tuple(nodes), pooled=torch.cat([group.mean(1) for group in nodes[1:]], dim=1))


if __name__ == "__main__":
    check_encoder("moments")
    run = config.override(RECIPES["digits_classify"](), ["encoder=moments", "encoder.width=32"])
    print(f"check_encoder passed; the recipe now reads networks with {run.encoder}")

"""Messages that are told of their targets, a control of the DNG-Encoder: the paper's hear sources alone (Eq 4 and 5).

Axes: B networks, O target nodes, I source nodes, K taps, A numbers of a head, D memory, U what a target is known by.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.dng.maps import StepMaps, TapMaps, blocks, values_of
from weightwalk.encoders.messages import messages
from weightwalk.encoders.pieces import EdgeSum
from weightwalk.graphs.features import FourierFeatures


class ToldMaps(StepMaps):
    """m_i = sum_j W_e phi(w_ij) * (W_s s_j + W_t u_i), with u_i what enters i's update: phi(b_i), or in a `later` pass
    its memory of the pass before.

    That is Eq 4, and (sum_j W_e phi(w_ij)) * W_t u_i.
    """

    def __init__(self, features: FourierFeatures, dim: int, later: bool):
        super().__init__(features, dim, later)
        self.target = nn.Linear(dim if later else features.dim, dim)

    def gather_told(self, weights: Tensor, sources_BID: Tensor, targets_BOU: Tensor, groups: int) -> Tensor:
        """`gather`, with what is known of the targets, (B, O, U), or (1, 1, U) if it is the same of all."""
        message = self.gather(weights, sources_BID, groups)
        ones = message.new_ones(1, weights.shape[2], message.shape[2])
        of_edges = messages(blocks(values_of(weights), groups), self.edge, ones)
        told: Tensor = message + of_edges.reshape(message.shape) * self.target(targets_BOU)
        return told


class ToldTapMaps(TapMaps):
    """m_i = sum_j MLP( concat_n [ W_e phi(w_ij,n) * (W_{s,n} s_j + W_{t,n} u_i) ] ), u_i as in `ToldMaps`."""

    def __init__(self, features: FourierFeatures, dim: int, later: bool, heads: int, head_dim: int):
        super().__init__(features, dim, later, heads, head_dim)
        self.target = nn.Linear(dim if later else features.dim, heads * head_dim)

    def gather_told(self, weights: Tensor, sources_BID: Tensor, targets_BOU: Tensor, groups: int) -> Tensor:
        """As in `ToldMaps`."""
        values = blocks(values_of(weights), groups).unsqueeze(-1)
        used = values.shape[3] * self.head_dim
        first, last = self.mix[0], self.mix[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        sources, targets = (
            blocks(F.linear(x, of.weight[:used], of.bias[:used]).expand(*size, -1), groups)
            for x, of, size in (
                (sources_BID, self.source, (len(weights), sources_BID.shape[1])),
                (targets_BOU, self.target, weights.shape[:2]),
            )
        )

        def function(
            values: Tensor, sources: Tensor, targets: Tensor, mix: Tensor, bias: Tensor, *operands: Tensor
        ) -> tuple[Tensor]:
            made = self.edge.of(values, *operands).flatten(3) * (sources[:, None] + targets[:, :, None])
            return (F.linear(made, mix, bias).relu().sum(2),)

        operands = self.edge.operands()
        inputs = ("boi", "bi", "bo", "", "", *("" for _ in operands))
        per_pair = max(values.shape[3] * self.edge.width, len(first.weight))
        total = EdgeSum(function, inputs, ("bo",), per_pair)
        (summed,) = total(values, sources, targets, first.weight[:, :used], first.bias, *operands)
        message = F.linear(summed, last.weight, values.shape[2] * last.bias)
        return message.reshape(*weights.shape[:2], message.shape[2])

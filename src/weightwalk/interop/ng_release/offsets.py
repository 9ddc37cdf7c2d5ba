"""The release's models that edit: their heads answer an offset for every weight and bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from weightwalk.encoders.graph_encoder import GraphEncoder
from weightwalk.heads.edit import OffsetHead
from weightwalk.interop.dng_release.names import both, get
from weightwalk.interop.ng_release.graph import network
from weightwalk.weights import Weights


class Offsets(nn.Module):
    """What the release's editing model adds to the parameters of networks.

    Shapes: Weights of B networks -> (B, P), ordered as `Weights.flat`.
    """

    def __init__(self, encoder: GraphEncoder, head: OffsetHead):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, weights: Weights) -> Tensor:
        found: Tensor = self.head(self.encoder(weights))
        return found


def edits(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the parameters are of a model that edits."""
    return "proj_edge.0.weight" in state_dict


def offset_head(
    state_dict: Mapping[str, Tensor], widths: Sequence[int], node_dim: int, edge_dim: int
) -> tuple[OffsetHead, dict[str, str], dict[str, Tensor], set[str]]:
    """The head, our names and theirs, our scales, and what these are made of.

    A bias is edited by what is said of its own node. The release's graph network begins at node 0, not at the first
    that has a bias, so its offsets of biases are another's.
    """
    names: dict[str, str] = {}
    made: dict[str, Tensor] = {}
    spent: set[str] = set()
    for ours, theirs in (("edges", "proj_edge"), ("nodes", "proj_node")):
        names |= both(f"head.{ours}.0", f"{theirs}.0") | both(f"head.{ours}.2", f"{theirs}.2")
    for ours, theirs in (("weight_scales", "weight_scale"), ("bias_scales", "bias_scale")):
        scales = [f"{theirs}.{layer}" for layer in range(len(widths) - 1)]
        made[f"head.{ours}"] = torch.stack([get(state_dict, scale, 0) for scale in scales])
        spent |= set(scales)
    return OffsetHead(network(widths, {}), node_dim, edge_dim, num_hidden=1), names, made, spent

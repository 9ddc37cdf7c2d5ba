"""The head of the release's editors, `GNNParams` and `RelationalTransformerParams`, as our `OffsetHead`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from weightwalk.encoders.ng_gnn import NGGNNEncoder
from weightwalk.encoders.ng_t import NGTEncoder
from weightwalk.heads.edit import OffsetHead
from weightwalk.interop.dng_release.names import both, get, inside
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


class Offsets(nn.Module):
    """What an editor of the release adds to the parameters of networks.

    With `from_inputs` what is said of node i is the offset of bias i, counted from the first input: so the release's
    graph network reads it, and its parameters were trained like that. Else a bias is its own node's.

    Shapes: Weights of B networks -> (B, P), ordered as `Weights.flat`.
    """

    def __init__(self, encoder: NGGNNEncoder | NGTEncoder, head: OffsetHead, from_inputs: bool = False):
        super().__init__()
        self.encoder, self.head, self.from_inputs = encoder, head, from_inputs

    def forward(self, weights: Weights) -> Tensor:
        encoding = self.encoder(weights)
        if self.from_inputs:
            sizes = list(weights.spec.widths[1:])
            nodes = torch.cat(encoding.nodes, dim=1)[:, : sum(sizes)].split(sizes, dim=1)
            encoding = replace(encoding, nodes=(encoding.nodes[0], *nodes))
        found: Tensor = self.head(encoding)
        return found


def is_editor(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether these are an editor's parameters."""
    return "proj_edge.0.weight" in state_dict


def offset_head(
    state_dict: Mapping[str, Tensor], spec: NetworkSpec
) -> tuple[OffsetHead, dict[str, str], dict[str, Tensor], set[str]]:
    """The head; its names and theirs; tensors of ours that are made of theirs; and theirs that these are of."""
    node_dim, edge_dim = (get(state_dict, f"{theirs}.0.weight", 2).shape[1] for theirs in ("proj_node", "proj_edge"))
    head = OffsetHead(spec, node_dim, edge_dim, num_hidden=1)
    names: dict[str, str] = {}
    for ours, theirs in (("edges", "proj_edge"), ("nodes", "proj_node")):
        names |= both(f"{ours}.0", f"{theirs}.0") | both(f"{ours}.2", f"{theirs}.2")
    made: dict[str, Tensor] = {}
    spent: set[str] = set()
    for ours, theirs in (("weight_scales", "weight_scale"), ("bias_scales", "bias_scale")):
        scales = [f"{theirs}.{layer}" for layer in range(len(spec.layers))]
        made[f"head.{ours}"] = torch.stack([get(state_dict, scale, 0) for scale in scales])
        spent |= set(scales)
    return head, inside("head", names), made, spent

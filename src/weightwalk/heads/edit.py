"""The head that changes networks: an offset for every weight and bias, out of what an encoder says of edges and nodes
(Neural Graphs, ICLR 2024, section 4.2 and its release).

Axes: B networks, P parameters, d features.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from weightwalk.encoders.base import Encoding
from weightwalk.spec import NetworkSpec


class OffsetHead(nn.Module):
    """Delta theta (B, P), ordered as `Weights.flat`, of the networks of one spec.

    Delta W of layer l = a_l MLP_edge(edges[l]), Delta b of layer l = c_l MLP_node(nodes[l + 1]), with MLPs d -> d -> 1
    (`num_hidden` layers with ReLU, `hidden_dim` wide, which is d if left out) that all layers share, and a learned
    scalar per layer for its weights and another for its biases, which start at `scale`. What moves with neurons in the
    encoding moves with them here, so edits are equivariant. A layer's bias is read from its own nodes: the snapshot of
    the release's GNN version begins at node 0, the first input, where it should skip the inputs.

    Shapes: an Encoding with nodes (B, n_l, node_dim) and edges (B, *weight_shape, edge_dim) -> (B, P).
    """

    def __init__(
        self,
        spec: NetworkSpec,
        node_dim: int,
        edge_dim: int,
        hidden_dim: int | None = None,
        num_hidden: int = 1,
        scale: float = 0.01,
    ):
        super().__init__()
        self.fields = spec.fields
        self.edges = _mlp(edge_dim, hidden_dim or edge_dim, num_hidden)
        self.nodes = _mlp(node_dim, hidden_dim or node_dim, num_hidden)
        self.weight_scales = nn.Parameter(torch.full((len(spec.layers),), scale))
        self.bias_scales = nn.Parameter(torch.full((len(spec.layers),), scale))

    def forward(self, encoding: Encoding) -> Tensor:
        offsets = []
        for field in self.fields:
            if field.role == "weight":
                offset = self.weight_scales[field.layer] * self.edges(encoding.edges[field.layer])
            else:
                offset = self.bias_scales[field.layer] * self.nodes(encoding.nodes[field.layer + 1])
            offsets.append(offset.flatten(1))
        return torch.cat(offsets, dim=1)


def _mlp(in_dim: int, hidden_dim: int, num_hidden: int) -> nn.Sequential:
    dims = [in_dim, *[hidden_dim] * num_hidden]
    blocks: list[nn.Module] = []
    for i, o in pairwise(dims):
        blocks += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(dims[-1], 1))

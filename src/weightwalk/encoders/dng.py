"""The DNG-Encoder: a recurrent graph network over the dynamic neural graph (Dynamic Neural Graphs, TMLR 2026, section 4).

Axes: B networks, I source nodes, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.film import messages
from weightwalk.errors import InputError
from weightwalk.graphs.dynamic import DynamicGraph, Snapshot
from weightwalk.graphs.features import FourierFeatures
from weightwalk.spec import ACTIVATIONS, NetworkSpec
from weightwalk.weights import Weights


class StepMaps(nn.Module):
    """The maps of one timestamp in one pass: edges, sources and the update's input, and the norm of the new memories."""

    def __init__(self, edge_dim: int, input_dim: int, dim: int):
        super().__init__()
        self.edge = nn.Linear(edge_dim, dim)
        self.source = nn.Linear(dim, dim)
        self.input = nn.Linear(input_dim, dim)
        self.norm = nn.LayerNorm(dim)


class Pass(nn.Module):
    """One walk over all timestamps; the recurrent cell is shared by them, the maps are each timestamp's own."""

    def __init__(self, num_steps: int, edge_dim: int, input_dim: int, dim: int):
        super().__init__()
        self.steps = nn.ModuleList(StepMaps(edge_dim, input_dim, dim) for _ in range(num_steps))
        self.cell = nn.GRUCell(dim, dim)


@encoders.register("dng")
class DNGEncoder(Encoder):
    r"""Read a network's weights in the order in which inference uses them.

    At timestamp t_l every target node i gathers a message from its sources j and updates its memory:

        m_i(t_l) = sum_j  W_e^l phi(w_ij) * (W_s^l s_j(t_{l-1}))                      (Eq 4)
        s_i(t_l) = Dropout(LayerNorm(GRU(input = W_b^l phi(b_i), hidden = m_i(t_l))))    (Eq 6)

    with phi random Fourier features and * elementwise. Input nodes start from a learned memory each. In pass p > 1
    the bias term becomes a map of the memory that the node got in pass p - 1. With `activation_embedding`, a learned
    vector per activation function is added to phi(b) (paper, appendix: of use where activations vary).

    Shapes: Weights of B networks -> nodes (B, n_l, dim) per group, pooled (B, n_L * dim): the output nodes' memories in
    order. A layer without biases enters with b = 0. Raises InputError for steps that are not dense.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        dim: int = 128,
        num_frequencies: int = 128,
        scale: float = 3.0,
        num_passes: int = 1,
        dropout: float = 0.0,
        activation_embedding: bool = False,
    ):
        super().__init__(spec)
        if min(dim, num_frequencies, num_passes) < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"a DNG-Encoder needs dim, num_frequencies and num_passes >= 1 and 0 <= dropout < 1, "
                f"got {dim}, {num_frequencies}, {num_passes} and {dropout}"
            )
        self.graph = DynamicGraph.of(spec)
        for shot in self.graph.snapshots:
            if shot.layer.kind != "dense":
                raise InputError(f"the DNG-Encoder reads dense steps, but step t_{shot.timestamp} of {spec} is {shot.layer.kind}")
        self.pooled_dim = spec.widths[-1] * dim
        self.features = FourierFeatures(num_frequencies, scale)
        self.input_memory = nn.Parameter(torch.randn(spec.widths[0], dim))
        num_steps = len(self.graph.snapshots)
        self.passes = nn.ModuleList(
            Pass(num_steps, self.features.dim, dim if number else self.features.dim, dim) for number in range(num_passes)
        )
        self.dropout = nn.Dropout(dropout)
        self.activations = nn.Embedding(len(ACTIVATIONS), self.features.dim) if activation_embedding else None

    def read(self, weights: Weights) -> Encoding:
        inputs = self.input_memory.expand(len(weights), -1, -1)
        nodes: list[Tensor] = []
        for walk in self.passes:
            nodes = self._walk(cast(Pass, walk), weights, inputs, nodes)
        return Encoding(tuple(nodes), nodes[-1].flatten(1))

    def _walk(self, walk: Pass, weights: Weights, inputs_BID: Tensor, earlier: list[Tensor]) -> list[Tensor]:
        """The memories of all node groups after one pass; `earlier` are those of the pass before, none in the first."""
        nodes = [inputs_BID]
        for index, (shot, module) in enumerate(zip(self.graph.snapshots, walk.steps, strict=True)):
            maps = cast(StepMaps, module)
            message_BOD = messages(weights.weights[index], self.features, maps.edge, maps.source(nodes[shot.source]))
            update_BOD = maps.input(earlier[shot.target] if earlier else self._bias_features(shot, index, weights))
            memory = walk.cell(update_BOD.flatten(0, 1), message_BOD.flatten(0, 1)).unflatten(0, message_BOD.shape[:2])
            nodes.append(self.dropout(maps.norm(memory)))
        return nodes

    def _bias_features(self, shot: Snapshot, index: int, weights: Weights) -> Tensor:
        bias_BO = weights.biases[index]
        if bias_BO is None:
            bias_BO = weights.weights[index].new_zeros(len(weights), shot.layer.fan_out)
        features_BOF: Tensor = self.features(bias_BO)
        if self.activations is None:
            return features_BOF
        number = torch.tensor(ACTIVATIONS.index(weights.spec.layers[index].activation), device=features_BOF.device)
        embedding_F: Tensor = self.activations(number)
        return features_BOF + embedding_F

"""NG-T: a relational transformer over the static neural graph (Kofinas et al., ICLR 2024, section 3.2 and appendix).

Axes: B networks, N nodes, R of them those that are read out, d features.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from weightwalk.config import bounded
from weightwalk.encoders.base import Encoding, encoders
from weightwalk.encoders.graph_blocks import Pool, layer_edges, layer_nodes, pooled
from weightwalk.encoders.graph_encoder import GraphEncoder
from weightwalk.encoders.relational import RelationalLayer
from weightwalk.errors import InputError
from weightwalk.graphs.scalars import pick
from weightwalk.graphs.static import Block, Nodes
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


@encoders.register("ng_t")
class NGTEncoder(GraphEncoder):
    """A transformer whose tokens are the nodes of the static neural graph, and which knows the edge of every pair.

    By design it is dense: every node attends to every node, connected or not, and all N x N pairs have features, which
    every layer but the last renews. A pair without an edge begins with the features of a zero. So time and memory grow
    with N^2, 32 numbers a pair and layer in training; what attention makes of a pair is ten times as wide and never
    lies in memory for more than a block of rows (`relational.py`). For large networks take ng_gnn, or dng.

    With `pool` "last" the output nodes are read, in order, and what nobody reads is not computed: the last layer
    gathers for them alone, and the edges before it are renewed in their rows alone, which changes no number. With
    `edges` ("edge outputs", for editing) every layer renews all nodes and edges, and both are answered.

    What the first layer reads is `neural_graph.GraphInput`'s, with the options from `num_frequencies` to `standardise`;
    mixtures (`shared`) are read as `GraphEncoder` says. Defaults are the published ones of INRs' classification;
    published for editing are `num_heads` 4, `scale` 3, `reverse` and `dropout` .3.

    Deviations from the release: networks of several architectures are read by groups of one each, so no node is padded,
    where the release pads and lets every node attend to padding; the head is a module of its own (`heads/mlp.py`).
    There is no class token and no T-Fixup start, which the published runs do not use either.

    Shapes: Weights of B networks -> pooled (B, n_L node_dim) for n_L outputs, or as `pool` has it; nodes (B, n_l,
    node_dim) where all of them are computed; with `edges`, edges (B, O, I[, K], edge_dim).
    """

    def __init__(
        self,
        spec: NetworkSpec,
        node_dim: int = 64,
        edge_dim: int = 32,
        attention_dim: int = 128,
        node_hidden: int = 128,
        edge_hidden: int = 64,
        num_layers: int = 4,
        num_heads: int = 8,
        num_frequencies: int = 128,
        scale: float = 1.0,
        reverse: bool = False,
        dropout: float = 0.2,
        modulated: bool = True,
        num_probes: int = 0,
        output_offset: float = 0.0,
        edges: bool = False,
        positional: bool = True,
        activation_embedding: bool = False,
        linear_as_conv: bool = True,
        standardise: bool = True,
        pool: Pool = "last",
        shared: bool | None = None,
        kernel_size: int = 0,
        kernel_positions: int = 0,
        max_hidden: int = 0,
    ):
        super().__init__(spec, node_dim, edge_dim, SimpleNamespace(**locals()))
        self.layers = nn.ModuleList(
            RelationalLayer(
                node_dim,
                edge_dim,
                attention_dim,
                node_hidden,
                edge_hidden,
                num_heads,
                dropout,
                modulated,
                edges=edges or number < num_layers,
            )
            for number in range(1, num_layers + 1)
        )

    @classmethod
    def validate(cls, options: Any) -> None:
        bounded(options, "node_dim edge_dim attention_dim node_hidden edge_hidden num_heads", 1)
        super().validate(options)
        if options.attention_dim % options.num_heads:
            raise InputError(
                f"expected an attention_dim that num_heads divides, got {options.attention_dim} and "
                f"{options.num_heads}; every head has as many numbers"
            )

    def read(self, weights: Weights) -> Encoding:
        graph = self.graph_input.graph_of(weights.spec)
        if self.pool == "last" and not self.edges:
            *_, (outputs, _) = self.states(weights, graph.outputs)
            return Encoding(pooled=outputs.flatten(1))
        *_, (nodes, pairs) = self.states(weights)
        edges = layer_edges(graph, [of_block(block, pairs) for block in graph.blocks]) if self.edges else ()
        return Encoding(pooled=pooled(graph, nodes, self.pool), nodes=layer_nodes(graph, nodes), edges=edges)

    def states(self, weights: Weights, rows: Nodes | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Nodes (B, N, node_dim) and pairs (B, N, N, edge_dim), [b, i, j] the edge i -> j, as they are at first and
        behind every layer; where `rows` are all that is asked for, in the end those of these nodes, (B, R, ...).
        """
        graph, features = self.graph_input.graph_of(weights.spec), self.graph_input(weights)
        nodes, pairs = features.nodes, features.dense(graph)
        yield nodes, pairs

        def asked(x: Tensor) -> Tensor:
            return x if rows is None else pick(x, rows)

        if len(self.layers) == 1:
            pairs = asked(pairs)
        for left, layer in zip(reversed(range(len(self.layers))), self.layers, strict=True):
            assert isinstance(layer, RelationalLayer)
            gathering = nodes if left else asked(nodes)
            nodes = layer.nodes(gathering, layer.attention(nodes, gathering, pairs))
            if layer.edges is not None:
                turned, new = pairs.transpose(1, 2), nodes
                if left < 2:
                    pairs, turned, new = asked(pairs), asked(turned), asked(nodes)
                pairs = layer.edges(pairs, turned, new, nodes)
            yield nodes, pairs


def of_block(block: Block, pairs: Tensor) -> Tensor:
    """What a block's edges have among all pairs (B, N, N, d), [b, i, j] the edge i -> j: (B, T, S, d)."""

    def part(nodes: Nodes, number: int) -> Nodes:
        size = len(nodes) // block.groups
        return nodes[number * size : (number + 1) * size]

    parts = [
        pick(pick(pairs, part(block.sources, number)), part(block.targets, number), 2).transpose(1, 2)
        for number in range(block.groups)
    ]
    return torch.cat(parts, dim=1)

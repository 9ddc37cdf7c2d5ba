"""NG-GNN: message passing over the static neural graph (Kofinas et al., ICLR 2024, section 4 and appendix).

Axes: B networks, N nodes, T targets and S sources of a block, D features.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import config
from weightwalk.encoders.aggregation import Plan, heard
from weightwalk.encoders.base import Encoding, encoders
from weightwalk.encoders.graph_blocks import Pool, layer_edges, layer_nodes, pooled
from weightwalk.encoders.graph_encoder import GraphEncoder
from weightwalk.spec import NetworkSpec
from weightwalk.weights import Weights


class Convolution(nn.Module):
    """The maps of one layer; `NGGNNEncoder` has the formulas."""

    def __init__(self, dim: int):
        super().__init__()
        self.film, self.message = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.update, self.output = nn.Linear(9 * dim, dim), nn.Linear(dim, dim)

    def ends(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """What message([x_i ; x_j]) is the sum of, of the nodes that hear and of those that send."""
        own, others = self.message.weight.chunk(2, dim=1)
        return F.linear(nodes, own, self.message.bias), F.linear(nodes, others)

    def updated(self, nodes: Tensor, around: Tensor, amplified: Tensor) -> Tensor:
        """output(update([x ; a ; s a]))."""
        weight = self.output.weight @ self.update.weight
        bias = F.linear(self.update.bias, self.output.weight, self.output.bias)
        return F.linear(torch.cat([nodes, around, amplified], dim=-1), weight, bias)


class EdgeUpdate(nn.Module):
    """The maps of edges between two layers; `output` is done together with the linear maps that read it."""

    def __init__(self, dim: int):
        super().__init__()
        self.edge, self.source, self.target, self.output = (nn.Linear(dim, dim) for _ in range(4))


class MinibatchNorm(nn.LayerNorm):
    """The release's norm, by mean and deviation over all nodes, features and networks of a batch, so that answers
    depend on what is beside a network. For its parameters alone (`interop.ng_release`); no option names it.
    """

    sees_batch = True  # is not cut into lanes

    def forward(self, nodes: Tensor) -> Tensor:
        apart = nodes - nodes.mean()
        return apart / (apart.std(correction=0) + self.eps) * self.weight + self.bias


@encoders.register("ng_gnn")
class NGGNNEncoder(GraphEncoder):
    """Principal neighbourhood aggregation (Corso et al. 2020) with modulated messages, over nodes x and edges e.

    In each of `num_layers` layers every node i hears its neighbours j over the edges that end at it:

        m_ji = gamma * message([x_i ; x_j]) + beta,     (gamma, beta) = film(e_ji)
        x_i' = output( update( [x_i ; a_i ; s_i a_i] ) ),
        a_i = [mean, min, max, std]_j m_ji,             s_i = log(deg_i + 1) / delta

    and between two of them x = Dropout(SiLU(LayerNorm(x'))), e_ji = output(SiLU(edge e_ji + source x_j + target x_i)).
    Degrees count the edges of all directions, delta is the mean of log(in-degree + 1) over all nodes by the edges as
    they are, of the training networks. What the first layer reads, and the options from `num_frequencies` to
    `standardise`, are `neural_graph.GraphInput`'s. Defaults are the published classifier's of INRs.

    With `edges`, for editing, edges are updated after the last layer too, and answered: those from source to target,
    every tap of a kernel its edge's vector. `pool` says what is read of the nodes (`graph_blocks.pooled`).

    Mixtures (`shared`) are read as `GraphEncoder` says.

    Deviations: the release's LayerNorm takes mean and deviation over the whole minibatch, so that its answer depends on
    the batch; ours is each node's own. The release's editor reads edges as they are before the last layer, also where
    it has parameters to update them behind it. Variances are summed around means, not as differences of squares.

    Shapes: Weights of B networks -> nodes (B, n_l, dim), pooled (B, n_L dim) or as `pool` has it, edges (B, O, I[, K],
    dim) or none. Edges lie in blocks of layers, in dense products; time and memory grow with the edges.
    """

    delta: Tensor

    def __init__(
        self,
        spec: NetworkSpec,
        dim: int = 32,
        num_layers: int = 4,
        num_frequencies: int = 128,
        scale: float = 3.0,
        reverse: bool = True,
        dropout: float = 0.2,
        num_probes: int = 0,
        output_offset: float = 0.0,
        positional: bool = True,
        activation_embedding: bool = False,
        linear_as_conv: bool = True,
        standardise: bool = True,
        edges: bool = False,
        pool: Pool = "last",
        shared: bool | None = None,
        kernel_size: int = 0,
        kernel_positions: int = 0,
        max_hidden: int = 0,
    ):
        super().__init__(spec, dim, dim, SimpleNamespace(**locals()))
        self.convolutions = nn.ModuleList(Convolution(dim) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_layers - 1))
        self.edge_updates = nn.ModuleList(EdgeUpdate(dim) for _ in range(num_layers - 1 + edges))
        self.dropout = nn.Dropout(dropout)
        graph = self.graph_input.graph
        self.register_buffer("delta", torch.tensor(sum(_logs(graph.in_degrees())) / graph.num_nodes))
        self._plans = {spec: Plan.of(graph, reverse)}

    @classmethod
    def validate(cls, options: Any) -> None:
        config.bounded(options, "dim", 1)
        super().validate(options)

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set means and deviations of layers, and delta."""
        found = [0.0, 0.0]

        def counted() -> Iterator[Weights]:
            for weights in batches:
                logs = _logs(self.graph_input.graph_of(weights.spec).in_degrees())
                found[0] += len(weights) * sum(logs)
                found[1] += len(weights) * len(logs)
                yield weights

        counting = counted()
        super().prepare(counting)
        deque(counting, maxlen=0)  # which of a mixture looks at none
        if found[1]:
            self.delta.fill_(found[0] / found[1])

    def read(self, weights: Weights) -> Encoding:
        plan = self._plan(weights.spec)
        features = self.graph_input(weights)
        nodes = features.nodes
        edges = torch.cat([x.flatten(1, 2) for x in (*features.edges, *features.reverse)], dim=1)
        ways, counts = plan.ways, [way.block.num_edges for way in plan.ways]
        logs = torch.tensor(_logs(plan.degrees), dtype=nodes.dtype, device=nodes.device)
        amplification = (logs / self.delta)[:, None]
        pending: nn.Linear | None = None  # the map of edges that is still to be done, with the next one
        for number, (convolution, update) in enumerate(zip_longest(self.convolutions, self.edge_updates)):
            assert isinstance(convolution, Convolution)
            assert update is None or isinstance(update, EdgeUpdate)
            own, others = convolution.ends(nodes)
            films = _through(edges, pending, convolution.film).split(counts, dim=1)
            found = [
                heard(way.grouped(film), way.at_hearing(own), way.at_sending(others), way.back)
                for way, film in zip(ways, films, strict=True)
            ]
            around = plan.neighbourhoods(found)
            nodes = convolution.updated(nodes, around, amplification * around)
            if number < len(self.norms):
                nodes = self.dropout(F.silu(self.norms[number](nodes)))
            else:  # edges that go back are read no more
                ways = ways[: len(features.edges)]
                edges = edges[:, : sum(counts[: len(ways)])]
            if update is not None:
                source, target = update.source(nodes), update.target(nodes)
                ends = [(way.at_hearing(target) + way.at_sending(source)).flatten(1, 3) for way in ways]
                edges = F.silu(_through(edges, pending, update.edge) + torch.cat(ends, dim=1))
                pending = update.output
        answers: tuple[Tensor, ...] = ()
        if self.edges:
            edges = edges if pending is None else pending(edges)
            parts = edges.split(counts[: len(ways)], dim=1)
            answers = layer_edges(
                plan.graph, [x.unflatten(1, way.block.shape) for way, x in zip(ways, parts, strict=True)]
            )
        return Encoding(
            pooled=pooled(plan.graph, nodes, self.pool), nodes=layer_nodes(plan.graph, nodes), edges=answers
        )

    def _plan(self, spec: NetworkSpec) -> Plan:
        if spec not in self._plans:
            self._plans[spec] = Plan.of(self.graph_input.graph_of(spec), self.graph_input.reverse)
        return self._plans[spec]


def _through(x: Tensor, first: nn.Linear | None, then: nn.Linear) -> Tensor:
    """then(first(x)) as one product."""
    if first is None:
        return F.linear(x, then.weight, then.bias)
    return F.linear(x, then.weight @ first.weight, F.linear(first.bias, then.weight, then.bias))


def _logs(degrees: Sequence[int]) -> list[float]:
    return [math.log(degree + 1) for degree in degrees]

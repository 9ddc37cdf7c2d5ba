"""The static neural graph's features, which NG-GNN and NG-T read (Kofinas et al., ICLR 2024, sections 3 and 4).

How an encoder uses it:

    self.graph_input = GraphInput(spec, node_dim, edge_dim, ...)     # its arguments are the encoder's options
    self.access = self.graph_input.access                            # "query" with probes
    prepare(batches): self.graph_input.prepare(batches)              # mean and std of every layer
    read(weights):    graph = self.graph_input.graph_of(weights.spec)
                      features = self.graph_input(weights)           # GraphFeatures, see there
                      all_pairs = features.dense(graph)              # (B, N, N, edge_dim), for NG-T
                      ... = Encoding(pooled=pooled(graph, nodes), nodes=layer_nodes(graph, nodes))   # graph_blocks.py

Axes: B networks, N nodes, T targets of a block, S sources of each target, C channels of an edge, K probes, F
frequencies, D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import evaluate
from weightwalk.encoders.graph_blocks import GraphFeatures
from weightwalk.encoders.standard import Standardise
from weightwalk.errors import InputError
from weightwalk.graphs.scalars import scalars
from weightwalk.graphs.static import Block, Channels, StaticGraph, channels_of, static_graph
from weightwalk.spec import ACTIVATIONS, NetworkSpec
from weightwalk.steps import Activate, Affine, Conv, Dense, Embed
from weightwalk.weights import Weights


class ScalarFeatures(nn.Module):
    """Linear([sin 2 pi f x, cos 2 pi f x]) of vectors x of C channels, f ~ N(0, scale^2) fixed; or Linear(x).

    Shapes: (..., c), what the channels `channels` hold while the others are 0, -> (..., dim). Nothing is padded: a
    vector of zeros but for some channels needs the frequencies of those alone.
    """

    frequencies: Tensor

    def __init__(self, num_channels: int, dim: int, num_frequencies: int, scale: float):
        super().__init__()
        self.register_buffer("frequencies", scale * torch.randn(num_channels, num_frequencies))
        self.linear = nn.Linear(2 * num_frequencies or num_channels, dim)

    def forward(self, x: Tensor, channels: Sequence[Sequence[int]]) -> Tensor:
        """The features where every number of x lies in all channels of one of `channels`, such as (c, C + c) for the
        same number in two.
        """
        weight: Tensor = self.linear.weight
        bias: Tensor = self.linear.bias
        if not self.frequencies.numel():
            return F.linear(x, _summed(weight, channels, 1), bias)
        frequencies = (2 * math.pi) * _summed(self.frequencies, channels, 0)
        angles = x * frequencies if len(frequencies) == 1 else _product(x, frequencies)
        of_sines, of_cosines = weight.chunk(2, 1)
        return F.linear(angles.sin(), of_sines, bias) + F.linear(angles.cos(), of_cosines)

    def of_zero(self, after: nn.Linear) -> Tensor:
        """(dim,): the features of the vector of zeros."""
        weight = self.linear.weight
        cosines = weight.chunk(2, 1)[1].sum(1) if self.frequencies.numel() else torch.zeros_like(self.linear.bias)
        return F.linear(self.linear.bias + cosines, after.weight, after.bias)


def _product(x: Tensor, frequencies: Tensor) -> Tensor:
    """x @ frequencies; angles of many turns are not for half precision."""
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return x @ frequencies
    return x @ frequencies


def _summed(x: Tensor, channels: Sequence[Sequence[int]], dim: int) -> Tensor:
    """Of each tuple of channels, the sum of their entries along `dim`."""
    parts = [x.index_select(dim, torch.tensor(each, device=x.device)) for each in zip(*channels, strict=True)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


class Probes(nn.Module):
    """Per neuron, what it answers at K learned points: Linear(K -> d) and LayerNorm, own ones for every node group.

    The input network is evaluated with its own parameters, not standardised; gradients reach the points through it.
    Input nodes have the points' coordinates, output nodes the network's answers plus `offset`, which an INR adds to its
    output, and hidden ones their values behind the activation.
    """

    def __init__(self, spec: NetworkSpec, dim: int, num_probes: int, offset: float = 0.0):
        super().__init__()
        graph = static_graph(spec)
        if spec.input_axes != 1 or isinstance(spec.first, Embed):
            raise InputError(
                f"probes are points that a network of vectors is run on, got {spec}; set num_probes=0 for networks "
                "that read pictures or tokens"
            )
        self.offset = offset
        self.points = nn.Parameter(2 * torch.rand(num_probes, spec.widths[0]) - 1)
        self.stages = nn.ModuleList(nn.Sequential(nn.Linear(num_probes, dim), nn.LayerNorm(dim)) for _ in graph.groups)
        self.values = [_observed(spec, group.value) for group in graph.groups]

    def forward(self, weights: Weights) -> Tensor:
        """Weights -> (B, N, d)."""
        points = self.points.expand(len(weights), *self.points.shape)
        found: dict[int, Tensor] = {0: points, -1: torch.ones_like(points[..., :1])}

        def keep(value: int, x: Tensor) -> Tensor:
            found[value] = x
            return x

        evaluate.run(weights.spec, weights.weights, weights.biases, points, keep)
        last = len(weights.spec.steps)
        found[last] = found[last] + self.offset
        stages = zip(self.stages, self.values, strict=True)
        return torch.cat([stage(found[value].transpose(1, 2)) for stage, value in stages], dim=1)


def _observed(spec: NetworkSpec, value: int) -> int:
    """The value in which a group's nodes are behind an activation, or a factor, that alone reads them."""
    while value >= 0:
        readers = [at for at in spec.schedule if value in at.sources]
        if len(readers) != 1 or not isinstance(readers[0].step, Activate | Affine):
            break
        value = readers[0].value
    return value


class GraphInput(nn.Module):
    """From networks to features of their graphs' nodes and edges, in the order of the published encoders:

        nodes   Linear( Linear(phi(bias)) + probes ) + position [+ activation]
        edges   Linear( Linear(phi(kernel)) )                   phi Fourier features, or, of 0 frequencies, the identity

    - weights and biases are standardised, each layer's by one mean and deviation over the training networks (buffers,
      set by `prepare`); nodes without a bias and missing taps stay 0. Not with `shared`, nor if `standardise` is False.
    - `reverse`: the kernel is [E, E^T, E + E^T], and every edge is read the other way round as well.
    - positions: a learned row for each input node, for each hidden group and for each output node; so only hidden nodes
      change places. `max_hidden` says how many hidden groups there are at most, for mixtures.
    - `activation_embedding`: a learned vector of the activation that a hidden group's values meet next.
    - `linear_as_conv` False: dense steps of a convolutional network have features of their own instead of being the
      centre of a kernel.

    Networks of another shape than `spec` are read if `channels` hold their edges. Kernels are never padded: see
    `ScalarFeatures`. Shapes: Weights of B networks -> GraphFeatures; memory grows with nodes and edges.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        node_dim: int,
        edge_dim: int,
        *,
        num_frequencies: int = 128,
        scale: float = 3.0,
        reverse: bool = True,
        num_probes: int = 0,
        output_offset: float = 0.0,
        positional: bool = True,
        activation_embedding: bool = False,
        linear_as_conv: bool = True,
        standardise: bool = True,
        channels: Channels | None = None,
        max_hidden: int = 0,
    ):
        super().__init__()
        self.graph = graph = static_graph(spec, channels)
        inputs, hidden, outputs, constants = graph.rows
        self.access: Literal["weights", "query"] = "query" if num_probes else "weights"
        self.reverse, self.rows = reverse, (inputs, max(hidden, max_hidden), outputs, constants)
        per_edge = (3 if reverse else 1) * graph.channels.count
        self.of_biases = ScalarFeatures(1, node_dim, num_frequencies, scale)
        self.of_kernels = ScalarFeatures(per_edge, edge_dim, num_frequencies, scale)
        kinds = {type(layer) for layer in spec.layers}
        apart = not linear_as_conv and Conv in kinds and any(_is_linear(block, spec) for block in graph.blocks)
        of_linear = ScalarFeatures(3 if reverse else 1, edge_dim, num_frequencies, scale) if apart else None
        self.of_linear = of_linear
        self.probes = Probes(spec, node_dim, num_probes, output_offset) if num_probes else None
        self.node_map, self.edge_map = nn.Linear(node_dim, node_dim), nn.Linear(edge_dim, edge_dim)
        self.positions = nn.Parameter(torch.randn(sum(self.rows), node_dim)) if positional else None
        embedded = activation_embedding and (hidden > 0 or max_hidden > 0)
        self.activations = nn.Embedding(len(ACTIVATIONS), node_dim) if embedded else None
        self.standardise = Standardise(2 * len(spec.layers)) if standardise else None

    def graph_of(self, spec: NetworkSpec) -> StaticGraph:
        """The graph of networks of `spec`, with our channels."""
        return self.graph if spec == self.graph.spec else static_graph(spec, self.graph.channels)

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks of another shape than ours whose graph has no place here."""
        got, own = self.graph_of(spec).rows, self.rows
        if (got[0], got[2]) != (own[0], own[2]) or got[1] > own[1] or got[3] > own[3]:
            raise InputError(
                f"this model reads networks of {own[0]} inputs, {own[2]} outputs and at most {own[1]} hidden groups of "
                f"nodes, got {got[0]}, {got[2]} and {got[1]} in {spec}; use a model trained on such networks"
            )

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Set every layer's means and deviations."""
        if self.standardise is not None:
            self.standardise.measure_layers(batches)

    def forward(self, weights: Weights) -> GraphFeatures:
        graph = self.graph_of(weights.spec)
        both = [self._edges(graph, block, weights) for block in graph.blocks]
        edges, reverse = tuple(edges for edges, _ in both), tuple(back for _, back in both if back is not None)
        return GraphFeatures(self._nodes(graph, weights), edges, reverse, self.of_kernels.of_zero(self.edge_map))

    def _nodes(self, graph: StaticGraph, weights: Weights) -> Tensor:
        parts = []
        for group in graph.groups:
            bias = None if group.layer is None else weights.biases[group.layer]
            if bias is None:
                parts.append(weights.flat.new_zeros(1, 1).expand(len(weights), group.size))
            else:
                parts.append(self._standard(bias, 2 * group.layer + 1))  # type: ignore[operator]
        nodes: Tensor = self.of_biases(torch.cat(parts, dim=1).unsqueeze(-1), [(0,)])
        if self.probes is not None:
            nodes = nodes + self.probes(weights)
        nodes = self.node_map(nodes)
        beside = self._places(graph)
        return nodes if beside is None else nodes + beside

    def _places(self, graph: StaticGraph) -> Tensor | None:
        """(N, d): what nodes have by their place and by what comes behind them, not by their numbers."""
        beside: Tensor | None = None
        if self.positions is not None:
            rows = torch.tensor(graph.rows_in(self.rows), device=self.positions.device)
            beside = self.positions.index_select(0, rows)
        if self.activations is not None:
            order, vectors = list(ACTIVATIONS), []
            for group in graph.groups:
                row = self.activations.weight[order.index(group.activation)]
                vectors.append((row if group.kind == "hidden" else torch.zeros_like(row)).expand(group.size, -1))
            of_groups = torch.cat(vectors)
            beside = of_groups if beside is None else beside + of_groups
        return beside

    def _edges(self, graph: StaticGraph, block: Block, weights: Weights) -> tuple[Tensor, Tensor | None]:
        """The features of a block's edges, and of the same the other way round."""
        if block.layer is None:
            x = weights.flat.new_ones(1, 1, 1, 1)
        else:
            x = scalars(block, weights.weights[block.layer])
            x = self._standard(x, 2 * block.layer)
        apart = self.of_linear is not None and _is_linear(block, weights.spec)
        features = self.of_linear if apart else self.of_kernels
        assert features is not None
        count, channels = (1, (0,)) if apart else (graph.channels.count, block.channels)
        shape = (len(weights), *block.shape, -1)
        if not self.reverse:
            return self.edge_map(features(x, [(c,) for c in channels])).expand(shape), None
        ways = ([(c, 2 * count + c) for c in channels], [(count + c, 2 * count + c) for c in channels])
        forward, back = (self.edge_map(features(x, way)).expand(shape) for way in ways)
        return forward, back

    def _standard(self, x: Tensor, feature: int) -> Tensor:
        return x if self.standardise is None else self.standardise.feature(x, feature)


def _is_linear(block: Block, spec: NetworkSpec) -> bool:
    """Whether edges are a dense step's of one number each, which a convolutional network's features may keep apart."""
    return block.layer is not None and isinstance(spec.layers[block.layer], Dense) and len(block.channels) == 1


def mixture(specs: Sequence[NetworkSpec]) -> tuple[Channels, int]:
    """The channels that hold the edges of all specs, and how many hidden groups they have at most."""
    found = [channels_of(spec) for spec in specs]
    roles = tuple(dict.fromkeys(role for channels in found for role in channels.roles))
    sizes = {name: max(getattr(channels, name) for channels in found) for name in ("kernel_size", "axes", "positions")}
    return Channels(**sizes, roles=roles), max(static_graph(spec).rows[1] for spec in specs)

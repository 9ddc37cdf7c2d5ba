"""Static neural graphs for others: PyTorch Geometric and NetworkX (the extra `weightwalk[graphs]`).

nodes   x (N, 1) the bias, 0 without one; position, layer and activation of every node
edges   edge_index (2, E), source and target; edge_attr (E, C), the kernel in the graph's channels, zeros elsewhere
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from weightwalk.errors import InputError
from weightwalk.graphs.blocks import Block, StaticGraph
from weightwalk.graphs.scalars import scalars
from weightwalk.graphs.static import static_graph
from weightwalk.spec import ACTIVATIONS
from weightwalk.weights import Weights

if TYPE_CHECKING:
    from networkx import MultiDiGraph


def to_pyg(weights: Weights, index: int = 0) -> Any:
    """One network as a `torch_geometric.data.Data`; tensors stay on the network's device.

    `x` (N, 1), `edge_index` (2, E), `edge_attr` (E, C), `position` (N,), the row of a table of embeddings that a node
    has, `layer` (N,), -1 for a node that no layer with parameters writes, and `activation` (N,), its number among
    `weightwalk.spec.ACTIVATIONS`.
    """
    data = _package("torch_geometric.data")
    graph, network = static_graph(weights.spec), weights[index]
    edge_index, edge_attr = _edges(graph, network)
    layers, names, order = _layers(graph), _activations(graph), list(ACTIVATIONS)
    activation = torch.tensor([order.index(name) for name in names], device=weights.device)
    return data.Data(
        x=_biases(graph, network)[:, None],
        edge_index=edge_index,
        edge_attr=edge_attr,
        position=torch.tensor(graph.positions, device=weights.device),
        layer=torch.tensor(layers, device=weights.device),
        activation=activation,
    )


def to_networkx(weights: Weights, index: int = 0) -> MultiDiGraph:
    """One network as a `networkx.MultiDiGraph`: nodes 0 ... N - 1 with `bias`, `position`, `layer` and `activation`;
    edges with `weight`, a tuple of the numbers that the edge carries (a kernel's taps), and `kind`.
    """
    networkx = _package("networkx")
    graph, network = static_graph(weights.spec), weights[index]
    made = networkx.MultiDiGraph()
    facts = zip(_biases(graph, network).tolist(), graph.positions, _layers(graph), _activations(graph), strict=True)
    for node, (bias, position, layer, activation) in enumerate(facts):
        made.add_node(node, bias=bias, position=position, layer=layer, activation=activation)
    for block in graph.blocks:
        for (source, target), weight in zip(block.pairs(), _carried(block, network).tolist(), strict=True):
            made.add_edge(source, target, weight=tuple(weight), kind=block.kind)
    return made


def _edges(graph: StaticGraph, network: Weights) -> tuple[Tensor, Tensor]:
    """(2, E) and (E, C)."""
    ends, attributes = [], []
    for block in graph.blocks:
        attributes.append(network.flat.new_zeros(block.num_edges, graph.channels.count))
        attributes[-1][:, list(block.channels)] = _carried(block, network)
        ends += list(block.pairs())
    return torch.tensor(ends, device=network.device).T, torch.cat(attributes)


def _carried(block: Block, network: Weights) -> Tensor:
    """(edges, taps): the numbers of a block's edges."""
    if block.layer is None:
        return network.flat.new_ones(block.num_edges, 1)
    return scalars(block, network.weights[block.layer])[0].flatten(0, 1)


def _biases(graph: StaticGraph, network: Weights) -> Tensor:
    """(N,)"""
    parts = []
    for group in graph.groups:
        bias = None if group.layer is None else network.biases[group.layer]
        parts.append(network.flat.new_zeros(group.size) if bias is None else bias[0])
    return torch.cat(parts)


def _layers(graph: StaticGraph) -> list[int]:
    return [-1 if group.layer is None else group.layer for group in graph.groups for _ in group.nodes]


def _activations(graph: StaticGraph) -> list[str]:
    return [group.activation for group in graph.groups for _ in group.nodes]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"expected the package {name.split('.')[0]}, which is not installed; install weightwalk[graphs]"
        ) from error

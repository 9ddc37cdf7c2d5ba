"""Tensors over the blocks of a static neural graph: features laid into all pairs, and what is answered.

Axes: B networks, N nodes, T targets of a block, S sources of each target, d features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from weightwalk.graphs.scalars import pick
from weightwalk.graphs.static import StaticGraph

Pool = Literal["last", "layers", "mean", "max"]


@dataclass(frozen=True)
class GraphFeatures:
    """Features of B graphs: `nodes` (B, N, node_dim); per block of the graph `edges` (B, T, S, edge_dim).

    With reverse edges `reverse` has, per block, the features of the same edges from target to source, laid out alike;
    else it is empty. `absent` (edge_dim,) is what a pair of nodes without an edge has, for readers of all pairs.
    """

    nodes: Tensor
    edges: tuple[Tensor, ...]
    reverse: tuple[Tensor, ...]
    absent: Tensor

    def dense(self, graph: StaticGraph) -> Tensor:
        """(B, N, N, edge_dim): [b, i, j] is the edge i -> j, or the constant `absent`.

        Of parallel edges what each adds to `absent` is summed.
        """
        return _laid(graph, self)


def pooled(graph: StaticGraph, nodes: Tensor, pool: Pool = "last") -> Tensor:
    """(B, N, d) -> "last": the output nodes' features in order, (B, n_L d); "layers": the means over the nodes of the
    input and of every layer one after another, (B, (L + 1) d); "mean" and "max" over all nodes, (B, d).
    """
    match pool:
        case "last":
            return pick(nodes, graph.outputs).flatten(1)
        case "layers":
            return torch.cat([part.mean(1) for part in layer_nodes(graph, nodes)], dim=1)
        case "mean":
            return nodes.mean(1)
    return nodes.amax(1)


def pooled_parts(graph: StaticGraph, pool: Pool) -> int:
    """How many times d numbers `pooled` has."""
    return {"last": len(graph.outputs), "layers": len(graph.layer_groups)}.get(pool, 1)


def layer_nodes(graph: StaticGraph, nodes: Tensor) -> tuple[Tensor, ...]:
    """(B, N, d) -> L + 1 tensors (B, n_l, d), as an `Encoding` has them."""
    return tuple(pick(nodes, group.nodes) for group in graph.layer_groups)


def layer_edges(graph: StaticGraph, edges: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Per block (B, T, S, d) -> L tensors shaped like the layers' weights plus d, (B, O, I[, K], d).

    Every tap of a kernel gets its edge's features, which know all of its taps. A weight that reads padding is on no
    edge and has zeros.
    """
    spec, found = graph.spec, []
    for number, layer in enumerate(spec.layers):
        own = [(block, x) for block, x in zip(graph.blocks, edges, strict=True) if block.layer == number]
        shape, (first, x) = layer.weight_shape, own[0]
        if len(own) == 1 and first.columns is None and (len(shape) < 2 or first.shape == shape[:2]):
            x = x if len(shape) < 3 else x.unsqueeze(3).expand(-1, -1, -1, shape[2], -1)
            found.append(x.reshape(len(x), *shape, x.shape[-1]))
            continue
        table = torch.cat([torch.zeros_like(x[:, :1, 0]), *(x.flatten(1, 2) for _, x in own)], dim=1)
        places = torch.zeros(shape if len(shape) < 3 else shape[:2], dtype=torch.long)
        row = 1
        for block, _ in own:
            numbers = torch.arange(row, row + block.num_edges).view(block.shape)
            if block.kind == "norm":
                assert block.columns is not None
                places[list(block.columns)] = numbers[:, 0]
            else:
                assert block.rows is not None
                columns = range(shape[1]) if block.columns is None else block.columns
                repeats = len(columns) // block.shape[1]
                places[block.rows.start : block.rows.stop, list(columns)] = numbers.repeat_interleave(repeats, dim=1)
            row += block.num_edges
        picked = table.index_select(1, places.flatten().to(table.device)).unflatten(1, places.shape)
        found.append(picked if len(shape) < 3 else picked.unsqueeze(3).expand(-1, -1, -1, shape[2], -1))
    return tuple(found)


def _laid(graph: StaticGraph, features: GraphFeatures) -> Tensor:
    cells: dict[tuple[int, int], Tensor] = {}
    group_of = [number for number, group in enumerate(graph.groups) for _ in group.nodes]
    ways = [(False, features.edges), (True, features.reverse)] if features.reverse else [(False, features.edges)]
    for back, edges in ways:
        for block, x in zip(graph.blocks, edges, strict=True):
            ends = [block.targets, block.sources] if back else [block.sources, block.targets]
            cell = (group_of[ends[0][0]], group_of[ends[1][0]])
            whole = all(nodes == graph.groups[number].nodes for nodes, number in zip(ends, cell, strict=True))
            if block.groups > 1 or not whole or cell in cells:
                return _scattered(graph, features)
            cells[cell] = x if back else x.transpose(1, 2)
    sizes, shape = [group.size for group in graph.groups], (len(features.nodes), -1, -1, -1)

    def cell_of(i: int, j: int) -> Tensor:
        found = cells.get((i, j))
        return features.absent.expand(shape[0], sizes[i], sizes[j], -1) if found is None else found

    numbers = range(len(sizes))
    return torch.cat([torch.cat([cell_of(i, j) for j in numbers], dim=2) for i in numbers], dim=1)


def _scattered(graph: StaticGraph, features: GraphFeatures) -> Tensor:
    """`_laid` where edges do not fill whole cells, or are parallel: gathered, one layer of parallel edges at a time."""
    num_networks, num_nodes = len(features.nodes), graph.num_nodes
    tables, places = [features.absent.expand(num_networks, 1, -1)], []
    for back, edges in ((False, features.edges), (True, features.reverse)):
        for block, x in zip(graph.blocks, edges, strict=False):
            tables.append(x.flatten(1, 2))
            places += [
                target * num_nodes + source if back else source * num_nodes + target for source, target in block.pairs()
            ]
    table = torch.cat(tables, dim=1)
    layers = [torch.tensor(index, device=table.device) for index in _layers_of(places, num_nodes**2)]
    total = table.index_select(1, layers[0])
    for index in layers[1:]:
        total = total + (table.index_select(1, index) - features.absent)
    laid: Tensor = total.unflatten(1, (num_nodes, num_nodes))
    return laid


def _layers_of(places: Sequence[int], size: int) -> Iterator[list[int]]:
    """Per layer of parallel edges, for every pair of nodes the row of its edge in the table, 0 for none."""
    left = list(enumerate(places, start=1))
    while left:
        index, later = [0] * size, []
        for row, place in left:
            if index[place]:
                later.append((row, place))
            else:
                index[place] = row
        yield index
        left = later

"""The plain forms of NG-GNN and NG-T: their equations one after another, over all pairs of nodes, in ordinary torch.

Our forms are checked against them and measured against them (`weightwalk bench encode`, `bench train`), for networks of
dense layers in a chain. The parameters are those of our modules, of which only linear maps and norms are called;
batches are never looped over, and nothing is rearranged that the equations do not rearrange. NG-GNN, whose messages run
along edges alone, has a mask. Source: Kofinas et al., ICLR 2024, sections 3 and 4 and the appendix.

Axes: B networks, N nodes, H heads, A numbers of a head, d features; pairs are [b, i, j], of an edge i -> j.
"""

from __future__ import annotations

import math
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.encoders.neural_graph import GraphInput, Probes, ScalarFeatures
from weightwalk.encoders.ng_gnn import Convolution, EdgeUpdate, NGGNNEncoder
from weightwalk.encoders.ng_t import NGTEncoder
from weightwalk.encoders.relational import RelationalLayer
from weightwalk.spec import NetworkSpec
from weightwalk.steps import Dense
from weightwalk.weights import Weights

State = tuple[Tensor, Tensor]
"""Nodes (B, N, node_dim) and pairs (B, N, N, edge_dim)."""


def pooled(encoder: NGTEncoder | NGGNNEncoder, weights: Weights) -> Tensor:
    """The output nodes' features in order, (B, n_L d)."""
    nodes, _ = state(encoder, weights)
    return nodes[:, -weights.spec.num_outputs :].flatten(1)


def state(encoder: NGTEncoder | NGGNNEncoder, weights: Weights) -> State:
    """Nodes and pairs behind the last layer. ValueError for anything but a chain of plain dense layers."""
    return transformer(encoder, weights) if isinstance(encoder, NGTEncoder) else message_passing(encoder, weights)


def graph(given: GraphInput, weights: Weights) -> State:
    """The features of all nodes, and of all pairs, where what is no edge is 0 before it gets features."""
    spec = weights.spec
    _check(spec)
    starts = [0, *accumulate(spec.widths)]
    biases = weights.flat.new_zeros(len(weights), starts[-1], 1)
    edges = weights.flat.new_zeros(len(weights), starts[-1], starts[-1], 1)
    for layer, (w, b) in enumerate(zip(weights.weights, weights.biases, strict=True)):
        source, target = slice(starts[layer], starts[layer + 1]), slice(starts[layer + 1], starts[layer + 2])
        edges[:, source, target, 0] = _standard(given, w.transpose(1, 2), 2 * layer)
        if b is not None:
            biases[:, target, 0] = _standard(given, b, 2 * layer + 1)
    if given.reverse:
        turned = edges.transpose(1, 2)
        edges = torch.cat([edges, turned, edges + turned], dim=3)
    nodes = features(given.of_biases, biases)
    if given.probes is not None:
        nodes = nodes + probed(given.probes, weights)
    nodes, pairs = given.node_map(nodes), given.edge_map(features(given.of_kernels, edges))
    if given.positions is not None:
        nodes = nodes + given.positions[list(given.graph.positions)]
    return nodes, pairs


def features(of: ScalarFeatures, x: Tensor) -> Tensor:
    """Linear([sin 2 pi x f, cos 2 pi x f]), or Linear(x) of no frequencies."""
    if of.frequencies.numel():
        angles = 2 * math.pi * (x @ of.frequencies)
        x = torch.cat([angles.sin(), angles.cos()], dim=-1)
    found: Tensor = of.linear(x)
    return found


def probed(probes: Probes, weights: Weights) -> Tensor:
    """What every neuron answers at the probes, LayerNorm(Linear(.)) of each group's own: (B, N, d)."""
    values = [probes.points.expand(len(weights), -1, -1)]
    for layer, w, b in zip(weights.spec.layers, weights.weights, weights.biases, strict=True):
        assert isinstance(layer, Dense)
        x = values[-1] @ w.mT + (0 if b is None else b[:, None])
        values.append(torch.sin(layer.omega * x) if layer.activation == "sine" else x)
    values[-1] = values[-1] + probes.offset
    return torch.cat([of(x.mT) for of, x in zip(probes.stages, values, strict=True)], dim=1)


# ---------------------------------------------------------------- NG-T


def transformer(encoder: NGTEncoder, weights: Weights) -> State:
    """Nodes and pairs behind the last layer of NG-T; without edge outputs the pairs before its last layer."""
    nodes, pairs = graph(encoder.graph_input, weights)
    for layer in encoder.layers:
        assert isinstance(layer, RelationalLayer)
        share = layer.nodes.dropout.p if encoder.training else 0.0
        nodes = node_update(layer, nodes, attention(layer, nodes, pairs), share)
        if layer.edges is not None:
            pairs = edge_update(layer, nodes, pairs, share)
    return nodes, pairs


def attention(layer: RelationalLayer, nodes: Tensor, pairs: Tensor) -> Tensor:
    """W_o concat_h sum_j softmax_j(<q_ij, k_ij> / sqrt(H A)) v_ij."""
    maps = layer.attention
    heads, width = maps.of_heads.shape
    q, k, v = maps.of_nodes(nodes).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, N, A) each
    q_e, k_e, a_e, *m_e = maps.of_pairs(pairs).unflatten(3, (maps.num_maps, heads, -1)).permute(3, 0, 4, 1, 2, 5)
    q_ij, k_ij, v_ij = q.unsqueeze(3) + q_e, k.unsqueeze(2) + k_e, v.unsqueeze(2)
    v_ij = (m_e[0] * v_ij if m_e else v_ij) + a_e
    alpha = ((q_ij * k_ij).sum(4) * width**-0.5).softmax(3)
    found: Tensor = maps.out((alpha.unsqueeze(4) * v_ij).sum(3).transpose(1, 2).flatten(2))
    return found


def node_update(layer: RelationalLayer, nodes: Tensor, gathered: Tensor, share: float) -> Tensor:
    """LN(n + Drop(W_0 o)), then LN(n + Drop(W_2 GELU(W_1 n)))."""
    own = layer.nodes
    nodes = own.norm(nodes + F.dropout(own.gathered(gathered), share))
    found: Tensor = own.last_norm(nodes + F.dropout(own.narrow(F.gelu(own.widen(nodes))), share))
    return found


def edge_update(layer: RelationalLayer, nodes: Tensor, pairs: Tensor, share: float) -> Tensor:
    """LN(e + Drop(W_1 GELU(W [e_ij ; e_ji] + W_s n_i + W_t n_j))), then LN(e + Drop(W_3 GELU(W_2 e)))."""
    own = layer.edges
    assert own is not None
    both = own.both(torch.cat([pairs, pairs.transpose(1, 2)], dim=3))
    u = both + own.source(nodes)[:, :, None] + own.target(nodes)[:, None]
    pairs = own.norm(pairs + F.dropout(own.first(F.gelu(u)), share))
    found: Tensor = own.last_norm(pairs + F.dropout(own.narrow(F.gelu(own.widen(pairs))), share))
    return found


# ---------------------------------------------------------------- NG-GNN


def message_passing(encoder: NGGNNEncoder, weights: Weights) -> State:
    """Nodes and pairs behind the last layer of NG-GNN."""
    given = encoder.graph_input
    nodes, pairs = graph(given, weights)
    exists = edges_of(weights.spec).to(nodes.device)
    exists = exists | exists.T if given.reverse else exists
    for number, convolution in enumerate(encoder.convolutions):
        assert isinstance(convolution, Convolution)
        nodes = convolved(convolution, nodes, pairs, exists, encoder.delta)
        if number < len(encoder.norms):
            nodes = F.dropout(F.silu(encoder.norms[number](nodes)), encoder.dropout.p, encoder.training)
        if number < len(encoder.edge_updates):
            update = encoder.edge_updates[number]
            assert isinstance(update, EdgeUpdate)
            ends = update.source(nodes)[:, :, None] + update.target(nodes)[:, None]
            pairs = update.output(F.silu(update.edge(pairs) + ends))
    return nodes, pairs


def convolved(convolution: Convolution, nodes: Tensor, pairs: Tensor, exists: Tensor, delta: Tensor) -> Tensor:
    """output(update([x ; a ; s a])), a the mean, least, largest and deviation of gamma * message([x_i ; x_j]) + beta
    over the edges that end at a node, s = log(deg + 1) / delta.
    """
    count, shape = exists.to(nodes.dtype).sum(0)[:, None], (*pairs.shape[:3], nodes.shape[2])
    gamma, beta = convolution.film(pairs).chunk(2, dim=3)
    ends = torch.cat([nodes[:, None].expand(shape), nodes[:, :, None].expand(shape)], dim=3)  # of target, of source
    m, hidden = gamma * convolution.message(ends) + beta, ~exists[..., None]
    mean = m.masked_fill(hidden, 0).sum(1) / count.clamp(min=1)
    variance = (m - mean[:, None]).square().masked_fill(hidden, 0).sum(1) / count.clamp(min=1)
    least, most = m.masked_fill(hidden, math.inf).amin(1), m.masked_fill(hidden, -math.inf).amax(1)
    deviation = variance.clamp(min=1e-5).sqrt()
    deviation = deviation.masked_fill(deviation <= 1e-5**0.5, 0)
    around = torch.cat([mean, least, most, deviation], dim=2).masked_fill(count == 0, 0)
    amplified = around * ((count + 1).log() / delta)
    found: Tensor = convolution.output(convolution.update(torch.cat([nodes, around, amplified], dim=2)))
    return found


def edges_of(spec: NetworkSpec) -> Tensor:
    """(N, N): is there an edge i -> j."""
    layer = torch.repeat_interleave(torch.arange(len(spec.widths)), torch.tensor(spec.widths))
    return layer[:, None] + 1 == layer


def _standard(given: GraphInput, x: Tensor, feature: int) -> Tensor:
    if given.standardise is None:
        return x
    return (x - given.standardise.mean[feature]) / given.standardise.std[feature]


def _check(spec: NetworkSpec) -> None:
    """ValueError for networks that the plain forms don't read."""
    if not spec.is_chain or any(not isinstance(step, Dense) or step.taps > 1 for step in spec.steps):
        raise ValueError(f"expected a chain of plain dense layers, got {spec}; the plain form reads no others")

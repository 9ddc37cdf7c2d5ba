"""What the DNG-Encoder does at each kind of step of the network that it reads: the learned maps of one timestamp.

Axes: B networks, O target nodes, I source nodes, K taps, F Fourier features, D memory, A numbers of a head, G groups or
heads. Memories are (B, nodes, D).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.film import messages, pieces
from weightwalk.encoders.taps import tap_sums
from weightwalk.graphs.features import FourierFeatures


class StepMaps(nn.Module):
    """One edge per pair of nodes (Eq 4): maps of edges, sources and the update's input, and the norm of the new
    memories.
    """

    def __init__(self, edge_dim: int, input_dim: int, dim: int):
        super().__init__()
        self.edge = nn.Linear(edge_dim, dim)
        self.source = nn.Linear(dim, dim)
        self.input = nn.Linear(input_dim, dim)
        self.norm: nn.Module = nn.LayerNorm(dim)

    def gather(self, weights: Tensor, features: FourierFeatures, sources_BID: Tensor, groups: int) -> Tensor:
        """The message of every target, (B, O, D); block g of the targets hears block g of the sources alone."""
        sources = self.source(sources_BID)
        return messages(_blocks(weights, groups), features, self.edge, _blocks(sources, groups)).reshape(
            *weights.shape[:2], sources.shape[2]
        )


class TapMaps(nn.Module):
    """Parallel edges (Eq 5): as `StepMaps`, with `heads` heads of `head_dim` numbers and the MLP over a pair's heads.

    m_i = sum_j MLP( concat_n [ W_e phi(w_ij,n) * W_{s,n} s_j ] ). Heads beyond a layer's taps are empty (`padding`
    "mask": their products are zero), or have features of zero ("features": the edge map's bias still acts).
    """

    def __init__(self, edge_dim: int, input_dim: int, dim: int, heads: int, head_dim: int, padding: str):
        super().__init__()
        self.heads, self.head_dim, self.padding = heads, head_dim, padding
        self.edge = nn.Linear(edge_dim, head_dim)
        self.source = nn.Linear(dim, heads * head_dim)
        self.mix = nn.Sequential(nn.Linear(heads * head_dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.input = nn.Linear(input_dim, dim)
        self.norm: nn.Module = nn.LayerNorm(dim)

    def gather(self, weights: Tensor, features: FourierFeatures, sources_BID: Tensor, groups: int) -> Tensor:
        """The message of every target, (B, O, D)."""
        w = _blocks(weights if weights.dim() == 4 else weights.unsqueeze(3), groups)
        used = w.shape[3] * self.head_dim
        first, last = self.mix[0], self.mix[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        sources = _blocks(F.linear(sources_BID, self.source.weight[:used], self.source.bias[:used]), groups)
        offset = first.bias.expand(*sources.shape[:2], -1)
        if self.padding == "features" and w.shape[3] < self.heads:
            missing = F.linear(sources_BID, self.source.weight[used:], self.source.bias[used:])
            product = missing.unflatten(2, (-1, self.head_dim)) * self.edge.bias
            offset = offset + _blocks(F.linear(product.flatten(2), first.weight[:, used:]), groups)
        summed = tap_sums(
            w, features, self.edge, sources.unflatten(2, (-1, self.head_dim)), first.weight[:, :used], offset
        )
        # The MLP's last map is the same for all pairs, so it is done once for their sum.
        message = F.linear(summed, last.weight, w.shape[2] * last.bias)
        return message.reshape(*weights.shape[:2], message.shape[2])


def _blocks(x: Tensor, groups: int) -> Tensor:
    """Blocks of nodes as networks of their own: (B, G n, ...) -> (B G, n, ...)."""
    return x if groups == 1 else x.unflatten(1, (groups, -1)).flatten(0, 1)


class NormMaps(nn.Module):
    """A normalisation of the network that is read: memory * (W phi(scale) + b) + (V phi(shift) + c), each node by its
    own parameters.

    With W = V = 0 it is the learned constant scale and shift of the published ViT encoder (appendix F.2). `after` adds
    a LayerNorm.
    """

    def __init__(self, feature_dim: int, dim: int, after: bool):
        super().__init__()
        self.scale = nn.Linear(feature_dim, dim)
        nn.init.ones_(self.scale.bias)
        self.shift = nn.Linear(feature_dim, dim)
        self.norm: nn.Module = nn.LayerNorm(dim) if after else nn.Identity()

    def forward(self, memory: Tensor, scale_BNF: Tensor, shift_BNF: Tensor) -> Tensor:
        normed: Tensor = self.norm(memory * self.scale(scale_BNF) + self.shift(shift_BNF))
        return normed


class LearnedMaps(nn.Module):
    """Learned values, a row of P numbers per node: LayerNorm(W mean_p phi(w_p) + b). The order of positions is lost."""

    def __init__(self, feature_dim: int, dim: int):
        super().__init__()
        self.value = nn.Linear(feature_dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, w_BO1P: Tensor, features: FourierFeatures) -> Tensor:
        memory: Tensor = self.norm(self.value(mean_features(w_BO1P.flatten(2), features)))
        return memory


def mean_features(w_BOP: Tensor, features: FourierFeatures) -> Tensor:
    """mean_p phi(w_op), (B, O, F), a piece at a time."""
    if w_BOP.requires_grad:
        return features(w_BOP).mean(2)  # type: ignore[no-any-return]
    total = w_BOP.new_zeros(*w_BOP.shape[:2], features.dim)
    for b, o, p in pieces(w_BOP, features.dim):
        total[b, o] += features(w_BOP[b, o, p]).sum(2)
    return total / w_BOP.shape[2]


class JoinMaps(nn.Module):
    """Several values become one: the newest one's memories, and a message W s from each of the others' (with `mapped`
    False, s alone).

    `present` says which nodes of the others there are: padding sends nothing, not even the map's bias.
    """

    def __init__(self, dim: int, mapped: bool):
        super().__init__()
        self.residual: nn.Module = nn.Linear(dim, dim) if mapped else nn.Identity()

    def forward(self, target: Tensor, others: Sequence[Tensor], present: Sequence[Tensor | None]) -> Tensor:
        for other, there in zip(others, present, strict=True):
            message = self.residual(other)
            target = target + (message if there is None else message * there[:, None])
        return target


class PairedHeads(nn.Module):
    """Attention, ours, equivariant to the order of heads and to that of neurons within them.

    Queries and keys meet where attention multiplies them, p_h = mean_j (W_q s_qj) * (W_k s_kj) for the j of head h;
    what comes of it gates the values: s_i = LayerNorm(W_v s_vi + (W_g s_vi) * (W_p p_h)).
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.pair = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        pairs_BGD = (self.query(q) * self.key(k)).unflatten(1, (heads, -1)).mean(2)
        gates = self.gate(v).unflatten(1, (heads, -1)) * self.pair(pairs_BGD)[:, :, None]
        memory: Tensor = self.norm(self.value(v) + gates.flatten(1, 2))
        return memory


class PositionedHeads(nn.Module):
    """Attention as published (appendix F.2): a learned bilinear map, the same for all heads, from a head's memories to
    its outputs.

    z_i = LayerNorm( sum_j M_ij * (W s_j + b) ), j over the head's 3 n queries, keys and values in order, i over its n
    outputs. Neurons count by their place in the head: another order of them gives another encoding.
    """

    def __init__(self, head_nodes: int, dim: int):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(head_nodes, 3 * head_nodes, dim))
        self.source = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        nodes_BGJD = torch.cat([memory.unflatten(1, (heads, -1)) for memory in (q, k, v)], dim=2)
        z: Tensor = self.norm(torch.einsum("ijd,bgjd->bgid", self.mix, self.source(nodes_BGJD)).flatten(1, 2))
        return z


class PatchMaps(nn.Module):
    """Patches: every number of a patch is a node, its channel's memory plus a learned vector of its place.

    `count` places: those in a patch, or, for patches of the network's own input, all of its numbers.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.place = nn.Parameter(torch.randn(count, dim))

    def forward(self, memory_BCD: Tensor, fan_out: int) -> Tensor:
        channels = memory_BCD.shape[1]
        places = self.place.repeat_interleave(fan_out // len(self.place), dim=0)
        return memory_BCD.repeat(1, fan_out // channels, 1) + places

"""What the DNG-Encoder does at each kind of step of the network that it reads: the learned maps of one timestamp.

Axes: B networks, O target nodes, I source nodes, K taps, F Fourier features, D memory, A numbers of a head, G groups or
heads. Memories are (B, nodes, D). Maps of steps without parameters are called with the memories of what the step reads,
the step in its place, and the facts of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.dng.rows import joined, parted
from weightwalk.encoders.edges import FourierMap
from weightwalk.encoders.messages import common_maps, mean_features, messages, of_common_sources
from weightwalk.flow import Flow, Scheduled
from weightwalk.graphs.features import FourierFeatures
from weightwalk.kept import kept
from weightwalk.steps import Attention, Multiply, Step


class StepMaps(nn.Module):
    """One edge per pair of nodes (Eq 4): maps of edges, sources and the update's input, and the norm of the new
    memories. The input is the bias, or in a `later` pass the memory of the pass before.
    """

    def __init__(self, features: FourierFeatures, dim: int, later: bool):
        super().__init__()
        self.edge = FourierMap(1, features, dim, shared=True)
        self.source = nn.Linear(dim, dim)
        self.input = nn.Linear(dim, dim) if later else FourierMap(1, features, dim, shared=True)
        self.norm: nn.Module = nn.LayerNorm(dim)

    def gather(self, weights: Tensor, sources_BID: Tensor, groups: int) -> Tensor:
        """The message of every target, (B, O, D), from sources (B, I, D), or (1, I, D) if all networks have the same.

        Block g of the targets hears block g of the sources alone.
        """
        sources = self.source(sources_BID if groups == 1 else sources_BID.expand(len(weights), -1, -1))
        message = messages(blocks(values_of(weights), groups), self.edge, blocks(sources, groups))
        return message.reshape(*weights.shape[:2], sources.shape[2])

    def gather_through(self, weights: Tensor, sources_1ID: Tensor, outer: Tensor) -> tuple[Tensor, Tensor] | None:
        """The messages m (B, O, D) of sources that all networks have, and M m (B, O, out) of a matrix M (out, D); None
        where M m is better computed from m, and where targets hear some of the sources alone.

        m is a sum of few products with parameters alone, so M is applied to these.
        """
        basis = None if torch.is_autocast_enabled(weights.device.type) else self.edge.on_basis()
        if basis is None or weights.shape[2] != sources_1ID.shape[1]:
            return None
        products, rows = weights.shape[2] * basis.count, weights.shape[0] * weights.shape[1]
        again = torch.is_grad_enabled() and rows < 2 * products  # then M would be applied to more than there are nodes
        if products >= outer.shape[1] or again or not basis.covers(values_of(weights)):
            return None

        def both() -> Tensor:
            own = self.edge.on_basis()
            assert own is not None
            maps_IPD = common_maps(own, self.source(sources_1ID)[0])
            return torch.cat([maps_IPD, maps_IPD @ outer.T], dim=-1)

        of = (*self.edge.operands(), self.edge.reach, *self.source.parameters(), sources_1ID, outer)
        found = of_common_sources(values_of(weights), basis, kept(self, "through", of, both))
        return found[..., : outer.shape[1]], found[..., outer.shape[1] :]


def values_of(weights: Tensor) -> Tensor:
    """Weights (B, O, I), or of a convolution (B, O, I, K), as (B, O, I, K): the values of parallel edges, or of one."""
    return weights if weights.dim() == 4 else weights.unsqueeze(3)


class TapMaps(nn.Module):
    """Parallel edges (Eq 5): as `StepMaps`, with `heads` heads of `head_dim` numbers and the MLP over a pair's heads.

    m_i = sum_j MLP( concat_n [ W_e phi(w_ij,n) * W_{s,n} s_j ] ). Heads beyond a layer's taps are empty, or if `padded`
    have features of zero, on which the edge map's bias still acts.
    """

    def __init__(
        self, features: FourierFeatures, dim: int, later: bool, heads: int, head_dim: int, padded: bool = False
    ):
        super().__init__()
        self.heads, self.head_dim, self.padded = heads, head_dim, padded
        self.edge = FourierMap(1, features, head_dim, shared=True)
        self.source = nn.Linear(dim, heads * head_dim)
        self.mix = nn.Sequential(nn.Linear(heads * head_dim, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.input = nn.Linear(dim, dim) if later else FourierMap(1, features, dim, shared=True)
        self.norm: nn.Module = nn.LayerNorm(dim)

    def gather(self, weights: Tensor, sources_BID: Tensor, groups: int) -> Tensor:
        """The message of every target, (B, O, D), of sources as in `StepMaps`."""
        sources_BID = sources_BID.expand(len(weights), -1, -1)
        w = blocks(values_of(weights), groups)
        used = w.shape[3] * self.head_dim
        first, last = self.mix[0], self.mix[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        sources = blocks(F.linear(sources_BID, self.source.weight[:used], self.source.bias[:used]), groups)
        offset = first.bias.expand(*sources.shape[:2], -1)
        if self.padded and w.shape[3] < self.heads:
            missing = F.linear(sources_BID, self.source.weight[used:], self.source.bias[used:])
            product = missing.unflatten(2, (-1, self.head_dim)) * self.edge.bias
            offset = offset + blocks(F.linear(product.flatten(2), first.weight[:, used:]), groups)
        heads = sources.unflatten(2, (-1, self.head_dim))
        summed = messages(w.unsqueeze(-1), self.edge, heads, first.weight[:, :used], offset)
        # The MLP's last map is the same for all pairs, so it is done once for their sum.
        message = F.linear(summed, last.weight, w.shape[2] * last.bias)
        return message.reshape(*weights.shape[:2], message.shape[2])


def blocks(x: Tensor, groups: int) -> Tensor:
    """Blocks of nodes as networks of their own: (B, G n, ...) -> (B G, n, ...)."""
    return x if groups == 1 else x.unflatten(1, (groups, -1)).flatten(0, 1)


class NormMaps(nn.Module):
    """A normalisation of the network that is read: memory * (W phi(scale) + b) + (V phi(shift) + c), each node by its
    own parameters.

    With W = V = 0 it is the learned constant scale and shift of the published ViT encoder (appendix F.2). `norm` is for
    that one's parameters: `interop` puts a LayerNorm there.
    """

    def __init__(self, features: FourierFeatures, dim: int):
        super().__init__()
        self.scale = nn.Linear(features.dim, dim)
        nn.init.ones_(self.scale.bias)
        self.shift = nn.Linear(features.dim, dim)
        self.norm: nn.Module = nn.Identity()

    def forward(self, memory: Tensor, scale_BNF: Tensor, shift_BNF: Tensor) -> Tensor:
        normed: Tensor = self.norm(memory * self.scale(scale_BNF) + self.shift(shift_BNF))
        return normed


class LearnedMaps(nn.Module):
    """Learned values, a row of P numbers per node: LayerNorm(W mean_p phi(w_p) + b). The order of positions is lost."""

    def __init__(self, features: FourierFeatures, dim: int):
        super().__init__()
        self.value = nn.Linear(features.dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, w_BO1P: Tensor, features: FourierFeatures) -> Tensor:
        memory: Tensor = self.norm(self.value(mean_features(w_BO1P.flatten(2), features)))
        return memory


class JoinMaps(nn.Module):
    """Several values become one: the newest one's memories, and a message W s from each of the others', or with
    `mapped` False s alone. Padding sends nothing, not even the map's bias.
    """

    def __init__(self, dim: int, mapped: bool):
        super().__init__()
        self.residual: nn.Module = nn.Linear(dim, dim) if mapped else nn.Identity()

    def forward(self, read: Sequence[Tensor], at: Scheduled, flow: Flow) -> Tensor:
        return self.of_many([(read, at, flow)])[0]

    def of_many(self, steps: Sequence[tuple[Sequence[Tensor], Scheduled, Flow]]) -> list[Tensor]:
        """`forward` of several steps; their messages are one product."""
        sent = [x for read, at, flow in steps for place, x in enumerate(read) if place != flow.targets[at.value]]
        messages = iter(parted(self.residual(joined(sent)), [(x.shape[0], x.shape[1]) for x in sent]) if sent else ())
        found = []
        for read, at, flow in steps:
            target = flow.targets[at.value]
            memory = read[target]
            for place, source in enumerate(at.sources):
                if place != target:
                    message, present = next(messages), flow.present[source]
                    memory = memory + (message if all(present) else message * message.new_tensor(present)[:, None])
            found.append(memory)
        return found


def _heads(read: Sequence[Tensor], at: Scheduled) -> list[Tensor]:
    """Queries, keys and values as (B, heads, neurons of one, D); those that serve several heads stand for several."""
    step = at.step
    assert isinstance(step, Attention)
    shared = step.heads // (step.kv_heads or step.heads)
    counts = (step.heads, step.heads // shared, step.heads // shared)
    q, k, v = (memory.unflatten(1, (count, -1)) for memory, count in zip(read, counts, strict=True))
    return [q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)]


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

    def forward(self, read: Sequence[Tensor], at: Scheduled, flow: Flow) -> Tensor:
        q, k, v = _heads(read, at)
        pairs_BGD = (self.query(q) * self.key(k)).mean(2)
        gates = self.gate(v) * self.pair(pairs_BGD)[:, :, None]
        memory: Tensor = self.norm((self.value(v) + gates).flatten(1, 2))
        return memory


class PlacedHeads(nn.Module):
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

    def forward(self, read: Sequence[Tensor], at: Scheduled, flow: Flow) -> Tensor:
        sources_BGJD = self.source(torch.cat(_heads(read, at), dim=2))
        z: Tensor = self.norm(torch.einsum("ijd,bgjd->bgid", self.mix, sources_BGJD).flatten(1, 2))
        return z


class PatchMaps(nn.Module):
    """Patches: every number of a patch is a node, its channel's memory plus a learned vector of its place.

    `count` places: those in a patch, or, for patches of the network's own input, all of its numbers.
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.place = nn.Parameter(torch.randn(count, dim))

    def forward(self, read: Sequence[Tensor], at: Scheduled, flow: Flow) -> Tensor:
        places = self.place.repeat_interleave(at.step.fan_out // len(self.place), dim=0)
        return read[0].repeat(1, at.step.fan_out // read[0].shape[1], 1) + places


def moved(step: Step, read: Sequence[Tensor]) -> Tensor:
    """The memories after a step that has no maps: moved as it moves channels, the mean where several become one, zero
    where padding is; gates multiply.
    """
    if isinstance(step, Multiply):
        return reduce(torch.mul, read)
    if type(step).links is Step.links:
        return read[0]
    moves = _moves.__wrapped__(step) if torch.compiler.is_compiling() else _moves(step)  # Dynamo warns of caches
    memory = read[0] if len(read) == 1 else torch.cat(list(read), dim=1)
    if moves.kept == memory.shape[1]:
        return memory
    if moves.distinct:
        means = [memory[:, list(origin)].mean(1) for origin in moves.distinct]
        memory = torch.stack(means, dim=1)
    if moves.padded:
        memory = F.pad(memory, (0, 0, 0, 1))
    return memory.index_select(1, torch.tensor(moves.places, device=memory.device))


class _Moves(NamedTuple):
    """`places`: per channel that a step writes, the node that it is, of those read, or of the means over the sets
    `distinct` of those if there are any, with a zero behind them if `padded`. `kept`: how many nodes are read, if they
    are those that are written.
    """

    places: tuple[int, ...]
    distinct: tuple[tuple[int, ...], ...]
    padded: bool
    kept: int


@cache
def _moves(step: Step) -> _Moves:
    origins = _origins(step)
    count = sum(step.reads)
    kept = count if origins == tuple((channel,) for channel in range(count)) else -1
    distinct = tuple(dict.fromkeys(origin for origin in origins if origin))
    if all(len(origin) == 1 for origin in distinct):
        return _Moves(tuple(origin[0] if origin else count for origin in origins), (), () in origins, kept)
    numbers = {origin: number for number, origin in enumerate(distinct)} | {(): len(distinct)}
    return _Moves(tuple(numbers[origin] for origin in origins), distinct, () in origins, kept)


def _origins(step: Step) -> tuple[tuple[int, ...], ...]:
    """Per channel that a step writes, those that it comes from, counted through all values that the step reads."""
    firsts = [0, *accumulate(step.reads)]
    found: list[list[int]] = [[] for _ in range(step.fan_out)]
    for link in step.links():
        for channel, place in zip(link.channels, link.others, strict=True):
            found[place].append(firsts[link.source] + channel)
    return tuple(map(tuple, found))

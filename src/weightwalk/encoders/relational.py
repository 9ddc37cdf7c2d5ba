"""Layers of the relational transformer: attention over all pairs of nodes, which features of the pair modulate.

Axes: B networks, N nodes, O of them those that gather, I those that they gather from, E features of a pair
(`edge_dim`), H heads, A numbers of attention in all heads together.

N nodes are N^2 pairs, and each has projections many times as wide as its features. They are made a block of rows at a
time (`pieces.EdgeSum`), forward and once more backward, so no tensor (B, N, N, A) is ever whole, nor one of a head;
what lies in memory are the features of the pairs. The answers are those of the equations, but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.pieces import EdgeSum, vjp
from weightwalk.watched import watched


class RelationalAttention(nn.Module):
    """o_i = W_o concat_h sum_j alpha_ij v_ij, alpha_ij = softmax_j(<q_ij, k_ij> / sqrt(A)) over all nodes j, and

        q_ij = q_i + q^e_ij,  k_ij = k_j + k^e_ij,  v_ij = m^e_ij * v_j + a^e_ij  (`modulated`; else v_j + a^e_ij)

    (Neural Graphs, section 3.2; without m^e: Diao and Loynd, Relational Attention, 2023). q_i, k_j, v_j are linear maps
    of nodes and q^e, k^e, a^e, m^e of pairs, without bias; the scale has the width of all heads, as in the release.

    alpha is one number per head, so sum_j alpha_ij a^e_ij is W_a sum_j alpha_ij e_ij: a^e is never made.

    Shapes: nodes (B, I, node_dim), gathering (B, O, node_dim), pairs (B, O, I, edge_dim) -> (B, O, node_dim).
    """

    of_heads: Tensor

    def __init__(self, node_dim: int, edge_dim: int, attention_dim: int, num_heads: int, modulated: bool = True):
        super().__init__()
        self.num_maps = 4 if modulated else 3
        self.of_nodes = nn.Linear(node_dim, 3 * attention_dim, bias=False)
        self.of_pairs = nn.Linear(edge_dim, self.num_maps * attention_dim, bias=False)
        self.out = nn.Linear(attention_dim, node_dim)
        heads = torch.eye(num_heads).repeat_interleave(attention_dim // num_heads, dim=1)
        self.register_buffer("of_heads", heads, persistent=False)  # (H, A): which numbers are a head's

    def forward(self, nodes: Tensor, gathering: Tensor, pairs: Tensor) -> Tensor:
        of_q, *of_kv = self.of_nodes.weight.chunk(3)
        k, v = (F.linear(nodes, weight) for weight in of_kv)
        maps = self.of_pairs.weight.chunk(self.num_maps)
        axes = ("boi", "bo", "bi", "bi", "", *[""] * len(maps))
        total = EdgeSum(attend, axes, ("bo",), per_pair=2 * len(of_q), pull=attend_slopes, whole="i")
        (found,) = in_blocks(total, pairs, F.linear(gathering, of_q), k, v, self.of_heads, *maps)
        answer: Tensor = self.out(found)
        return answer


def attend(pairs: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: Tensor, *maps: Tensor) -> tuple[Tensor]:
    """concat_h sum_j alpha_ij v_ij. Shapes: pairs (B, O, I, E), q (B, O, A), k and v (B, I, A), heads (H, A), the maps
    of pairs to q^e, k^e, a^e and, where values are modulated, m^e, (A, E) each -> (B, O, A).
    """
    of_q, of_k, of_a, *of_m = maps
    product = (F.linear(pairs, of_q) + q[:, :, None]) * (F.linear(pairs, of_k) + k[:, None])
    alpha = _attention(product, heads)
    if of_m:
        values = F.linear(pairs, of_m[0]) * v[:, None]
        gathered = (_by_head(values, heads) * alpha.unsqueeze(4)).sum(2)
    else:
        gathered = torch.einsum("boih,bihc->bohc", alpha, _by_head(v, heads))
    mixed = torch.einsum("boih,boie->bohe", alpha, pairs)
    added = torch.einsum("bohe,hce->bohc", mixed, of_a.unflatten(0, (len(heads), -1)))
    return ((gathered + added).flatten(2),)


def attend_slopes(wanted: Sequence[bool], operands: Sequence[Any], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The derivative of `attend`, with alpha made again: gradients of the operands that are wanted."""
    (pairs, q, k, v, heads, of_q, of_k, of_a, *of_m), (g,) = operands, gradients
    num_heads, scale = len(heads), heads.shape[1] ** -0.5
    q_ij, k_ij = F.linear(pairs, of_q) + q[:, :, None], F.linear(pairs, of_k) + k[:, None]
    alpha = _attention(q_ij * k_ij, heads)
    g_heads, a_heads = _by_head(g, heads), of_a.unflatten(0, (num_heads, -1))
    g_mixed = torch.einsum("bohc,hce->bohe", g_heads, a_heads)
    g_alpha = torch.einsum("boie,bohe->boih", pairs, g_mixed)
    if of_m:
        m_ij = F.linear(pairs, of_m[0])
        scaled = g[:, :, None] * alpha.unsqueeze(4).expand(*alpha.shape, g_heads.shape[3]).flatten(3)
        g_alpha = g_alpha + F.linear(m_ij * (g[:, :, None] * v[:, None]), heads)
        g_m, g_v = scaled * v[:, None], (scaled * m_ij).sum(1)
    else:
        g_alpha = g_alpha + torch.einsum("bohc,bihc->boih", g_heads, _by_head(v, heads))
        g_v = torch.einsum("boih,bohc->bihc", alpha, g_heads).flatten(2)
    g_scores = alpha * (g_alpha - (alpha * g_alpha).sum(2, keepdim=True)) * scale
    g_product = g_scores @ heads
    g_q, g_k = g_product * k_ij, g_product * q_ij
    projected = [g_q, g_k, *([g_m] if of_m else [])]
    joined, weights = torch.cat(projected, dim=3), torch.cat([of_q, of_k, *of_m])
    g_pairs = joined @ weights + torch.einsum("boih,bohe->boie", alpha, g_mixed)
    g_weights = (joined.flatten(0, 2).mT @ pairs.flatten(0, 2)).chunk(len(projected))
    mixed = torch.einsum("boih,boie->bohe", alpha, pairs)
    g_a = torch.einsum("bohc,bohe->hce", g_heads, mixed).flatten(0, 1)
    found = (g_pairs, g_q.sum(2), g_k.sum(1), g_v, heads, *g_weights[:2], g_a, *g_weights[2:])
    return tuple(x for x, one in zip(found, wanted, strict=True) if one)


def _attention(product: Tensor, heads: Tensor) -> Tensor:
    """alpha (B, O, I, H) of q * k (B, O, I, A). The sum over a head's numbers is a product, which is faster."""
    scores: Tensor = F.linear(product, heads) * heads.shape[1] ** -0.5
    return scores.softmax(2)


def _by_head(x: Tensor, heads: Tensor) -> Tensor:
    """(..., A) -> (..., H, A / H)."""
    apart: Tensor = x.unflatten(-1, (len(heads), -1))
    return apart


class NodeUpdate(nn.Module):
    """n <- LN(n + Drop(W_0 o)), then n <- LN(n + Drop(W_2 GELU(W_1 n))), W_1 without a bias (section 3).

    Shapes: nodes (..., node_dim) and what attention gathered for them -> (..., node_dim).
    """

    def __init__(self, node_dim: int, hidden_dim: int, dropout: float):
        super().__init__()
        self.gathered, self.norm = nn.Linear(node_dim, node_dim), nn.LayerNorm(node_dim)
        self.widen = nn.Linear(node_dim, hidden_dim, bias=False)
        self.narrow, self.last_norm = nn.Linear(hidden_dim, node_dim), nn.LayerNorm(node_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes: Tensor, gathered: Tensor) -> Tensor:
        nodes = self.norm(nodes + self.dropout(self.gathered(gathered)))
        found: Tensor = self.last_norm(nodes + self.dropout(self.narrow(F.gelu(self.widen(nodes)))))
        return found


class PairUpdate(nn.Module):
    """u_ij = W [e_ij ; e_ji] + W_s n_i + W_t n_j, then e <- LN(e + Drop(W_1 GELU(u))) and
    e <- LN(e + Drop(W_3 GELU(W_2 e))), W_2 without a bias (section 3). W, W_s and W_t have a bias each, as released.

    Shapes: pairs (B, O, I, edge_dim), the same pairs turned round, gathering (B, O, node_dim), nodes (B, I, node_dim)
    -> (B, O, I, edge_dim).
    """

    def __init__(self, node_dim: int, edge_dim: int, hidden_dim: int, dropout: float):
        super().__init__()
        self.both = nn.Linear(2 * edge_dim, hidden_dim)
        self.source, self.target = nn.Linear(node_dim, hidden_dim), nn.Linear(node_dim, hidden_dim)
        self.first, self.norm = nn.Linear(hidden_dim, edge_dim), nn.LayerNorm(edge_dim)
        self.widen = nn.Linear(edge_dim, hidden_dim, bias=False)
        self.narrow, self.last_norm = nn.Linear(hidden_dim, edge_dim), nn.LayerNorm(edge_dim)
        self.dropout = dropout

    def forward(self, pairs: Tensor, turned: Tensor, gathering: Tensor, nodes: Tensor) -> Tensor:
        there, back = self.both.weight.chunk(2, dim=1)
        source = self.source(gathering) + self.both.bias
        drops = [self._drops(pairs), self._drops(pairs)]
        parameters = [
            there, back, self.first.weight, self.first.bias, self.norm.weight, self.norm.bias,
            self.widen.weight, self.narrow.weight, self.narrow.bias, self.last_norm.weight, self.last_norm.bias,
        ]  # fmt: skip
        axes = ("boi", "boi", "bo", "bi", "boi", "boi", *[""] * len(parameters))
        function = partial(update_pairs, self.norm.eps, 1 / (1 - self.dropout))
        total = EdgeSum(function, axes, ("boi",), per_pair=2 * len(there), pull=partial(slopes_again, function))
        (found,) = in_blocks(total, pairs, turned, source, self.target(nodes), *drops, *parameters)
        return found

    def _drops(self, pairs: Tensor) -> Tensor | None:
        """Which numbers stay in dropout, drawn here, as a block is made twice in training."""
        if not (self.training and self.dropout):
            return None
        return survivors(pairs, self.dropout)


def update_pairs(
    eps: float, rise: float, pairs: Tensor, turned: Tensor, source: Tensor, target: Tensor,
    stays: Tensor | None, stays_too: Tensor | None, there: Tensor, back: Tensor, first: Tensor, first_bias: Tensor,
    norm: Tensor, norm_bias: Tensor, widen: Tensor, narrow: Tensor, narrow_bias: Tensor,
    last_norm: Tensor, last_norm_bias: Tensor,
) -> tuple[Tensor]:  # fmt: skip
    """`PairUpdate` on a block of pairs, with what it takes of nodes; `rise` is what dropout multiplies by."""

    def drop(x: Tensor, stays: Tensor | None) -> Tensor:
        return x if stays is None else x * (stays.to(x.dtype) * rise)

    u = F.linear(pairs, there) + F.linear(turned, back) + source[:, :, None] + target[:, None]
    e = pairs + drop(F.linear(F.gelu(u), first, first_bias), stays)
    e = F.layer_norm(e, norm.shape, norm, norm_bias, eps)
    e = e + drop(F.linear(F.gelu(F.linear(e, widen)), narrow, narrow_bias), stays_too)
    return (F.layer_norm(e, norm.shape, last_norm, last_norm_bias, eps),)


def survivors(like: Tensor, share: float) -> Tensor:
    """For dropout of that share, to 1 / 65536: 0 for the numbers of a tensor that fall, 1 for the others (uint8).

    Sixteen bits of chance for each, where torch's own dropout takes 64.
    """
    count = -(-like.numel() // 4)
    chance = torch.empty(count, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    stays = chance.view(torch.int16)[: like.numel()] >= round(share * 2**16) - 2**15
    return stays.view(torch.uint8).view(like.shape)


def slopes_again(
    function: Callable[..., tuple[Tensor, ...]],
    wanted: Sequence[bool],
    operands: Sequence[Any],
    gradients: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """The derivative of a function of one block, which is computed again: by autograd, whose calls cost less, or where
    something else looks on by torch.func.
    """
    if watched():
        return vjp(function, wanted, operands)[1](tuple(gradients))
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() if one else x for x, one in zip(operands, wanted, strict=True)]
        answers = function(*leaves)
        chosen = [x for x, one in zip(leaves, wanted, strict=True) if one]
        return torch.autograd.grad(answers, chosen, gradients)


def in_blocks(total: EdgeSum, *operands: Tensor | None) -> tuple[Tensor, ...]:
    """The sum, a block at a time; at once under a compiler, which plans memory itself."""
    if torch.compiler.is_compiling():
        return total.function(*operands)
    return total(*operands)


class RelationalLayer(nn.Module):
    """Attention, then new nodes, then, with `edges`, new features of pairs from them.

    Shapes: nodes (B, N, node_dim), pairs (B, N, N, edge_dim) -> the same.
    """

    def __init__(
        self,
        node_dim: int,
        edge_dim: int,
        attention_dim: int,
        node_hidden: int,
        edge_hidden: int,
        num_heads: int,
        dropout: float,
        modulated: bool,
        edges: bool,
    ):
        super().__init__()
        self.attention = RelationalAttention(node_dim, edge_dim, attention_dim, num_heads, modulated)
        self.nodes = NodeUpdate(node_dim, node_hidden, dropout)
        self.edges = PairUpdate(node_dim, edge_dim, edge_hidden, dropout) if edges else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

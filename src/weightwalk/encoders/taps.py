"""The DNG-Encoder's message sum over parallel edges, a piece at a time (Dynamic Neural Graphs, TMLR 2026, Eq 5).

Axes: B networks, O target nodes, I source nodes, K taps (one edge each), F features of a weight, A numbers of a head, D
memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weightwalk.encoders.film import pieces
from weightwalk.graphs.features import FourierFeatures


def tap_sums(
    weights_BOIK: Tensor,
    features: FourierFeatures,
    edge: nn.Linear,
    sources_BIKA: Tensor,
    mix_DKA: Tensor,
    offset_BID: Tensor,
) -> Tensor:
    """h_i = sum_j ReLU( M concat_n [ (W_e phi(w_ij,n) + b_e) * s_jn ] + c_j ): (B, O, D).

    s_jn is the memory of source j mapped for tap n, M the first map of the MLP, (D, K A) with its columns in the order
    of taps, and c_j what does not depend on the target: the MLP's bias, and missing taps that count. As in
    `film.messages` nothing is kept per edge.
    """
    if weights_BOIK.requires_grad:
        return plain_tap_sums(weights_BOIK, features, edge, sources_BIKA, mix_DKA, offset_BID)
    summed: Tensor = _TapSums.apply(  # type: ignore[no-untyped-call]
        weights_BOIK, features, edge.weight, edge.bias, sources_BIKA, mix_DKA, offset_BID
    )
    return summed


def plain_tap_sums(
    weights_BOIK: Tensor,
    features: FourierFeatures,
    edge: nn.Linear,
    sources_BIKA: Tensor,
    mix_DKA: Tensor,
    offset_BID: Tensor,
) -> Tensor:
    """The same in one piece, differentiable in everything."""
    product = (edge(features(weights_BOIK)) * sources_BIKA[:, None]).flatten(3)
    return (F.linear(product, mix_DKA) + offset_BID[:, None]).relu().sum(2)


class _TapSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        w: Tensor,
        features: FourierFeatures,
        edge_AF: Tensor,
        bias_A: Tensor,
        s_BIKA: Tensor,
        mix: Tensor,
        c_BID: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(w, edge_AF, bias_A, s_BIKA, mix, c_BID)
        ctx.features = features
        h_BOD = c_BID.new_zeros(*w.shape[:2], len(mix))
        for b, o, i in pieces(w, _per_pair(w, edge_AF, mix)):
            product = F.linear(features(w[b, o, i]), edge_AF, bias_A).mul_(s_BIKA[b, None, i])
            h_BOD[b, o] += F.linear(product.flatten(3), mix).add_(c_BID[b, None, i]).relu_().sum(2)
        return h_BOD

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, g_BOD: Tensor) -> tuple[Tensor | None, ...]:
        w, edge_AF, bias_A, s_BIKA, mix, c_BID = ctx.saved_tensors
        edge_g, bias_g, s_g, mix_g, c_g = (torch.zeros_like(tensor) for tensor in (edge_AF, bias_A, s_BIKA, mix, c_BID))
        for b, o, i in pieces(w, _per_pair(w, edge_AF, mix)):
            s = s_BIKA[b, None, i]
            phi = ctx.features(w[b, o, i])
            e = F.linear(phi, edge_AF, bias_A)
            product = (e * s).flatten(3)
            z_g = (F.linear(product, mix).add_(c_BID[b, None, i]) > 0) * g_BOD[b, o, None]
            c_g[b, i] += z_g.sum(1)
            mix_g.addmm_(z_g.flatten(0, 2).T, product.flatten(0, 2))
            product_g = (z_g @ mix).view_as(e)
            s_g[b, i] += e.mul_(product_g).sum(1)
            e_g = product_g.mul_(s).flatten(0, 3)
            bias_g += e_g.sum(0)
            edge_g.addmm_(e_g.T, phi.flatten(0, 3))
        return None, None, edge_g, bias_g, s_g, mix_g, c_g


def _per_pair(w: Tensor, edge_AF: Tensor, mix: Tensor) -> int:
    """Numbers of one pair's largest product: its taps' features, or what the MLP makes of them."""
    return max(w.shape[3] * max(edge_AF.shape), len(mix))

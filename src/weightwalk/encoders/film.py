"""The DNG-Encoder's message sum over one edge per pair of nodes, a piece at a time (Dynamic Neural Graphs, TMLR 2026,
Eq 4).

Axes: B networks, O target nodes, I source nodes, F features of a weight, D memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weightwalk.graphs.features import FourierFeatures

# Of one piece's (networks, O, I, D) product: what stays in a core's cache on a CPU, what hides the launches on a GPU.
PIECE_BYTES = {"cpu": 2**20, "cuda": 2**28}


def messages(weights_BOI: Tensor, features: FourierFeatures, edge: nn.Linear, sources_BID: Tensor) -> Tensor:
    """m_i = sum_j  (W_e phi(w_ij) + b_e) * s_j, with s_j the mapped memory of source j and * elementwise: (B, O, D).

    Per edge there are F features and D products, a hundred times the network itself. They are made for a few networks
    at a time, or for a few targets of one large network, summed, forgotten, and made again for the gradient, so memory
    grows neither with the batch nor with the layer and the work stays in cache (`benchmarks/messages.py`: twice as fast
    at F = 64, D = 128, 1.4 times at the paper's F = 256, D = 512). Weights that want a gradient go the plain way.
    """
    if weights_BOI.requires_grad:
        return plain_messages(weights_BOI, features, edge, sources_BID)
    summed: Tensor = _Messages.apply(weights_BOI, features, edge.weight, edge.bias, sources_BID)  # type: ignore[no-untyped-call]
    return summed


def plain_messages(weights_BOI: Tensor, features: FourierFeatures, edge: nn.Linear, sources_BID: Tensor) -> Tensor:
    """The same in one piece, differentiable in everything."""
    summed: Tensor = (edge(features(weights_BOI)) * sources_BID[:, None]).sum(2)
    return summed


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, w_BOI: Tensor, features: FourierFeatures, edge_DF: Tensor, bias_D: Tensor, s_BID: Tensor
    ) -> Tensor:
        ctx.save_for_backward(w_BOI, edge_DF, bias_D, s_BID)
        ctx.features = features
        m_BOD = s_BID.new_zeros(*w_BOI.shape[:2], len(edge_DF))
        for b, o, i in pieces(w_BOI, len(edge_DF)):
            m_BOD[b, o] += F.linear(features(w_BOI[b, o, i]), edge_DF, bias_D).mul_(s_BID[b, None, i]).sum(2)
        return m_BOD

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, g_BOD: Tensor) -> tuple[Tensor | None, ...]:
        w_BOI, edge_DF, bias_D, s_BID = ctx.saved_tensors
        edge_gradient_DF, source_gradient_BID = torch.zeros_like(edge_DF), torch.zeros_like(s_BID)
        for b, o, i in pieces(w_BOI, len(edge_DF)):
            phi, g = ctx.features(w_BOI[b, o, i]), g_BOD[b, o, None]
            product = F.linear(phi, edge_DF, bias_D)
            source_gradient_BID[b, i] += product.mul_(g).sum(1)
            torch.mul(g, s_BID[b, None, i], out=product)
            edge_gradient_DF.addmm_(product.flatten(0, 2).T, phi.flatten(0, 2))
        bias_gradient_D = (g_BOD.sum(1) * s_BID.sum(1)).sum(0)
        return None, None, edge_gradient_DF, bias_gradient_D, source_gradient_BID


def pieces(w: Tensor, per_edge: int) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of networks, targets and sources of `w` (B, O, I, ...) whose products take about PIECE_BYTES, of
    `per_edge` numbers a pair.

    Whole networks where that is less than the budget, else targets of one network, else sources of one target.
    """
    num_networks, num_targets, num_sources = w.shape[:3]
    budget = PIECE_BYTES["cuda" if w.is_cuda else "cpu"] // max(1, per_edge * w.element_size())  # pairs
    sources = max(1, min(num_sources, budget))
    targets = max(1, min(num_targets, budget // sources)) if sources == num_sources else 1
    networks = max(1, budget // (sources * targets)) if targets == num_targets else 1
    for b in range(0, num_networks, networks):
        for o in range(0, num_targets, targets):
            for i in range(0, num_sources, sources):
                yield slice(b, b + networks), slice(o, o + targets), slice(i, i + sources)

"""The messages that are sums over edges.

Axes: B networks, O target nodes, I source nodes, K taps (parallel edges of a pair), C channels (values of an edge), F
features of a value, P polynomials, A numbers of an edge, D memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weightwalk.encoders import products
from weightwalk.encoders.edges import EdgeMap, PolynomialMap
from weightwalk.encoders.pieces import EdgeSum
from weightwalk.graphs.features import FourierFeatures, fourier

_ARRAYS = 4
"""Numbers of a pair that a product of polynomials has at hand: T_{p-2}, T_{p-1}, T_p and 2 t."""


def messages(
    values: Tensor, edge: EdgeMap, sources: Tensor, mix: Tensor | None = None, offset: Tensor | None = None
) -> Tensor:
    """m_i = sum_j  e(v_ij) * s_j, or with `mix` M and `offset` c  m_i = sum_j  ReLU( M concat_n [ e(v_ij,n) * s_jn ] +
    c_j ).

    These are the sums of Eq 4 and Eq 5 of Dynamic Neural Graphs (TMLR 2026) with e an edge map, s_j what source j
    sends, * elementwise, and c_j what does not depend on the target.

    Shapes: values (B, O, I, C) and sources (B, I, D) -> (B, O, D); or values (B, O, I, K, C), sources (B, I, K, A), mix
    (D, K A) and offset (B, I, D) -> (B, O, D). In Eq 4 sources (1, I, D) are those of every network. Differentiable in
    all of them and in the edge map's parameters, to any order, under autograd, torch.func.grad and torch.func.vmap.
    Nothing is kept per edge (`pieces.EdgeSum`). Polynomials take the place of features where they cover all values.
    """
    if torch.is_autocast_enabled(values.device.type):  # sums of many terms are not for half precision
        with torch.autocast(values.device.type, enabled=False):
            sources, offset = sources.to(values.dtype), offset if offset is None else offset.to(values.dtype)
            return messages(values, edge, sources, mix, offset)
    basis = edge.on_basis()
    if basis is None or not basis.covers(values):
        return _over_edges(values, edge, sources, mix, offset)
    if mix is not None:
        return _over_edges(values, basis, sources, mix, offset)
    if len(sources) < len(values):
        return of_common_sources(values, basis, common_maps(basis, sources[0]))
    return _as_products(values, basis, sources)


def _over_edges(
    values: Tensor, edge: EdgeMap | PolynomialMap, sources: Tensor, mix: Tensor | None, offset: Tensor | None
) -> Tensor:
    """`messages`, edge by edge."""
    sources = sources.expand(len(values), *sources.shape[1:])

    def function(
        values: Tensor, sources: Tensor, mix: Tensor | None, offset: Tensor | None, *operands: Tensor
    ) -> tuple[Tensor]:
        made = edge.of(values, *operands).mul_(sources[:, None])
        if mix is not None:
            assert offset is not None
            made = F.linear(made.flatten(3), mix).add_(offset[:, None]).relu_()
        return (made.sum(2),)

    def pull(wanted: Sequence[bool], given: Sequence[Any], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
        values, sources, mix, offset, *operands = given
        of_edge = (wanted[0], *wanted[4:])
        edges, edge_pull = edge.vjp(of_edge, values, *operands)
        of_product = gradients[0][:, :, None]
        found: list[Tensor | None] = [None] * 4
        if mix is not None:
            made = (edges * sources[:, None]).flatten(3)
            of_hidden = (F.linear(made, mix).add_(offset[:, None]) > 0) * of_product
            found[2] = of_hidden.flatten(0, 2).T @ made.flatten(0, 2) if wanted[2] else None
            found[3] = of_hidden.sum(1) if wanted[3] else None
            of_product = (of_hidden @ mix).view_as(edges)
        if wanted[1]:
            found[1] = (edges.mul_(of_product) if mix is None else edges * of_product).sum(1)
        of_operands = iter(edge_pull(of_product * sources[:, None]) if any(of_edge) else ())
        if wanted[0]:
            found[0] = next(of_operands)
        return tuple(x for x in (*found, *of_operands) if x is not None)

    operands = edge.operands()
    taps = values.shape[3] if mix is not None else 1
    dim = edge.dim if mix is None else len(mix)
    inputs = ("boi", "bi", "", "bi", *("" for _ in operands))
    total = EdgeSum(function, inputs, ("bo",), max(taps * edge.width, dim), pull)
    return total(values, sources, mix, offset, *operands)[0]


def _as_products(values: Tensor, basis: PolynomialMap, sources: Tensor) -> Tensor:
    """Eq 4 by `products`, a few networks at a time."""

    def function(values: Tensor, sources: Tensor, coefficients: Tensor) -> tuple[Tensor]:
        return (products.gathered(values / basis.reach, sources, coefficients),)

    def pull(wanted: Sequence[bool], given: Sequence[Any], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
        values, sources, coefficients = given
        found = products.pulled(wanted, values / basis.reach, sources, coefficients, gradients[0])
        return tuple(x / basis.reach if x is found[0] else x for x in found if x is not None)

    per_pair = max(_ARRAYS, -(-basis.dim // max(1, min(values.shape[1:3]))))
    total = EdgeSum(function, ("boi", "bi", ""), ("bo",), per_pair, pull)
    return total(values, sources, basis.coefficients)[0]


def of_common_sources(values: Tensor, basis: PolynomialMap, maps_IPD: Tensor) -> Tensor:
    """Eq 4 where all networks have the same sources: m_i = sum_{j, cp} T_p(x_ij,c) A_{j, cp} with A_{j, cp} = W_cp *
    s_j (`common_maps`), one product, (B, O, D); or of another A the same sum.
    """

    def function(values: Tensor, maps_IPD: Tensor) -> tuple[Tensor]:
        polynomials = basis.polynomials(values).unflatten(0, (-1, values.shape[2])).flatten(1)
        return ((polynomials @ maps_IPD.flatten(0, 1)).view(*values.shape[:2], -1),)

    total = EdgeSum(function, ("boi", "i"), ("bo",), maps_IPD.shape[1])
    return total(values, maps_IPD)[0]


def common_maps(basis: PolynomialMap, sources_ID: Tensor) -> Tensor:
    """A of `of_common_sources`, (I, C P, D)."""
    return sources_ID[:, None] * basis.coefficients.T


def mean_features(values_BOP: Tensor, features: FourierFeatures) -> Tensor:
    """mean_p phi(x_op), (B, O, F); like `messages` nothing is kept per value."""

    def function(values: Tensor, frequencies: Tensor) -> tuple[Tensor]:
        return (fourier(values, frequencies).sum(2),)

    total = EdgeSum(function, ("boi", ""), ("bo",), features.dim)
    return total(values_BOP, features.frequencies)[0] / values_BOP.shape[2]

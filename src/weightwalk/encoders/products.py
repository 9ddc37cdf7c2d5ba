"""Message sums as matrix products, without a tensor over edges.

Where the map of an edge is a sum of polynomials of its value, e(x) = sum_p W_p T_p(x), Eq 4 of Dynamic Neural Graphs is

    m_i = sum_j e(w_ij) * s_j = sum_p (T_p(w) (W_p * s))_i = sum_p W_p * (T_p(w) s)_i

a small matrix product per polynomial, whose factors stay in the cache of a core; the last form is for few targets.

Axes: B networks, O target nodes, I source nodes, C values of an edge, P polynomials, D memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from weightwalk.encoders.basis import chebyshev, slopes, stacked

_FEW = 4
"""Targets are few where there are that many sources for each."""


def gathered(scaled: Tensor, sources: Tensor, coefficients: Tensor) -> Tensor:
    """The messages (B, O, D) of values (B, O, I, C) in [-1, 1], sources (B, I, D) and coefficients (D, C P)."""
    if _FEW * scaled.shape[1] <= scaled.shape[2]:
        return (_products(scaled, sources, coefficients) * coefficients.T[:, None]).sum(1)
    constant = torch.zeros_like(coefficients[:, 0])
    total: Tensor | None = None
    for polynomial, of_map in _terms(scaled, coefficients):
        if polynomial is None:
            constant = constant + of_map
        elif total is None:
            total = polynomial @ (sources * of_map)
        else:
            total.baddbmm_(polynomial, sources * of_map)
    of_all = sources.sum(1, keepdim=True) * constant
    return of_all.expand(-1, scaled.shape[1], -1).clone() if total is None else total.add_(of_all)


def pulled(
    wanted: Sequence[bool], scaled: Tensor, sources: Tensor, coefficients: Tensor, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient g of the messages those of `gathered`'s operands, where they are wanted.

    One product, T_p' g, serves the sources and the coefficients.
    """
    of_scaled = _pulled_to_values(scaled, sources, coefficients, gradient) if wanted[0] else None
    if _FEW * scaled.shape[1] <= scaled.shape[2]:
        of_sources = of_coefficients = None
        if wanted[1]:
            scaled_gradient = (gradient[:, None] * coefficients.T[:, None]).flatten(1, 2)
            of_sources = _stacked(scaled, coefficients).flatten(1, 2).mT @ scaled_gradient
        if wanted[2]:
            of_coefficients = (_products(scaled, sources, coefficients) * gradient[:, None]).sum((0, 2)).T
        return of_scaled, of_sources, of_coefficients
    total: Tensor | None = None
    of_maps: list[Tensor] = []
    for polynomial, of_map in _terms(scaled, coefficients):
        heard = gradient.sum(1, keepdim=True) if polynomial is None else polynomial.mT @ gradient
        if wanted[1]:
            total = (heard * of_map).expand_as(sources).clone() if total is None else total.addcmul_(heard, of_map)
        if wanted[2]:
            of_maps.append((heard * sources).sum((0, 1)))
    return of_scaled, total, torch.stack(of_maps, dim=1) if wanted[2] else None


def _terms(scaled: Tensor, coefficients: Tensor) -> Iterator[tuple[Tensor | None, Tensor]]:
    """T_p(x_c), (B, O, I), and W_cp, (D,), for every c and p; None for T_0, which is one everywhere."""
    count = coefficients.shape[1] // scaled.shape[-1]
    maps = iter(coefficients.T.contiguous())
    for t in scaled.unbind(-1):
        for degree, polynomial in enumerate(chebyshev(t, count)):
            yield (polynomial if degree else None), next(maps)


def _stacked(scaled: Tensor, coefficients: Tensor) -> Tensor:
    """T_p(x_c), (B, C P, O, I)."""
    count = coefficients.shape[1] // scaled.shape[-1]
    return torch.cat([stacked(t, count) for t in scaled.unbind(-1)]).transpose(0, 1)


def _products(scaled: Tensor, sources: Tensor, coefficients: Tensor) -> Tensor:
    """T_p(x_c) s, (B, C P, O, D)."""
    polynomials = _stacked(scaled, coefficients)
    products: Tensor = (polynomials.flatten(1, 2) @ sources).unflatten(1, polynomials.shape[1:3])
    return products


def _pulled_to_values(scaled: Tensor, sources: Tensor, coefficients: Tensor, gradient: Tensor) -> Tensor:
    count = coefficients.shape[1] // scaled.shape[-1]
    found = []
    for t, maps in zip(scaled.unbind(-1), coefficients.T.split(count), strict=True):
        each = zip(slopes(t, count), maps, strict=True)
        next(each)  # of T_0
        found.append(sum((gradient * of_map) @ sources.mT * slope for slope, of_map in each))
    return torch.stack(found, dim=-1)

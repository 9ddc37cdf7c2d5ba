"""Message sums as matrix products, without a tensor over edges.

Where the map of an edge is a sum of polynomials of its value, e(x) = sum_p W_p T_p(x), Eq 4 of Dynamic Neural Graphs is

    m_i = sum_j e(w_ij) * s_j = sum_p W_p * (T_p(w) s)_i = sum_p (T_p(w) (W_p * s))_i

a small matrix product per polynomial, whose factors stay in the cache of a core.

Axes: B networks, O target nodes, I source nodes, C values of an edge, P polynomials, D memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from weightwalk.encoders.basis import chebyshev, slopes


def _terms(scaled: Tensor, coefficients: Tensor) -> Iterator[tuple[Tensor | None, Tensor]]:
    """T_p(x_c), (B, O, I), and W_cp, (D,), for every c and p; None for T_0, which is one everywhere."""
    count = coefficients.shape[1] // scaled.shape[-1]
    maps = iter(coefficients.T)
    for t in scaled.unbind(-1):
        for degree, polynomial in enumerate(chebyshev(t, count)):
            yield (polynomial if degree else None), next(maps)


def gathered(scaled: Tensor, sources: Tensor, coefficients: Tensor) -> Tensor:
    """The messages (B, O, D) of values (B, O, I, C) in [-1, 1], sources (B, I, D) and coefficients (D, C P)."""
    few_targets = scaled.shape[1] <= scaled.shape[2]
    constant = torch.zeros_like(coefficients[:, 0])
    total: Tensor | None = None
    for polynomial, of_map in _terms(scaled, coefficients):
        if polynomial is None:
            constant = constant + of_map
        elif few_targets:
            product = polynomial @ sources
            total = product * of_map if total is None else total.addcmul_(product, of_map)
        else:
            scaled_sources = sources * of_map
            total = polynomial @ scaled_sources if total is None else total.baddbmm_(polynomial, scaled_sources)
    of_all = (sources.sum(1, keepdim=True) * constant).expand(-1, scaled.shape[1], -1)
    return of_all.clone() if total is None else total.add_(of_all)


def pulled(
    wanted: Sequence[bool], scaled: Tensor, sources: Tensor, coefficients: Tensor, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """From the gradient of the messages those of `gathered`'s operands, where they are wanted.

    One product (T_p' g) serves the sources and the coefficients; of few targets it is cheaper to have T_p s again.
    """
    few_targets = 3 * scaled.shape[1] < scaled.shape[2]
    of_sources: Tensor | None = None
    of_coefficients: list[Tensor] = []
    of_every_target = gradient.sum(1, keepdim=True)
    for polynomial, of_map in _terms(scaled, coefficients):
        if few_targets and polynomial is not None:
            if wanted[1]:
                part = polynomial.mT @ (gradient * of_map)
                of_sources = part if of_sources is None else of_sources.add_(part)
            if wanted[2]:
                of_coefficients.append(((polynomial @ sources) * gradient).sum((0, 1)))
            continue
        heard = of_every_target if polynomial is None else polynomial.mT @ gradient
        if wanted[1]:
            part = (heard * of_map).expand_as(sources)
            of_sources = part.clone() if of_sources is None else of_sources.addcmul_(heard, of_map)
        if wanted[2]:
            of_coefficients.append((heard * sources).sum((0, 1)))
    of_scaled = None
    if wanted[0]:
        count = coefficients.shape[1] // scaled.shape[-1]
        parts = []
        for t, maps in zip(scaled.unbind(-1), coefficients.T.split(count), strict=True):
            each = zip(slopes(t, count), maps, strict=True)
            next(each)
            parts.append(sum((gradient * of_map) @ sources.mT * slope for slope, of_map in each))
        of_scaled = torch.stack(parts, dim=-1)
    return of_scaled, of_sources, torch.stack(of_coefficients, dim=1) if wanted[2] else None

"""Eq 5 of Dynamic Neural Graphs (TMLR 2026), pair by pair, with the map of an edge as a sum of polynomials.

Numbers of an edge come first and edges last, (numbers, taps, targets, sources): then every product has long rows.
Polynomials are products of those of degrees 1, 2, 4, ..., which a few large multiplications make (`doubled`).

Axes: R targets, N blocks of sources, I sources of a block, K taps, E edges, P polynomials, A numbers of an edge, D
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from weightwalk.encoders.pieces import EdgeSum, together


def doubled(t: Tensor, count: int) -> Tensor:
    """B_0(t), ..., B_{count - 1}(t) for t (E,), (count, E): B_k is the product of T_1, -T_2, -T_4, ... by the
    bits of k.
    """
    found = t.new_empty(count, *t.shape)
    found[0].fill_(1)
    if count > 1:
        found[1].copy_(t)
    last, done = t, 2
    while done < count:
        last = torch.addcmul(found[0], last, last, value=-2)
        more = min(done, count - done)
        torch.mul(found[:more], last, out=found[done : done + more])
        done += more
    return found


@lru_cache
def conversion(count: int) -> Tensor:
    """M with T_k = sum_j M_kj B_j, (count, count), float64: Chebyshev's polynomials from those of `doubled`.

    The sum of |M_kj| over j is at most k: by so much an error of rounding may grow.
    """
    products = np.zeros((count, count))
    for k in range(count):
        product = np.array([1.0])
        for n in range(k.bit_length()):
            if k >> n & 1:
                factor = np.eye(1, 2**n + 1, 2**n)[0] * (-1 if n else 1)
                product = chebyshev.chebmul(product, factor)
        products[k, : len(product)] = product
    with torch.inference_mode(False):  # it outlives the mode in which it was asked for first
        return torch.from_numpy(np.linalg.inv(products))


class Pairs(NamedTuple):
    """Targets that hear every source of a block of I: target r those of block `rows[r]`.

    Shapes: values (R, I, K), in [-1, 1], sources (A K, N I), rows (R,), mix (D, A K), offset (D, N I) or None.
    """

    values: Tensor
    sources: Tensor
    rows: Tensor
    mix: Tensor
    offset: Tensor | None


def heard(pairs: Sequence[Pairs], coefficients: Tensor, constant: Tensor) -> list[Tensor]:
    """m_r = sum_j ReLU( M concat_k [ e(v_rjk) * s_jk ] + c + c_j ) with e(v) = sum_p W_p B_p(v), of the targets of some
    sets of pairs, (R, D) each; coefficients W (A, P), constant c (D,).

    Differentiable in all but the values, to any order; nothing is kept per edge.
    """
    sums = []
    for values, sources, rows, mix, offset in pairs:
        sources_AKNI = sources.view(len(coefficients), values.shape[2], -1, values.shape[1])
        offset_DNI = None if offset is None else offset.view(len(mix), -1, values.shape[1])
        per_pair = values.shape[2] * max(coefficients.shape)
        total = EdgeSum(_function, ("boi", "*ni", "", "", "*ni", ""), ("bo",), per_pair, _pull, rows)
        sums.append((total, (values[:, None], sources_AKNI, mix, constant, offset_DNI, coefficients)))
    return [answer[:, 0] for (answer,) in together(sums)]


def _of_pairs(
    basis_PE: Tensor,
    sources_AKRI: Tensor,
    mix: Tensor,
    constant: Tensor,
    offset_DRI: Tensor | None,
    coefficients: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of edges their map (A, K, R, I) and what they send (A K, R I); of pairs what the ReLU gets, (D, R, I)."""
    edges = (coefficients @ basis_PE).view(sources_AKRI.shape)
    sent = (edges * sources_AKRI).view(mix.shape[1], -1)
    hidden = torch.addmm(constant[:, None], mix, sent).view(len(mix), *sources_AKRI.shape[2:])
    return edges, sent, hidden if offset_DRI is None else hidden + offset_DRI


def _polynomials(values_R1IK: Tensor, count: int) -> Tensor:
    return doubled(values_R1IK.permute(1, 3, 0, 2).reshape(-1), count)


def _function(values: Tensor, *operands: Any) -> tuple[Tensor]:
    hidden = _of_pairs(_polynomials(values, operands[-1].shape[1]), *operands)[2].relu()
    return ((hidden @ hidden.new_ones(hidden.shape[2])).T[:, None],)


def _pull(wanted: Sequence[bool], given: Sequence[Any], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    values, sources, mix, constant, offset, coefficients = given
    basis_PE = _polynomials(values, coefficients.shape[1])
    edges, sent, hidden = _of_pairs(basis_PE, sources, mix, constant, offset, coefficients)
    of_hidden = torch.ops.aten.threshold_backward(gradients[0][:, 0].T[..., None].expand_as(hidden), hidden, 0)
    flat = of_hidden.flatten(1)
    of_sent = (mix.T @ flat).view(edges.shape) if wanted[1] or wanted[5] else flat
    found = (
        of_sent * edges if wanted[1] else None,
        flat @ sent.T if wanted[2] else None,
        flat.sum(1) if wanted[3] else None,
        of_hidden if wanted[4] else None,
        (of_sent * sources).view(len(coefficients), -1) @ basis_PE.T if wanted[5] else None,
    )
    return tuple(x for x in found if x is not None)

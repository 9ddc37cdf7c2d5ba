"""A few Chebyshev polynomials in place of many Fourier features.

On |x| <= r the features phi(x) = [sin(2 pi x f), cos(2 pi x f)] of any number of frequencies up to f_max are smooth
curves of one variable, so about 2 pi f_max r + 20 polynomials span all of them to the last bit of float32.

Axes: F features, C channels, K polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import jv
from torch import Tensor

_FEW = 1024  # numbers that cost less than the calls that work on them
TOLERANCE = {torch.float32: 1e-7, torch.float64: 1e-15}
"""The bound of a feature's error, by the type of numbers; half ones, whose polynomials would be worse than features,
have none.
"""


def chebyshev(t: Tensor, count: int) -> Iterator[Tensor]:
    """T_0(t), ..., T_{count - 1}(t), each shaped like t: T_k = 2 t T_{k-1} - T_{k-2}."""
    before, last, twice = torch.ones_like(t), t, 2 * t
    for _ in range(count):
        yield before
        before, last = last, twice * last - before


def degrees(frequencies: Tensor, reach: float, tolerance: float) -> int:
    """How many polynomials it takes: the least K with 2 sum_{k >= K} |J_k(2 pi f r)| <= tolerance for every f.

    J_k are Bessel functions, the coefficients of Jacobi and Anger's expansion (`expansion`); |T_k| <= 1, so the sum
    bounds the error of each feature on |x| <= r.
    """
    largest = 2 * math.pi * reach * float(frequencies.abs().max())
    orders = np.arange(int(largest) + 80)
    tails = 2 * np.abs(jv(orders, largest))[::-1].cumsum()[::-1]
    return int(np.argmax(tails <= tolerance))


def expansion(frequencies: Tensor, reach: float, count: int) -> Tensor:
    """C with phi(x) = C T(x / reach), (F, count), float64.

    With a = 2 pi f r: cos(a t) = J_0(a) + 2 sum_k (-1)^k J_2k(a) T_2k(t), sin(a t) = 2 sum_k (-1)^k J_2k+1(a)
    T_2k+1(t).
    """
    orders = np.arange(count)
    signs = np.array([1, 1, -1, -1])[orders % 4] * np.where(orders == 0, 1, 2)
    terms = signs * jv(orders, 2 * math.pi * reach * np.array(frequencies.tolist())[:, None])
    odd = orders % 2 == 1
    return torch.from_numpy(np.concatenate([np.where(odd, terms, 0), np.where(odd, 0, terms)]))


def stacked(t: Tensor, count: int) -> Tensor:
    """`chebyshev` as one tensor (count, *t.shape).

    Of few numbers in a few steps, T_{m + n} = 2 T_m T_n - T_{m - n}, which want float64.
    """
    if t.numel() > _FEW:
        return torch.stack([*chebyshev(t, count)])
    found = torch.stack([torch.ones_like(t), t]).double()
    while len(found) < count:
        last = len(found) - 1
        found = torch.cat([found, 2 * found[last] * found[1:] - found[:last].flip(0)])
    return found[:count].to(t.dtype)


def slopes(t: Tensor, count: int) -> Iterator[Tensor]:
    """T_0'(t), ..., T_{count - 1}'(t): T_k' = k U_{k-1} with U_k = 2 t U_{k-1} - U_{k-2}."""
    before, last, twice = torch.zeros_like(t), torch.ones_like(t), 2 * t
    for degree in range(count):
        yield degree * before
        before, last = last, twice * last - before

"""Maps of the values on a network's edges.

Axes: C channels (values of an edge), F features of a value, P polynomials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.basis import TOLERANCE, degrees, expansion, stacked
from weightwalk.encoders.pieces import vjp
from weightwalk.graphs.features import FourierFeatures, fourier
from weightwalk.kept import kept

_MARGIN = 1.05
"""Values may be that much larger than those that a map was prepared for."""


class EdgeMap(nn.Module, ABC):
    """From the values of an edge to what it multiplies a message by: (..., channels) -> (..., dim), every edge alone.

    Values are for example a weight, or a weight with its gradient and momentum. `forward` must be differentiable, and
    deterministic: sums over edges call it again for gradients.
    """

    channels: int
    dim: int

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """(..., channels) -> (..., dim)."""

    @property
    def width(self) -> int:
        """The most numbers that the map makes of an edge on the way."""
        return self.dim

    def operands(self) -> tuple[Tensor, ...]:
        """The tensors that `of` needs beside the values."""
        return (*self.parameters(), *self.buffers())

    def of(self, values: Tensor, *operands: Tensor) -> Tensor:
        """`forward` as a pure function, whose answer is a new tensor: the caller may overwrite it."""
        names = [name for name, _ in (*self.named_parameters(), *self.named_buffers())]
        mapped: Tensor = torch.func.functional_call(self, dict(zip(names, operands, strict=True)), (values,))
        return mapped.clone()

    def vjp(
        self, wanted: Sequence[bool], values: Tensor, *operands: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """`of`, and the map from the gradient of its answer to those of the values and operands that are wanted."""
        return vjp(self.of, wanted, (values, *operands))

    def on_basis(self) -> PolynomialMap | None:
        """The same map as a sum of few polynomials of the values, where that is cheaper."""
        return None


class PolynomialMap:
    """e = sum_{c, p} W_cp T_p(x_c / r_c), for |x_c| <= r_c: what `FourierMap` is on a range of values.

    `coefficients` are (dim, C P), differentiable in the parameters of the map that they come from.
    """

    def __init__(self, reach: Tensor, coefficients: Tensor):
        self.reach, self.coefficients = reach, coefficients
        self.dim, self.width = len(coefficients), max(coefficients.shape)
        self.count = coefficients.shape[1] // len(reach)

    def covers(self, values: Tensor) -> bool:
        """Whether no value is out of range, as NaN is, and one may look (not under `vmap`)."""
        if not values.numel() or not _readable(values):
            return False
        least, most = values.detach().reshape(-1, len(self.reach)).aminmax(dim=0)
        return bool(((most <= self.reach) & (least >= -self.reach)).all())

    def operands(self) -> tuple[Tensor, ...]:
        return (self.coefficients,)

    def of(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """(..., C) -> (..., dim)."""
        return F.linear(self.polynomials(values), coefficients).view(*values.shape[:-1], -1)

    def polynomials(self, values: Tensor) -> Tensor:
        """(..., C) -> (number of edges, C P), laid out as its transpose."""
        scaled = (values / self.reach).flatten(0, -2)
        return torch.cat([stacked(t, self.count) for t in scaled.unbind(-1)]).T

    def vjp(
        self, wanted: Sequence[bool], values: Tensor, coefficients: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """As `EdgeMap.vjp`."""
        if wanted[0]:
            return vjp(self.of, wanted, (values, coefficients))
        polynomials = self.polynomials(values)

        def pull(gradient: Tensor) -> tuple[Tensor, ...]:
            return (gradient.flatten(0, -2).T @ polynomials,) if wanted[1] else ()

        return F.linear(polynomials, coefficients).view(*values.shape[:-1], -1), pull


class FourierMap(EdgeMap):
    """e = W concat_c phi(x_c) + b, with phi(x) = [sin(2 pi x f), cos(2 pi x f)] of random f (DNG paper, section 4).

    `features` are saved with the map, or, if `shared`, by the encoder that gives them to several. Values within
    `reach`, which is saved with the map (`cover`), are read by polynomials, each feature to `basis.TOLERANCE`; others
    as the formula says.
    """

    reach: Tensor

    def __init__(self, channels: int, features: FourierFeatures, dim: int, shared: bool = False):
        super().__init__()
        self.channels, self.dim = channels, dim
        if shared:
            self.__dict__["features"] = features  # a plain attribute, not a submodule
        else:
            self.features = features
        linear = nn.Linear(channels * features.dim, dim)
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("reach", torch.ones(channels))

    @torch.no_grad()
    def cover(self, largest: Tensor) -> None:
        """Set `reach` so that polynomials read values of up to these magnitudes, (channels,), and a little more."""
        good = (largest > 0) & largest.isfinite()
        self.reach.copy_(torch.where(good, _MARGIN * largest, torch.ones_like(largest)))

    @property
    def width(self) -> int:
        return max(self.weight.shape)

    def operands(self) -> tuple[Tensor, ...]:
        return self.features.frequencies, self.weight, self.bias

    def forward(self, values: Tensor) -> Tensor:
        return self.of(values, *self.operands())

    def of(self, values: Tensor, *operands: Tensor) -> Tensor:
        frequencies, weight, bias = operands
        return F.linear(fourier(values, frequencies).flatten(-2), weight, bias)

    def vjp(
        self, wanted: Sequence[bool], values: Tensor, *operands: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        """By hand: a tenth to a third faster than what autograd makes of it."""
        frequencies_F, weight, bias = operands
        phi = fourier(values, frequencies_F).flatten(-2)

        def pull(gradient: Tensor) -> tuple[Tensor, ...]:
            rows = gradient.flatten(0, -2)
            found: list[Tensor | None] = [None, None, None, None]
            if wanted[0] or wanted[1]:
                sine, cosine = phi.unflatten(-1, (self.channels, -1)).chunk(2, dim=-1)
                of_sine, of_cosine = (gradient @ weight).unflatten(-1, (self.channels, -1)).chunk(2, dim=-1)
                angle_CF = 2 * torch.pi * (of_sine * cosine - of_cosine * sine)
                found[0] = angle_CF @ frequencies_F
                found[1] = (angle_CF * values.unsqueeze(-1)).flatten(0, -2).sum(0) if wanted[1] else None
            found[2] = rows.T @ phi.flatten(0, -2) if wanted[2] else None
            found[3] = rows.sum(0) if wanted[3] else None
            return tuple(x for x, one in zip(found, wanted, strict=True) if one and x is not None)

        return F.linear(phi, weight, bias), pull

    def through(self, values: Tensor, outer: Tensor, shift: Tensor | None = None) -> Tensor:
        """M (W concat_c (phi(x_c) + a) + b), of values (..., channels), a matrix M (out, dim) and a `shift` a
        (features,), zero if left out -> (..., out).

        Shifts of one step are rows of one table, by whose places what is made of them is kept; M is always the same.
        """

        def folded() -> Tensor | None:
            coefficients = self._coefficients(self._shifted(shift))
            return None if coefficients is None else outer @ coefficients

        of = (*self._own, outer, *(() if shift is None else (shift,)))
        coefficients = None
        if not torch.compiler.is_compiling():
            coefficients = kept(self, None if shift is None else shift.storage_offset(), of, folded)
        if coefficients is not None:
            basis = PolynomialMap(self.reach, coefficients)
            if basis.covers(values):
                return basis.of(values, coefficients)
        return F.linear(self.of(values, self.features.frequencies, self.weight, self._shifted(shift)), outer)

    def _shifted(self, shift: Tensor | None) -> Tensor:
        """The bias of a map of phi(x) + a."""
        return self.bias if shift is None else self.bias + self.weight @ shift.repeat(self.channels)

    def on_basis(self) -> PolynomialMap | None:
        coefficients = kept(self, "basis", self._own, lambda: self._coefficients(self.bias))
        return None if coefficients is None else PolynomialMap(self.reach, coefficients)

    @property
    def _own(self) -> tuple[Tensor, ...]:
        return self.weight, self.bias, self.features.frequencies, self.reach

    def _coefficients(self, bias: Tensor) -> Tensor | None:
        """Of the polynomials, (dim, C P). None where they are not fewer than features, numbers are half ones, or nobody
        may look at them (a compiler, `vmap` over buffers).
        """
        frequencies, reach = self.features.frequencies, self.reach
        if torch.compiler.is_compiling() or frequencies.requires_grad or frequencies.dtype not in TOLERANCE:
            return None
        if not (_readable(frequencies) and _readable(reach)):
            return None
        expanded_CFP = kept(self, "features", (frequencies, reach), self._expand)
        if expanded_CFP is None:
            return None
        per_channel = self.weight.unflatten(1, (self.channels, -1)).transpose(0, 1)
        coefficients: Tensor = (per_channel @ expanded_CFP).transpose(0, 1).flatten(1)
        return coefficients + F.pad(bias[:, None], (0, coefficients.shape[1] - 1))

    def _expand(self) -> Tensor | None:
        frequencies, reach = self.features.frequencies, self.reach.tolist()
        count = max(degrees(frequencies, r, TOLERANCE[frequencies.dtype]) for r in reach)
        if count >= self.features.dim:
            return None
        return torch.stack([expansion(frequencies, r, count) for r in reach]).to(frequencies)


def _readable(tensor: Tensor) -> bool:
    """Whether a tensor has numbers that decisions may depend on: under `vmap` it stands for several."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return False
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return True

"""Maps of the values on a network's edges, and the messages that are sums over edges.

Axes: B networks, O target nodes, I source nodes, K taps (parallel edges of a pair), C channels (values of an edge), F
features of a value, P polynomials, A numbers of an edge, D memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders import products
from weightwalk.encoders.basis import TOLERANCE, chebyshev, degrees, expansion
from weightwalk.encoders.pieces import EdgeSum, vjp
from weightwalk.graphs.features import FourierFeatures, fourier

_MARGIN = 1.05
"""Values may be that much larger than those that a map was prepared for."""
_ARRAYS = 4
"""Numbers of a pair that a product of polynomials has at hand: T_{p-2}, T_{p-1}, T_p and 2 t."""


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
        return torch.cat([torch.stack([*chebyshev(t, self.count)]) for t in scaled.unbind(-1)]).T

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
        self._expansion: tuple[Any, Tensor | None] | None = None

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
        """M (W concat_c (phi(x_c) + a) + b), of values (..., channels) and a matrix M (out, dim) -> (..., out)."""
        bias = self.bias if shift is None else self.bias + self.weight @ shift.repeat(self.channels)
        basis = self.on_basis(bias)
        if basis is not None and basis.covers(values):
            return basis.of(values, outer @ basis.coefficients)
        return F.linear(self.of(values, self.features.frequencies, self.weight, bias), outer)

    def on_basis(self, bias: Tensor | None = None) -> PolynomialMap | None:
        """As `EdgeMap.on_basis`; of the map with another bias, if one is given."""
        expanded_CFP = self._expanded()
        if expanded_CFP is None:
            return None
        per_channel = self.weight.unflatten(1, (self.channels, -1)).transpose(0, 1)
        coefficients = (per_channel @ expanded_CFP).transpose(0, 1).flatten(1)
        constant = F.pad((self.bias if bias is None else bias)[:, None], (0, coefficients.shape[1] - 1))
        return PolynomialMap(self.reach, coefficients + constant)

    def _expanded(self) -> Tensor | None:
        """The features of every channel by polynomials (`basis.expansion`), (C, F, P), kept until frequencies or reach
        change. None where polynomials are not fewer than features, or nobody may look at numbers (a compiler, `vmap`
        over buffers).
        """
        frequencies, reach = self.features.frequencies, self.reach
        if (
            torch.compiler.is_compiling()
            or frequencies.requires_grad
            or not (_readable(frequencies) and _readable(reach))
        ):
            return None
        state = (frequencies, reach, frequencies._version, reach._version)
        kept = self._expansion
        if kept is None or kept[0][0] is not frequencies or kept[0][1] is not reach or kept[0][2:] != state[2:]:
            with torch._C._DisableFuncTorch():  # what is kept must not belong to a transform that ends
                self._expansion = kept = (state, self._expand())
        return kept[1]

    def _expand(self) -> Tensor | None:
        frequencies, reach = self.features.frequencies, self.reach.tolist()
        tolerance = TOLERANCE.get(frequencies.dtype, TOLERANCE[torch.float32])
        count = max(degrees(frequencies, r, tolerance) for r in reach)
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
        return _of_common_sources(values, basis, sources[0])
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


def _of_common_sources(values: Tensor, basis: PolynomialMap, sources_ID: Tensor) -> Tensor:
    """Eq 4 where all networks have the same sources: m_i = sum_{j, cp} T_p(x_ij,c) A_{j, cp} with A_{j, cp} = W_cp *
    s_j, one product.
    """

    def function(values: Tensor, maps_IPD: Tensor) -> tuple[Tensor]:
        polynomials = basis.polynomials(values).unflatten(0, (-1, values.shape[2])).flatten(1)
        return ((polynomials @ maps_IPD.flatten(0, 1)).view(*values.shape[:2], -1),)

    maps_IPD = sources_ID[:, None] * basis.coefficients.T
    total = EdgeSum(function, ("boi", "i"), ("bo",), basis.coefficients.shape[1])
    return total(values, maps_IPD)[0]


def mean_features(values_BOP: Tensor, features: FourierFeatures) -> Tensor:
    """mean_p phi(x_op), (B, O, F); like `messages` nothing is kept per value."""

    def function(values: Tensor, frequencies: Tensor) -> tuple[Tensor]:
        return (fourier(values, frequencies).sum(2),)

    total = EdgeSum(function, ("boi", ""), ("bo",), features.dim)
    return total(values_BOP, features.frequencies)[0] / values_BOP.shape[2]

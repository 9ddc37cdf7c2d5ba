"""Maps of the values on a network's edges, and the messages that are sums over edges.

Axes: B networks, O target nodes, I source nodes, K taps (parallel edges of a pair), C channels (values of an edge), F
features of a value, A numbers of an edge, D memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk.encoders.pieces import EdgeSum, vjp
from weightwalk.graphs.features import FourierFeatures, fourier


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


class FourierEdges(EdgeMap):
    """e = W concat_c phi(x_c) + b, with phi(x) = [sin(2 pi x f), cos(2 pi x f)] of random f (DNG paper, section 4).

    `features` are saved with the map, or, if `shared`, by the encoder that gives them to several.
    """

    def __init__(self, channels: int, features: FourierFeatures, dim: int, shared: bool = False):
        super().__init__()
        self.channels, self.dim = channels, dim
        if shared:
            self.__dict__["features"] = features  # a plain attribute, not a submodule
        else:
            self.features = features
        linear = nn.Linear(channels * features.dim, dim)
        self.weight, self.bias = linear.weight, linear.bias

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


def messages(
    values: Tensor, edge: EdgeMap, sources: Tensor, mix: Tensor | None = None, offset: Tensor | None = None
) -> Tensor:
    """m_i = sum_j  e(v_ij) * s_j, or with `mix` M and `offset` c  m_i = sum_j  ReLU( M concat_n [ e(v_ij,n) * s_jn ] +
    c_j ).

    These are the sums of Eq 4 and Eq 5 of Dynamic Neural Graphs (TMLR 2026) with e an edge map, s_j what source j
    sends, * elementwise, and c_j what does not depend on the target.

    Shapes: values (B, O, I, C) and sources (B, I, D) -> (B, O, D); or values (B, O, I, K, C), sources (B, I, K, A), mix
    (D, K A) and offset (B, I, D) -> (B, O, D). Differentiable in all of them and in the edge map's parameters, to any
    order, under autograd, torch.func.grad and torch.func.vmap. Nothing is kept per edge (`pieces.EdgeSum`).
    """

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


def mean_features(values_BOP: Tensor, features: FourierFeatures) -> Tensor:
    """mean_p phi(x_op), (B, O, F); like `messages` nothing is kept per value."""

    def function(values: Tensor, frequencies: Tensor) -> tuple[Tensor]:
        return (fourier(values, frequencies).sum(2),)

    total = EdgeSum(function, ("boi", ""), ("bo",), features.dim)
    return total(values_BOP, features.frequencies)[0] / values_BOP.shape[2]

"""What the DNG-Encoder says of every edge, for heads that edit weights.

Axes: B networks, O target nodes, I source nodes, K taps, D memory, E numbers of an edge output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightwalk.encoders.dng.builder import MapBuilder, kind_of, most_taps, taps_of
from weightwalk.encoders.dng.maps import blocks, values_of
from weightwalk.encoders.dng.walk import Ends
from weightwalk.encoders.edges import EdgeMap, FourierMap, PolynomialMap
from weightwalk.encoders.pieces import EdgeSum
from weightwalk.steps import Conv, Step
from weightwalk.weights import Weights


class EdgeMaps(nn.Module):
    """e_ij,k = (W_e phi(w_ij,k) + a) * (W_s s_j + W_t t_i + c + p_k): the FiLM of Eq 4 with both ends of the edge.

    With a, c and p_k, which are learned, it holds products of the weight's features with both memories, and each of
    them alone; what depends on s_j and t_i together is left to a head's hidden layer. The taps k of a kernel are told
    apart by p_k. Learned values have no source, and their positions are not told apart.
    """

    def __init__(self, builder: MapBuilder, kind: str, dim: int, edge_dim: int, taps: int):
        super().__init__()
        self.edge = FourierMap(1, builder.features, edge_dim, shared=True)
        self.target = nn.Linear(dim, edge_dim)
        self.source = None if kind == "learned" else nn.Linear(dim, edge_dim, bias=False)
        self.taps = nn.Parameter(torch.randn(taps, edge_dim)) if kind == "message" and taps > 1 else None

    def forward(self, weights: Tensor, ends: Ends, step: Step) -> Tensor:
        """Of weights (B, O, I[, K]), or (B, O) of a norm, the same shape with E numbers behind."""
        source = None if self.source is None else self.source(ends[0].expand(len(weights), -1, -1))
        target: Tensor = self.target(ends[1])
        if weights.dim() == 2:  # a norm: the edge of a node with itself
            assert source is not None
            of_node: Tensor = self.edge(weights.unsqueeze(-1)) * (source + target)
            return of_node
        groups = step.groups if isinstance(step, Conv) else 1
        values = blocks(values_of(weights), groups).unsqueeze(-1)
        taps = None if self.taps is None else self.taps[: values.shape[3]]
        found = edge_outputs(
            values, self.edge, None if source is None else blocks(source, groups), blocks(target, groups), taps
        )
        return found.reshape(*weights.shape, found.shape[-1])


def edge_outputs(values: Tensor, edge: EdgeMap, sources: Tensor | None, targets: Tensor, taps: Tensor | None) -> Tensor:
    """e(v_ij,k) * (s_j + t_i + p_k) of values (B, O, I, K, C), an edge map e, sources (B, I, E), targets (B, O, E) and
    taps (K, E) -> (B, O, I, K, E). None is zero.

    As in `messages`, nothing is kept per edge but the answer, and polynomials take the place of features where they
    cover all values.
    """
    if torch.is_autocast_enabled(values.device.type):
        with torch.autocast(values.device.type, enabled=False):
            given = [x if x is None else x.to(values.dtype) for x in (sources, targets, taps)]
            return edge_outputs(values, edge, given[0], targets.to(values.dtype), given[2])
    basis = edge.on_basis()
    of_edge: EdgeMap | PolynomialMap = edge if basis is None or not basis.covers(values) else basis

    def factor(sources: Tensor | None, targets: Tensor, taps: Tensor | None) -> Tensor:
        found = targets[:, :, None, None]
        found = found if sources is None else found + sources[:, None, :, None]
        return found if taps is None else found + taps

    def function(values: Tensor, *operands: Any) -> tuple[Tensor]:
        return (of_edge.of(values, *operands[3:]).mul_(factor(*operands[:3])),)

    def pull(wanted: Sequence[bool], given: Sequence[Any], gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
        values, sources, targets, taps, *operands = given
        of_map = (wanted[0], *wanted[4:])
        edges, edge_pull = of_edge.vjp(of_map, values, *operands)
        of_factor = edges * gradients[0]
        of_operands = iter(edge_pull(gradients[0] * factor(sources, targets, taps)) if any(of_map) else ())
        found = (
            next(of_operands) if wanted[0] else None,
            of_factor.sum((1, 3)) if wanted[1] else None,
            of_factor.sum((2, 3)) if wanted[2] else None,
            of_factor.sum((0, 1, 2)) if wanted[3] else None,
        )
        return tuple(x for x in (*found, *of_operands) if x is not None)

    operands = of_edge.operands()
    inputs = ("boi", "bi", "bo", "", *("" for _ in operands))
    total = EdgeSum(function, inputs, ("boi",), values.shape[3] * of_edge.width, pull)
    return total(values, sources, targets, taps, *operands)[0]


class EdgeOutputs(nn.Module):
    """`EdgeMaps` of every layer, or of every kind of layer where all timestamps share their maps.

    `dim` is that of the memories of both ends: twice an encoder's if it walks forward and backward.
    """

    def __init__(self, builder: MapBuilder, dim: int, edge_dim: int):
        super().__init__()
        most = builder.taps or most_taps(builder.spec)
        self.kinds = nn.ModuleDict(
            {
                kind: EdgeMaps(builder, kind, dim, edge_dim, most)
                for kind in builder.kinds
                if kind in ("message", "norm", "learned")
            }
        )
        layers = () if builder.kinds else builder.spec.layers
        self.layers = nn.ModuleList(
            EdgeMaps(builder, str(kind_of(layer)), dim, edge_dim, taps_of(layer)) for layer in layers
        )

    def of(self, layer: int, step: Step) -> EdgeMaps:
        """The maps of a layer."""
        maps = self.kinds[str(kind_of(step))] if len(self.kinds) else self.layers[layer]
        assert isinstance(maps, EdgeMaps)
        return maps

    def forward(self, weights: Weights, ends: Sequence[Ends]) -> tuple[Tensor, ...]:
        """From the ends of every layer's edges one (B, O, I[, K], E) each, (B, O, E) of a norm."""
        layers = enumerate(zip(weights.spec.layers, weights.weights, ends, strict=True))
        return tuple(self.of(number, layer)(w, of_layer, layer) for number, (layer, w, of_layer) in layers)

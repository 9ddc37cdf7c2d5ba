"""The DNG-Encoder: a recurrent graph network over the dynamic neural graph (Dynamic Neural Graphs, TMLR 2026, section
4).

Axes: B networks, I source nodes, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import config
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.dng.builder import KINDS, MapBuilder, kind_of, kinds_of, most_taps
from weightwalk.encoders.dng.details import DETAILS
from weightwalk.encoders.dng.maps import moved
from weightwalk.encoders.edges import FourierMap
from weightwalk.encoders.recurrence import recurrence
from weightwalk.errors import InputError
from weightwalk.graphs.features import FourierFeatures
from weightwalk.registry import unknown
from weightwalk.spec import ACTIVATIONS, NetworkSpec, Scheduled
from weightwalk.steps import Conv, Learned, Norm
from weightwalk.weights import Weights

Readout = Literal["output", "layers"]


class Pass(nn.Module):
    """One walk over all timestamps. The recurrent cell is shared by them; maps are each step's own, or each kind's
    (`kinds`).
    """

    def __init__(self, builder: MapBuilder, number: int):
        super().__init__()
        layers, between, kinds = builder.modules(number)
        self.steps = nn.ModuleList(layers)
        self.between = nn.ModuleDict(between)
        self.kinds = nn.ModuleDict(kinds)
        self.cell = nn.GRUCell(builder.dim, builder.dim)

    def of(self, at: Scheduled) -> Any:
        """The maps of a step, None for one without."""
        kind = kind_of(at.step)
        if kind is None or len(self.kinds):
            return None if kind is None else self.kinds[kind]
        return self.between[str(at.value)] if at.layer is None else self.steps[at.layer]

    def update(self, of_input: Tensor, hidden: Tensor) -> Tensor:
        """The recurrent cell at every node, (B, O, D), from W_ih x without its bias, (B, O, 3 D) or broadcast to it."""
        of_hidden = F.linear(hidden, self.cell.weight_hh, self.cell.bias_hh)
        return recurrence((of_input + self.cell.bias_ih).expand_as(of_hidden), of_hidden, hidden)


@encoders.register("dng")
class DNGEncoder(Encoder):
    r"""Read a network's weights in the order in which inference uses them.

    At the timestamp t_l of a dense, convolutional or embedding layer every target node i gathers a message from its
    sources j and updates its memory:

        m_i(t_l) = sum_j  W_e^l phi(w_ij) * (W_s^l s_j(t_{l-1}))                         (Eq 4, one edge per pair)
        m_i(t_l) = sum_j  MLP( concat_n [ W_e^l phi(w_ij,n) * (W_{s,n}^l s_j) ] )        (Eq 5, up to `max_taps` edges)
        s_i(t_l) = Dropout(LayerNorm(GRU(input = W_b^l phi(b_i), hidden = m_i(t_l))))    (Eq 6)

    with phi random Fourier features and * elementwise. Eq 5 is taken where a layer has several edges per pair, or
    `max_taps`, left out as many as the spec needs, is more than one; its heads are `head_dim` numbers each. Input nodes
    start from a learned memory each, and a layer without biases has b = 0. In pass p > 1 the bias term becomes a map of
    the memory that the node got in pass p - 1. With `activation_embedding`, a learned vector of the activation that the
    layer's values meet next is added to phi(b) (paper, appendix: of use where activations vary).

    Other steps: a norm scales and shifts memories (`maps.NormMaps`), an addition sends W_r s from the older groups to
    the newest one's nodes, attention is `maps.PairedHeads`, learned values enter by their features, gates multiply,
    concatenation and slices do to memories what they do to channels, pooling and activations nothing. Attention and
    norms are ours and equivariant. `preset` names the `Details` in which the authors' release differs from all this.

    Every step has its own maps, for networks of one architecture. With `shared` each kind of step has one set for all
    timestamps (section 5, heterogeneous architectures), and any network is read of the same inputs and outputs, of
    steps of the `kinds` that the spec has or that are named, and of at most `max_taps` taps.

    Shapes: Weights of B networks -> nodes (B, n_l, dim) per layer, after the additions to them, pooled (B, n_L * dim):
    the output nodes' memories in order. `readout` "layers", ours, appends the mean memory of every layer's nodes, (B, L
    * dim), or with `shared` the mean of these means, (B, dim). Nothing is kept per edge: memory grows with nodes, time
    with parameters.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        dim: int = 128,
        num_frequencies: int = 128,
        scale: float = 3.0,
        num_passes: int = 1,
        dropout: float = 0.0,
        activation_embedding: bool = False,
        readout: Readout = "output",
        head_dim: int = 16,
        max_taps: int = 0,
        shared: bool | None = None,
        kinds: tuple[str, ...] = (),
        preset: str = "paper",
    ):
        super().__init__(spec)
        self.validate(
            SimpleNamespace(
                **{"dim": dim, "num_frequencies": num_frequencies, "scale": scale, "num_passes": num_passes},
                **{"dropout": dropout, "readout": readout, "head_dim": head_dim, "max_taps": max_taps},
                **{"kinds": kinds, "preset": preset},
            )
        )
        self.shared, self.readout, self.details = bool(shared), readout, DETAILS[preset]
        all_kinds = kinds_of([spec], kinds)
        if self.details.heads_by_place and "attention" in all_kinds:
            self.invariant = False
        self.features = FourierFeatures(num_frequencies, scale)
        taps = max_taps or most_taps(spec)
        self.builder = MapBuilder(
            spec, self.features, dim, taps if taps > 1 else 0, head_dim, self.details, all_kinds if shared else ()
        )
        means = 0 if readout == "output" else 1 if shared else len(spec.layers)
        self.pooled_dim = (spec.num_outputs + means) * dim
        self.input_memory = nn.Parameter(torch.randn(spec.widths[0], dim))
        self.passes = nn.ModuleList(Pass(self.builder, number) for number in range(num_passes))
        self.dropout = nn.Dropout(dropout)
        self.activations = nn.Embedding(len(ACTIVATIONS), self.features.dim) if activation_embedding else None

    @classmethod
    def validate(cls, options: Any) -> None:
        config.bounded(options, "dim num_frequencies num_passes head_dim", 1)
        config.bounded(options, "max_taps", 0)
        config.bounded(options, "scale", above=0)
        config.bounded(options, "dropout", 0, below=1)
        if options.readout not in get_args(Readout):
            raise InputError(unknown("readout", options.readout, list(get_args(Readout))))
        for kind in options.kinds:
            if kind not in KINDS:
                raise InputError(unknown("kind of step", kind, list(KINDS)))
        DETAILS[options.preset]

    @classmethod
    def covering(cls, specs: Sequence[NetworkSpec], options: Any) -> dict[str, Any]:
        most = options.max_taps or max(map(most_taps, specs))
        return {"kinds": kinds_of(specs, options.kinds), "max_taps": most}

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks of another shape; with `shared`, for those whose inputs, outputs or steps don't
        fit.
        """
        own, got = (self.spec.widths[0], self.spec.num_outputs), (spec.widths[0], spec.num_outputs)
        if not self.shared:
            super().check(spec)
        elif got != own:
            raise InputError(
                f"this model reads networks of {own[0]} inputs and {own[1]} outputs, got {got[0]} and {got[1]} in "
                f"{spec}; use a model trained on such networks"
            )
        self.builder.check(spec)

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Let polynomials cover the weights and biases of the networks that are to be read (`edges.FourierMap`)."""
        largest: dict[FourierMap, Tensor] = {}
        for weights in batches:
            for at in weights.spec.schedule:
                if at.layer is None or kind_of(at.step) != "message":
                    continue
                read = (weights.weights[at.layer], weights.biases[at.layer])
                for walk in self.passes:
                    assert isinstance(walk, Pass)
                    own = walk.of(at)
                    for of_map, x in zip((own.edge, own.input), read, strict=True):
                        if isinstance(of_map, FourierMap) and x is not None and x.numel():
                            most = x.detach().abs().max().to(of_map.reach)[None]
                            largest[of_map] = torch.maximum(largest.get(of_map, most), most)
        for of_map, most in largest.items():
            of_map.cover(most)

    def read(self, weights: Weights) -> Encoding:
        inputs = self.input_memory[None]
        nodes: list[Tensor] = []
        output = inputs
        for walk in self.passes:
            assert isinstance(walk, Pass)
            nodes, output = self._walk(walk, weights, inputs, nodes)
        nodes[0] = inputs.expand(len(weights), -1, -1)
        pooled = output.flatten(1)
        if self.readout == "layers":
            means_BLD = torch.stack([memory.mean(1) for memory in nodes[1:]], dim=1)
            pooled = torch.cat([pooled, means_BLD.mean(1) if self.shared else means_BLD.flatten(1)], dim=1)
        return Encoding(nodes=tuple(nodes), pooled=pooled)

    def _walk(
        self, walk: Pass, weights: Weights, inputs_BID: Tensor, earlier: list[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """The memories of the input's and all layers' nodes after one pass, and the output's; `earlier` are those of
        the pass before.
        """
        flow = weights.spec.flow
        settled: dict[int, Tensor] = {}

        def visit(at: Scheduled, read: list[Tensor]) -> Tensor:
            own = walk.of(at)
            if at.layer is not None:
                memory = self._layer(walk, at, weights, read[0], earlier[at.layer + 1] if earlier else None)
            else:
                memory = moved(at.step, read) if own is None else own(read, at, flow)
            if at.value in flow.settled:
                settled[at.value] = memory
            return memory

        output = weights.spec.walk(inputs_BID, visit)
        return [inputs_BID, *(settled[value] for value in flow.settled)], output

    def _layer(self, walk: Pass, at: Scheduled, weights: Weights, source: Tensor, earlier: Tensor | None) -> Tensor:
        """The memories of a layer's nodes; `earlier` are those of the pass before."""
        assert at.layer is not None
        own, w, bias = walk.of(at), weights.weights[at.layer], weights.biases[at.layer]
        memory: Tensor
        if isinstance(at.step, Learned):
            memory = own(w, self.features)
        elif isinstance(at.step, Norm):
            shift = self.features(_or_zero(weights, at.layer))
            activation = self._activation(weights.spec, at.layer)
            memory = own(source, self.features(w), shift if activation is None else shift + activation)
        else:
            memory = own.gather(w, source, at.step.groups if isinstance(at.step, Conv) else 1)
            if bias is not None or not self.details.silent_unbiased:
                memory = walk.update(self._update_input(walk, own, weights, at.layer, earlier), memory)
            memory = self.dropout(own.norm(memory))
        return memory

    def _update_input(self, walk: Pass, own: Any, weights: Weights, layer: int, earlier: Tensor | None) -> Tensor:
        """W_ih of what updates the memories of a layer: W_b (phi(b) + a), or a map of those of the pass before."""
        outer = walk.cell.weight_ih
        if earlier is not None:
            return F.linear(own.input(earlier), outer)
        biases = _or_zero(weights, layer).unsqueeze(-1)
        updates: Tensor = own.input.through(biases, outer, self._activation(weights.spec, layer))
        return updates

    def _activation(self, spec: NetworkSpec, layer: int) -> Tensor | None:
        """The vector of the activation that a layer's values meet next, (F,), for an encoder that has them."""
        if self.activations is None:
            return None
        name = spec.flow.activations[0 if self.details.one_activation else layer]
        vector: Tensor = self.activations.weight[list(ACTIVATIONS).index(name)]
        return vector


def _or_zero(weights: Weights, layer: int) -> Tensor:
    """A layer's biases (B, O), or where it has none a zero (1, 1) that stands for all of them."""
    bias_BO = weights.biases[layer]
    return weights.weights[layer].new_zeros(1, 1) if bias_BO is None else bias_BO

"""The DNG-Encoder: a recurrent graph network over the dynamic neural graph (Dynamic Neural Graphs, TMLR 2026, section
4).

Axes: B networks, I source nodes, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightwalk import config
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.dng.builder import KINDS, MapBuilder, kind_of, kinds_of, most_taps
from weightwalk.encoders.dng.details import DETAILS
from weightwalk.encoders.dng.gathering import Gatherer, Layer
from weightwalk.encoders.dng.maps import JoinMaps, LearnedMaps, NormMaps, StepMaps, TapMaps
from weightwalk.encoders.dng.rows import joined, parted
from weightwalk.encoders.dng.walk import Walk, lockstep
from weightwalk.encoders.edges import FourierMap
from weightwalk.encoders.recurrence import recurrence
from weightwalk.errors import InputError
from weightwalk.graphs.features import FourierFeatures
from weightwalk.registry import unknown
from weightwalk.spec import ACTIVATIONS, NetworkSpec, Scheduled
from weightwalk.steps import Conv
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

    def update(self, of_input: Tensor, hidden: Tensor, of_hidden: Tensor | None = None) -> Tensor:
        """The recurrent cell at every node, (B, O, D), from W_ih x without its bias, (B, O, 3 D) or broadcast to it.

        `of_hidden` is W_hh h, where it is known.
        """
        known = F.linear(hidden, self.cell.weight_hh) if of_hidden is None else of_hidden
        of_hidden = known + self.cell.bias_hh
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
        return self.read_each([weights])[0]

    def read_each(self, batches: Sequence[Weights]) -> list[Encoding]:
        walks: list[Walk] = []
        for number, maps in enumerate(self.passes):
            assert isinstance(maps, Pass)
            earlier = [walk.nodes if number else [] for walk in walks] or [[] for _ in batches]
            walks = [
                Walk(weights, self.input_memory[None], nodes) for weights, nodes in zip(batches, earlier, strict=True)
            ]
            lockstep(walks, maps.of, partial(self._written, maps, {}))
        return [self._encoding(walk) for walk in walks]

    def _encoding(self, walk: Walk) -> Encoding:
        pooled, nodes = walk.output.flatten(1), walk.nodes
        if self.readout == "layers":
            means_BLD = torch.stack([memory.mean(1) for memory in nodes[1:]], dim=1)
            pooled = torch.cat([pooled, means_BLD.mean(1) if self.shared else means_BLD.flatten(1)], dim=1)
        return Encoding(nodes=tuple(nodes), pooled=pooled)

    def _written(
        self, maps: Pass, gatherers: dict[nn.Module, Gatherer], own: Any, walks: list[Walk]
    ) -> Sequence[Tensor]:
        """The memories that the walks' steps write, which all have the maps `own`."""
        first = walks[0]
        if isinstance(own, StepMaps) and len(walks) == 1 and first.source is first.inputs:
            through = own.gather_through(first.weights.weights[first.layer], first.source, maps.cell.weight_hh)
            if through is not None:
                return self._layers(maps, own, walks, *through)
        if isinstance(own, (StepMaps, TapMaps)):
            gather = gatherers.setdefault(own, Gatherer(own))
            return self._layers(maps, own, walks, gather([_heard(walk) for walk in walks]))
        if isinstance(own, LearnedMaps):
            return [own(walk.weights.weights[walk.layer], self.features) for walk in walks]
        if isinstance(own, NormMaps):
            memories = [walk.read[0] for walk in walks]
            scale = self.features(joined([walk.weights.weights[walk.layer] for walk in walks]))
            shift = self.features(_biases(walks))
            if self.activations is not None:
                table = self.activations.weight
                shift = shift + (table[self._met(walks[0])] if len(walks) == 1 else table[self._all_met(walks)])
            return parted(own(joined(memories), scale, shift), [(walk.size, walk.here.step.fan_out) for walk in walks])
        if isinstance(own, JoinMaps):
            return own.of_many([(walk.read, walk.here, walk.flow) for walk in walks])
        return [own(walk.read, walk.here, walk.flow) for walk in walks]

    def _layers(
        self,
        maps: Pass,
        own: StepMaps | TapMaps,
        walks: list[Walk],
        messages: Tensor,
        of_hidden: Tensor | None = None,
    ) -> Sequence[Tensor]:
        """The memories of the nodes of layers, from their messages (`rows.joined`); `of_hidden` as in `Pass.update`."""
        sizes = [(walk.size, walk.here.step.fan_out) for walk in walks]
        silent = [self.details.silent_unbiased and walk.weights.biases[walk.layer] is None for walk in walks]
        if any(silent):
            each = zip(walks, parted(messages, sizes), silent, strict=True)
            return [
                self.dropout(own.norm(message)) if quiet else self._layers(maps, own, [walk], message)[0]
                for walk, message, quiet in each
            ]
        memory = maps.update(self._update_input(maps, own, walks), messages, of_hidden)  # Eq 6
        return parted(self.dropout(own.norm(memory)), sizes)

    def _update_input(self, maps: Pass, own: Any, walks: list[Walk]) -> Tensor:
        """W_ih of what updates the memories of layers: W_b (phi(b) + a), or a map of those of the pass before."""
        outer = maps.cell.weight_ih
        if walks[0].earlier:
            return F.linear(own.input(joined([walk.earlier[walk.layer + 1] for walk in walks])), outer)
        biases = _biases(walks).unsqueeze(-1)
        updates: Tensor
        if self.activations is None or len(walks) == 1:
            shift = None if self.activations is None else self.activations.weight[self._met(walks[0])]
            updates = own.input.through(biases, outer, shift)
        else:
            table = F.linear(F.linear(self.activations.weight, own.input.weight), outer)
            updates = own.input.through(biases, outer) + F.embedding(self._all_met(walks), table)
        return updates

    def _met(self, walk: Walk) -> int:
        """The number of the activation that a layer's values meet next."""
        return list(ACTIVATIONS).index(walk.flow.activations[0 if self.details.one_activation else walk.layer])

    def _all_met(self, walks: list[Walk]) -> Tensor:
        """`_met` of all nodes, (1, sum of B O)."""
        counts = [walk.size * walk.here.step.fan_out for walk in walks]
        numbers = np.repeat([self._met(walk) for walk in walks], counts)
        return torch.from_numpy(numbers[None]).to(walks[0].weights.device)


def _heard(walk: Walk) -> Layer:
    step = walk.here.step
    return Layer(walk.weights.weights[walk.layer], walk.source, step.groups if isinstance(step, Conv) else 1)


def _biases(walks: list[Walk]) -> Tensor:
    """The biases of layers, (B, O) of one walk, (1, sum of B O) of several; zero where a layer has none, (1, 1) if that
    is the only one.
    """
    found = []
    for walk in walks:
        bias_BO = walk.weights.biases[walk.layer]
        if bias_BO is None:
            zero = walk.weights.flat.new_zeros(1, 1)
            bias_BO = zero if len(walks) == 1 else zero.expand(walk.size, walk.here.step.fan_out)
        found.append(bias_BO)
    return joined(found)

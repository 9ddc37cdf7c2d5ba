"""The DNG-Encoder: a recurrent graph network over the dynamic neural graph (Dynamic Neural Graphs, TMLR 2026, section
4).

Axes: B networks, I source nodes, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from weightwalk import config
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.encoders.dng.builder import KINDS, MapBuilder, kind_of, kinds_of, most_taps, off_chain, where
from weightwalk.encoders.dng.cells import CELLS
from weightwalk.encoders.dng.details import DETAILS
from weightwalk.encoders.dng.edges import EdgeOutputs
from weightwalk.encoders.dng.order import Backward, Reordered, both_walks, num_initial, shuffled
from weightwalk.encoders.dng.passes import Pass, Writer
from weightwalk.encoders.dng.positions import Positions
from weightwalk.encoders.dng.walk import Walk
from weightwalk.encoders.edges import FourierMap
from weightwalk.errors import InputError
from weightwalk.graphs.features import FourierFeatures
from weightwalk.registry import unknown
from weightwalk.spec import ACTIVATIONS, NetworkSpec
from weightwalk.weights import Weights

Readout = Literal["output", "layers"]
Order = Literal["sequential", "shuffled"]


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

    For editing, ours (the paper's encoder says nothing of single weights):

    - `edges`: also edges (B, O, I[, K], edge_dim), `edge_dim` left out as many as `dim`, of every layer's weights and
      the memories at both ends, of the sources when they were used and of the targets after the update, in the last
      pass (`edges.EdgeMaps`). Memory grows with them: `edge_dim` numbers per parameter, and nothing else per edge.
    - `backward`: behind the passes a walk from the outputs to the inputs, with maps and a cell of its own, so that
      early layers know what comes after. Of a chain of dense layers and convolutions only. With s the memories of the
      last pass and o learned vectors of the outputs, r_i = s_i + o_i for an output node, and for nodes j of the groups
      before, r_j = Dropout(LayerNorm(GRU(input = W_b s_j, hidden = sum_i W_e phi(w_ij) * (W_s r_i)))), or Eq 5's sum.
      Then `nodes` are r, pooled is [s of the outputs, r of the inputs] in order (and the means of `readout`, of r), and
      edges are made of [s, r] at both ends.

    Controls, each of which changes one thing:

    - `order` "shuffled": layers are updated in an order that is a function of `order_seed` and their number, never that
      of inference (`order.Reordered`). A source that has not been updated yet gives what it remembers of the pass
      before, in the first pass a learned vector of its layer (with `shared`, of all layers). Of chains only. What an
      output hears in one pass are the layers at the end that stand in order; more passes or `readout` reach others.
    - `target`: messages know their targets: W_s s_j becomes W_s s_j + W_t u_i (`targets.py`).
    - `cell`: "gru", "lstm", "mingru" or "residual" (`cells.py`).
    - `positional`: learned vectors of hidden layers and of output nodes are added to new memories (`positions.py`), in
      passes forward (Table 6).
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
        edges: bool = False,
        edge_dim: int = 0,
        backward: bool = False,
        order: Order = "sequential",
        order_seed: int = 0,
        target: bool = False,
        cell: str = "gru",
        positional: bool = False,
    ):
        super().__init__(spec)
        self.validate(
            SimpleNamespace(
                **{"dim": dim, "num_frequencies": num_frequencies, "scale": scale, "num_passes": num_passes},
                **{"dropout": dropout, "readout": readout, "head_dim": head_dim, "max_taps": max_taps},
                **{"kinds": kinds, "preset": preset, "shared": shared, "edges": edges, "edge_dim": edge_dim},
                **{"backward": backward, "order": order, "order_seed": order_seed, "target": target, "cell": cell},
                **{"positional": positional},
            )
        )
        self.shared, self.readout, self.details = bool(shared), readout, DETAILS[preset]
        self.order, self.order_seed, self.chains_only = order, order_seed, backward or order == "shuffled"
        self.is_paper = not (target or positional or self.chains_only) and cell == "gru"
        self._check_chain(spec)
        all_kinds = kinds_of([spec], kinds)
        if self.details.heads_by_place and "attention" in all_kinds:
            self.invariant = False
        self.features = FourierFeatures(num_frequencies, scale)
        taps = max_taps or most_taps(spec)
        taps, own_kinds = taps if taps > 1 else 0, all_kinds if shared else ()
        self.builder = MapBuilder(spec, self.features, dim, taps, head_dim, self.details, own_kinds, target)
        means = 0 if readout == "output" else 1 if shared else len(spec.layers)
        self.pooled_dim = (spec.num_outputs + means + (spec.widths[0] if backward else 0)) * dim
        self.input_memory = nn.Parameter(torch.randn(spec.widths[0], dim))
        self.passes = nn.ModuleList(Pass(self.builder, number, cell) for number in range(num_passes))
        self.dropout = nn.Dropout(dropout)
        self.activations = nn.Embedding(len(ACTIVATIONS), self.features.dim) if activation_embedding else None
        self.positions = Positions(spec, dim) if positional else None
        rows = num_initial(spec, self._order(spec), self.shared)
        self.initial_memory = nn.Parameter(torch.randn(rows, dim)) if rows else None
        self.output_memory = nn.Parameter(torch.randn(spec.num_outputs, dim)) if backward else None
        self.backward_pass = Pass(self.builder, 1, cell) if backward else None
        self.edge_outputs = EdgeOutputs(self.builder, 2 * dim if backward else dim, edge_dim or dim) if edges else None

    @classmethod
    def validate(cls, options: Any) -> None:
        config.bounded(options, "dim num_frequencies num_passes head_dim", 1)
        config.bounded(options, "max_taps edge_dim order_seed", 0)
        config.bounded(options, "scale", above=0)
        config.bounded(options, "dropout", 0, below=1)
        for name, known in (("readout", get_args(Readout)), ("order", get_args(Order))):
            if getattr(options, name) not in known:
                raise InputError(unknown(name, getattr(options, name), list(known)))
        for kind in options.kinds:
            if kind not in KINDS:
                raise InputError(unknown("kind of step", kind, list(KINDS)))
        details = DETAILS[options.preset]
        CELLS[options.cell]
        if options.edge_dim and not options.edges:
            raise InputError(f"edge_dim={options.edge_dim} is of edge outputs; set edges=true as well")
        if options.order_seed and options.order == "sequential":
            raise InputError(f"order_seed={options.order_seed} is of shuffled layers; set order=shuffled as well")
        if {*options.kinds} - {"message"} and (options.backward or options.order == "shuffled"):
            raise InputError(
                f"backward walks and shuffled layers are of chains, whose steps are of the kind 'message', got "
                f"kinds={','.join(options.kinds)}; leave kinds out"
            )
        if options.positional and options.shared:
            raise InputError("positions count the layers of one architecture; set positional=false, or shared=false")
        if options.target and details.padded_taps:
            raise InputError(f"preset {options.preset!r} has no messages that know their targets; set target=false")
        if options.backward and details.silent_unbiased:
            raise InputError(f"preset {options.preset!r} has no walk backward; set backward=false")

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
        self._check_chain(spec)

    def _check_chain(self, spec: NetworkSpec) -> None:
        """InputError for networks that the orders of `order.py` are not defined for."""
        off = off_chain(spec) if self.chains_only else None
        if off is not None:
            raise InputError(
                f"backward walks and shuffled layers are defined for chains of dense layers and convolutions, got "
                f"{where(off, spec)}; set backward=false and order=sequential"
            )

    def _order(self, spec: NetworkSpec) -> tuple[int, ...]:
        """The order in which layers are updated."""
        layers = len(spec.layers)
        return tuple(range(layers)) if self.order == "sequential" else shuffled(layers, self.order_seed)

    def prepare(self, batches: Iterable[Weights]) -> None:
        """Let polynomials cover the weights and biases of the networks that are to be read (`edges.FourierMap`)."""
        largest: dict[FourierMap, Tensor] = {}
        for weights in batches:
            for at in weights.spec.schedule:
                if at.layer is None or kind_of(at.step) != "message":
                    continue
                w, b = weights.weights[at.layer], weights.biases[at.layer]
                read: list[tuple[nn.Module, Tensor | None]] = []
                for walk in [*self.passes, self.backward_pass]:
                    if isinstance(walk, Pass):
                        read += [(walk.of(at).edge, w), (walk.of(at).input, b)]
                if self.edge_outputs is not None:
                    read.append((self.edge_outputs.of(at.layer, at.step).edge, w))
                for of_map, x in read:
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
            earlier = [walk.nodes if number else [] for walk in walks] or [[] for _ in batches]
            keeps = self.edge_outputs is not None and number == len(self.passes) - 1
            walks = [self._walk(weights, nodes, keeps) for weights, nodes in zip(batches, earlier, strict=True)]
            self._writer(maps, self.positions).walk(walks)
        if self.backward_pass is None:
            return [self._encoding(walk, None) for walk in walks]
        assert self.output_memory is not None
        backs = [Backward(walk.weights, walk.output + self.output_memory, walk.nodes) for walk in walks]
        self._writer(self.backward_pass, None).walk(backs)
        return [self._encoding(walk, back) for walk, back in zip(walks, backs, strict=True)]

    def _walk(self, weights: Weights, earlier: Sequence[Tensor], keeps: bool) -> Walk:
        inputs = self.input_memory[None]
        if self.order == "sequential":
            return Walk(weights, inputs, earlier, keeps)
        return Reordered(weights, inputs, earlier, keeps, self._order(weights.spec), self.initial_memory)

    def _writer(self, maps: nn.Module, positions: Positions | None) -> Writer:
        assert isinstance(maps, Pass)
        return Writer(maps, self.features, self.details, self.dropout, self.activations, positions)

    def _encoding(self, walk: Walk, back: Backward | None) -> Encoding:
        pooled, nodes, ends = walk.output.flatten(1), walk.nodes, walk.ends
        if back is not None:
            nodes = back.nodes
            pooled = torch.cat([pooled, nodes[0].flatten(1)], dim=1)
            ends = both_walks(ends, back.ends) if ends else []
        if self.readout == "layers":
            means_BLD = torch.stack([memory.mean(1) for memory in nodes[1:]], dim=1)
            pooled = torch.cat([pooled, means_BLD.mean(1) if self.shared else means_BLD.flatten(1)], dim=1)
        edges = () if self.edge_outputs is None else self.edge_outputs(walk.weights, ends)
        return Encoding(nodes=tuple(nodes), edges=edges, pooled=pooled)

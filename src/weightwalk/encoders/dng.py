"""The DNG-Encoder: a recurrent graph network over the dynamic neural graph (Dynamic Neural Graphs, TMLR 2026, section
4).

Axes: B networks, I source nodes, O target nodes, F Fourier features, D memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from weightwalk.encoders import dng_plan
from weightwalk.encoders.base import Encoder, Encoding, encoders
from weightwalk.errors import InputError
from weightwalk.flow import Flow
from weightwalk.graphs.features import FourierFeatures
from weightwalk.registry import unknown
from weightwalk.spec import ACTIVATIONS, NetworkSpec, Scheduled
from weightwalk.steps import (
    Attention,
    Concat,
    Conv,
    Layer,
    Learned,
    Multiply,
    Norm,
    Pad,
    Patches,
    Rearrange,
    Slice,
    Step,
)
from weightwalk.weights import Weights

_CHOICES = {
    "messages": ("auto", "pair", "taps"),
    "padding": ("mask", "features"),
    "residual": ("map", "sum"),
    "attention": ("pairs", "positions"),
    "unbiased": ("zero", "message"),
    "activation_scope": ("layer", "network"),
    "readout": ("output", "layers"),
}


class Pass(nn.Module):
    """One walk over all timestamps. The recurrent cell is shared by them; maps are each step's own, or each kind's
    (`kinds`).
    """

    def __init__(self, plan: dng_plan.Plan, number: int):
        super().__init__()
        layers, between, kinds = plan.modules(number)
        self.steps = nn.ModuleList(layers)
        self.between = nn.ModuleDict(between)
        self.kinds = nn.ModuleDict(kinds)
        self.cell = nn.GRUCell(plan.dim, plan.dim)

    def of(self, step: Step, value: int, layer: int) -> Any:
        """The maps of the step that writes `value`; number `layer` among the layers, if it is one."""
        kind = dng_plan.kind_of(step)
        if kind is not None and len(self.kinds):
            return self.kinds[kind]
        return self.steps[layer] if isinstance(step, Layer) else self.between[str(value)]

    def update(self, update: Tensor, hidden: Tensor) -> Tensor:
        """The recurrent cell at every node, (B, O, D)."""
        memory: Tensor = self.cell(update.flatten(0, 1), hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return memory


@encoders.register("dng")
class DNGEncoder(Encoder):
    r"""Read a network's weights in the order in which inference uses them.

    At the timestamp t_l of a dense, convolutional or embedding layer every target node i gathers a message from its
    sources j and updates its memory:

        m_i(t_l) = sum_j  W_e^l phi(w_ij) * (W_s^l s_j(t_{l-1}))                      (Eq 4, `messages` "pair")
        m_i(t_l) = sum_j  MLP( concat_n [ W_e^l phi(w_ij,n) * (W_{s,n}^l s_j) ] )       (Eq 5, "taps")
        s_i(t_l) = Dropout(LayerNorm(GRU(input = W_b^l phi(b_i), hidden = m_i(t_l))))    (Eq 6)

    with phi random Fourier features and * elementwise. "auto" takes Eq 5 if some layer has several edges per pair. Its
    heads are
    `head_dim` numbers each, `max_taps` of them (0: as many as the spec needs); `padding`: see `dng_steps.TapMaps`.
    Input nodes start from a learned memory each. In pass p > 1 the bias term becomes a map of the memory that the node
    got in pass p - 1. With
    `activation_embedding`, a learned vector per activation function is added to phi(b) (paper, appendix: of use where
    activations vary):
    of the activation that the layer's values meet next, or with `activation_scope` "network" of the first layer's, for
    all layers.

    Other steps: a norm scales and shifts memories (`dng_steps.NormMaps`, `norm_after`), an addition sends W_r s from
    the older groups to the newest one's nodes (`residual` "map"; "sum": s), attention is `dng_steps.PairedHeads`, ours
    and equivariant, or as published (`attention` "positions"), learned values enter by their features, gates multiply,
    concatenation and slices do to memories what they do to channels, pooling and activations nothing. A layer without
    biases enters with b = 0, or (`unbiased` "message") its new memories are its messages, without an update.

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
        messages: Literal["auto", "pair", "taps"] = "auto",
        head_dim: int = 16,
        max_taps: int = 0,
        padding: Literal["mask", "features"] = "mask",
        residual: Literal["map", "sum"] = "map",
        attention: Literal["pairs", "positions"] = "pairs",
        norm_after: bool = False,
        unbiased: Literal["zero", "message"] = "zero",
        activation_scope: Literal["layer", "network"] = "layer",
        shared: bool = False,
        kinds: tuple[str, ...] = (),
        readout: Literal["output", "layers"] = "output",
    ):
        super().__init__(spec)
        if min(dim, num_frequencies, num_passes, head_dim) < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"a DNG-Encoder needs dim, num_frequencies, num_passes and head_dim >= 1 and 0 <= dropout < 1, "
                f"got {dim}, {num_frequencies}, {num_passes}, {head_dim} and {dropout}"
            )
        choices = {"messages": messages, "padding": padding, "residual": residual, "attention": attention}
        for name, choice in (
            choices | {"unbiased": unbiased, "activation_scope": activation_scope, "readout": readout}
        ).items():
            if choice not in _CHOICES[name]:
                raise InputError(unknown(name, choice, list(_CHOICES[name])))
        taps = max(dng_plan.most_taps(spec), max_taps)
        self.shared, self.unbiased, self.activation_scope, self.readout = shared, unbiased, activation_scope, readout
        if attention == "positions" and "attention" in dng_plan.kinds_of([spec], kinds):
            self.invariant = False
        self.features = FourierFeatures(num_frequencies, scale)
        self.plan = dng_plan.Plan(
            spec,
            dim,
            self.features.dim,
            taps if messages == "taps" or (messages == "auto" and taps > 1) else 0,
            head_dim,
            padding,
            residual,
            attention,
            norm_after,
            dng_plan.kinds_of([spec], kinds) if shared else (),
            dng_plan.shared_places(spec),
        )
        self.plan.check(spec)
        means = 0 if readout == "output" else 1 if shared else len(spec.layers)
        self.pooled_dim = (spec.num_outputs + means) * dim
        self.input_memory = nn.Parameter(torch.randn(spec.widths[0], dim))
        self.passes = nn.ModuleList(Pass(self.plan, number) for number in range(num_passes))
        self.dropout = nn.Dropout(dropout)
        self.activations = nn.Embedding(len(ACTIVATIONS), self.features.dim) if activation_embedding else None

    @classmethod
    def covering(cls, specs: Sequence[NetworkSpec]) -> dict[str, Any]:
        """The options with which an encoder for one of `specs` reads all of them."""
        return {"shared": True, "kinds": dng_plan.kinds_of(specs), "max_taps": max(map(dng_plan.most_taps, specs))}

    def check(self, spec: NetworkSpec) -> None:
        """InputError for networks of another shape; with `shared`, for those whose inputs, outputs or steps don't
        fit.
        """
        if not self.shared:
            super().check(spec)
            self.plan.check(spec)
            return
        own, got = (self.spec.widths[0], self.spec.num_outputs), (spec.widths[0], spec.num_outputs)
        if got != own:
            raise InputError(
                f"this model reads networks of {own[0]} inputs and {own[1]} outputs, got {got[0]} and {got[1]} in "
                f"{spec}; "
                "use a model trained on such networks"
            )
        self.plan.check(spec)

    def read(self, weights: Weights) -> Encoding:
        inputs = self.input_memory.expand(len(weights), -1, -1)
        nodes: list[Tensor] = []
        output = inputs
        for walk in self.passes:
            nodes, output = self._walk(cast(Pass, walk), weights, inputs, nodes)
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
        spec, facts = weights.spec, weights.spec.flow
        settled: dict[int, Tensor] = {}

        def visit(at: Scheduled, read: list[Tensor]) -> Tensor:
            if at.layer is not None:
                memory = self._layer(walk, at.value, weights, facts, at.layer, read[0], earlier)
            else:
                memory = _between(walk, at.value, spec, facts, read)
            if at.value in facts.settled:
                settled[at.value] = memory
            return memory

        output = spec.walk(inputs_BID, visit)
        return [inputs_BID, *(settled[value] for value in facts.settled)], output

    def _layer(
        self, walk: Pass, value: int, weights: Weights, facts: Flow, layer: int, source: Tensor, earlier: list[Tensor]
    ) -> Tensor:
        """The memories of a layer's nodes."""
        step, w, bias = weights.spec.steps[value - 1], weights.weights[layer], weights.biases[layer]
        own = walk.of(step, value, layer)
        memory: Tensor
        if isinstance(step, Learned):
            memory = own(w, self.features)
            return memory
        if isinstance(step, Norm):
            memory = own(source, self.features(w), self._bias_features(weights, facts, layer))
            return memory
        memory = own.gather(w, self.features, source, step.groups if isinstance(step, Conv) else 1)
        if bias is not None or self.unbiased == "zero":
            memory = walk.update(
                own.input(earlier[layer + 1] if earlier else self._bias_features(weights, facts, layer)), memory
            )
        memory = self.dropout(own.norm(memory))
        return memory

    def _bias_features(self, weights: Weights, facts: Flow, layer: int) -> Tensor:
        """phi(b), (B, O, F), and the vector of the activation."""
        bias_BO = weights.biases[layer]
        if bias_BO is None:
            bias_BO = weights.weights[layer].new_zeros(len(weights), weights.spec.layers[layer].fan_out)
        features_BOF: Tensor = self.features(bias_BO)
        if self.activations is None:
            return features_BOF
        name = facts.activations[0 if self.activation_scope == "network" else layer]
        embedding_F: Tensor = self.activations(torch.tensor(list(ACTIVATIONS).index(name), device=features_BOF.device))
        return features_BOF + embedding_F


def _between(walk: Pass, value: int, spec: NetworkSpec, facts: Flow, read: list[Tensor]) -> Tensor:
    """The memories after a step without parameters: moved as it moves channels, or by its maps."""
    step, first = spec.steps[value - 1], read[0]
    own = None if dng_plan.kind_of(step) is None else walk.of(step, value, -1)
    if own is not None:
        memory: Tensor
        if isinstance(step, Attention):
            count = step.kv_heads or step.heads  # keys and values that serve several heads stand for several
            keys, values = (
                memory.unflatten(1, (count, -1)).repeat_interleave(step.heads // count, 1).flatten(1, 2)
                for memory in read[1:]
            )
            memory = own(first, keys, values, step.heads)
        elif isinstance(step, Patches):
            memory = own(first, step.fan_out)
        else:
            target = facts.targets[value]
            there = [_mask(facts.present[source], first) for source in spec.sources(value)]
            others = [place for place in range(len(read)) if place != target]
            memory = own(read[target], [read[place] for place in others], [there[place] for place in others])
        return memory
    match step:
        case Multiply():
            return reduce(torch.mul, read)
        case Concat():
            return torch.cat(read, dim=1)
        case Slice():
            return first[:, step.start : step.start + step.fan_out]
        case Pad():
            return nn.functional.pad(first, (0, 0, step.before, step.fan_out - step.fan_in - step.before))
        case Rearrange():
            origins = step.origins
            distinct = {origin: number for number, origin in enumerate(dict.fromkeys(origins))}
            means = torch.stack([first[:, list(origin)].mean(1) for origin in distinct], dim=1)
            return means[:, [distinct[origin] for origin in origins]]
    return first


def _mask(present: tuple[bool, ...], like: Tensor) -> Tensor | None:
    return None if all(present) else torch.tensor(present, dtype=like.dtype, device=like.device)

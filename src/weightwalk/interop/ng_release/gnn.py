"""The release's graph network: PNA with modulated messages and edge updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from weightwalk.encoders.ng_gnn import MinibatchNorm, NGGNNEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.reader import Reader
from weightwalk.interop.dng_release.names import both, fill, get
from weightwalk.interop.ng_release import front
from weightwalk.registry import unknown

_FIXED = {
    "aggregators": ["mean", "min", "max", "std"],
    "scalers": ["identity", "amplification"],
    "modulate_edges": True,
    "gating_edges": False,
    "update_edge_attr": True,
    "final_edge_update": False,
    "act": "silu",
}
"""The release's settings that our encoder has no other values of."""

_CONVOLUTION = {"film": "edge_encoder", "message": "pre_nns.0.0", "update": "post_nns.0.0", "output": "lin"}
_EDGES = {"edge": "lin_e", "source": "lin_s", "target": "lin_t", "output": "lin1"}


def gnn(state_dict: Mapping[str, Tensor], widths: Sequence[int], config: Mapping[str, Any]) -> Reader:
    """A reader of MLPs of these widths."""
    given = front.settings(config)
    for name, value in _FIXED.items():
        if name in given and given[name] != value:
            raise InputError(f"expected the release's {name} to be {value}, got {given[name]}")
    norm = given.get("norm", "minibatch")
    if norm not in ("minibatch", "node", "layernorm"):  # theirs is called layernorm, and looks at the batch
        raise InputError(unknown("norm", norm, ["minibatch", "node"]))
    num_layers = front.counted(state_dict, r"gnn\.convs\.(\d+)\.")
    dim = len(get(state_dict, "construct_graph.proj_node_in.weight", 2))
    encoder = NGGNNEncoder(front.network(widths, given), dim, num_layers, **front.options(state_dict, given))
    if norm != "node":
        for number in range(len(encoder.norms)):
            encoder.norms[number] = MinibatchNorm(dim)
    head, names = front.head(state_dict, encoder.pooled_dim)
    of_front, made, spent = front.front(encoder.graph_input, state_dict, given)
    names |= of_front
    for number in range(num_layers):
        for ours, theirs in _CONVOLUTION.items():
            names |= both(f"encoder.convolutions.{number}.{ours}", f"gnn.convs.{number}.{theirs}")
        spent |= {f"gnn.convs.{number}.aggr_module.avg_deg_{kind}" for kind in ("lin", "log")}
    for number in range(num_layers - 1):
        names |= both(f"encoder.norms.{number}", f"gnn.norms.{number}")
        for ours, theirs in _EDGES.items():
            names |= both(f"encoder.edge_updates.{number}.{ours}", f"gnn.edge_update.{number}.{theirs}")
    degrees = state_dict.get("gnn.convs.0.aggr_module.avg_deg_log", encoder.delta)
    made["encoder.delta"] = degrees.reshape(())
    return fill(Reader(encoder, head), names, state_dict, made, spent)

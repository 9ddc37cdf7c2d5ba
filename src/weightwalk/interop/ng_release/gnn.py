"""The release's graph network: PNA with modulated messages and edge updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from weightwalk.encoders.ng_gnn import MinibatchNorm, NGGNNEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.reader import Reader
from weightwalk.interop.dng_release.names import both, fill, get, inside
from weightwalk.interop.ng_release.graph import counted, graph_options, graph_parameters, head, network
from weightwalk.interop.ng_release.offsets import Offsets, is_editor, offset_head
from weightwalk.registry import unknown

_FIXED = {
    "aggregators": ["mean", "min", "max", "std"],
    "scalers": ["identity", "amplification"],
    "modulate_edges": True,
    "gating_edges": False,
    "update_edge_attr": True,
    "act": "silu",
}
"""The release's settings that our encoder has no other values of."""

_CONVOLUTION = {"film": "edge_encoder", "message": "pre_nns.0.0", "update": "post_nns.0.0", "output": "lin"}
_EDGES = {"edge": "lin_e", "source": "lin_s", "target": "lin_t", "output": "lin1"}


def gnn(state_dict: Mapping[str, Tensor], widths: Sequence[int], config: Mapping[str, Any]) -> Reader | Offsets:
    """NG-GNN for MLPs of these widths with its MLP as head, or with the head that answers nodes and edges.

    The release updates no edge behind its last layer, though it may have parameters for that: an editor reads edges as
    they are before it.
    """
    for name, value in _FIXED.items():
        if name in config and config[name] != value:
            raise InputError(f"expected the release's {name} to be {value}, got {config[name]}")
    norm = config.get("norm", "minibatch")
    if norm not in ("minibatch", "node", "layernorm"):  # theirs is called layernorm, and looks at the batch
        raise InputError(unknown("norm", str(norm), ["minibatch", "node"]))
    bias_nodes = config.get("bias_nodes", "first")
    if bias_nodes not in ("first", "own"):
        raise InputError(unknown("bias_nodes", str(bias_nodes), ["first", "own"]))
    num_layers = counted(state_dict, r"gnn\.convs\.(\d+)\.")
    dim = len(get(state_dict, "construct_graph.proj_node_in.weight", 2))
    options = graph_options(state_dict, config)
    encoder = NGGNNEncoder(network(widths, config), dim, num_layers, edges=is_editor(state_dict), **options)
    encoder.edge_updates = encoder.edge_updates[: num_layers - 1]
    if norm != "node":
        for number in range(len(encoder.norms)):
            encoder.norms[number] = MinibatchNorm(dim)
    of_graph, of_buffers, spent = graph_parameters(state_dict, widths, config)
    names = inside("encoder", of_graph)
    made = {f"encoder.{ours}": x for ours, x in of_buffers.items()}
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
    spent |= {name for name in state_dict if name.startswith(f"gnn.edge_update.{num_layers - 1}.")}  # never read
    if not is_editor(state_dict):
        classifier, of_head = head(state_dict, encoder.pooled_dim)
        return fill(Reader(encoder, classifier), names | of_head, state_dict, made, spent)
    editor, of_head, scales, of_scales = offset_head(state_dict, encoder.spec)
    model = Offsets(encoder, editor, from_inputs=bias_nodes == "first")
    return fill(model, names | of_head, state_dict, made | scales, spent | of_scales)

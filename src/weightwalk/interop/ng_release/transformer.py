"""The release's NG-T, `RelationalTransformer` and `RelationalTransformerParams`, as our encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from weightwalk.encoders.ng_t import NGTEncoder
from weightwalk.errors import InputError
from weightwalk.frameworks.reader import Reader
from weightwalk.interop.dng_release.names import both, fill, get, inside
from weightwalk.interop.ng_release.graph import counted, graph_options, graph_parameters, head, network
from weightwalk.interop.ng_release.offsets import Offsets, is_editor, offset_head

_LAYER = {  # ours: theirs
    "attention.out": "self_attn.proj_out",
    "nodes.gathered": "lin0",
    "nodes.norm": "node_ln0",
    "nodes.widen": "node_mlp.0",
    "nodes.narrow": "node_mlp.2",
    "nodes.last_norm": "node_ln1",
    "edges.both": "edge_updates.edge_mlp0.lin0_e",
    "edges.source": "edge_updates.edge_mlp0.lin0_s",
    "edges.target": "edge_updates.edge_mlp0.lin0_t",
    "edges.first": "edge_updates.edge_mlp0.lin1",
    "edges.norm": "edge_updates.eln0",
    "edges.widen": "edge_updates.edge_mlp1.0",
    "edges.narrow": "edge_updates.edge_mlp1.2",
    "edges.last_norm": "edge_updates.eln1",
}
_NO_BIAS = ("nodes.widen", "edges.widen")


def transformer(state_dict: Mapping[str, Tensor], widths: Sequence[int], config: Mapping[str, Any]) -> Reader | Offsets:
    """NG-T for MLPs of these widths with its MLP as head, or with the head that answers nodes and edges."""
    num_layers, num_heads = counted(state_dict, r"layers\.(\d+)\."), config.get("n_heads")
    place, last = "layers.0.", f"layers.{num_layers - 1}."
    attention_dim = len(get(state_dict, f"{place}self_attn.qkv_node.weight", 2)) // 3
    if not isinstance(num_heads, int) or num_heads < 1 or attention_dim % num_heads:
        raise InputError(
            f"expected in config the release's n_heads, which divides the attention's width {attention_dim}, got "
            f"{num_heads}; the parameters do not tell it"
        )
    per_pair, edge_dim = get(state_dict, f"{place}self_attn.qkv_edge.weight", 2).shape
    node_hidden, node_dim = get(state_dict, f"{place}node_mlp.0.weight", 2).shape
    encoder = NGTEncoder(
        network(widths, config),
        node_dim=node_dim,
        edge_dim=edge_dim,
        attention_dim=attention_dim,
        node_hidden=node_hidden,
        edge_hidden=len(state_dict.get(f"{place}edge_updates.edge_mlp1.0.weight", "?")),
        num_layers=num_layers,
        num_heads=num_heads,
        modulated=per_pair == 4 * attention_dim,
        edges=f"{last}edge_updates.edge_mlp1.0.weight" in state_dict,
        **graph_options(state_dict, config),
    )
    of_graph, of_buffers, spent = graph_parameters(state_dict, widths, config)
    names, made = inside("encoder", of_graph), {f"encoder.{ours}": x for ours, x in of_buffers.items()}
    for place in (f"layers.{number}." for number in range(num_layers)):
        for ours, theirs in _LAYER.items():
            if place != last or encoder.edges or not ours.startswith("edges."):
                own = both(f"encoder.{place}{ours}", place + theirs)
                names |= {name: own[name] for name in own if not (ours in _NO_BIAS and name.endswith("bias"))}
        for ours, theirs in (("of_nodes", "qkv_node"), ("of_pairs", "qkv_edge")):
            spent.add(name := f"{place}self_attn.{theirs}.weight")
            of_heads = get(state_dict, name, 2).unflatten(0, (num_heads, -1, attention_dim // num_heads))
            made[f"encoder.{place}attention.{ours}.weight"] = of_heads.transpose(0, 1).flatten(0, 2)
    if not is_editor(state_dict):
        classifier, of_head = head(state_dict, encoder.pooled_dim)
        return fill(Reader(encoder, classifier), names | of_head, state_dict, made, spent)
    editor, of_head, scales, of_scales = offset_head(state_dict, encoder.spec)
    return fill(Offsets(encoder, editor), names | of_head, state_dict, made | scales, spent | of_scales)

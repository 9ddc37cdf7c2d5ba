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


def transformer(state_dict: Mapping[str, Tensor], widths: Sequence[int], config: Mapping[str, Any]) -> Reader:
    """NG-T that reads MLPs of these widths, with its MLP as head, in evaluation mode.

    Everything is read off the parameters but the setting `n_heads`, and `stats` (`weights_mean`, `weights_std`,
    `biases_mean`, `biases_std` per layer; without them nothing is standardised).
    """
    spec = network(widths, config)
    num_layers, num_heads = counted(state_dict, r"layers\.(\d+)\."), config.get("n_heads")
    if num_heads is None:
        raise InputError("expected the release's setting n_heads in config, which the parameters do not tell, got none")
    first = "layers.0."
    attention_dim = get(state_dict, f"{first}self_attn.qkv_node.weight", 2).shape[0] // 3
    per_pair, edge_dim = get(state_dict, f"{first}self_attn.qkv_edge.weight", 2).shape
    if attention_dim % num_heads:
        raise InputError(f"expected n_heads that divide the attention's width, {attention_dim}, got {num_heads}")
    with_edges = f"{first}edge_updates.edge_mlp1.0.weight"
    hidden, node_dim = get(state_dict, f"{first}node_mlp.0.weight", 2).shape
    encoder = NGTEncoder(
        spec,
        node_dim=node_dim,
        edge_dim=edge_dim,
        attention_dim=attention_dim,
        node_hidden=hidden,
        edge_hidden=len(state_dict[with_edges]) if with_edges in state_dict else 1,
        num_layers=num_layers,
        num_heads=num_heads,
        modulated=per_pair == 4 * attention_dim,
        edges=f"layers.{num_layers - 1}.edge_updates.edge_mlp1.0.weight" in state_dict,
        **graph_options(state_dict, config),
    )
    names, made, spent = graph_parameters(state_dict, widths, config)
    for place in (f"layers.{number}." for number in range(num_layers)):
        for ours, theirs in _LAYER.items():
            if f"{place}{theirs}.weight" in state_dict or not ours.startswith("edges."):
                own = both(place + ours, place + theirs)
                names |= {name: own[name] for name in own if not (ours in _NO_BIAS and name.endswith("bias"))}
        for ours, theirs in (("of_nodes", "qkv_node"), ("of_pairs", "qkv_edge")):
            spent.add(name := f"{place}self_attn.{theirs}.weight")
            of_heads = get(state_dict, name, 2).unflatten(0, (num_heads, -1, attention_dim // num_heads))
            made[f"{place}attention.{ours}.weight"] = of_heads.transpose(0, 1).flatten(0, 2)
    classifier, of_head = head(state_dict, encoder.pooled_dim)
    names = inside("encoder", names) | of_head
    return fill(Reader(encoder, classifier), names, state_dict, inside_of("encoder", made), spent)


def inside_of(module: str, made: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same where ours are the tensors of a submodule."""
    return {f"{module}.{ours}": tensor for ours, tensor in made.items()}

"""The authors' parameters of NG-T in our modules give the authors' numbers, at other sizes too."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from test_ng_release import TOLERANCE, golden

from weightwalk import InputError
from weightwalk.interop import ng_release
from weightwalk.testing import assert_close, plain_graphs, random_weights


@torch.no_grad()
@pytest.mark.parametrize("probes", [0, 4])
def test_the_transformer_gives_the_release_s_numbers(probes):
    parameters, weights, out, settings = golden(f"ng_t_probe{probes}_2-8-8-1")
    reader = ng_release.load(parameters, weights.spec.widths, "ng_t", settings)
    assert reader.encoder.access == ("query" if probes else "weights")
    places = ["graph", "layer0", "layer1"]
    for place, (nodes, pairs) in zip(places, reader.encoder.states(weights), strict=True):
        assert_close(nodes, out[f"{place}_nodes"], what=f"nodes of {place}", **TOLERANCE)
        assert_close(pairs, out[f"{place}_edges"], what=f"edges of {place}", **TOLERANCE)
    assert_close(reader(weights), out["y"], what="answers", **TOLERANCE)
    assert_close(reader(weights[:1]), out["y_sample0_alone"], what="alone", **TOLERANCE)
    plain = reader.head(plain_graphs.pooled(reader.encoder, weights))
    assert_close(plain, out["y"], what="answers of the plain form", **TOLERANCE)


def editing(widths, node_dim=6, edge_dim=4, attention_dim=12, hidden=(5, 7), num_layers=2, factor=3):
    """Parameters as the release's editing transformer has them: reverse edges, no Fourier features."""
    shapes = {"construct_graph.pos_embed": (widths[0] + len(widths) - 2 + widths[-1], node_dim)}

    def linear(name, o, i, bias=True):
        shapes[f"{name}.weight"] = (o, i)
        shapes.update({f"{name}.bias": (o,)} if bias else {})

    def norm(name, d):
        shapes.update({f"{name}.weight": (d,), f"{name}.bias": (d,)})

    for name, o, i in (("proj_bias.0", node_dim, 1), ("proj_weight.0", edge_dim, 3)):
        linear(f"construct_graph.{name}", o, i)
    linear("construct_graph.proj_node_in", node_dim, node_dim)
    linear("construct_graph.proj_edge_in", edge_dim, edge_dim)
    for place in (f"layers.{number}." for number in range(num_layers)):
        linear(f"{place}self_attn.qkv_node", 3 * attention_dim, node_dim, bias=False)
        linear(f"{place}self_attn.qkv_edge", factor * attention_dim, edge_dim, bias=False)
        linear(f"{place}self_attn.proj_out", node_dim, attention_dim)
        linear(f"{place}lin0", node_dim, node_dim)
        linear(f"{place}node_mlp.0", hidden[0], node_dim, bias=False)
        linear(f"{place}node_mlp.2", node_dim, hidden[0])
        own = f"{place}edge_updates."
        linear(f"{own}edge_mlp0.lin0_e", hidden[1], 2 * edge_dim)
        linear(f"{own}edge_mlp0.lin0_s", hidden[1], node_dim)
        linear(f"{own}edge_mlp0.lin0_t", hidden[1], node_dim)
        linear(f"{own}edge_mlp0.lin1", edge_dim, hidden[1])
        linear(f"{own}edge_mlp1.0", hidden[1], edge_dim, bias=False)
        linear(f"{own}edge_mlp1.2", edge_dim, hidden[1])
        for name, d in ((f"{place}node_ln", node_dim), (f"{own}eln", edge_dim)):
            norm(f"{name}0", d)
            norm(f"{name}1", d)
    for name, d in (("proj_edge", edge_dim), ("proj_node", node_dim)):
        linear(f"{name}.0", d, d)
        linear(f"{name}.2", 1, d)
    for layer in range(len(widths) - 1):
        shapes |= {f"weight_scale.{layer}": (), f"bias_scale.{layer}": ()}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def by_the_names(parameters, weights, heads):
    """Spec section 3, on the release's names: offsets of every layer's weight (B, O, I) and bias."""

    def lin(name, x):
        return F.linear(x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], parameters[f"{name}.weight"], parameters[f"{name}.bias"])

    widths = weights.spec.widths
    groups = torch.arange(sum(widths)).split(widths)
    nodes, edges = torch.zeros(len(weights), sum(widths), 1), torch.zeros(len(weights), sum(widths), sum(widths), 1)
    for layer, (w, b) in enumerate(zip(weights.weights, weights.biases, strict=True)):
        edges[:, groups[layer][:, None], groups[layer + 1], 0] = w.mT
        nodes[:, groups[layer + 1], 0] = b
    turned = edges.transpose(1, 2)
    n = lin("construct_graph.proj_node_in", lin("construct_graph.proj_bias.0", nodes))
    e = torch.cat([edges, turned, edges + turned], dim=-1)
    e = lin("construct_graph.proj_edge_in", lin("construct_graph.proj_weight.0", e))
    inputs, outputs = [1] * widths[0], [1] * widths[-1]
    n = n + parameters["construct_graph.pos_embed"].repeat_interleave(
        torch.tensor([*inputs, *widths[1:-1], *outputs]), dim=0
    )
    for number in range(2):
        p = f"layers.{number}."
        q, k, v = lin(f"{p}self_attn.qkv_node", n).unflatten(2, (heads, -1)).transpose(1, 2).chunk(3, -1)
        of_pairs = lin(f"{p}self_attn.qkv_edge", e).unflatten(3, (heads, -1)).permute(0, 3, 1, 2, 4).chunk(3, -1)
        scores = ((q[:, :, :, None] + of_pairs[0]) * (k[:, :, None] + of_pairs[1])).sum(-1)
        alpha = (scores / (heads * q.shape[-1]) ** 0.5).softmax(-1)
        o = (alpha[..., None] * (v[:, :, None] + of_pairs[2])).sum(3).transpose(1, 2).flatten(2)
        n = norm(f"{p}node_ln0", n + lin(f"{p}lin0", lin(f"{p}self_attn.proj_out", o)))
        n = norm(f"{p}node_ln1", n + lin(f"{p}node_mlp.2", F.gelu(lin(f"{p}node_mlp.0", n))))
        u = f"{p}edge_updates."
        ends = lin(f"{u}edge_mlp0.lin0_s", n)[:, :, None] + lin(f"{u}edge_mlp0.lin0_t", n)[:, None]
        x = F.gelu(lin(f"{u}edge_mlp0.lin0_e", torch.cat([e, e.transpose(1, 2)], -1)) + ends)
        e = norm(f"{u}eln0", e + lin(f"{u}edge_mlp0.lin1", x))
        e = norm(f"{u}eln1", e + lin(f"{u}edge_mlp1.2", F.gelu(lin(f"{u}edge_mlp1.0", e))))
    n = lin("proj_node.2", lin("proj_node.0", n).relu())[..., 0]
    e = lin("proj_edge.2", lin("proj_edge.0", e).relu())[..., 0]
    for layer, (source, target) in enumerate(pairwise(groups)):
        yield e[:, source[:, None], target].mT * parameters[f"weight_scale.{layer}"]
        yield n[:, target] * parameters[f"bias_scale.{layer}"]


@torch.no_grad()
def test_offsets_of_nodes_and_edges_at_other_sizes():
    widths = (3, 4, 5, 2)
    parameters = editing(widths)
    model = ng_release.load(parameters, widths, "ng_t", {"n_heads": 3})
    weights = random_weights(model.encoder.spec, 2, seed=0)
    expected = torch.cat([x.flatten(1) for x in by_the_names(parameters, weights, heads=3)], dim=1)
    assert_close(model(weights), expected, what="offsets", atol=1e-4)


def test_settings_that_do_not_fit_are_refused():
    parameters, weights, _, settings = golden("ng_t_probe0_2-8-8-1")
    for config, sentence in (
        ({}, "expected in config the release's n_heads"),
        (settings | {"n_heads": 5}, "n_heads, which divides the attention's width 16, got 5"),
        (settings | {"use_ln": False}, "expected use_ln=True in the release's settings"),
    ):
        with pytest.raises(InputError, match=sentence):
            ng_release.load(parameters, weights.spec.widths, "ng_t", config)
    with pytest.raises(InputError, match="stats of 4 layers"):
        ng_release.load(parameters, (2, 8, 8, 8, 1), "ng_t", settings)
    with pytest.raises(InputError, match="for these widths"):
        ng_release.load(parameters, (3, 8, 8, 1), "ng_t", settings)

"""The plain forms of NG-GNN and NG-T agree with ours and with the release; wrong ones are told apart."""

import pytest
import torch

from weightwalk.encoders import NGGNNEncoder, NGTEncoder
from weightwalk.encoders.graph_blocks import layer_edges
from weightwalk.encoders.ng_t import of_block
from weightwalk.testing import assert_close, plain_graphs, random_weights, tiny_specs

SIZES = {
    NGGNNEncoder: {"dim": 8, "num_layers": 3},
    NGTEncoder: {
        **{"node_dim": 8, "edge_dim": 4, "attention_dim": 8, "node_hidden": 8, "edge_hidden": 6},
        **{"num_layers": 2, "num_heads": 2},
    },
}


def encoder_for(kind, weights, **options):
    encoder = kind(weights.spec, **{"num_frequencies": 4} | SIZES[kind] | options).to(weights.dtype).eval()
    encoder.prepare([weights])
    return encoder


def networks(name="siren"):
    return random_weights(tiny_specs()[name], 2, seed=0, dtype=torch.float64)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("siren", {"reverse": True, "num_probes": 3, "output_offset": 0.5}),
        ("deep", {"reverse": False}),
        ("no bias", {"num_frequencies": 0, "reverse": True, "positional": False}),
    ],
)
def test_ours_are_the_plain_forms(kind, name, options):
    weights = networks(name)
    encoder = encoder_for(kind, weights, **options, edges=True)
    encoding, (nodes, pairs) = encoder(weights), plain_graphs.state(encoder, weights)
    graph, tolerance = encoder.graph_input.graph, {"atol": 1e-6, "rtol": 1e-6}  # delta is of single precision
    edges = layer_edges(graph, [of_block(block, pairs) for block in graph.blocks])
    for expected, ours in zip(nodes.split(weights.spec.widths, dim=1), encoding.nodes, strict=True):
        assert_close(ours, expected, what="nodes", **tolerance)
    for expected, ours in zip(edges, encoding.edges, strict=True):
        assert_close(ours, expected, what="edges", **tolerance)
    assert_close(encoding.pooled, plain_graphs.pooled(encoder, weights), what="pooled", **tolerance)


@pytest.mark.parametrize("kind", SIZES)
def test_their_gradients_are_ours(kind):
    weights = networks()
    encoder = encoder_for(kind, weights)
    found = []
    for read in (plain_graphs.pooled, lambda encoder, given: encoder.encode(given)):
        loss = (read(encoder, weights).sin() * torch.arange(8)).sum()
        found.append(torch.autograd.grad(loss, [*encoder.parameters()]))
    for expected, ours in zip(*found, strict=True):
        assert_close(ours, expected, what="gradient", atol=1e-6, rtol=1e-6)


def test_wrong_forms_are_told_apart(monkeypatch):
    weights = networks()
    wrong = {
        "edges_of": lambda spec: right(spec).T,
        "features": lambda of, x: of.linear(torch.cat([(x @ of.frequencies).sin(), (x @ of.frequencies).cos()], -1)),
    }
    right = plain_graphs.edges_of
    encoder = encoder_for(NGGNNEncoder, weights, reverse=False)
    for name, form in wrong.items():
        with monkeypatch.context() as context:
            context.setattr(plain_graphs, name, form)
            assert (plain_graphs.pooled(encoder, weights) - encoder.encode(weights)).abs().max() > 1e-3


def test_what_is_no_chain_of_dense_layers_is_refused():
    weights = networks("conv")
    with pytest.raises(ValueError, match="expected a chain of plain dense layers"):
        plain_graphs.state(encoder_for(NGTEncoder, weights), weights)

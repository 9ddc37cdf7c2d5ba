"""NFN: orders that do not count, edge outputs, refusals; a layer that looks at the wrong neighbour is caught."""

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig, NFNEncoder
from weightwalk.encoders.nfn_layers import NFNLayer
from weightwalk.testing import assert_close, assert_equivariant, assert_invariant, random_weights, tiny_specs

SMALL = {"dim": 6, "num_frequencies": 3, "num_layers": 2}


@pytest.mark.parametrize("name", ["deep", "no hidden layer", "mixed", "conv"])
@pytest.mark.parametrize(
    "options", [{"edges": True}, {"variant": "np", "edges": True}, {"variant": "np", "io_encoding": "learned"}], ids=str
)
def test_orders_of_hidden_nodes_do_not_count(name, options):
    spec = tiny_specs()[name]
    encoder, weights = NFNEncoder(spec, **SMALL, **options), random_weights(spec, 2, seed=0)
    encoder.prepare([weights])
    assert_invariant(encoder, weights)
    assert_equivariant(encoder, weights)
    encoding = encoder(weights)
    sum(tensor.sum() for tensor in (encoding.pooled, *encoding.nodes, *encoding.edges)).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("variant", "told", "noticed"),
    [("np", "none", False), ("np", "sinusoidal", True), ("np", "learned", True), ("hnp", None, True)],
)
def test_inputs_and_outputs_are_told_apart_unless_nobody_does(variant, told, noticed):
    spec = tiny_specs()["deep"]
    encoder, weights = NFNEncoder(spec, variant, io_encoding=told, **SMALL), random_weights(spec, 2, seed=0)
    for change in (lambda w, b: (w[0].flip(2), w[-1], b[-1]), lambda w, b: (w[0], w[-1].flip(1), b[-1].flip(1))):
        first, last, bias = change(weights.weights, weights.biases)
        other = Weights.of(spec, [first, *weights.weights[1:-1], last], [*weights.biases[:-1], bias])
        difference = (encoder.encode(other) - encoder.encode(weights)).abs().max()
        assert difference > 1e-4 if noticed else difference < 1e-6


def test_kernels_have_fewer_channels_unless_told():
    inr, cnn = (NFNEncoder(tiny_specs()[name]).layers[0] for name in ("siren", "conv"))
    assert [(layer.in_channels, layer.out_channels) for layer in (inr, cnn)] == [(64, 64), (1, 16)]
    assert NFNEncoder(tiny_specs()["conv"], dim=5, num_frequencies=3).layers[0].in_channels == 6


class LooksAtTheWrongNeighbour(NFNLayer):
    """Two hidden groups of one size are mistaken for each other: shapes are right."""

    def _nodes(self, features):
        nodes = super()._nodes(features)
        return [nodes[0], nodes[2], nodes[1], *nodes[3:]]


def test_a_layer_that_looks_at_the_wrong_neighbour_is_caught():
    spec = NetworkSpec.mlp([2, 5, 5, 1])
    encoder, weights = NFNEncoder(spec, "np", **SMALL), random_weights(spec, 2, seed=0)
    assert_equivariant(encoder, weights)
    encoder.layers[1] = LooksAtTheWrongNeighbour(encoder.of, 6, 6)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(encoder, weights)


def test_a_layer_is_its_definition():
    """W'_ij = M [g ; n_i ; n_j ; W_ij] + c on the concatenation itself, for a middle layer of np."""
    spec = NetworkSpec.mlp([3, 5, 4, 2])
    encoder = NFNEncoder(spec, "np", channels=(2,), num_frequencies=0, io_encoding="none", standardise=False)
    layer, weights = encoder.layers[0].double(), random_weights(spec, 1, seed=0, dtype=torch.float64)
    (w1, w2, w3), (b1, b2, b3) = ([tensor[0] for tensor in tensors] for tensors in (weights.weights, weights.biases))
    network = torch.stack([x.mean() for pair in zip((w1, w2, w3), (b1, b2, b3), strict=True) for x in pair])
    of_sources = torch.stack([w1.mean(1), b1, w2.mean(0)], dim=1)
    of_targets = torch.stack([w2.mean(1), b2, w3.mean(0)], dim=1)
    rows = [torch.cat([network, of_targets[i], of_sources[j], w2[i, j, None]]) for i in range(4) for j in range(5)]
    expected = layer.of_weights[1](torch.stack(rows)).reshape(4, 5, 2)
    features = layer(encoder.double()._features(weights))
    assert_close(features.weights[1][0, :, :, 0], expected, what="weights of layer 1")
    assert_close(features.biases[1][0], layer.of_biases[1](torch.cat([network.expand(4, -1), of_targets], 1)), what="b")


def test_it_standardises_each_tensor_and_drops_only_in_training():
    spec = tiny_specs()["mixed"]
    encoder = NFNEncoder(spec, dropout=0.5, standardise=True, **SMALL)
    weights = random_weights(spec, 50, seed=0)
    encoder.prepare([weights[:20], weights[20:]])
    assert encoder.standardise.std[1] == 1  # no bias there
    torch.testing.assert_close(encoder.standardise.std[2], weights.weights[1].std(correction=0))
    drawn, kept = encoder.encode(weights), encoder.eval().encode(weights)
    assert (drawn - kept).abs().max() > 1e-3
    torch.testing.assert_close(encoder.encode(weights), kept)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("residual", {}, r"chains of dense layers and convolutions, step 1 \(norm\)"),
        ("grouped", {}, r"step 1 \(conv\)"),
        ("vit", {}, r"step 0 \(patches\)"),
        ("siren", {"variant": "hp"}, "variant"),
        ("siren", {"channels": (16, 0)}, "channels must be a number of at least 1"),
        ("siren", {"num_layers": 0}, "num_layers must be a number of at least 1"),
    ],
)
def test_what_it_can_not_read_is_refused(name, options, sentence):
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("nfn", **options).build(tiny_specs()[name])


@pytest.mark.parametrize("name", ["variant", "io_encoding"])
def test_unknown_words_are_refused_without_a_configuration_too(name):
    with pytest.raises(InputError, match=f"unknown {name} 'npp'; known: "):
        NFNEncoder(NetworkSpec.mlp([2, 3, 1]), **{name: "npp"})

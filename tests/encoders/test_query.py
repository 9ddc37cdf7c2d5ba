"""Query: refusals, mixtures, and what depends on the function alone; the laws are in test_conformance.py."""

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig
from weightwalk.encoders.query import QueryEncoder
from weightwalk.testing import assert_invariant, check_encoder, random_weights, tiny_specs

INR = tiny_specs()["siren"]


def test_a_grid_and_the_cnn_conform():
    assert set(check_encoder("query", grid=(4, 3), reader="cnn", dim=8)) == {"siren", "no bias", "mixed"}


@pytest.mark.parametrize("name", ["residual", "vit"])
def test_networks_of_pictures_are_run_on_learned_pictures(name):
    spec = tiny_specs()[name]
    weights, encoder = random_weights(spec, 2, seed=0), QueryEncoder(spec, num_points=3, input_shape=(2, 4, 4))
    assert encoder.points.shape == (3, 2, 4, 4)
    assert_invariant(encoder, weights)
    encoder.encode(weights).sum().backward()
    assert encoder.points.grad.abs().max() > 0


def test_it_reads_the_function_alone():
    """The signs of a sine neuron leave the function as it is, so the encoding too; an output's bias does not."""
    weights, encoder = random_weights(INR, 2, seed=0), QueryEncoder(INR)
    flipped, moved = (Weights(INR, weights.flat.clone()) for _ in range(2))
    for tensor in (flipped.weights[0][:, 1], flipped.biases[0][:, 1], flipped.weights[1][:, :, 1]):
        tensor.neg_()
    moved.biases[-1].add_(0.5)
    pooled = encoder.encode(weights)
    torch.testing.assert_close(encoder.encode(flipped), pooled)
    assert (encoder.encode(moved) - pooled).abs().max() > 1e-3


def test_answers_are_standardised_by_channel():
    spec = tiny_specs()["deep"]
    weights, encoder = random_weights(spec, 5, seed=0), QueryEncoder(spec)
    encoder.prepare([weights[:2], weights[2:]])
    answers = encoder.standardise(weights.run(encoder.points).detach()).flatten(0, 1)
    torch.testing.assert_close(answers.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(answers.std(0, correction=0), torch.ones(3))


def test_mixtures_of_the_same_inputs_and_answers():
    specs = [NetworkSpec.mlp(widths, activation=name) for widths, name in (([2, 6, 1], "relu"), ([2, 5, 4, 1], "sine"))]
    encoder = EncoderConfig.named("query").build(*specs)
    assert encoder.encode([random_weights(spec, 2, seed=0) for spec in specs]).shape == (4, 128)
    for widths in ([3, 6, 1], [2, 6, 2]):
        with pytest.raises(InputError, match="reads networks from"):
            encoder(random_weights(NetworkSpec.mlp(widths), 1, seed=0))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("gpt", {}, "reads tokens; choose another encoder"),
        ("conv", {}, r"set encoder.input_shape=1,32,32"),
        ("conv", {"input_shape": (3, 32, 32)}, r"expected inputs \(N, 1, H, W\)"),
        ("dense block", {"input_shape": (1, 9, 9)}, "give inputs of the size that the network was made for"),
        ("siren", {"input_shape": (2, 8, 8)}, "it takes the shape of its inputs, 1 numbers, got 2,8,8"),
        ("siren", {"grid": (4,)}, "a grid of points has an axis per input, 2 of"),
        ("siren", {"reader": "cnn"}, "set encoder.grid=16,16"),
        ("siren", {"reader": "cnn", "grid": (4, 4), "dim": 9}, "multiple of 2"),
        ("siren", {"grid": (4, 4), "input_shape": (2,)}, "leave one out"),
        ("siren", {"num_points": 0}, "num_points must be a number of at least 1"),
    ],
)
def test_what_can_not_be_asked_is_refused(name, options, sentence):
    with pytest.raises(InputError, match=sentence):
        EncoderConfig.named("query", **options).build(tiny_specs()[name])

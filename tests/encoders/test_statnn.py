"""StatNN's statistics are the seven that are published, in their order; the flat vector is the parameters."""

from dataclasses import replace

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import EncoderConfig, FlatEncoder, StatNNEncoder
from weightwalk.encoders.statnn import statistics
from weightwalk.testing import assert_close, check_encoder, random_weights, tiny_specs

SPECS = tuple(tiny_specs().values())
SMALL, LARGE = NetworkSpec.mlp([2, 3, 1], "relu"), NetworkSpec.mlp([2, 4, 5, 1], "relu")


@pytest.mark.parametrize("count", [1, 2, 4, 5, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_statistics_are_those_of_torch(count, dtype):
    x = torch.randn(6, count, dtype=dtype)
    levels = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=dtype)
    expected = torch.cat([x.mean(1)[:, None], x.var(1, correction=0)[:, None], x.quantile(levels, 1).T], dim=1)
    assert_close(statistics(x), expected, what="statistics")


def test_fourteen_numbers_per_layer_weights_before_biases():
    spec = tiny_specs()["mixed"]  # the first layer has no bias
    weights, encoder = random_weights(spec, 3, seed=0), StatNNEncoder(spec)
    encoding = encoder(weights)
    assert encoding.nodes == ()
    assert encoding.pooled.shape == (3, 14 * 3)
    assert_close(encoding.pooled[:, 7:14], statistics(weights.weights[1].flatten(1)), what="second weight")
    assert torch.equal(encoding.pooled[:, 21:28], torch.zeros(3, 7))
    assert_close(encoding.pooled[:, 35:], statistics(weights.biases[2]), what="last bias")


def test_the_flat_vector_is_the_parameters():
    for spec in SPECS:
        weights = random_weights(spec, 2, seed=0)
        assert torch.equal(FlatEncoder(spec).encode(weights), weights.flat)


@pytest.mark.parametrize("kind", [StatNNEncoder, FlatEncoder])
def test_other_architectures_are_filled_up_with_zeros(kind):
    encoder = kind(LARGE, shared=True)
    small, large = random_weights(SMALL, 2, seed=0), random_weights(LARGE, 3, seed=1)
    together = encoder.encode([small, large])
    assert together.shape == (5, encoder.pooled_dim)
    alone = kind(SMALL).encode(small)
    parts = alone.chunk(2, 1) if kind is StatNNEncoder else [alone]
    width = encoder.pooled_dim // len(parts)
    for number, part in enumerate(parts):
        begin = number * width
        assert torch.equal(together[:2, begin : begin + part.shape[1]], part)
        assert not together[:2, begin + part.shape[1] : begin + width].any()
    with pytest.raises(InputError, match="reads networks of at most"):
        kind(SMALL, shared=True)(large)
    with pytest.raises(InputError, match="of the shape MLP 2-4-5-1"):
        kind(LARGE)(small)


@pytest.mark.parametrize("name", ["statnn", "flat"])
def test_an_encoder_for_several_architectures_reads_them_all(name):
    encoder = EncoderConfig.named(name).build(SMALL, LARGE, replace(SMALL))
    assert encoder.shared
    encoder.encode([random_weights(spec, 1, seed=0) for spec in (SMALL, LARGE)])
    assert not EncoderConfig.named(name).build(SMALL, SMALL).shared


def test_largest_is_what_an_encoder_is_sized_by():
    wide, deep = NetworkSpec.mlp([2, 50, 1]), NetworkSpec.mlp([2, 3, 3, 3, 1])
    assert StatNNEncoder.largest([wide, deep]) == deep
    assert FlatEncoder.largest([wide, deep]) == wide


@pytest.mark.parametrize("kind", [StatNNEncoder, FlatEncoder])
def test_standardised_features_have_mean_0_and_std_1_and_constants_stay_finite(kind):
    weights = random_weights(LARGE, 200, seed=0)
    flat = 3 + 5 * weights.flat
    flat[:, -1] = 7.0  # the last bias is the same in all
    encoder = kind(LARGE)
    batches = [Weights(LARGE, part) for part in flat.split(64)]
    encoder.prepare(iter(batches))
    pooled = encoder.encode(batches)
    varies = pooled.std(0) > 0
    assert pooled.isfinite().all()
    assert not varies.all()
    assert_close(pooled.mean(0), torch.zeros(encoder.pooled_dim), what="mean", atol=1e-4)
    assert_close(pooled[:, varies].std(0, correction=0), torch.ones(int(varies.sum())), what="std", atol=1e-3)
    assert set(encoder.state_dict()) == {"standardise.mean", "standardise.std"}


def test_both_conform_in_every_mode():
    for name in ("statnn", "flat"):
        for shared in (False, True):
            assert check_encoder(name, shared=shared) == list(tiny_specs())

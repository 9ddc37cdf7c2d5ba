"""Heads: registered, with options that are checked when a configuration is made."""

import pytest
import torch

from weightwalk import InputError
from weightwalk.config import override, to_dict, typed
from weightwalk.heads import HeadConfig, LatentCNN, MLPHead, heads
from weightwalk.recipes import RECIPES


@pytest.mark.parametrize("name", heads)
def test_every_head_reads_its_example_and_survives_its_configuration(name):
    config = HeadConfig.named(name)
    head = config.build((2, 3, 4, 4), 3).eval()  # latents of two views, which a head of pooled encodings reads as well
    assert head(torch.randn(5, 2, 3, 4, 4)).shape == (5, 3)
    assert typed(HeadConfig, to_dict(config), "head") == config == HeadConfig.named(**to_dict(config))


def test_the_layers_of_an_mlp():
    head = MLPHead((5,), 1, hidden_dim=7, num_hidden=2)
    assert head(torch.randn(3, 5)).shape == (3, 1)
    assert [tuple(p.shape) for p in head.parameters()] == [(7, 5), (7,), (7, 7), (7,), (1, 7), (1,)]
    assert MLPHead((2, 3), 4, num_hidden=0)(torch.randn(3, 2, 3)).shape == (3, 4)


def test_dropout_is_off_in_use():
    head = MLPHead((5,), 1, 50, dropout=0.5)
    x = torch.randn(3, 5)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


def test_the_answer_about_latents_is_the_mean_over_views():
    head = LatentCNN((6, 3, 7, 7), 4, hidden_dim=8).eval()
    maps = torch.randn(2, 6, 3, 7, 7)
    views = torch.stack([head(maps[:, [view]]) for view in range(6)])
    torch.testing.assert_close(head(maps), views.mean(0))
    with pytest.raises(InputError, match=r"reads a map for each view .* got encodings \(5,\); choose --set head=mlp"):
        HeadConfig.named("latent_cnn").build((5,), 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be a number of at least 1, got 0"),
        ({"num_hidden": -1}, "num_hidden must be a number of at least 0, got -1"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"dropout": float("nan")}, "dropout must be a number that is finite, got nan"),
        ({"hiden_dim": 3}, "did you mean 'hidden_dim'"),
    ],
)
def test_options_that_no_head_has_are_refused_before_anything_is_built(settings, sentence):
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=sentence):
        HeadConfig.named("mlp", **settings)
    with pytest.raises(InputError, match=f"{sentence}|head.dropout must be a number|known: head.name"):
        override(RECIPES["digits_classify"](), [f"head.{key}={value}" for key, value in settings.items()])
    assert torch.equal(torch.get_rng_state(), state)

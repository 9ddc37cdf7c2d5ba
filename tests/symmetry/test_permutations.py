import torch

from weightwalk import NetworkSpec
from weightwalk.symmetry import random_permutations
from weightwalk.testing import tiny_specs


def test_one_per_hidden_group_shared_or_each_its_own():
    spec = tiny_specs()["deep"]
    shared = random_permutations(spec, generator=torch.Generator().manual_seed(0))
    own = random_permutations(spec, 7, generator=torch.Generator().manual_seed(0))
    assert [tuple(order.shape) for order in shared] == [(6,), (4,), (5,)]
    assert [tuple(order.shape) for order in own] == [(7, 6), (7, 4), (7, 5)]
    for order in (*shared, *own):
        assert torch.equal(order.sort(dim=-1).values, torch.arange(order.shape[-1]).expand_as(order))
    assert len(own[0].unique(dim=0)) > 1
    assert random_permutations(tiny_specs()["no hidden layer"], 7, generator=torch.Generator()) == []


def test_draws_are_uniform_and_follow_the_generator():
    spec = NetworkSpec.mlp([1, 3, 1])
    drawn = random_permutations(spec, 6000, generator=torch.Generator().manual_seed(1))[0]
    counts = drawn.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 900
    assert torch.equal(drawn, random_permutations(spec, 6000, generator=torch.Generator().manual_seed(1))[0])

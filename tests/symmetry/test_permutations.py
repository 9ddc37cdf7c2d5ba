import pytest
import torch

from weightwalk import InputError, NetworkSpec
from weightwalk.symmetry import permuted, permuted_nodes, random_permutations
from weightwalk.testing import random_weights, tiny_specs


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


def features(tensors):
    """Two axes behind those of weights or biases: (..., 2, 1)."""
    return [None if x is None else torch.stack([x, x.square()], -1).unsqueeze(-1) for x in tensors]


@pytest.mark.parametrize("spec", tiny_specs().values(), ids=list(tiny_specs()))
def test_features_of_edges_and_nodes_move_as_weights_and_biases_do(spec):
    weights = random_weights(spec, 3, seed=0)
    permutations = random_permutations(spec, 3, generator=torch.Generator().manual_seed(4))
    moved = weights.permute(permutations)
    edges, nodes = permuted(spec, features(weights.weights), features(weights.biases), permutations)
    for found, wanted in zip((*edges, *nodes), features((*moved.weights, *moved.biases)), strict=True):
        assert found is wanted is None or torch.equal(found, wanted)
    inputs = torch.zeros(3, spec.widths[0])
    nodes = [torch.zeros(3, n) if b is None else b for n, b in zip(spec.widths[1:], weights.biases, strict=True)]
    found = permuted_nodes(spec, features([inputs, *nodes]), permutations)
    for one, wanted in zip(found[1:], features(moved.biases), strict=True):
        assert wanted is None or torch.equal(one, wanted)
    assert torch.equal(found[0], features([inputs])[0])


def test_a_group_is_left_alone_and_wrong_orders_are_named():
    spec = NetworkSpec.mlp([2, 4, 3, 1])
    weights = random_weights(spec, 2, seed=0)
    assert torch.equal(weights.permute([None, None]).flat, weights.flat)
    for wrong in ([None], [torch.arange(4), torch.arange(4)], [torch.zeros(4, dtype=torch.int64), None], [None, "abc"]):
        with pytest.raises(InputError, match="permutations"):
            weights.permute(wrong)

"""Steps that rearrange, crop and pad; shared key and value heads; JSON of what is new."""

import json

import pytest
import torch
from torch.nn import functional as F

from weightwalk import InputError, NetworkSpec
from weightwalk.steps import (
    Activate,
    Add,
    Attention,
    Conv,
    Crop,
    Dense,
    Learned,
    MeanPool,
    Move,
    Norm,
    Pad,
    Rearrange,
    Softmax,
)
from weightwalk.symmetry import axes, hidden_widths, random_permutations
from weightwalk.testing import assert_close, random_weights

SHUFFLED = NetworkSpec((
    Conv(2, 12, "relu", padding=1),
    Rearrange(12, 12, (3, 4, 6, 4), (1, 0, 2, 3), (6, 4)),
    Conv(12, 6, "leaky_relu", kernel=(1, 1), groups=3, slope=0.3),
    Rearrange(6, 24, (6, 3, 2, 2, 2), (0, 2, 4, 1, 3), (3, 2)),
    Norm(24, 24, norm="batch"),
    Pad(24, 26, before=1, grid=(1, 0, 0, 2)),
    Crop(26, (0, 1), (4, 4), (3, 1)),
    Activate(26, activation="leaky_relu", slope=0.2),
    Rearrange(26, 26 * 6, (26, 2, 3), (0, 1, 2), ()),
    Dense(26 * 6, 24),
    Rearrange(24, 6, (6, 2, 2), (0, 1, 2), (2, 2)),
    Conv(6, 4, kernel=(4, 4), stride=2, padding=1, groups=2, transposed=True),
    MeanPool(4),
    Softmax(4),
))  # fmt: skip
GROUPED = NetworkSpec((
    Move(12, last=False),
    Dense(12, 12),
    Dense(12, 6, sources=(1,)),
    Dense(12, 4, sources=(1,)),
    Attention(12, heads=4, values=8, causal=True, kv_heads=2, sources=(2, 3, 4)),
    Dense(8, 5),
    Softmax(5, log=True),
))  # fmt: skip


@pytest.mark.parametrize(("spec", "shape"), [(SHUFFLED, (2, 6, 4)), (GROUPED, (5, 12))], ids=["shuffled", "grouped"])
def test_exchanged_neurons_compute_the_same(spec, shape):
    weights = random_weights(spec, 3, seed=0, dtype=torch.float64)
    x = torch.randn(2, *shape, dtype=torch.float64)
    permuted = weights.permute(random_permutations(spec, 3, generator=torch.Generator().manual_seed(2)))
    assert_close(permuted.run(x), weights.run(x), what="outputs")
    assert not torch.equal(permuted.flat, weights.flat)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_groups_are_as_large_as_the_symmetry():
    assert hidden_widths(SHUFFLED) == (12, 6, 2, 6)  # two of them padding
    assert hidden_widths(GROUPED) == (6, 4)
    heads = [group for group in axes(GROUPED).groups if group.frame is not None]
    assert [len(group.members) for group in heads] == [2, 2]


def test_queries_of_a_group_share_keys_and_values():
    weights = random_weights(GROUPED, 1, seed=0, dtype=torch.float64)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = (
        F.linear(x, weights.weights[i][0], weights.biases[i][0]).unflatten(-1, (h, -1)).transpose(1, 2)
        for i, h in ((0, 4), (1, 2), (2, 2))
    )
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2).flatten(2)
    wanted = F.log_softmax(F.linear(y, weights.weights[3][0], weights.biases[3][0]), -1).transpose(1, 2)
    assert_close(weights.run(x)[0], wanted, what="grouped queries")


def test_a_transposed_convolution_of_groups_is_torch_s():
    spec = NetworkSpec(
        (Conv(4, 6, kernel=(3, 2), stride=2, padding=1, output_padding=(1, 0), groups=2, transposed=True),)
    )
    weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    for index in range(2):
        kernel = weights.weights[0][index].reshape(2, 3, 2, 3, 2).transpose(1, 2).reshape(4, 3, 3, 2)
        wanted = F.conv_transpose2d(x, kernel, weights.biases[0][index], 2, 1, (1, 0), 2)
        assert_close(weights.run(x)[index], wanted, what="transposed convolution")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Rearrange(4, 4, (3, 2), (0, 1), (2,)), "a rearrange step has sizes"),
        (lambda: Rearrange(4, 4, (4, 2), (0, 0), (2,)), "a rearrange step has sizes"),
        (lambda: Rearrange(4, 3, (2, 2, 3), (2, 0, 1), ()), "a rearrange step has sizes"),
        (lambda: Crop(4, (1,), (1,), (1,)), "a crop step has"),
        (lambda: Crop(4, (0, 0), (1,), (1,)), "a crop step has"),
        (lambda: Pad(4, 5, before=2), "a pad step writes at least"),
        (lambda: Pad(4, 4, grid=(1, -1)), "a pad step writes at least"),
        (lambda: Attention(12, 4, kv_heads=3, sources=(0, 0, 0)), "heads are so many times"),
    ],
)
def test_steps_that_make_no_sense_are_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_learned_values_may_be_the_first_to_read_the_input():
    spec = NetworkSpec(
        (Learned(1, 3, bias=False, grid=(4,), sources=(0,)), Add(3, sources=(0, 1)), Dense(3, 2)), input_axes=2
    )
    assert spec.widths == (3, 3, 2)
    assert random_weights(spec, 2, seed=0).run(torch.randn(5, 3, 4)).shape == (2, 5, 2, 4)

"""Laws of exchangeable neurons: an order that is computed from the spec alone leaves every network's function
unchanged.
"""

import pytest
import torch

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.steps import (
    Activate,
    Add,
    Append,
    Attention,
    Concat,
    Conv,
    Dense,
    Embed,
    Learned,
    MeanPool,
    Move,
    Multiply,
    Norm,
    Pad,
    Patches,
    Pick,
    Pool,
    Rearrange,
    Reshape,
    Slice,
    Upsample,
)
from weightwalk.symmetry import axes, compose, hidden_widths, inverse, random_permutations
from weightwalk.testing import assert_close, random_weights

RESIDUAL = NetworkSpec((
    Conv(3, 6, padding=1),
    Norm(6, 6, "relu", norm="batch"),
    Conv(6, 6, padding=1),
    Norm(6, 6, norm="batch"),
    Add(6, sources=(2, 4)),
    Activate(6),
    Pool(6),
    Conv(6, 8, "relu"),
    MeanPool(8),
    Dense(8, 4),
))  # fmt: skip
DEPTHWISE = NetworkSpec((
    Conv(2, 6, "relu6", padding=1),
    Conv(6, 12, "relu6", padding=1, groups=6),
    Conv(12, 6, kernel=(1, 1)),
    Add(6, sources=(1, 3)),
    Conv(6, 8, padding=1, groups=2),
    Norm(8, 8, "silu", norm="group", groups=4),
    MeanPool(8),
    Dense(8, 3),
))  # fmt: skip
DENSE_BLOCK = NetworkSpec((
    Conv(1, 4, "relu", padding=1),
    Conv(4, 3, "tanh", padding=1),
    Concat(7, sources=(1, 2), widths=(4, 3)),
    Conv(7, 3, "tanh", padding=1),
    Concat(10, sources=(3, 4), widths=(7, 3)),
    Norm(10, 10, norm="batch"),
    Pool(10, op="mean"),
    Dense(10, 5, positions=16),
))  # fmt: skip
U_NET = NetworkSpec((
    Conv(1, 4, "relu", padding=1),
    Pool(4),
    Conv(4, 6, "relu", padding=1),
    Conv(6, 4, kernel=(2, 2), stride=2, transposed=True),
    Concat(8, sources=(4, 1), widths=(4, 4)),
    Conv(8, 4, "gelu", padding=1),
    Upsample(4),
    Conv(4, 2, kernel=(1, 1)),
))  # fmt: skip
VIT = NetworkSpec((
    Patches(3, 48, size=(4, 4)),
    Norm(48, 48),
    Dense(48, 12),
    Learned(1, 12, bias=False, grid=(1,), sources=(0,)),
    Append(12, sources=(4, 3)),
    Learned(1, 12, bias=False, grid=(5,), sources=(0,)),
    Add(12, sources=(5, 6)),
    Norm(12, 12),
    Dense(12, 36),
    Slice(36, 12, start=0, sources=(9,)),
    Slice(36, 12, start=12, sources=(9,)),
    Slice(36, 12, start=24, sources=(9,)),
    Attention(12, heads=3, sources=(10, 11, 12)),
    Dense(12, 12),
    Add(12, sources=(7, 14)),
    Norm(12, 12),
    Dense(12, 20, "gelu"),
    Dense(20, 12),
    Add(12, sources=(15, 18)),
    Pick(12),
    Dense(12, 4),
))  # fmt: skip
GPT = NetworkSpec((
    Embed(11, 8, bias=False),
    Learned(1, 8, bias=False, grid=(6,), sources=(0,)),
    Add(8, sources=(1, 2)),
    Norm(8, 8, norm="rms", bias=False),
    Dense(8, 8),
    Dense(8, 8, sources=(4,)),
    Dense(8, 8, sources=(4,)),
    Attention(8, heads=2, causal=True, sources=(5, 6, 7)),
    Dense(8, 8),
    Add(8, sources=(3, 9)),
    Dense(8, 12, "silu"),
    Dense(8, 12, sources=(10,)),
    Multiply(12, sources=(11, 12)),
    Dense(12, 8),
    Add(8, sources=(10, 14)),
    Norm(8, 8),
    Dense(8, 11, bias=False, ties=0),
    Move(11),
))  # fmt: skip
PADDED = NetworkSpec((
    Conv(3, 4, "relu", padding=1),
    Conv(4, 7, padding=1),
    Slice(4, 3, sources=(1,)),
    Pad(3, 7),
    Add(7, sources=(2, 4)),
    Activate(7, activation="tanh"),
    Reshape(7, grid=(64,)),
    MeanPool(7),
    Dense(7, 2),
))  # fmt: skip
TIED = NetworkSpec((
    Embed(11, 6, bias=False),
    Dense(6, 5, "tanh"),
    Dense(5, 8, "tanh"),
    Dense(8, 5, "gelu", ties=2),
    Norm(5, 5),
    Dense(5, 6),
    Dense(6, 11, "tanh", ties=0),
    Dense(11, 4),
    Move(4),
))  # fmt: skip
SHUFFLED = NetworkSpec((
    Dense(3, 8, "tanh"),
    Rearrange(8, 8, sizes=(2, 4), order=(1, 0)),
    Add(8, sources=(1, 2)),
    Dense(8, 9, "tanh"),
    Concat(18, sources=(4, 4), widths=(9, 9)),
    Dense(18, 2),
))  # fmt: skip
UNEQUAL_BLOCKS = NetworkSpec((
    Conv(1, 4, "relu", padding=1),
    Conv(1, 8, "relu", padding=1, sources=(0,)),
    Concat(12, sources=(1, 2), widths=(4, 8)),
    Norm(12, 12, "relu", norm="group", groups=2),
    MeanPool(12),
    Dense(12, 3),
))  # fmt: skip

NETWORKS = {
    "residual": (RESIDUAL, (3, 8, 8)),
    "depthwise and grouped": (DEPTHWISE, (2, 8, 8)),
    "dense block": (DENSE_BLOCK, (1, 8, 8)),
    "u-net": (U_NET, (1, 8, 8)),
    "vit": (VIT, (3, 8, 8)),
    "gpt": (GPT, (6,)),
    "padded": (PADDED, (3, 8, 8)),
    "mlp": (NetworkSpec.mlp([2, 5, 4, 1]), (2,)),
    "tied": (TIED, (6,)),
    "shuffled": (SHUFFLED, (3,)),
    "unequal blocks": (UNEQUAL_BLOCKS, (1, 8, 8)),
}


def examples(name: str, count: int = 3) -> torch.Tensor:
    _, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(1)
    if name in ("gpt", "tied"):
        return torch.randint(0, 11, (count, *shape), generator=generator)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_exchanged_neurons_compute_the_same(name):
    spec, _ = NETWORKS[name]
    weights = random_weights(spec, 4, seed=0, dtype=torch.float64)
    x = examples(name)
    permutations = random_permutations(spec, 4, generator=torch.Generator().manual_seed(2))
    permuted = weights.permute(permutations)
    assert_close(permuted.run(x), weights.run(x), what="outputs")
    assert not torch.equal(permuted.flat, weights.flat)
    assert torch.equal(permuted.permute(inverse(permutations)).flat, weights.flat)
    assert_close(Weights(spec, permuted.flat).run(x), weights.run(x), what="outputs of networks that were stored")
    again = random_permutations(spec, 4, generator=torch.Generator().manual_seed(3))
    assert torch.equal(permuted.permute(again).flat, weights.permute(compose(permutations, again)).flat)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_alone_is_the_network_in_a_batch(name):
    weights = random_weights(NETWORKS[name][0], 3, seed=0, dtype=torch.float64)
    x = examples(name)
    together = weights.run(x)
    for index in range(3):
        assert_close(weights[index].run(x)[0], together[index], what=f"network {index}")
    assert_close(weights.run(x.expand(3, *x.shape)), together, what="inputs of each network's own")


def test_groups_are_as_large_as_the_symmetry():
    sizes = {name: hidden_widths(spec) for name, (spec, _) in NETWORKS.items()}
    assert sizes == {
        "residual": (6, 8),
        "depthwise and grouped": (6, 12, 8),
        "dense block": (4, 3, 3),
        "u-net": (4, 6, 4, 4),
        "vit": (12, 12, 12, 20),
        "gpt": (8, 8, 8, 12),
        "padded": (3, 1, 4),
        "mlp": (5, 4),
        "tied": (6, 5, 8),  # tokens keep their places, also where the head's are hidden
        "shuffled": (2, 1, 1, 9),  # 3-cycles of the shuffle do not line up, so they stay
        "unequal blocks": (4, 8),
    }
    heads = [group for group in axes(VIT).groups if group.frame is not None]
    assert [len(group.members) for group in heads] == [3, 3]


@pytest.mark.parametrize("name", ["vit", "depthwise and grouped"])
def test_every_neuron_of_a_group_comes_to_every_place(name):
    spec, _ = NETWORKS[name]
    drawn = random_permutations(spec, 400, generator=torch.Generator().manual_seed(0))
    for order, group in zip(drawn, axes(spec).groups, strict=True):
        places = set(zip(order.flatten().tolist(), torch.arange(order.shape[1]).repeat(400).tolist(), strict=True))
        assert len(places) == (
            len(group.classes) ** 2
            if group.frame is not None or not any(group.blocks)
            else sum(len(m) ** 2 for m in group.members)
        )


def test_blocks_that_are_torn_apart_are_refused():
    weights = random_weights(VIT, 2, seed=0)
    groups = axes(VIT).groups
    index = next(i for i, group in enumerate(groups) if group.frame is not None)
    permutations = [torch.arange(len(group.classes)) for group in groups]
    permutations[index] = permutations[index].roll(1)
    with pytest.raises(InputError, match="tears blocks apart"):
        weights.permute(permutations)
    heads = [torch.arange(len(group.classes)) for group in groups]
    heads[index] = heads[index].roll(4)
    with pytest.raises(InputError, match="moves them otherwise than those"):
        weights.permute(heads)


def test_a_wrong_order_does_change_the_function():
    """What the law would miss if it could not fail."""
    weights = random_weights(RESIDUAL, 2, seed=0, dtype=torch.float64)
    other = list(weights.weights)
    other[0] = other[0].flip(1)
    wrong = Weights.of(RESIDUAL, other, weights.biases)
    with pytest.raises(AssertionError):
        assert_close(wrong.run(examples("residual")), weights.run(examples("residual")), what="outputs")

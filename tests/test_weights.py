import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.symmetry import compose, inverse, random_permutations
from weightwalk.testing import assert_close, assert_invariant, random_weights, tiny_specs

SPECS = [pytest.param(spec, id=name) for name, spec in tiny_specs().items()]
widths = st.lists(st.integers(1, 9), min_size=2, max_size=6)
activations = st.sampled_from(["sine", "relu", "tanh", "gaussian", "silu"])


def same(one: Weights, two: Weights) -> bool:
    return one.spec == two.spec and torch.equal(one.flat, two.flat)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(spec, dtype):
    return torch.randn(7, spec.widths[0], dtype=torch.float64, generator=generator()).to(dtype)


@given(widths, activations, st.booleans(), st.integers(0, 99))
def test_the_order_of_hidden_neurons_leaves_the_function_unchanged(sizes, activation, bias, seed):
    spec = NetworkSpec.mlp(sizes, activation, bias=bias)
    assert_invariant(
        lambda weights: weights.run(points(spec, weights.dtype)), random_weights(spec, 3, seed=seed), seed=seed
    )


def test_the_order_of_channels_leaves_a_convolutional_network_unchanged():
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    weights = random_weights(tiny_specs()["conv"], 3, seed=0)
    assert_invariant(lambda weights: weights.run(images.to(weights.dtype)), weights)


def test_wrong_twin_moves_rows_without_the_columns_behind_them():
    spec = NetworkSpec.mlp([2, 6, 5, 1])
    weights = random_weights(spec, 3, seed=0)
    moved = weights.permute(random_permutations(spec, generator=generator()))
    twin = Weights.of(spec, (moved.weights[0], *weights.weights[1:]), moved.biases)
    x = points(spec, torch.float32)
    with pytest.raises(AssertionError, match="largest difference"):
        assert_close(twin.run(x), weights.run(x), what="picture")


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("num_networks", [None, 4])
def test_permutations_form_a_group(spec, num_networks):
    weights = random_weights(spec, 4, seed=0)
    first, second = (random_permutations(spec, num_networks, generator=generator(seed)) for seed in (1, 2))
    assert same(weights.permute(first).permute(inverse(first)), weights)
    assert same(weights.permute(first).permute(second), weights.permute(compose(first, second)))
    each = random_permutations(spec, 4, generator=generator(3))
    assert same(weights.permute(first).permute(each), weights.permute(compose(first, each)))
    assert same(weights.permute([None] * len(first)), weights)


def test_new_neuron_i_is_old_neuron_of_i():
    weights = random_weights(NetworkSpec.mlp([2, 3, 4, 1]), 2, seed=0)
    order = torch.tensor([2, 0, 1])
    moved = weights.permute([order, None])
    assert torch.equal(moved.weights[0], weights.weights[0][:, order])
    assert torch.equal(moved.biases[0], weights.biases[0][:, order])
    assert torch.equal(moved.weights[1], weights.weights[1][:, :, order])
    assert torch.equal(moved.weights[2], weights.weights[2])


def test_each_network_is_moved_by_its_own_permutation():
    weights = random_weights(tiny_specs()["conv"], 3, seed=0)
    permutations = random_permutations(weights.spec, 3, generator=generator())
    moved = weights.permute(permutations)
    for index in range(3):
        assert same(moved[index], weights[index].permute([order[index] for order in permutations]))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_and_back_is_bitwise(spec, dtype):
    weights = random_weights(spec, 3, seed=0, dtype=dtype)
    again = Weights(spec, weights.flat)
    assert weights.flat.shape == (3, spec.num_parameters)
    assert again.dtype == dtype
    for one, two in zip((*weights.weights, *weights.biases), (*again.weights, *again.biases), strict=True):
        assert (one is two is None) or torch.equal(one, two)


@pytest.mark.parametrize("spec", SPECS)
def test_state_dicts_and_back_are_bitwise(spec):
    weights = random_weights(spec, 3, seed=0)
    assert same(Weights.from_state_dicts(spec, [weights.to_state_dict(index) for index in range(3)]), weights)


def test_state_dicts_of_other_people():
    """Any prefixes, in natural order (2 before 10), kernels as torch keeps them, buffers of integers aside."""
    modules = [nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 1)]
    state = {
        f"seq.{2 * position}.linear.{name}": p.detach()
        for position, module in enumerate(modules)
        for name, p in module.named_parameters()
    }
    renamed = {name.replace("seq.4", "seq.10"): tensor for name, tensor in reversed(state.items())} | {
        "steps": torch.tensor(3)
    }
    weights = Weights.from_state_dicts(NetworkSpec.mlp([2, 3, 4, 1]), [renamed])
    for layer, module in enumerate(modules):
        assert torch.equal(weights.weights[layer][0], module.weight)
        assert torch.equal(weights.biases[layer][0], module.bias)

    spec = tiny_specs()["conv"]
    cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, (2, 3)), nn.Linear(5, 3))
    weights = Weights.from_state_dicts(spec, [cnn.state_dict()])
    assert torch.equal(weights.weights[1][0], cnn[2].weight.flatten(2))
    assert torch.equal(weights.biases[2][0], cnn[3].bias)


def test_indexing_and_cat():
    weights = random_weights(tiny_specs()["no bias"], 5, seed=0)
    assert len(weights) == 5
    assert len(weights[-1]) == 1
    assert same(weights[-1], weights[4:])
    assert same(weights[[3, 1]], weights[torch.tensor([3, 1])])
    assert same(weights[torch.arange(5) > 2], weights[3:])
    assert same(Weights.cat([weights[:2], weights[2:]]), weights)
    with pytest.raises(IndexError):
        weights[5]


def test_to_changes_every_tensor():
    weights = random_weights(tiny_specs()["mixed"], 2, seed=0).to(torch.float64)
    assert {t.dtype for t in (*weights.weights, *weights.biases) if t is not None} == {torch.float64}
    assert weights.device.type == "cpu"


SPEC = NetworkSpec.mlp([2, 3, 1])
GOOD = random_weights(SPEC, 2, seed=0)
STATE = GOOD.to_state_dict()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Weights.of(SPEC, GOOD.weights[:1], GOOD.biases), "has 2 layers, got 1 weights and 2 biases"),
        (
            lambda: Weights.of(SPEC, (GOOD.weights[0].mT, GOOD.weights[1]), GOOD.biases),
            r"weights\[0\] must be \(2, 3, 2\).* got \(2, 2, 3\)",
        ),
        (
            lambda: Weights.of(SPEC, (GOOD.weights[0], GOOD.weights[1][:1]), GOOD.biases),
            r"weights\[1\] must be \(2, 1, 3\)",
        ),
        (lambda: Weights.of(SPEC, GOOD.weights, (None, GOOD.biases[1])), r"biases\[0\] must be given"),
        (
            lambda: Weights.of(
                tiny_specs()["no bias"],
                random_weights(tiny_specs()["no bias"], 2, seed=0).weights,
                [torch.zeros(2, 6), None, None],
            ),
            "be None",
        ),
        (lambda: Weights.of(SPEC, GOOD.weights, (GOOD.biases[0], torch.zeros(2, 3))), r"biases\[1\] must be \(2, 1\)"),
        (
            lambda: Weights.of(SPEC, GOOD.weights, (GOOD.biases[0], GOOD.biases[1].double())),
            "layer 1 is torch.float64 on cpu, weights",
        ),
        (lambda: GOOD.permute([]), "a list of permutations for the 1 groups of .*, got 0"),
        (lambda: GOOD.permute([torch.tensor([0, 0, 1])]), r"permutations\[0\] must hold each of 0..2 once"),
        (lambda: GOOD.permute([torch.arange(4)]), r"permutations\[0\] must hold each of 0..2 once"),
        (lambda: GOOD.permute([torch.arange(3).expand(5, 3)]), r"permutations\[0\]"),
        (lambda: GOOD.permute([torch.arange(3.0)]), r"permutations\[0\]"),
        (
            lambda: Weights.cat([GOOD, random_weights(NetworkSpec.mlp([2, 4, 1]), 1, seed=0)]),
            "only networks of one spec make a batch",
        ),
        (lambda: Weights.cat([]), "at least one batch"),
        (
            lambda: Weights(SPEC, torch.zeros(2, 12)),
            r"13 parameters per network, got torch.float32 \(2, 12\)",
        ),
        (lambda: Weights(SPEC, torch.zeros(13)), "13 parameters per network"),
        (lambda: Weights.from_state_dicts(SPEC, []), "at least one state dict"),
        (lambda: Weights.from_state_dicts(SPEC, [STATE, {}]), "network 1: expected 2 weights .* got 0"),
        (
            lambda: Weights.from_state_dicts(SPEC, [{k: v for k, v in STATE.items() if k != "layers.1.bias"}]),
            "needs a tensor 'layers.1.bias'",
        ),
        (
            lambda: Weights.from_state_dicts(SPEC, [STATE | {"layers.0.weight": torch.zeros(2, 3)}]),
            r"layers.0.weight must be \(3, 2\).* \(2, 3\)",
        ),
        (lambda: Weights.from_state_dicts(SPEC, [STATE | {"scale": torch.zeros(1)}]), "has no place for scale"),
    ],
)
def test_what_is_no_batch_of_networks_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()

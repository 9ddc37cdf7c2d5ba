import copy
import io
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, default_collate

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.encoders import encoders
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
        (lambda: Weights.cat(GOOD), "sequence of at least one batch of networks .* got Weights"),
        (lambda: Weights.cat([GOOD.flat]), "sequence of at least one batch of networks .* got a list of Tensor"),
        (lambda: GOOD.permute(3), "expected a list of permutations .* got int"),
        (lambda: GOOD.permute([[0, 1, 2]]), r"permutations\[0\] must hold each of 0..2 once"),
        (lambda: GOOD[0, 1], r"an index into 2 networks: .* got \(0, 1\)"),
        (lambda: GOOD[None], "an index into 2 networks: .* got None"),
        (lambda: Weights(SPEC, 3), "got int"),
        (lambda: Weights(SPEC, torch.zeros(2, 13, dtype=torch.int64)), r"got torch.int64 \(2, 13\)"),
        (lambda: Weights(SPEC, torch.zeros(2, 13, dtype=torch.complex64)), "real numbers"),
        (
            lambda: Weights(SPEC, torch.zeros(2, 12)),
            r"13 parameters per network, got torch.float32 \(2, 12\)",
        ),
        (lambda: Weights(SPEC, torch.zeros(13)), "13 parameters per network"),
        (lambda: Weights.from_state_dicts(SPEC, []), "at least one state dict"),
        (lambda: Weights.from_state_dicts(SPEC, STATE), "sequence of at least one state dict, got dict"),
        (lambda: Weights.from_state_dicts(SPEC, [{1: GOOD.flat}]), "network 0: expected the names of tensors .* got 1"),
        (lambda: Weights.from_state_dicts(SPEC, [STATE | {"\x1b[2J": GOOD.flat}]), r"got '\\x1b\[2J'"),
        (lambda: Weights.from_state_dicts(SPEC, [GOOD.flat]), "network 0: expected a state dict, got Tensor"),
        (
            lambda: Weights.from_state_dicts(
                SPEC, [STATE, nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)).state_dict()]
            ),
            "network 1: .* 0.weight, got a parameter of a lazy module",
        ),
        (
            lambda: Weights.from_state_dicts(SPEC, [STATE, {}]),
            "network 1: expected 2 weights .* got 0",
        ),
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


# one tensor with views


@pytest.mark.parametrize("spec", SPECS)
def test_layers_are_views_of_the_flat_tensor(spec):
    weights = random_weights(spec, 3, seed=0)
    place = weights.flat.untyped_storage().data_ptr()
    for layer, w, b in zip(spec.layers, weights.weights, weights.biases, strict=True):
        assert w.shape == (3, *layer.weight_shape)
        assert {t.untyped_storage().data_ptr() for t in (w, b) if t is not None} == {place}
    assert weights.weights is weights.weights
    again = Weights.of(spec, weights.weights, weights.biases)
    assert torch.equal(again.flat, weights.flat)
    weights.flat.zero_()
    assert not any(w.any() for w in weights.weights)


def test_a_tied_layer_has_the_transposed_weight():
    spec = tiny_specs()["gpt"]
    weights = random_weights(spec, 2, seed=0)
    (last,) = (number for number, layer in enumerate(spec.layers) if layer.tied is not None)
    assert torch.equal(weights.weights[last], weights.weights[spec.layers[last].tied].mT)


def test_gradients_reach_a_flat_leaf_whenever_it_wants_them():
    """Also after its views were looked at, without gradients or with them, and after a step of an optimiser."""
    weights, x = random_weights(SPEC, 2, seed=0), torch.randn(5, 2)
    assert not weights.run(x).requires_grad
    weights.flat.requires_grad_()
    with torch.no_grad():
        assert not weights.run(x).requires_grad
    optimizer = torch.optim.SGD([weights.flat], lr=1e-4)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(weights.run(x).square().mean())
        losses[-1].backward()
        alone = Weights(SPEC, weights.flat.detach().clone().requires_grad_())
        expected = torch.autograd.grad(alone.run(x).square().mean(), alone.flat)[0]
        assert torch.equal(weights.flat.grad, expected)
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]


def test_one_transfer_and_none_where_nothing_changes(monkeypatch):
    weights = random_weights(tiny_specs()["gpt"], 2, seed=0)
    assert weights.to("cpu") is weights
    moved = []
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *args: moved.append(1) or to(tensor, *args))
    assert weights.to(torch.float64).dtype == torch.float64
    assert moved == [1]


def test_a_short_name():
    siren = random_weights(NetworkSpec.mlp([2, 32, 32, 1]), 64, seed=0)
    assert repr(siren) == "Weights(64 networks of MLP 2-32-32-1 (sine), float32 on cpu)"
    assert repr(siren[0].to(torch.float64)) == "Weights(1 network of MLP 2-32-32-1 (sine), float64 on cpu)"


@pytest.mark.parametrize("spec", SPECS)
def test_an_empty_batch_is_read_and_moved(spec):
    empty = random_weights(spec, 3, seed=0)[[]]
    assert len(empty) == 0
    assert list(empty) == []
    assert len(empty.permute(random_permutations(spec, generator=generator()))) == 0
    assert len(Weights.cat([empty, empty])) == 0
    for name in encoders:
        try:
            encoder = encoders[name](spec)
        except InputError:
            continue
        assert encoder.encode(empty).shape == (0, encoder.pooled_dim)
        with pytest.raises(InputError, match="expected networks as Weights, got Tensor"):
            encoder(empty.flat)


@pytest.mark.parametrize(("name", "example"), [("deep", (3,)), ("conv", (1, 8, 8)), ("gpt", (6,))])
def test_an_empty_batch_runs(name, example):
    weights = random_weights(tiny_specs()[name], 1, seed=0)
    x = torch.zeros(3, *example, dtype=torch.int64 if name == "gpt" else torch.float32)
    for inputs in (x, x.expand(0, *x.shape)):
        assert weights[:0].run(inputs).shape == (0, *weights.run(x).shape[1:])
    with pytest.raises(InputError):
        weights[:0].run(torch.zeros(3, 9, 9))


# what PyTorch does with them


def loss(weights: Weights) -> torch.Tensor:
    return weights.run(torch.linspace(-1, 1, 10).view(5, 2)).square().mean()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning")  # of torch's own jvp
def test_gradients_of_torch_func_are_weights():
    weights = random_weights(SPEC, 3, seed=0)
    leaf = weights.flat.clone().requires_grad_()
    expected = torch.autograd.grad(loss(Weights(SPEC, leaf)), leaf)[0]
    found = torch.func.grad(loss)(weights)
    assert isinstance(found, Weights)
    torch.testing.assert_close(found.flat, expected)
    each = torch.func.vmap(torch.func.grad(loss))(weights)  # of every network its own loss
    torch.testing.assert_close(each.flat / 3, expected)
    with_axis = torch.func.vmap(torch.func.grad(lambda weights: loss(weights[None])))(weights)
    torch.testing.assert_close(with_axis.flat, each.flat)
    value, slope = torch.func.jvp(loss, (weights,), (found,))
    torch.testing.assert_close(slope, expected.square().sum())
    torch.testing.assert_close(value, loss(weights))


@pytest.mark.parametrize("name", ["mixed", "conv", "residual", "vit", "gpt"])
def test_inside_vmap_a_network_has_no_axis(name):
    spec = tiny_specs()[name]
    weights = random_weights(spec, 3, seed=0)
    shapes = []

    def inside(weights: Weights) -> torch.Tensor:
        shapes.extend(w.shape for w in weights.weights)
        with pytest.raises(InputError, match="puts the axis back"):
            len(weights)
        return torch.cat([w.flatten() for w in weights.weights]).sum() + weights[None].flat.sum()

    found = torch.func.vmap(inside)(weights)
    assert shapes == [layer.weight_shape for layer in spec.layers]
    torch.testing.assert_close(found, sum(w.flatten(1).sum(1) for w in weights.weights) + weights.flat.sum(1))


def test_networks_run_inside_vmap_on_inputs_of_their_own():
    conv, images = random_weights(tiny_specs()["conv"], 3, seed=0), torch.randn(3, 2, 1, 8, 8)
    torch.testing.assert_close(torch.func.vmap(lambda w, x: w.run(x))(conv, images), conv.run(images))


def test_views_of_a_transform_do_not_outlive_it():
    weights = random_weights(SPEC, 2, seed=0)
    torch.func.grad(lambda scale: (scale * weights.weights[0]).sum())(torch.ones(()))
    assert torch.equal(torch.compile(lambda weights: weights.run(torch.ones(3, 2)), backend="eager", fullgraph=True)(
        weights), weights.run(torch.ones(3, 2)))  # fmt: skip
    assert type(weights.weights[0]) is torch.Tensor


class Reading(nn.Module):
    """A module of networks."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, weights: Weights) -> torch.Tensor:
        return self.head(weights.run(torch.ones(3, 2)))


def test_modules_of_networks_are_exported_saved_and_called_functionally():
    weights, module = random_weights(SPEC, 4, seed=0), Reading()
    batch = torch.export.Dim("batch")
    for dynamic in (None, {"weights": [{0: batch}]}):
        exported = torch.export.export(module, (weights,), dynamic_shapes=dynamic)
        file = io.BytesIO()
        torch.export.save(exported, file)
        file.seek(0)
        loaded = torch.export.load(file).module()
        torch.testing.assert_close(loaded(weights), module(weights))
    torch.testing.assert_close(loaded(weights[:2]), module(weights[:2]))
    parameters = dict(module.named_parameters())
    assert torch.equal(torch.func.functional_call(module, parameters, (weights,)), module(weights))
    doubled = torch.utils._pytree.tree_map(lambda tensor: 2 * tensor, {"networks": weights})["networks"]
    assert torch.equal(doubled.flat, 2 * weights.flat)


def test_modules_of_networks_are_wrapped_by_ddp(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        weights, module = random_weights(SPEC, 4, seed=0), Reading()
        torch.nn.parallel.DistributedDataParallel(module)(weights).sum().backward()
        found = module.head.weight.grad.clone()
        module.zero_grad()
        module(weights).sum().backward()
        assert torch.equal(module.head.weight.grad, found)
    finally:
        torch.distributed.destroy_process_group()


def test_pickle_and_copies_leave_views_behind():
    weights = random_weights(NetworkSpec.mlp([2, 64, 64, 1]), 4, seed=0)
    before = len(pickle.dumps(weights))
    assert weights.weights
    assert len(pickle.dumps(weights)) == before < 1.1 * weights.flat.nbytes
    copied = copy.deepcopy(weights)
    assert same(copied, weights)
    assert copied.flat.data_ptr() != weights.flat.data_ptr()
    file = io.BytesIO()
    torch.save({"networks": weights}, file)
    file.seek(0)
    assert same(torch.load(file, weights_only=True)["networks"], weights)


class Samples(torch.utils.data.Dataset):
    """Networks one at a time."""

    networks = random_weights(SPEC, 5, seed=0)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> dict[str, object]:
        return {"weights": self.networks[number], "label": number}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataloader_makes_batches(num_workers):
    assert same(default_collate([Samples.networks[:2], Samples.networks[2:]]), Samples.networks)
    batches = list(DataLoader(Samples(), batch_size=3, num_workers=num_workers))
    assert same(Weights.cat([batch["weights"] for batch in batches]), Samples.networks)
    assert [batch["label"].tolist() for batch in batches] == [[0, 1, 2], [3, 4]]


def test_inputs_are_a_tensor():
    with pytest.raises(InputError, match="expected inputs as a tensor, got list"):
        Weights(NetworkSpec.mlp([1, 1]), torch.zeros(1, 2)).run([[1.0]])

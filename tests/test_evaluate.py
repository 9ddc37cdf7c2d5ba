import pytest
import torch
from torch import nn
from torch.nn import functional as F

from weightwalk import InputError, NetworkSpec, Weights
from weightwalk.spec import ACTIVATIONS, Conv, Dense, MeanPool
from weightwalk.steps import Add, Learned, Pick, Reshape, Resize
from weightwalk.testing import assert_batch_alone, assert_close, random_weights

FUNCTIONS = {
    "identity": nn.Identity(),
    "relu": nn.ReLU(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "leaky_relu": nn.LeakyReLU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "relu6": nn.ReLU6(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "softplus": nn.Softplus(),
    "mish": nn.Mish(),
    "hardtanh": nn.Hardtanh(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
}


class Sine(nn.Module):
    def forward(self, z):
        return torch.sin(30.0 * z)


class Gaussian(nn.Module):
    def forward(self, z):
        return torch.exp(-((30.0 * z) ** 2) / 2)


def sequential(weights: Weights, index: int) -> nn.Sequential:
    """The network as other people write it."""
    modules: list[nn.Module] = []
    parameters = iter(zip(weights.weights, weights.biases, strict=True))
    for step in weights.spec.steps:
        if isinstance(step, MeanPool):
            modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            continue
        weight, bias = next(parameters)
        if isinstance(step, Conv):
            module = nn.Conv2d(step.fan_in, step.fan_out, step.kernel, step.stride, step.padding, bias=step.bias)
        else:
            module = nn.Linear(step.fan_in, step.fan_out, bias=step.bias)
        module.weight.data = weight[index].reshape(module.weight.shape)
        if bias is not None:
            module.bias.data = bias[index]
        modules += [module, {"sine": Sine(), "gaussian": Gaussian()}.get(step.activation) or FUNCTIONS[step.activation]]
    return nn.Sequential(*modules)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_networks_are_what_torch_makes_of_them(activation, bias):
    weights = random_weights(NetworkSpec.mlp([3, 6, 5, 2], activation, bias=bias), 4, seed=0, dtype=torch.float64)
    x = torch.randn(7, 3, dtype=torch.float64)
    y = weights.run(x)
    assert y.shape == (4, 7, 2)
    for index in range(4):
        assert_close(y[index], sequential(weights, index)(x).detach(), what=activation)


@pytest.mark.parametrize(
    "steps",
    [
        (Conv(2, 4, "relu", padding=1), Conv(4, 3, "tanh", kernel=(2, 3), stride=2), MeanPool(3), Dense(3, 5)),
        (Conv(2, 4, "sine", omega=30.0, kernel=(1, 1), bias=False), Conv(4, 3, "leaky_relu", stride=3, padding=2)),
        (Conv(2, 3), MeanPool(3)),
    ],
    ids=["classifier", "picture to picture", "pooled"],
)
def test_convolutional_networks_are_what_torch_makes_of_them(steps):
    weights = random_weights(NetworkSpec(steps), 3, seed=0, dtype=torch.float64)
    shared, own = torch.randn(4, 2, 9, 8, dtype=torch.float64), torch.randn(3, 4, 2, 9, 8, dtype=torch.float64)
    for index in range(3):
        model = sequential(weights, index)
        assert_close(weights.run(shared)[index], model(shared).detach(), what="shared images")
        assert_close(weights.run(own)[index], model(own[index]).detach(), what="own images")


def test_every_network_may_have_its_own_points():
    weights = random_weights(NetworkSpec.mlp([2, 8, 1]), 3, seed=0)
    x = torch.randn(3, 5, 2)
    y = weights.run(x)
    for index in range(3):
        assert_close(y[index], weights[index].run(x[index])[0], what="own points")


def test_a_network_in_a_batch_is_the_network_alone():
    weights = random_weights(NetworkSpec.mlp([2, 8, 8, 1]), 5, seed=0)
    assert_batch_alone(
        lambda weights: weights.run(torch.linspace(-1, 1, 14, dtype=weights.dtype).reshape(7, 2)), weights
    )


def test_gradients_reach_weights_and_points():
    weights = random_weights(NetworkSpec.mlp([2, 8, 1]), 2, seed=0)
    leaf = weights.flat.requires_grad_()
    x = torch.randn(5, 2, requires_grad=True)
    F.mse_loss(weights.run(x), torch.zeros(2, 5, 1)).backward()
    assert all(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in (leaf, x))


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((7, 3), r"expected inputs \(P, 2\), .*got \(7, 3\)"),
        ((2,), "expected inputs"),
        ((1, 3, 7, 2), "expected inputs"),
        ((4, 7, 2), "expected inputs for 3 networks, got 4"),
    ],
)
def test_inputs_of_another_shape_are_refused(shape, sentence):
    with pytest.raises(InputError, match=sentence):
        random_weights(NetworkSpec.mlp([2, 5, 1]), 3, seed=0).run(torch.zeros(shape))


def test_images_of_other_channels_are_refused():
    weights = random_weights(NetworkSpec((Conv(1, 2),)), 3, seed=0)
    with pytest.raises(InputError, match=r"expected inputs \(N, 1, H, W\)"):
        weights.run(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("steps", "shape", "sentence"),
    [
        ((Conv(1, 2, kernel=(5, 5)),), (2, 1, 4, 4), r"step 0 \(conv\) can't read values of the shape \(1, 4, 4\)"),
        (
            (Conv(1, 2), Learned(1, 2, bias=False, grid=(6, 6), sources=(0,)), Add(2, sources=(1, 2))),
            (2, 1, 9, 9),
            r"step 2 \(add\) can't read values of the shape \(2, 7, 7\) and \(2, 6, 6\) .*; give inputs of the size",
        ),
        (
            (Conv(1, 2), Dense(2, 3, positions=36)),
            (2, 1, 9, 9),
            "expects 36 positions, got a grid of .*; give inputs of the size",
        ),
        (
            (Conv(1, 2), Reshape(2, grid=(4,)), Pick(2, position=4)),
            (2, 1, 4, 4),
            r"step 2 \(pick\) can't read values of the shape \(2, 4\) .*; give inputs of the size",
        ),
    ],
)
def test_grids_that_the_network_was_not_made_for_are_named(steps, shape, sentence):
    with pytest.raises(InputError, match=sentence):
        random_weights(NetworkSpec(steps), 2, seed=0).run(torch.zeros(shape))


def test_inputs_of_another_precision_are_refused():
    with pytest.raises(InputError, match=r"expected inputs in torch.float32 like the networks, got torch.float64"):
        random_weights(NetworkSpec.mlp([2, 5, 1]), 3, seed=0).run(torch.zeros(4, 2, dtype=torch.float64))


@pytest.mark.parametrize("size", [(7, 3), (2, 5)])
def test_grids_of_another_size_are_what_torch_makes_of_them(size):
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    expected = {
        ("mean", False): F.adaptive_avg_pool2d(x, size),
        ("max", False): F.adaptive_max_pool2d(x, size),
        ("nearest", False): F.interpolate(x, size),
        ("linear", True): F.interpolate(x, size, mode="bilinear", align_corners=True),
    }
    for (mode, corners), found in expected.items():
        spec = NetworkSpec((Resize(3, size, mode, corners), Dense(3, 2)))
        weights = random_weights(spec, 2, seed=0, dtype=torch.float64)
        dense = torch.einsum("boi,nihw->bnohw", weights.weights[0], found) + weights.biases[0][:, None, :, None, None]
        assert_close(weights.run(x), dense, what=mode)
    with pytest.raises(InputError, match="a resize step is mean, max, nearest or linear"):
        Resize(3, size, "cubic")
